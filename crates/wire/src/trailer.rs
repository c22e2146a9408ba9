//! The trailer section behind a chunked body (RFC 9112 §7.1.2), and which fields it may hold.

use httparse::{Header, Status};

use crate::{connection::is_hop_by_hop, refusal::BadChunk};

/// Fields that frame, route, authenticate, or say how content is to be processed: they came too
/// late to be trusted (RFC 9110 §6.5.1). In alphabetical order.
const NEVER_TRAIL: [&str; 32] = [
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-forwarded",
    "x-real-ip",
    "x-request-id",
];

/// Reads a trailer section from the front of `input`: the fields, and how many bytes it took with
/// its empty line. `None`: incomplete (the caller bounds how much it is ready to gather).
///
/// # Errors
/// When a line does not end in CRLF or is not a field, or there are more fields than `storage`
/// can take.
pub fn parse_trailers<'h, 'b>(
    input: &'b [u8],
    storage: &'h mut [Header<'b>],
) -> Result<Option<(&'h [Header<'b>], usize)>, BadChunk> {
    let Some(end) = section_end(input)? else {
        return Ok(None);
    };
    match httparse::parse_headers(&input[..end], storage)? {
        Status::Complete((length, fields)) => Ok(Some((fields, length))),
        Status::Partial => Ok(None),
    }
}

/// Whether a field may be passed on in a trailer section.
pub fn may_trail(name: &str) -> bool {
    let starts_with =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix));
    !is_hop_by_hop(name)
        && !starts_with("if-")
        && !starts_with("x-forwarded-")
        && !NEVER_TRAIL.iter().any(|never| name.eq_ignore_ascii_case(never))
}

/// Where the empty line ends. `httparse` takes a lone LF for a line end; here it is framing.
fn section_end(input: &[u8]) -> Result<Option<usize>, BadChunk> {
    let mut line = 0;
    for (at, _) in input.iter().enumerate().filter(|(_, b)| **b == b'\n') {
        match &input[line..at] {
            b"\r" => return Ok(Some(at + 1)),
            [.., b'\r'] => line = at + 1,
            _ => return Err(BadChunk::LineEnd),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = Vec<(&'static str, &'static [u8])>;

    fn parse(input: &'static [u8]) -> Result<Option<(Found, usize)>, BadChunk> {
        let mut storage = [httparse::EMPTY_HEADER; 2];
        let parsed = parse_trailers(input, &mut storage)?;
        Ok(parsed.map(|(fields, end)| (fields.iter().map(|f| (f.name, f.value)).collect(), end)))
    }

    #[test]
    fn section_7_1_2_a_trailer_section_ends_with_an_empty_line() {
        assert_eq!(parse(b"\r\nGET"), Ok(Some((vec![], 2))));
        let fields = vec![("Digest", &b"x"[..]), ("e", b"")];
        assert_eq!(parse(b"Digest: x \r\ne:\r\n\r\n\r\n"), Ok(Some((fields, 18))));
        for partial in [&b""[..], b"\r", b"a: b\r\n", b"a: b\r\n\r", b"a"] {
            assert_eq!(parse(partial), Ok(None), "{}", partial.escape_ascii());
        }
    }

    #[test]
    fn section_7_1_2_a_bare_line_feed_is_refused() {
        for input in [&b"\n"[..], b"a: b\n", b"a: b\r\n\n", b"a: b\n\r\n"] {
            assert_eq!(parse(input), Err(BadChunk::LineEnd), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn section_7_1_2_lines_are_fields() {
        let bad = [
            &b"a : b\r\n\r\n"[..],
            b" a: b\r\n\r\n",
            b"a: b\r\n c\r\n\r\n",
            b"a\r\n\r\n",
            b": b\r\n\r\n",
            b"a: b\rc\r\n\r\n",
            b"a: \0\r\n\r\n",
            b"\r\r\n\r\n",
            b"a: 1\r\nb: 2\r\nc: 3\r\n\r\n",
        ];
        for input in bad {
            assert!(matches!(parse(input), Err(BadChunk::Trailer(_))), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn what_frames_routes_or_authenticates_may_not_trail() {
        let never = [
            "Transfer-Encoding",
            "content-length",
            "HOST",
            "trailer",
            "TE",
            "Connection",
            "keep-alive",
            "Authorization",
            "Cookie",
            "set-cookie",
            "Content-Encoding",
            "content-type",
            "Content-Range",
            "cache-control",
            "Expect",
            "Max-Forwards",
            "range",
            "If-Match",
            "if-none-match",
            "X-Forwarded-For",
            "x-request-id",
            "Upgrade",
        ];
        for name in never {
            assert!(!may_trail(name), "{name}");
        }
        for name in ["Digest", "server-timing", "grpc-status", "x-checksum", "iffy", "etag", "ïf"]
        {
            assert!(may_trail(name), "{name}");
        }
    }
}
