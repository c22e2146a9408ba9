//! Why a message is refused. Each variant is one precise reason for the log; the client learns
//! the status alone.

/// Why a request is refused. The connection cannot be trusted any further and has to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the path climbs above the root")]
    AboveRoot,
    #[error("the path holds a backslash")]
    Backslash,
    #[error("a `%` in the path is not followed by two hexadecimal digits")]
    BadEscape,
    #[error("CONNECT is not offered")]
    Connect,
    #[error("the path holds an encoded slash, which its route does not allow")]
    EncodedSlash,
    #[error("the only expectation that can be met is 100-continue")]
    Expectation,
    #[error(transparent)]
    Framing(#[from] BadFraming),
    #[error("the authority of Host or of the target is not `host` or `host:port`")]
    Host,
    #[error("Host names another authority than the target does")]
    HostMismatch,
    #[error("HTTP/1.1 without a Host field")]
    HostMissing,
    #[error("more than one Host field")]
    HostRepeated,
    #[error("the head is not complete")]
    Incomplete,
    #[error("the path holds a NUL")]
    Nul,
    #[error("what the path is rewritten to is no path")]
    Rewritten,
    #[error("the head does not parse: {0}")]
    Syntax(httparse::Error),
    #[error("the target holds a `#`, a space or a control character")]
    TargetByte,
    #[error("the target is neither a path, an http(s) URI nor, for OPTIONS, `*`")]
    TargetForm,
    #[error("more fields than are allowed")]
    TooManyFields,
    #[error("TRACE with a body")]
    TraceBody,
    #[error("the version of HTTP is neither 1.0 nor 1.1")]
    Version,
}

/// What is wrong with the fields that say where a body ends (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFraming {
    #[error("Content-Length beside Transfer-Encoding")]
    Both,
    #[error("chunked is not the last transfer coding")]
    ChunkedNotLast,
    #[error("chunked takes no parameters")]
    ChunkedParameters,
    #[error("chunked is named twice")]
    ChunkedTwice,
    #[error("Transfer-Encoding is not a list of transfer codings")]
    Coding,
    #[error("Transfer-Encoding in HTTP/1.0")]
    CodingInHttp10,
    #[error("Content-Length is not a plain decimal number that fits 64 bits")]
    Length,
    #[error("more than one Content-Length field")]
    LengthRepeated,
    #[error("transfer codings other than chunked are not understood")]
    UnknownCoding,
}

/// Why a server's response is not passed on: the client gets a 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    #[error("Transfer-Encoding in an interim response")]
    CodingInInterim,
    #[error(transparent)]
    Framing(#[from] BadFraming),
    #[error("the head is not complete")]
    Incomplete,
    #[error("the status is below 100")]
    Status,
    #[error("a 101 is HTTP/1.1 with `Connection: upgrade` and exactly one Upgrade token")]
    Switching,
    #[error("the head does not parse: {0}")]
    Syntax(#[from] httparse::Error),
    #[error("the version of HTTP is neither 1.0 nor 1.1")]
    Version,
}

/// What is wrong with a chunked body (RFC 9112 §7.1). Where it ends is unknown from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChunk {
    #[error("a control character in a chunk extension")]
    Extension,
    #[error("a line of the chunked coding does not end in CRLF")]
    LineEnd,
    #[error("a chunk-size line is longer than 1 KiB")]
    LineTooLong,
    #[error("far more chunk extensions than payload")]
    Overhead,
    #[error("a chunk size is not 1 to 16 hexadecimal digits")]
    Size,
    #[error("the trailer section does not parse: {0}")]
    Trailer(#[from] httparse::Error),
}

impl Refusal {
    /// Why `httparse` refused `head`, the bytes it was given. It does not tell a version that it
    /// does not know from one that is none; the answers differ (RFC 9110 §15.6.6).
    pub fn of_syntax(error: httparse::Error, head: &[u8]) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooManyFields,
            httparse::Error::Version if names_other_version(head) => Self::Version,
            _ => Self::Syntax(error),
        }
    }

    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Expectation => 417,
            Self::TooManyFields => 431,
            Self::Connect | Self::Framing(BadFraming::UnknownCoding) => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}

/// Whether the third word of the request line is a version by the grammar, as far as it has
/// arrived, but neither 1.0 nor 1.1.
fn names_other_version(head: &[u8]) -> bool {
    let is_end = |b: &u8| matches!(b, b'\r' | b'\n');
    let line = head.split(is_end).find(|line| !line.is_empty()).unwrap_or_default();
    let word = line.splitn(3, |b| *b == b' ').nth(2).unwrap_or_default();
    match word.strip_prefix(b"HTTP/") {
        Some([b'1', b'.', minor]) => matches!(minor, b'2'..=b'9'),
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        Some([major] | [major, b'.']) => major.is_ascii_digit() && *major != b'1',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &[u8]) -> Refusal {
        let mut fields = [httparse::EMPTY_HEADER; 2];
        match httparse::Request::new(&mut fields).parse(head) {
            Err(error) => Refusal::of_syntax(error, head),
            Ok(status) => panic!("{status:?}: {}", head.escape_ascii()),
        }
    }

    #[test]
    fn another_version_is_505_and_none_is_400() {
        for head in ["GET / HTTP/2.0\r\n", "\r\nGET / HTTP/1.2\n\n", "GET / HTTP/0.9\r\n"] {
            assert_eq!(refused(head.as_bytes()).status(), 505, "{head}");
        }
        let bad =
            ["HTTP/11", "HTTP/1", "http/1.1", "HTTP/x.1", " HTTP/1.1", "x HTTP/2.0", "HTTP/2.0 "];
        for version in bad {
            let head = format!("GET / {version}\r\n\r\n");
            assert_eq!(refused(head.as_bytes()).status(), 400, "{head}");
        }
        assert_eq!(refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status(), 505);
    }

    #[test]
    fn too_many_fields_are_431() {
        assert_eq!(refused(b"GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n").status(), 431);
    }

    #[test]
    fn the_log_says_what_was_wrong() {
        let refusal = Refusal::from(BadFraming::Both);
        assert_eq!(refusal.to_string(), "Content-Length beside Transfer-Encoding");
        assert_eq!(refusal.status(), 400);
    }
}
