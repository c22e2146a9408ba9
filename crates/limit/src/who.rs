//! Who is counted as one.

use std::net::IpAddr;

/// A key. A client's address is one for all that a subscriber has: all of an IPv4 address, and of
/// IPv6 a network of 64 bits, of which a single machine can use every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who<'k> {
    Text(&'k [u8]),
    V4(u32),
    /// The network.
    V6(u64),
}

impl Who<'_> {
    pub fn client(ip: IpAddr) -> Self {
        // A listener of both families sees IPv4 in the clothes of IPv6.
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6(u64::try_from(ip.to_bits() >> 64).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_one() {
        let at = |ip: &str| Who::client(ip.parse().expect("an address"));
        assert_eq!(at("10.0.0.1"), at("::ffff:10.0.0.1"));
        assert_ne!(at("::ffff:10.0.0.1"), at("::ffff:10.0.0.2"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    }
}
