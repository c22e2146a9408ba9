//! Who is asking: the client's address behind trusted proxies, and the request's own id.

use std::net::IpAddr;

use ipnet::IpNet;
use tidegate_net::Peer;

/// A request id as it is written: 32 hexadecimal digits of ours, or what a trusted proxy sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestId {
    text: [u8; Self::MAX],
    len: u8,
}

impl RequestId {
    /// What a trusted proxy may send; a UUID fits.
    const MAX: usize = 64;

    pub(crate) fn random(random: u128) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; Self::MAX];
        for (digits, byte) in text.chunks_exact_mut(2).zip(random.to_be_bytes()) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
        Self { text, len: 32 }
    }

    /// An id from a trusted proxy, if it is one.
    pub(crate) fn received(value: &[u8]) -> Option<Self> {
        let plain =
            |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=' | b':');
        if value.is_empty() || value.len() > Self::MAX || !value.iter().all(plain) {
            return None;
        }
        let mut text = [0; Self::MAX];
        text[..value.len()].copy_from_slice(value);
        Some(Self { text, len: u8::try_from(value.len()).ok()? })
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }
}

pub(crate) fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The client's address: the peer's, or, while proxies are trusted, the last one in the
/// X-Forwarded-For lines that is not a trusted proxy's (nginx, `real_ip_recursive on`).
pub(crate) fn client_ip(
    peer: &Peer,
    trusted: &[IpNet],
    headers: &[httparse::Header<'_>],
) -> Option<IpAddr> {
    let mut client = peer.ip();
    if !client.is_some_and(|ip| is_trusted(trusted, ip)) {
        return client;
    }
    let lines = headers.iter().rev().filter(|h| h.name.eq_ignore_ascii_case("x-forwarded-for"));
    let entries =
        lines.filter_map(|h| std::str::from_utf8(h.value).ok()).flat_map(|line| line.rsplit(','));
    for entry in entries {
        let Some(ip) = forwarded_ip(entry.trim()) else {
            break;
        };
        client = Some(ip);
        if !is_trusted(trusted, ip) {
            break;
        }
    }
    client
}

/// An address as some proxies write it: bare, with a port, in brackets.
fn forwarded_ip(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    bare.parse()
        .ok()
        .or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], lines: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().expect("a net")).collect();
        let headers: Vec<_> = lines
            .iter()
            .map(|line| httparse::Header { name: "X-Forwarded-For", value: line.as_bytes() })
            .collect();
        let peer = Peer::Ip("10.0.0.1:5".parse().expect("an address"));
        client_ip(&peer, &trusted, &headers).expect("an address").to_string()
    }

    #[test]
    fn only_what_trusted_proxies_say_is_believed() {
        assert_eq!(client(&[], &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(client(&["10.0.0.0/8"], &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(client(&["10.0.0.0/8"], &["6.6.6.6", "1.2.3.4, 10.9.9.9"]), "1.2.3.4");
        assert_eq!(client(&["10.0.0.0/8"], &["1.2.3.4, nonsense"]), "10.0.0.1");
        assert_eq!(client(&["10.0.0.0/8"], &["[2001:db8::1]:443"]), "2001:db8::1");
    }

    #[test]
    fn ids_are_made_or_taken_when_harmless() {
        assert_eq!(RequestId::random(0xab).as_str(), "000000000000000000000000000000ab");
        assert_eq!(RequestId::received(b"a-1").expect("an id").as_str(), "a-1");
        for bad in [&b""[..], b"a b", b"a\r\nb", &[b'a'; 65]] {
            assert!(RequestId::received(bad).is_none());
        }
    }
}
