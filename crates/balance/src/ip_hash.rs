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
const MAX_TRIES: usize = 20;

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
/// `ngx_http_upstream_get_ip_hash_peer`). `total` is the sum of `weights`.
pub fn ip_hash(
    key: &Key,
    weights: &[u32],
    total: u64,
    mut eligible: impl FnMut(usize) -> bool,
) -> Option<usize> {
    if total == 0 {
        return None;
    }
    let mut hash: u64 = 89;
    for _ in 0..=MAX_TRIES {
        for byte in &key.bytes[..usize::from(key.len)] {
            hash = (hash * 113 + u64::from(*byte)) % 6271;
        }
        let mut w = hash % total;
        let at = weights.iter().position(|weight| {
            let weight = u64::from(*weight);
            let here = w < weight;
            w = w.saturating_sub(weight);
            here
        })?;
        if eligible(at) {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::from(Some(text.parse::<IpAddr>().expect("an address")))
    }

    #[test]
    fn loopback_goes_to_the_first_of_two_equal_servers() {
        assert_eq!(ip_hash(&key("127.0.0.1"), &[1, 1], 2, |_| true), Some(0));
    }

    #[test]
    fn thirty_networks_are_shared_evenly() {
        // nginx-tests, upstream_ip_hash.t: 127.0.1.2 to 127.0.30.2 over two and three servers.
        for servers in [2_usize, 3] {
            let mut counts = vec![0; servers];
            for third in 1..=30 {
                let weights = vec![1; servers];
                let at =
                    ip_hash(&key(&format!("127.0.{third}.2")), &weights, servers as u64, |_| true);
                counts[at.expect("a server")] += 1;
            }
            assert_eq!(counts, vec![30 / servers; servers]);
        }
    }

    #[test]
    fn a_client_whose_server_is_out_moves_and_nobody_else_does() {
        let first = ip_hash(&key("10.0.0.1"), &[1, 1, 1], 3, |_| true).expect("a server");
        let second = ip_hash(&key("10.0.0.1"), &[1, 1, 1], 3, |at| at != first);
        assert!(second.is_none_or(|at| at != first));
        assert_eq!(ip_hash(&key("10.0.0.1"), &[1, 1, 1], 3, |_| false), None);
        assert_eq!(ip_hash(&key("10.0.0.1"), &[0, 0], 0, |_| true), None);
    }
}
