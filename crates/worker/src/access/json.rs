//! Just as much of a JSON writer as the access log needs: objects of texts and numbers, appended to a
//! buffer that is used again and again.

use std::{fmt, io::Write as _, time::Duration};

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

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.push(b'"');
        escape(value, self.out);
        self.out.push(b'"');
    }

    /// Of something that needs no escaping.
    pub(super) fn display(&mut self, key: &str, value: fmt::Arguments<'_>) {
        self.key(key);
        // A vector takes every write.
        let _ = write!(self.out, "\"{value}\"");
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// To the microsecond.
    pub(super) fn seconds(&mut self, key: &str, value: Duration) {
        self.number(key, value.as_secs());
        self.out.push(b'.');
        let mut digits = [b'0'; 6];
        let mut rest = value.subsec_micros();
        for digit in digits.iter_mut().rev() {
            *digit += u8::try_from(rest % 10).expect("a digit is less than 10");
            rest /= 10;
        }
        self.out.extend_from_slice(&digits);
    }

    pub(super) fn null(&mut self, key: &str) {
        self.key(key);
        self.out.extend_from_slice(b"null");
    }

    pub(super) fn object(&mut self, key: &str, write: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        let mut object = Object::begin(self.out);
        write(&mut object);
        object.end();
    }

    /// A list of objects, one for each item.
    pub(super) fn objects<T>(
        &mut self,
        key: &str,
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

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// What may not stand in a string is rare: what is between is copied in one piece.
fn escape(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..b' ') {
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
        object.number("big", u64::MAX);
        object.seconds("some", Duration::from_nanos(12_000_345_999));
        object.objects("two", [1, 2].into_iter(), |object, one| object.number("n", one));
        object.objects("zero", std::iter::empty::<u64>(), |object, one| object.number("n", one));
        object.object("empty", |_| ());
        object.end();
        let expected = "{\"none\":null,\"big\":18446744073709551615,\"some\":12.000345,\
                        \"two\":[{\"n\":1},{\"n\":2}],\"zero\":[],\"empty\":{}}";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
