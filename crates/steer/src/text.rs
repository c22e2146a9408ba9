//! Text for a terminal: what a stranger named is made harmless, widths are counted in columns, and
//! numbers are put the way people read them.

use std::{borrow::Cow, fmt::Write as _};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The same text without anything that a terminal would obey, or that would turn its direction:
/// names and reasons come from whoever may call the API.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if is_unsafe(char) {
            let _ = write!(harmless, "\\u{{{:x}}}", u32::from(char));
        } else {
            harmless.push(char);
        }
    }
    Cow::Owned(harmless)
}

/// The same, for JSON that is laid out in lines: what is escaped is still JSON.
pub(crate) fn clean_json(text: &str) -> Cow<'_, str> {
    let is_bad = |char| is_unsafe(char) && char != '\n';
    if !text.chars().any(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if is_bad(char) {
            let _ = write!(harmless, "\\u{:04x}", u32::from(char));
        } else {
            harmless.push(char);
        }
    }
    Cow::Owned(harmless)
}

/// Controls of both tables, and the marks that order text from right to left or break lines.
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many columns it takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// No wider than so many columns; what is cut off is shown by an ellipsis.
pub(crate) fn fitted(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let (mut taken, mut used) = (String::new(), 1);
    for char in text.chars() {
        used += char.width().unwrap_or_default();
        if used > columns {
            break;
        }
        taken.push(char);
    }
    if columns > 0 {
        taken.push('…');
    }
    Cow::Owned(taken)
}

/// With its unit: `813 B`, `1.2 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Two units at most: `3d4h`, `12m5s`, `7s`, `250ms`.
pub(crate) fn duration(milliseconds: u64) -> String {
    if milliseconds < 1_000 {
        return format!("{milliseconds}ms");
    }
    let seconds = milliseconds / 1_000;
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(length, _)| seconds >= *length).unwrap_or(3);
    let mut rest = seconds;
    let mut said = String::new();
    for (length, unit) in units.iter().skip(first).take(2) {
        if rest / length > 0 {
            let _ = write!(said, "{}{unit}", rest / length);
        }
        rest %= length;
    }
    said
}

/// `1 server`, `3 servers`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(clean("chat"), "chat");
        assert_eq!(clean("a\u{1b}[31mb\r\n"), "a\\u{1b}[31mb\\u{d}\\u{a}");
        assert_eq!(clean("x\u{202e}y\u{9b}z"), "x\\u{202e}y\\u{9b}z");
        assert_eq!(clean_json("{\n\"a\u{9b}\"}"), "{\n\"a\\u009b\"}");
    }

    #[test]
    fn texts_fit() {
        for (text, columns, want) in [
            ("chat", 4, "chat"),
            ("chats", 4, "cha…"),
            ("漢字漢字", 5, "漢字…"),
            ("ab", 1, "…"),
            ("ab", 0, ""),
            ("", 0, ""),
        ] {
            assert_eq!(fitted(text, columns), want);
            assert!(width(&fitted(text, columns)) <= columns);
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(813), "813 B");
        assert_eq!(bytes(1_258_291), "1.2 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        for (milliseconds, said) in
            [(0, "0ms"), (250, "250ms"), (7_999, "7s"), (725_000, "12m5s"), (273_600_000, "3d4h")]
        {
            assert_eq!(duration(milliseconds), said);
        }
        assert_eq!(duration(86_400_000), "1d");
    }
}
