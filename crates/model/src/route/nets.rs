//! A set of networks, as `allow` and `deny` list them: thousands of them cost a look-up as much as
//! a few.

use std::{fmt, net::IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks of both families. Those that lie within or beside others have become one with them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Nets {
    /// In order, and apart from each other.
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl Nets {
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match canonical(net) {
                IpNet::V4(net) => v4.push(net),
                IpNet::V6(net) => v6.push(net),
            }
        }
        let (mut v4, mut v6) = (Ipv4Net::aggregate(&v4), Ipv6Net::aggregate(&v6));
        v4.sort_unstable_by_key(Ipv4Net::network);
        v6.sort_unstable_by_key(Ipv6Net::network);
        Self { v4, v6 }
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let behind = self.v4.partition_point(|net| net.network() <= ip);
                behind.checked_sub(1).is_some_and(|at| self.v4[at].contains(&ip))
            }
            IpAddr::V6(ip) => {
                let behind = self.v6.partition_point(|net| net.network() <= ip);
                behind.checked_sub(1).is_some_and(|at| self.v6[at].contains(&ip))
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().copied().map(IpNet::V4);
        v4.chain(self.v6.iter().copied().map(IpNet::V6))
    }
}

/// IPv4 in the clothes of IPv6 is IPv4.
fn canonical(net: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let of_v4 = |net: Ipv6Net| {
        let ip = net.addr().to_ipv4_mapped()?;
        Ipv4Net::new(ip, net.prefix_len().checked_sub(MAPPED)?).ok()
    };
    match net {
        IpNet::V6(v6) => of_v4(v6).map_or(net, IpNet::V4),
        IpNet::V4(_) => net,
    }
}

impl fmt::Debug for Nets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Nets {
        Nets::new(texts.iter().map(|text| text.parse().expect("a network")))
    }

    fn has(nets: &Nets, ip: &str) -> bool {
        nets.contains(ip.parse().expect("an address"))
    }

    #[test]
    fn an_address_is_in_its_networks_whatever_it_wears() {
        let some =
            nets(&["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "::ffff:198.51.100.0/120"]);
        for ip in ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8:1::1", "198.51.100.9"] {
            assert!(has(&some, ip), "{ip}");
        }
        for ip in ["9.255.255.255", "11.0.0.0", "192.0.2.2", "2001:db9::", "::1", "198.51.101.0"] {
            assert!(!has(&some, ip), "{ip}");
        }
        assert!(nets(&[]).is_empty() && !has(&nets(&[]), "10.0.0.1"));
        assert!(has(&nets(&["0.0.0.0/0"]), "255.255.255.255"));
        assert!(!has(&nets(&["0.0.0.0/0"]), "::1"));
    }

    proptest! {
        #[test]
        fn a_look_up_is_a_search_through_all_of_them(
            list in prop::collection::vec((any::<u16>(), 16..=32u8), 0..40),
            ips in prop::collection::vec(any::<u16>(), 40),
        ) {
            // Close together, so that they overlap.
            let spread = |n: u16| std::net::Ipv4Addr::from_bits(u32::from(n) << 8);
            let list: Vec<IpNet> = list
                .into_iter()
                .map(|(ip, prefix)| Ipv4Net::new(spread(ip), prefix).expect("a prefix").trunc().into())
                .collect();
            let nets = Nets::new(list.clone());
            for ip in ips.into_iter().map(|ip| IpAddr::V4(spread(ip))) {
                prop_assert_eq!(nets.contains(ip), list.iter().any(|net| net.contains(&ip)));
            }
        }
    }
}
