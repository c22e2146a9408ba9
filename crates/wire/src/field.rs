//! What field values are made of: tokens, comma lists, optional white space (RFC 9110 §5.6).

use httparse::Header;

static TOKEN: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// Whether `text` is a token (RFC 9110 §5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| TOKEN[usize::from(*b)])
}

/// Whether `value` may be written out as a field value: no CR, LF, NUL or other control character
/// but HTAB (RFC 9110 §5.5).
pub fn is_field_value_ok(value: &[u8]) -> bool {
    // Without an early exit the compiler looks at many bytes at once.
    let control = |b: u8| (b < b' ' && b != b'\t') | (b == 0x7f);
    !value.iter().fold(false, |found, b| found | control(*b))
}

/// The letters, the digits and `others`, as a table to look bytes up in.
pub(crate) const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

/// The values of all lines of one field.
pub(crate) fn lines<'b>(
    headers: &[Header<'b>],
    name: &'static str,
) -> impl Iterator<Item = &'b [u8]> {
    headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
}

/// The elements of a comma list, the empty ones left out as RFC 9110 §5.6.1.2 asks of a recipient.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim).filter(|element| !element.is_empty())
}

/// Without optional white space (RFC 9110 §5.6.3) at both ends.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_empty_and_holds_no_delimiter() {
        assert!(is_token(b"PATCH") && is_token(b"x-y_z!#$%&'*+.^`|~09"));
        for bad in [&b""[..], b"a b", b"a/b", b"a:b", b"a\"", b"a\x7f", b"\xc3\xa9", b"(a)", b"a\0"]
        {
            assert!(!is_token(bad), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_value_holds_no_control_character_but_a_tab() {
        assert!(is_field_value_ok(b"") && is_field_value_ok(b"a\tb c \xff~"));
        for control in (0..b' ').chain([0x7f]).filter(|b| *b != b'\t') {
            let value = [b"a value longer than one vector register", &[control][..]].concat();
            assert!(!is_field_value_ok(&value), "{control:#x}");
        }
    }

    #[test]
    fn a_list_has_trimmed_elements_and_no_empty_ones() {
        let found: Vec<_> = list(b" a ,,\tb c\t, ,d").collect();
        assert_eq!(found, [&b"a"[..], b"b c", b"d"]);
        assert_eq!(list(b" , ").count(), 0);
    }
}
