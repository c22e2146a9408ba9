//! nginx's `ip_hash`, to the bit: a client stays on the server nginx would have sent it to.

use std::net::IpAddr;

/// What of a client's address is hashed: the first three bytes of an IPv4 address, all of an IPv6
/// one, three zeros for a client without an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    bytes: [u8; 16],
    len: u8,
}

/// So many rehashes before nginx gives up and goes on with round robin.
const REHASHES: usize = 20;

impl From<Option<IpAddr>> for Key {
    fn from(address: Option<IpAddr>) -> Self {
        let mut bytes = [0; 16];
        let len = match address {
            Some(IpAddr::V4(v4)) => {
                bytes[..3].copy_from_slice(&v4.octets()[..3]);
                3
            }
            Some(IpAddr::V6(v6)) => {
                bytes = v6.octets();
                16
            }
            None => 3,
        };
        Self { bytes, len }
    }
}

/// The server of this client, or `None` when none of its tries is eligible (nginx,
/// `ngx_http_upstream_get_ip_hash_peer`). `sums` are the weights as [`sums`](crate::sums) adds them
/// up; a server of weight 0 is never chosen. The cost of a try is a binary search.
pub fn ip_hash(key: &Key, sums: &[u64], mut eligible: impl FnMut(usize) -> bool) -> Option<usize> {
    let total = *sums.last().filter(|total| **total > 0)?;
    let mut hash: u64 = 89;
    for _ in 0..=REHASHES {
        for byte in &key.bytes[..usize::from(key.len)] {
            hash = (hash * 113 + u64::from(*byte)) % 6271;
        }
        let within = hash % total;
        let at = sums.partition_point(|sum| *sum <= within);
        if eligible(at) {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sums;

    fn key(text: &str) -> Key {
        Key::from(Some(text.parse::<IpAddr>().expect("an address")))
    }

    #[test]
    fn loopback_goes_to_the_first_of_two_equal_servers() {
        assert_eq!(ip_hash(&key("127.0.0.1"), &[1, 2], |_| true), Some(0));
    }

    #[test]
    fn thirty_networks_are_shared_evenly() {
        // nginx-tests, upstream_ip_hash.t: 127.0.1.2 to 127.0.30.2 over two and three servers.
        for servers in [2_usize, 3] {
            let mut counts = vec![0; servers];
            let sums = sums(&vec![1; servers]);
            for third in 1..=30 {
                let at = ip_hash(&key(&format!("127.0.{third}.2")), &sums, |_| true);
                counts[at.expect("a server")] += 1;
            }
            assert_eq!(counts, vec![30 / servers; servers]);
        }
    }

    #[test]
    fn a_client_whose_server_is_out_moves_and_nobody_else_does() {
        let first = ip_hash(&key("10.0.0.1"), &[1, 2, 3], |_| true).expect("a server");
        let second = ip_hash(&key("10.0.0.1"), &[1, 2, 3], |at| at != first);
        assert!(second.is_none_or(|at| at != first));
    }

    #[test]
    fn nobody_eligible_is_nobody_after_twenty_rehashes() {
        let mut asked = 0;
        let none = ip_hash(&key("10.0.0.1"), &[1, 2, 3], |_| {
            asked += 1;
            false
        });
        assert_eq!((none, asked), (None, 21));
        assert_eq!(ip_hash(&key("10.0.0.1"), &[0, 0], |_| true), None);
        assert_eq!(ip_hash(&key("10.0.0.1"), &[], |_| true), None);
    }

    #[test]
    fn networks_are_shared_by_weight() {
        let weights = [1, 0, 3, 10];
        let (sums, mut counts) = (sums(&weights), [0_u32; 4]);
        for network in 0..=u16::MAX {
            let [high, low] = network.to_be_bytes();
            let at = ip_hash(&key(&format!("10.{high}.{low}.1")), &sums, |_| true);
            counts[at.expect("a server")] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let off = f64::from(*count) / 65_536.0 - f64::from(weight) / 14.0;
            assert!(off.abs() < 0.01, "{counts:?}");
        }
        assert_eq!(counts[1], 0);
    }

    /// nginx walks the list, taking each weight off.
    fn walked(weights: &[u32], mut within: u64) -> Option<usize> {
        weights.iter().position(|weight| {
            let here = within < u64::from(*weight);
            within = within.saturating_sub(u64::from(*weight));
            here
        })
    }

    proptest! {
        #[test]
        fn the_search_finds_whom_nginx_walks_to(
            weights in prop::collection::vec(prop_oneof![0_u32..5, Just(u32::MAX)], 0..40),
            octets: [u8; 4],
        ) {
            let bytes = Key::from(Some(IpAddr::from(octets)));
            let hash = octets[..3].iter().fold(89, |h, b| (h * 113 + u64::from(*b)) % 6271);
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            let expected = hash.checked_rem(total).and_then(|within| walked(&weights, within));
            prop_assert_eq!(ip_hash(&bytes, &sums(&weights), |_| true), expected);
        }
    }
}
