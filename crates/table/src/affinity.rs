//! What of a request decides where it goes: the client's address, the key that is hashed, and the
//! server that a cookie names.

use std::net::IpAddr;

use tidegate_balance::{Key, ring_hash, share_hash, wide_hash};

/// What balancers go by besides weight and load.
#[derive(Clone, Copy, Debug)]
pub struct Affinity {
    /// For `ip_hash`.
    pub client: Key,
    /// For `hash` and `maglev`; without a key they go by round robin, as nginx does.
    pub key: Option<Hashed>,
    /// The server that the client's cookie names (see [`token`]).
    pub sticky: Option<u64>,
}

/// The value of a pool's `hash_key`, as each of the hashing balancers needs it.
#[derive(Clone, Copy, Debug)]
pub struct Hashed {
    pub(crate) ring: u32,
    pub(crate) wide: u64,
}

impl Affinity {
    pub fn of_client(ip: Option<IpAddr>) -> Self {
        Self { client: Key::from(ip), key: None, sticky: None }
    }
}

impl Hashed {
    /// `None` for the empty key.
    pub fn of(key: &[u8]) -> Option<Self> {
        (!key.is_empty()).then(|| Self { ring: ring_hash(key), wide: wide_hash(key) })
    }
}

/// Where a key lies among all of 2^64, for the shares of a split; `None` for the empty key.
pub fn place(key: &[u8]) -> Option<u64> {
    (!key.is_empty()).then(|| share_hash(key))
}

/// The value of a sticky cookie.
pub fn print_token(token: u64) -> String {
    format!("{token:016x}")
}

/// What a sticky cookie names, if it is one of ours.
pub fn parse_token(value: &str) -> Option<u64> {
    let is_ours = value.len() == 16 && value.bytes().all(|b| b.is_ascii_hexdigit());
    is_ours.then(|| u64::from_str_radix(value, 16).ok())?
}

/// What a sticky cookie calls a server: a hash of what the pool knows it by, so that it means the
/// same server after every change of the list and every restart.
pub fn token(key: &str, ordinal: u32) -> u64 {
    let mut text = Vec::with_capacity(key.len() + 5);
    text.extend_from_slice(key.as_bytes());
    if ordinal > 0 {
        text.push(0);
        text.extend_from_slice(&ordinal.to_le_bytes());
    }
    wide_hash(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_name_servers_by_what_the_pool_knows_them_by() {
        let first = token("10.0.0.1:80", 0);
        assert_eq!(parse_token(&print_token(first)), Some(first));
        assert_eq!(print_token(first).len(), 16);
        assert!(first != token("10.0.0.1:80", 1) && first != token("10.0.0.2:80", 0));
        for value in ["", "1", "+123456789abcdef", "0123456789abcdefg", "0123456789abcde "] {
            assert_eq!(parse_token(value), None, "{value:?} was read");
        }
    }
}
