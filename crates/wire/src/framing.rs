//! Where a body ends: Content-Length and Transfer-Encoding of one head, read together
//! (RFC 9112 §6). Requests and responses share the rules; only their answer to "neither" differs.

use crate::{
    field::{is_token, trim},
    refusal::BadFraming,
};

/// A version of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
}

/// How a request body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    /// Bytes.
    Length(u64),
    Chunked,
}

/// What the framing fields met so far say.
#[derive(Default)]
pub(crate) struct Framing {
    length: Option<u64>,
    codings: Codings,
}

/// The transfer codings met so far, over all lines.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Codings {
    #[default]
    Absent,
    Others,
    Chunked,
    OthersThenChunked,
}

impl Version {
    /// From the minor version that `httparse` found.
    pub(crate) fn of_minor(minor: u8) -> Option<Self> {
        match minor {
            0 => Some(Self::Http10),
            1 => Some(Self::Http11),
            _ => None,
        }
    }
}

impl Framing {
    /// Reads a Content-Length line.
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), BadFraming> {
        // Equal duplicates could be merged (RFC 9112 §6.3), but nobody honest sends them.
        if self.length.is_some() {
            return Err(BadFraming::LengthRepeated);
        }
        self.length = Some(decimal(value).ok_or(BadFraming::Length)?);
        Ok(())
    }

    /// Reads a Transfer-Encoding line. Empty elements are refused: peers disagree on them.
    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), BadFraming> {
        value.split(|b| *b == b',').try_for_each(|coding| self.coding(trim(coding)))
    }

    fn coding(&mut self, coding: &[u8]) -> Result<(), BadFraming> {
        let end = coding.iter().position(|b| *b == b';').unwrap_or(coding.len());
        let (name, parameters) = coding.split_at(end);
        let name = trim(name);
        let is_chunked = name.eq_ignore_ascii_case(b"chunked");
        self.codings = match self.codings {
            _ if !is_token(name) => return Err(BadFraming::Coding),
            _ if is_chunked && !parameters.is_empty() => return Err(BadFraming::ChunkedParameters),
            Codings::Absent if is_chunked => Codings::Chunked,
            Codings::Others if is_chunked => Codings::OthersThenChunked,
            Codings::Absent | Codings::Others => Codings::Others,
            _ if is_chunked => return Err(BadFraming::ChunkedTwice),
            _ => return Err(BadFraming::ChunkedNotLast),
        };
        Ok(())
    }

    /// The length as declared, whether or not a body follows.
    pub(crate) fn declared_length(&self) -> Option<u64> {
        self.length
    }

    /// Whether there was a Transfer-Encoding.
    pub(crate) fn is_coded(&self) -> bool {
        self.codings != Codings::Absent
    }

    /// All lines are read: what they say together. [`Body::None`]: nothing.
    pub(crate) fn body(&self, version: Version) -> Result<Body, BadFraming> {
        match (self.codings, self.length) {
            (Codings::Absent, None) => Ok(Body::None),
            (Codings::Absent, Some(length)) => Ok(Body::Length(length)),
            (_, Some(_)) => Err(BadFraming::Both),
            (_, None) if version == Version::Http10 => Err(BadFraming::CodingInHttp10),
            (Codings::Chunked, None) => Ok(Body::Chunked),
            (Codings::Others, None) => Err(BadFraming::ChunkedNotLast),
            (Codings::OthersThenChunked, None) => Err(BadFraming::UnknownCoding),
        }
    }
}

/// `1*DIGIT` that fits 64 bits; `str::parse` would take a sign.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(values: &[&str]) -> Result<Body, BadFraming> {
        let mut framing = Framing::default();
        values.iter().try_for_each(|value| framing.content_length(value.as_bytes()))?;
        framing.body(Version::Http11)
    }

    fn codings(lines: &[&str]) -> Result<Body, BadFraming> {
        let mut framing = Framing::default();
        lines.iter().try_for_each(|line| framing.transfer_encoding(line.as_bytes()))?;
        framing.body(Version::Http11)
    }

    #[test]
    fn section_6_2_a_length_is_decimal_digits_that_fit_64_bits() {
        assert_eq!(lengths(&["0"]), Ok(Body::Length(0)));
        assert_eq!(lengths(&["0042"]), Ok(Body::Length(42)));
        assert_eq!(lengths(&["18446744073709551615"]), Ok(Body::Length(u64::MAX)));
        let bad = [
            "",
            "+5",
            "-5",
            "5,5",
            "5, 5",
            "5;",
            "0x5",
            "5a",
            "a5",
            "5 5",
            " 5",
            "5.0",
            "1e3",
            "\u{661}",
            "18446744073709551616",
            "99999999999999999999999999",
        ];
        for value in bad {
            assert_eq!(lengths(&[value]), Err(BadFraming::Length), "{value:?}");
        }
    }

    #[test]
    fn section_6_3_item_5_several_lengths_are_refused_even_if_equal() {
        assert_eq!(lengths(&["5", "5"]), Err(BadFraming::LengthRepeated));
        assert_eq!(lengths(&["5", "6"]), Err(BadFraming::LengthRepeated));
    }

    #[test]
    fn section_6_1_chunked_alone_is_understood() {
        for line in ["chunked", "Chunked", "CHUNKED", " chunked\t"] {
            assert_eq!(codings(&[line]), Ok(Body::Chunked), "{line:?}");
        }
    }

    #[test]
    fn section_6_1_codings_count_over_all_lines() {
        let cases: &[(&[&str], BadFraming)] = &[
            (&["gzip, chunked"], BadFraming::UnknownCoding),
            (&["identity,chunked"], BadFraming::UnknownCoding),
            (&["gzip;level=9, deflate", "chunked"], BadFraming::UnknownCoding),
            (&["gzip"], BadFraming::ChunkedNotLast),
            (&["identity"], BadFraming::ChunkedNotLast),
            (&["xchunked"], BadFraming::ChunkedNotLast),
            (&["chunked, gzip"], BadFraming::ChunkedNotLast),
            (&["chunked", "identity"], BadFraming::ChunkedNotLast),
            (&["chunked, chunked"], BadFraming::ChunkedTwice),
            (&["chunked", "chunked"], BadFraming::ChunkedTwice),
            (&["gzip, chunked", "chunked"], BadFraming::ChunkedTwice),
            (&["chunked;a=b"], BadFraming::ChunkedParameters),
            (&["chunked ;"], BadFraming::ChunkedParameters),
            (&[""], BadFraming::Coding),
            (&["", "chunked"], BadFraming::Coding),
            (&["chunked,"], BadFraming::Coding),
            (&[", chunked"], BadFraming::Coding),
            (&["\"chunked\""], BadFraming::Coding),
            (&["x chunked"], BadFraming::Coding),
            (&["chunked\u{b}"], BadFraming::Coding),
        ];
        for (lines, refusal) in cases {
            assert_eq!(codings(lines), Err(*refusal), "{lines:?}");
        }
    }

    #[test]
    fn section_6_1_http_1_0_has_no_transfer_encoding() {
        let mut framing = Framing::default();
        assert_eq!(framing.transfer_encoding(b"chunked"), Ok(()));
        assert_eq!(framing.body(Version::Http10), Err(BadFraming::CodingInHttp10));
    }

    #[test]
    fn section_6_3_item_3_both_are_refused_whatever_they_say() {
        for coding in ["chunked", "gzip", "gzip, chunked"] {
            let mut framing = Framing::default();
            assert_eq!(framing.transfer_encoding(coding.as_bytes()), Ok(()));
            assert_eq!(framing.content_length(b"0"), Ok(()));
            assert_eq!(framing.body(Version::Http11), Err(BadFraming::Both));
            assert_eq!(framing.body(Version::Http10), Err(BadFraming::Both));
        }
    }
}
