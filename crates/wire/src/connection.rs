//! Which fields stop here, and what both sides agree on about their connection: the Connection
//! options of all lines, the hop-by-hop fields, the Upgrade tokens (RFC 9110 §7.6.1, §7.8).

use httparse::Header;

use crate::{
    field::{lines, list},
    framing::Version,
};

/// Whether a field speaks of one connection only and is never forwarded as it came.
pub fn is_hop_by_hop(name: &str) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match (name.len(), name.as_bytes().first().map(u8::to_ascii_lowercase)) {
        (2, Some(b't')) => is("te"),
        (7, Some(b'u')) => is("upgrade"),
        (10, Some(b'c')) => is("connection"),
        (10, Some(b'k')) => is("keep-alive"),
        (14, Some(b'h')) => is("http2-settings"),
        (16, Some(b'p')) => is("proxy-connection"),
        (17, Some(b't')) => is("transfer-encoding"),
        _ => false,
    }
}

/// Whether any Connection line names this field, which then stops here. Never true for the fields
/// that routing and framing stand on: naming those is an attempt to have them stripped.
pub fn named_by_connection(headers: &[Header<'_>], name: &str) -> bool {
    let is_name = |option: &[u8]| option.eq_ignore_ascii_case(name.as_bytes());
    !is_protected(name) && lines(headers, "connection").flat_map(list).any(is_name)
}

fn is_protected(name: &str) -> bool {
    const PROTECTED: [&str; 4] = ["content-length", "expect", "host", "transfer-encoding"];
    PROTECTED.iter().any(|protected| name.eq_ignore_ascii_case(protected))
}

/// Every token of every Upgrade line: `protocol` or `protocol/version`.
pub fn upgrade_tokens<'b>(headers: &[Header<'b>]) -> impl Iterator<Item = &'b str> {
    lines(headers, "upgrade").flat_map(list).filter_map(|token| std::str::from_utf8(token).ok())
}

/// The Connection options of one head.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// Some name a field other than those known by heart.
    pub(crate) names: bool,
}

impl Options {
    /// Reads a Connection line.
    pub(crate) fn read(&mut self, value: &[u8]) {
        for option in list(value) {
            match option.len() {
                2 if option.eq_ignore_ascii_case(b"te") => {}
                5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ => self.names = true,
            }
        }
    }

    /// Whether the sender wants the connection to go on (RFC 9112 §9.3).
    pub(crate) fn persists(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'b>(name: &'b str, value: &'b str) -> Header<'b> {
        Header { name, value: value.as_bytes() }
    }

    #[test]
    fn hop_by_hop_fields_are_known_in_any_case() {
        let names = [
            "connection",
            "Proxy-Connection",
            "KEEP-ALIVE",
            "TE",
            "Transfer-Encoding",
            "upgrade",
            "HTTP2-Settings",
        ];
        for name in names {
            assert!(is_hop_by_hop(name), "{name}");
        }
        for name in ["", "to", "trailer", "content-length", "xonnection", "host", "cache-control"] {
            assert!(!is_hop_by_hop(name), "{name}");
        }
    }

    #[test]
    fn all_connection_lines_name_fields() {
        let headers = [
            header("Connection", "close, X-One"),
            header("x-one", "1"),
            header("CONNECTION", "x-Two"),
        ];
        assert!(named_by_connection(&headers, "x-one"));
        assert!(named_by_connection(&headers, "X-TWO"));
        assert!(!named_by_connection(&headers, "x-three"));
    }

    #[test]
    fn connection_cannot_strip_what_framing_stands_on() {
        let headers = [header("connection", "Host, content-length,Transfer-Encoding, expect, x")];
        for name in ["host", "Content-Length", "transfer-encoding", "Expect"] {
            assert!(!named_by_connection(&headers, name), "{name}");
        }
        assert!(named_by_connection(&headers, "x"));
    }

    #[test]
    fn upgrade_tokens_come_from_all_lines() {
        let headers = [header("Upgrade", "websocket, h2c"), header("upgrade", " ,IRC/6.9")];
        let found: Vec<_> = upgrade_tokens(&headers).collect();
        assert_eq!(found, ["websocket", "h2c", "IRC/6.9"]);
    }

    #[test]
    fn section_9_3_close_wins_and_http_1_0_has_to_ask() {
        let cases = [
            ("", true, false),
            ("close", false, false),
            ("Keep-Alive", true, true),
            ("keep-alive, Close", false, false),
            ("upgrade, x-y", true, false),
        ];
        for (value, in_11, in_10) in cases {
            let mut options = Options::default();
            options.read(value.as_bytes());
            assert_eq!(options.persists(Version::Http11), in_11, "{value}");
            assert_eq!(options.persists(Version::Http10), in_10, "{value}");
        }
    }
}
