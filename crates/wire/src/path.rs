//! The path as routes see it: percent-decoded once, dot segments resolved, slashes merged, as
//! nginx does. What servers are known to read differently is refused, so that no route can be
//! passed by in disguise; the raw target is what gets forwarded.

use std::borrow::Cow;

use crate::refusal::Refusal;

/// Normalises a raw path. Borrowed when there is nothing to do; `*` becomes `/`.
///
/// # Errors
/// When it climbs above the root, or holds a broken `%` escape, a backslash or a NUL in any
/// spelling, or, unless `allow_encoded_slash`, an encoded slash (which then acts as a slash).
pub fn normalize_path(raw: &[u8], allow_encoded_slash: bool) -> Result<Cow<'_, [u8]>, Refusal> {
    match raw {
        b"*" | b"" => Ok(Cow::Borrowed(b"/")),
        [b'/', ..] if is_plain(raw) => Ok(Cow::Borrowed(raw)),
        [b'/', rest @ ..] => resolve(rest, allow_encoded_slash).map(Cow::Owned),
        _ => Err(Refusal::TargetForm),
    }
}

/// Whether a path is its own normal form.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().enumerate().all(|(at, &byte)| {
        let starts_segment = std::mem::replace(&mut previous, byte) == b'/';
        match byte {
            b'%' | b'\\' | 0 => false,
            b'/' => !starts_segment,
            b'.' => !starts_segment || !is_dots(&path[at..]),
            _ => true,
        }
    })
}

fn is_dots(rest: &[u8]) -> bool {
    matches!(rest, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

/// `rest` is what follows the leading slash.
fn resolve(mut rest: &[u8], allow_encoded_slash: bool) -> Result<Vec<u8>, Refusal> {
    let mut path = Vec::with_capacity(rest.len() + 1);
    path.push(b'/');
    while let [first, after @ ..] = rest {
        let is_encoded = *first == b'%';
        let byte = if is_encoded { unescape(after)? } else { *first };
        rest = if is_encoded { &after[2..] } else { after };
        match byte {
            0 => return Err(Refusal::Nul),
            b'\\' => return Err(Refusal::Backslash),
            b'/' if is_encoded && !allow_encoded_slash => return Err(Refusal::EncodedSlash),
            b'/' if settle(&mut path)? => path.push(b'/'),
            b'/' => {}
            _ => path.push(byte),
        }
    }
    settle(&mut path)?;
    Ok(path)
}

/// What the two digits behind a `%` stand for.
fn unescape(digits: &[u8]) -> Result<u8, Refusal> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    match *digits {
        [high, low, ..] => hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low),
        _ => None,
    }
    .ok_or(Refusal::BadEscape)
}

/// The last segment of `path` is complete: true when it stays, false when it was empty or dots and
/// `path` ends in a slash already.
fn settle(path: &mut Vec<u8>) -> Result<bool, Refusal> {
    let start = after_last_slash(path);
    match &path[start..] {
        b"" => Ok(false),
        b"." => {
            path.truncate(start);
            Ok(false)
        }
        b".." if start == 1 => Err(Refusal::AboveRoot),
        b".." => {
            path.truncate(start - 1);
            path.truncate(after_last_slash(path));
            Ok(false)
        }
        _ => Ok(true),
    }
}

fn after_last_slash(path: &[u8]) -> usize {
    path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(raw: &str) -> Result<String, Refusal> {
        normalize_path(raw.as_bytes(), false).map(|path| path.escape_ascii().to_string())
    }

    #[test]
    fn a_plain_path_is_borrowed() {
        for raw in ["/", "/a", "/a/b/", "/.well-known/x", "/a.b/..c/d..", "/...", "/é|", "/a;b=c"]
        {
            let path = normalize_path(raw.as_bytes(), false);
            assert_eq!(path, Ok(Cow::Borrowed(raw.as_bytes())), "{raw}");
            assert!(matches!(path, Ok(Cow::Borrowed(_))), "{raw}");
        }
        assert_eq!(normal("*"), Ok("/".into()));
    }

    #[test]
    fn a_path_is_decoded_once_resolved_and_merged() {
        let cases = [
            ("/a//b///c", "/a/b/c"),
            ("//", "/"),
            ("/./a/./b/.", "/a/b/"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/..", "/"),
            ("/a/b/../../c/", "/c/"),
            ("/a//../b", "/b"),
            ("/%61%2e%62", "/a.b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/%2e/a", "/a"),
            ("/%252e%252e/a", "/%2e%2e/a"),
            ("/%25", "/%"),
            ("/a%20b%3f%23", "/a b?#"),
            ("/..;/a", "/..;/a"),
            ("/%ff", "/\\xff"),
        ];
        for (raw, path) in cases {
            assert_eq!(normal(raw), Ok(path.into()), "{raw}");
        }
    }

    #[test]
    fn a_path_in_disguise_is_refused() {
        let cases = [
            ("/..", Refusal::AboveRoot),
            ("/../", Refusal::AboveRoot),
            ("/a/../../b", Refusal::AboveRoot),
            ("/%2e%2e/a", Refusal::AboveRoot),
            ("/.//..", Refusal::AboveRoot),
            ("/a%2Fb", Refusal::EncodedSlash),
            ("/a%2fb", Refusal::EncodedSlash),
            ("/a\\b", Refusal::Backslash),
            ("/a%5cb", Refusal::Backslash),
            ("/a%00", Refusal::Nul),
            ("/a\0", Refusal::Nul),
            ("/%", Refusal::BadEscape),
            ("/%4", Refusal::BadEscape),
            ("/%4g", Refusal::BadEscape),
            ("/%+1", Refusal::BadEscape),
            ("a", Refusal::TargetForm),
        ];
        for (raw, refusal) in cases {
            assert_eq!(normal(raw), Err(refusal), "{raw}");
        }
    }

    #[test]
    fn an_encoded_slash_that_is_allowed_is_a_slash() {
        let path = |raw: &'static str| normalize_path(raw.as_bytes(), true);
        assert_eq!(path("/a%2Fb"), Ok(Cow::Borrowed(&b"/a/b"[..])));
        assert_eq!(path("/a%2F..%2fb"), Ok(Cow::Borrowed(&b"/b"[..])));
        assert_eq!(path("/..%2Fb"), Err(Refusal::AboveRoot));
    }

    proptest! {
        #[test]
        fn a_normal_path_has_no_way_up_and_stays_as_it_is(
            raw in "/([ab./]|\\.\\./|%2e|%2[fF]|%61|%25){0,24}",
            allow in any::<bool>(),
        ) {
            if let Ok(path) = normalize_path(raw.as_bytes(), allow) {
                let text = String::from_utf8_lossy(&path);
                let rooted = format!("{text}/");
                prop_assert!(text.starts_with('/') && !text.contains("//"), "{}", text);
                prop_assert!(!rooted.contains("/../") && !rooted.contains("/./"), "{}", text);
                if !path.contains(&b'%') {
                    prop_assert_eq!(normalize_path(&path, false), Ok(Cow::Borrowed(&path[..])));
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..64), allow in any::<bool>()) {
            let _ = normalize_path(&raw, allow);
            let _ = normalize_path(&[b"/", &raw[..]].concat(), allow);
        }
    }
}
