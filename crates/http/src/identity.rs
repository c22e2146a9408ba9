//! Who is asking: the client's address behind trusted proxies.

use std::net::IpAddr;

use ipnet::IpNet;
use tidegate_net::Peer;

fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
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
}
