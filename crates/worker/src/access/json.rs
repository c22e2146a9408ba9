//! Just as much of a JSON writer as the access log needs: objects of texts and numbers, appended to a
//! buffer that is used again and again. Keys are known when this is compiled; with what writes them
//! inlined, each is a move or two, where a call for each would be most of what a line costs.

use std::{fmt, io::Write as _, net::IpAddr, time::Duration};

/// An object that is being written.
#[derive(Debug)]
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    #[inline(always)]
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        quote(value, self.out);
    }

    /// What needs no escaping.
    #[inline(always)]
    pub(super) fn plain(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    /// Of something that needs no escaping.
    pub(super) fn display(&mut self, key: &'static str, value: fmt::Arguments<'_>) {
        self.key(key);
        // A vector takes every write.
        let _ = write!(self.out, "\"{value}\"");
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// To the microsecond.
    #[inline(always)]
    pub(super) fn seconds(&mut self, key: &'static str, value: Duration) {
        self.number(key, value.as_secs());
        self.out.push(b'.');
        self.out.extend_from_slice(&digits::<6>(value.subsec_micros()));
    }

    /// `date` is all of it but the milliseconds.
    pub(super) fn time(&mut self, key: &'static str, date: &str, millis: u32) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(date.as_bytes());
        self.out.push(b'.');
        self.out.extend_from_slice(&digits::<3>(millis));
        self.out.extend_from_slice(b"Z\"");
    }

    pub(super) fn address(&mut self, key: &'static str, value: IpAddr) {
        self.key(key);
        self.out.push(b'"');
        address(value, self.out);
        self.out.push(b'"');
    }

    pub(super) fn null(&mut self, key: &'static str) {
        self.key(key);
        self.out.extend_from_slice(b"null");
    }

    pub(super) fn object(&mut self, key: &'static str, write: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        let mut object = Object::begin(self.out);
        write(&mut object);
        object.end();
    }

    /// A list of objects, one for each item.
    pub(super) fn objects<T>(
        &mut self,
        key: &'static str,
        items: impl Iterator<Item = T>,
        write: impl Fn(&mut Object<'_>, T),
    ) {
        self.key(key);
        self.out.push(b'[');
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            let mut object = Object::begin(self.out);
            write(&mut object, item);
            object.end();
        }
        self.out.push(b']');
    }

    #[inline(always)]
    fn key(&mut self, key: &'static str) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// The last `N` digits of a number, with zeros in front.
fn digits<const N: usize>(mut number: u32) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).expect("a digit is less than 10");
        number /= 10;
    }
    digits
}

/// An address as it is written. Most are of the old kind, for which no formatter is needed.
pub(super) fn address(address: IpAddr, out: &mut Vec<u8>) {
    let IpAddr::V4(old) = address else {
        // A vector takes every write.
        let _ = write!(out, "{address}");
        return;
    };
    for (at, octet) in old.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
    }
}

fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let is_plain = text.bytes().fold(true, |plain, byte| plain & !is_special(byte));
    if is_plain {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape(text, out);
    }
    out.push(b'"');
}

/// What may not stand in a string as it is.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..b' ')
}

/// What is between those that may not stand there is copied in one piece.
fn escape(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !is_special(*byte) {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            _ => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', DIGITS[high], DIGITS[low]]);
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn whatever_a_text_holds_it_is_read_as_it_was() {
        let every: String =
            (0..0x250).filter_map(char::from_u32).chain(['\u{2028}', '😀']).collect();
        for text in ["", "plain", "\"", "a\\", "\n\n", every.as_str()] {
            let mut out = Vec::new();
            let mut object = Object::begin(&mut out);
            object.text("a", text);
            object.text("b", text);
            object.end();
            let value: Value = serde_json::from_slice(&out).expect("JSON");
            assert_eq!(value, json!({ "a": text, "b": text }));
        }
    }

    #[test]
    fn numbers_lists_and_nothing() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.null("none");
        object.plain("plain", "x");
        object.time("at", "2026-11-27T20:00:00", 42);
        object.address("old", [10, 0, 200, 1].into());
        object.address("new", std::net::Ipv6Addr::LOCALHOST.into());
        object.number("big", u64::MAX);
        object.seconds("some", Duration::from_nanos(12_000_345_999));
        object.objects("two", [1, 2].into_iter(), |object, one| object.number("n", one));
        object.objects("zero", std::iter::empty::<u64>(), |object, one| object.number("n", one));
        object.object("empty", |_| ());
        object.end();
        let expected = "{\"none\":null,\"plain\":\"x\",\"at\":\"2026-11-27T20:00:00.042Z\",\
                        \"old\":\"10.0.200.1\",\"new\":\"::1\",\"big\":18446744073709551615,\"some\":12.000345,\
                        \"two\":[{\"n\":1},{\"n\":2}],\"zero\":[],\"empty\":{}}";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
