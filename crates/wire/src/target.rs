//! The request target in its four forms (RFC 9112 §3.2), brought to the one that is forwarded.

use crate::{authority::Authority, refusal::Refusal};

/// A judged target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'b> {
    pub(crate) bytes: &'b [u8],
    /// `bytes` starts at its query: a `/` goes before it.
    pub(crate) is_rootless: bool,
    /// Of the absolute form, with the default port of its scheme.
    pub(crate) named: Option<(Authority<'b>, u16)>,
}

impl<'b> Target<'b> {
    pub(crate) fn parse(method: &str, raw: &'b str) -> Result<Self, Refusal> {
        let bytes = raw.as_bytes();
        if bytes.iter().fold(false, |found, b| found | is_forbidden(*b)) {
            return Err(Refusal::TargetByte);
        }
        match bytes {
            [b'/', ..] => Ok(Self { bytes, is_rootless: false, named: None }),
            b"*" if method == "OPTIONS" => Ok(Self { bytes, is_rootless: false, named: None }),
            _ => Self::absolute(method, raw),
        }
    }

    fn absolute(method: &str, raw: &'b str) -> Result<Self, Refusal> {
        let (scheme, rest) = raw.split_once("://").ok_or(Refusal::TargetForm)?;
        let default_port = default_port(scheme).ok_or(Refusal::TargetForm)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, bytes) = rest.as_bytes().split_at(end);
        let named = Some((Authority::parse(authority)?, default_port));
        Ok(match bytes {
            [] if method == "OPTIONS" => Self { bytes: b"*", is_rootless: false, named },
            [] => Self { bytes: b"/", is_rootless: false, named },
            _ => Self { bytes, is_rootless: bytes[0] == b'?', named },
        })
    }

    /// The path and the query, still encoded.
    pub(crate) fn split(&self) -> (&'b [u8], Option<&'b [u8]>) {
        let Some(at) = self.bytes.iter().position(|b| *b == b'?') else {
            return (self.bytes, None);
        };
        let path = if self.is_rootless { b"/" } else { &self.bytes[..at] };
        (path, Some(&self.bytes[at + 1..]))
    }
}

/// Bytes that no two servers agree on, and fragments, which are the client's own. Others that the
/// grammar forbids (`|`, `"`, non-ASCII) browsers do send; nginx lets them through, too.
fn is_forbidden(byte: u8) -> bool {
    (byte <= b' ') | (byte == b'#') | (byte == 0x7f)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Some(80),
        _ if scheme.eq_ignore_ascii_case("https") => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, raw: &'static str) -> Result<(&'static str, &'static str), Refusal> {
        let target = Target::parse(method, raw)?;
        let bytes = std::str::from_utf8(target.bytes).expect("was a str");
        Ok((bytes, target.named.map_or("", |(authority, _)| authority.text)))
    }

    #[test]
    fn section_3_2_1_origin_form() {
        for raw in ["/", "/a/b?c=d", "//x/y", "/?", "/a|b\"<>^`{}\\", "/é", "/%zz", "/a@b:80"] {
            assert_eq!(parse("GET", raw), Ok((raw, "")), "{raw}");
        }
    }

    #[test]
    fn section_3_2_2_absolute_form_is_brought_to_origin_form() {
        assert_eq!(parse("GET", "http://a.com/x?y"), Ok(("/x?y", "a.com")));
        assert_eq!(parse("GET", "HTTPS://[::1]:8443/x"), Ok(("/x", "[::1]:8443")));
        assert_eq!(parse("GET", "http://a.com"), Ok(("/", "a.com")));
        assert_eq!(parse("GET", "http://a.com//x"), Ok(("//x", "a.com")));
        let rootless = Target::parse("GET", "http://a.com?x=/").expect("valid");
        assert!(rootless.is_rootless);
        assert_eq!(rootless.split(), (&b"/"[..], Some(&b"x=/"[..])));
    }

    #[test]
    fn section_3_2_4_asterisk_form_is_for_options() {
        assert_eq!(parse("OPTIONS", "*"), Ok(("*", "")));
        assert_eq!(parse("OPTIONS", "http://a.com:81"), Ok(("*", "a.com:81")));
        assert_eq!(parse("OPTIONS", "http://a.com/"), Ok(("/", "a.com")));
        assert_eq!(parse("GET", "*"), Err(Refusal::TargetForm));
        assert_eq!(parse("OPTIONS", "*/"), Err(Refusal::TargetForm));
    }

    #[test]
    fn other_forms_are_refused() {
        for raw in ["", "a", "a/b", "a.com:80", "ftp://a/", "ws://a/", "http:/a", "://a/", "?x"] {
            assert_eq!(parse("GET", raw), Err(Refusal::TargetForm), "{raw}");
        }
        for raw in
            ["http://", "http:///x", "http://u@a/", "http://u:p@a/", "http://a:b/", "http://a\\@b/"]
        {
            assert_eq!(parse("GET", raw), Err(Refusal::Host), "{raw}");
        }
    }

    #[test]
    fn fragments_spaces_and_controls_are_refused() {
        for raw in ["/#", "/a#b", "/a b", "/\t", "/\0", "/\u{7f}", "http://a#b", "*#"] {
            assert_eq!(parse("OPTIONS", raw), Err(Refusal::TargetByte), "{raw:?}");
        }
    }
}
