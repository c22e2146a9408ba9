//! `host[:port]`, as Host and absolute targets carry it (RFC 9110 §7.2, RFC 3986 §3.2). Routing
//! stands on it, so a text that two parsers could split differently is refused.

use std::net::Ipv6Addr;

use crate::{field::alphanumeric_and, refusal::Refusal};

/// unreserved, sub-delims and `%` (RFC 3986 §3.2.2): no `@`, so no userinfo passes either.
static REG_NAME: [bool; 256] = alphanumeric_and(b"-._~!$&'()*+,;=%");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Authority<'b> {
    /// As sent.
    pub(crate) text: &'b str,
    /// Without the port and the dot of the root, with which a name means the same and would miss its
    /// routes; an IPv6 literal keeps its brackets.
    pub(crate) host: &'b str,
    port: Option<u16>,
}

impl<'b> Authority<'b> {
    pub(crate) fn parse(value: &'b [u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(value).map_err(|_| Refusal::Host)?;
        let end = host_end(text).ok_or(Refusal::Host)?;
        let (host, rest) = text.split_at(end);
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            Some("") => None,
            Some(digits) => Some(port(digits).ok_or(Refusal::Host)?),
            None => return Err(Refusal::Host),
        };
        let host = host.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(host);
        Ok(Self { text, host, port })
    }

    /// Whether both mean the same place, given the default port of their scheme.
    pub(crate) fn is_same(&self, other: &Self, default_port: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

/// Where a valid, non-empty host ends.
fn host_end(text: &str) -> Option<usize> {
    if let Some(inner) = text.strip_prefix('[') {
        let end = inner.find(']')?;
        return inner[..end].parse::<Ipv6Addr>().is_ok().then_some(end + 2);
    }
    let end = text.find(':').unwrap_or(text.len());
    let name = &text.as_bytes()[..end];
    let ok = end > 0 && name.iter().all(|b| REG_NAME[usize::from(*b)]) && escapes_ok(name);
    ok.then_some(end)
}

fn escapes_ok(name: &[u8]) -> bool {
    let is_hex = |at: usize| name.get(at).is_some_and(u8::is_ascii_hexdigit);
    name.iter().enumerate().all(|(at, b)| *b != b'%' || (is_hex(at + 1) && is_hex(at + 2)))
}

fn port(digits: &str) -> Option<u16> {
    // `u16::parse` alone would take a sign.
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(&str, Option<u16>), Refusal> {
        Authority::parse(text.as_bytes()).map(|authority| (authority.host, authority.port))
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        let cases = [
            ("example.com", "example.com", None),
            ("Example.COM:8080", "Example.COM", Some(8080)),
            ("a:", "a", None),
            ("a:0", "a", Some(0)),
            ("a:00080", "a", Some(80)),
            ("a:65535", "a", Some(65535)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1.2.3.4]:443", "[2001:DB8::1.2.3.4]", Some(443)),
            ("under_score.x", "under_score.x", None),
            ("a%20b", "a%20b", None),
            ("a.com.", "a.com", None),
            ("a.com.:80", "a.com", Some(80)),
            ("a..", "a.", None),
            (".", ".", None),
        ];
        for (text, host, port) in cases {
            assert_eq!(parse(text), Ok((host, port)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            "",
            ":80",
            "a b",
            "a/b",
            "a:b",
            "a:+80",
            "a:-1",
            "a:80:80",
            "a:65536",
            "a:80 ",
            "u@a",
            "u:p@a",
            "a?b",
            "a#b",
            "a\\b",
            "http://a",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]80",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "[]",
            "[v1.x]",
            "a%2",
            "a%zz",
            "<a>",
            "a\"",
            "é.com",
            "a[::1]",
            "a|b",
            "a{b}",
        ];
        for text in bad {
            assert_eq!(parse(text), Err(Refusal::Host), "{text}");
        }
        assert_eq!(Authority::parse(b"a\xff"), Err(Refusal::Host));
    }

    #[test]
    fn the_default_port_may_be_left_out() {
        let same = |a: &'static str, b: &'static str, port| {
            let parse = |text: &'static str| Authority::parse(text.as_bytes()).expect("valid");
            parse(a).is_same(&parse(b), port)
        };
        assert!(same("A.com:80", "a.COM", 80) && same("a.", "a", 80));
        assert!(same("a", "a:", 80) && same("a:443", "a", 443));
        assert!(!same("a:81", "a", 80) && !same("a:80", "a", 443) && !same("a", "b", 80));
    }
}
