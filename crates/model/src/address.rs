//! Where a server is: an IP address, a host name still to be resolved, or a unix socket. The text
//! as typed is kept, for it is part of a server's identity.

use std::{fmt, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// nginx's default port of a server line.
pub const DEFAULT_PORT: u16 = 80;

/// A server's address as typed, and what it means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    text: Arc<str>,
    place: Place,
}

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A name that a resolver turns into addresses.
    Host(Arc<str>, u16),
    Ip(SocketAddr),
    /// The path of a unix socket.
    Unix(Arc<str>),
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress {
    text: String,
    reason: &'static str,
}

impl Address {
    /// Reads `ipv4[:port]`, `[ipv6][:port]`, `hostname[:port]` or `unix:/path` (nginx, `server`).
    /// The port is 80 unless given.
    ///
    /// # Errors
    /// When the text is none of these.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        match place(text) {
            Ok(place) => Ok(Self { text: text.into(), place }),
            Err(reason) => Err(BadAddress { text: text.into(), reason }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn place(&self) -> &Place {
        &self.place
    }
}

fn place(text: &str) -> Result<Place, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        // sun_path holds 108 bytes with its terminating zero.
        return match path {
            _ if !path.starts_with('/') => Err("the path of a unix socket starts with '/'"),
            _ if path.len() > 107 => Err("the path of a unix socket is at most 107 bytes long"),
            _ if path.chars().any(char::is_control) => Err("control character in the path"),
            _ => Ok(Place::Unix(path.into())),
        };
    }
    let (host, port) = split_port(text)?;
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let ip = inner.parse::<std::net::Ipv6Addr>().map_err(|_| "not an IPv6 address")?;
        return Ok(Place::Ip(SocketAddr::new(ip.into(), port)));
    }
    if let Ok(ip) = host.parse::<std::net::Ipv4Addr>() {
        return Ok(Place::Ip(SocketAddr::new(ip.into(), port)));
    }
    host_name(host)?;
    Ok(Place::Host(host.to_ascii_lowercase().into(), port))
}

fn split_port(text: &str) -> Result<(&str, u16), &'static str> {
    let after_host = if text.starts_with('[') {
        text.find(']').map(|at| at + 1).ok_or("'[' without ']'")?
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(after_host);
    let Some(digits) = rest.strip_prefix(':') else {
        return if rest.is_empty() { Ok((host, DEFAULT_PORT)) } else { Err("text after ']'") };
    };
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(port) if all_digits && port != 0 => Ok((host, port)),
        _ => Err("a port is a number from 1 to 65535"),
    }
}

fn host_name(host: &str) -> Result<(), &'static str> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    match host {
        "" => Err("no host"),
        _ if host.len() > 253 => Err("a host name is at most 253 bytes long"),
        _ if !name.split('.').all(label) => Err("not a host name"),
        // "999.1.1.1" and "1.2.3" are mistyped addresses, never names.
        _ if name.bytes().all(|b| b.is_ascii_digit() || b == b'.') => Err("not an IPv4 address"),
        _ => Ok(()),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is no server address: {}", self.text.escape_debug(), self.reason)
    }
}

impl std::error::Error for BadAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> SocketAddr {
        match Address::parse(text).expect("an address").place() {
            Place::Ip(ip) => *ip,
            other => panic!("{text} became {other:?}"),
        }
    }

    #[test]
    fn the_forms_of_nginx_are_read() {
        assert_eq!(ip("10.0.0.1:8080").to_string(), "10.0.0.1:8080");
        assert_eq!(ip("10.0.0.1").port(), 80);
        assert_eq!(ip("[::1]:81").to_string(), "[::1]:81");
        assert_eq!(ip("[::1]").port(), 80);
        let unix = Address::parse("unix:/tmp/s").expect("an address");
        assert_eq!(*unix.place(), Place::Unix("/tmp/s".into()));
        let host = Address::parse("Node_1.example.com:90").expect("an address");
        assert_eq!(*host.place(), Place::Host("node_1.example.com".into(), 90));
        assert_eq!(host.to_string(), "Node_1.example.com:90");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ":80",
            "1.2.3.4:",
            "1.2.3.4:0",
            "1.2.3.4:65536",
            "1.2.3.4:+1",
            "999.1.1.1",
            "1.2.3",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "a b",
            "a..b",
            "unix:",
            "unix:tmp",
            "http://a",
            "::1",
            "a/b",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?} was read");
        }
    }
}
