//! Texts of ours on their way into a target or a Location: what has no place there is escaped, so
//! that no byte of a client's can end a word or a line.

use crate::refusal::Refusal;

/// unreserved, sub-delims, `:`, `@` and `/` (RFC 3986 §3.3).
static PATH: [bool; 256] = crate::field::alphanumeric_and(b"-._~!$&'()*+,;=:@/");
/// All that a URI may hold (RFC 3986 §2), escapes among it.
static URI: [bool; 256] = crate::field::alphanumeric_and(b"-._~!$&'()*+,;=:@/?#[]%");

/// A path that was decoded and then changed, as it stands in a target; slashes are merged.
///
/// # Errors
/// When it does not begin with a slash, or holds what [`normalize_path`](crate::normalize_path)
/// would never have left in it: dot segments, a backslash or a NUL.
pub fn escape_path(path: &[u8]) -> Result<Vec<u8>, Refusal> {
    let is_dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    let is_odd = |byte: &u8| matches!(byte, b'\\' | 0);
    let rooted = path.first() == Some(&b'/');
    if !rooted || path.iter().any(is_odd) || path.split(|b| *b == b'/').any(is_dots) {
        return Err(Refusal::Rewritten);
    }
    let mut out = Vec::with_capacity(path.len() + 8);
    for &byte in path {
        if byte != b'/' || out.last() != Some(&b'/') {
            put(&mut out, byte, &PATH);
        }
    }
    Ok(out)
}

/// A reference for a Location: what is escaped already stays so. One that would name another host
/// by a second slash at its beginning has only the first.
pub fn escape_location(text: &str) -> String {
    let rest = text.trim_start_matches(['/', '\\']);
    let rooted = text.len() - rest.len() > 0;
    let mut out = Vec::with_capacity(text.len() + 8);
    if rooted {
        out.push(b'/');
    }
    rest.bytes().for_each(|byte| put(&mut out, byte, &URI));
    // Nothing but ASCII was put there.
    String::from_utf8_lossy(&out).into_owned()
}

fn put(out: &mut Vec<u8>, byte: u8, allowed: &[bool; 256]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if allowed[usize::from(byte)] {
        out.push(byte);
    } else {
        let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
        out.extend([b'%', DIGITS[high], DIGITS[low]]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::normalize_path;

    #[test]
    fn a_path_is_escaped_where_it_has_to_be() {
        let escaped =
            |path: &[u8]| escape_path(path).map(|path| String::from_utf8(path).expect("ASCII"));
        for (path, out) in [
            (&b"/"[..], "/"),
            (b"/a/b;c=d,e@f:g!$&'()*+~-._", "/a/b;c=d,e@f:g!$&'()*+~-._"),
            (b"/a b?c#d%e", "/a%20b%3Fc%23d%25e"),
            (b"/\xc3\xa9\r\n\x7f", "/%C3%A9%0D%0A%7F"),
            (b"//a///b/", "/a/b/"),
            (b"/a..b/...", "/a..b/..."),
        ] {
            assert_eq!(escaped(path).as_deref(), Ok(out), "{}", path.escape_ascii());
        }
        for path in [&b""[..], b"a", b"?", b"/..", b"/a/../b", b"/./a", b"/a\\b", b"/a\0"] {
            assert_eq!(escaped(path), Err(Refusal::Rewritten), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn a_location_stays_a_reference_to_where_it_was_meant() {
        for (text, out) in [
            ("https://h:8443/a?b=%20&c#d", "https://h:8443/a?b=%20&c#d"),
            ("https://h/a b\r\nSet-Cookie: x", "https://h/a%20b%0D%0ASet-Cookie:%20x"),
            ("https://h/é|\"<>^`{}\\\0", "https://h/%C3%A9%7C%22%3C%3E%5E%60%7B%7D%5C%00"),
            ("//evil.example/", "/evil.example/"),
            ("/\\evil.example/", "/evil.example/"),
            ("/", "/"),
            ("a/b", "a/b"),
            ("", ""),
        ] {
            assert_eq!(escape_location(text), out, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_path_is_read_as_what_it_was(path in prop::collection::vec(any::<u8>(), 0..32)) {
            let path = [b"/", &path[..]].concat();
            if let Ok(out) = escape_path(&path) {
                prop_assert!(out.iter().all(u8::is_ascii_graphic) && !out.contains(&b'?'));
                let read = normalize_path(&out, true).expect("a path");
                let mut merged = path.clone();
                merged.dedup_by(|a, b| *a == b'/' && *b == b'/');
                prop_assert_eq!(read.into_owned(), merged);
            }
        }

        #[test]
        fn a_location_is_one_word(text in "\\PC*|[\\x00-\\x7f]*") {
            prop_assert!(escape_location(&text).bytes().all(|b| b.is_ascii_graphic()));
        }
    }
}
