//! JSON that stays one line, and small.

use std::{fmt::Write as _, io};

use serde::Serialize;
use serde_json::{Value, json};

/// Of what was and what is, in bytes; larger ones are told by their number of servers.
const MAX_VALUE: usize = 16 * 1024;

/// What comes after so many characters is cut off, which an ellipsis says.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// JSON in which nothing ends a line, moves a cursor, or turns the direction of writing: JSON itself
/// escapes only what is below U+0020. All of that stands within texts, where any character may be
/// written by its number.
pub(super) fn unforgeable(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            // None of them is beyond the first plane.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A value as JSON, unless that is too large.
pub(super) fn small(value: &impl Serialize, servers: usize) -> Value {
    let mut out = Bounded(Vec::new());
    let written = serde_json::to_writer(&mut out, value);
    let read = written.and_then(|()| serde_json::from_slice(&out.0));
    read.unwrap_or_else(|_| json!({ "servers": servers, "truncated": true }))
}

/// Refuses what would make it too large, so that no more than that is ever put together.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_VALUE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_makes_a_second_line_or_another_field() {
        let nasty = "a\"},\r\n{\"outcome\":\"applied\u{1b}[2J\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\u{feff}\\ é";
        let line = unforgeable(&json!({ "reason": nasty }).to_string());
        assert!(line.chars().all(|c| c == 'é' || c == ' ' || c.is_ascii_graphic()), "{line:?}");
        let back: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(back, json!({ "reason": nasty }));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("ééé", 3), "ééé");
        assert_eq!(cut("ééé", 2), "éé…");
    }

    #[test]
    fn a_large_value_is_told_by_its_servers() {
        let texts = |count| vec!["x".repeat(100); count];
        let large = small(&texts(200), 200);
        assert_eq!(large, json!({ "servers": 200, "truncated": true }));
        assert_eq!(small(&texts(100), 100), json!(texts(100)));
    }
}
