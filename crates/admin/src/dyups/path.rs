//! A path as nginx hands it to dyups: percent-decoded, dot segments resolved, slashes merged, then
//! cut at the slashes.

use tidegate_model::Name;

use crate::caller::one_line;

/// The segments of a path, decoded.
#[derive(Debug, PartialEq)]
pub(super) struct Segments(Vec<Vec<u8>>);

impl Segments {
    /// `None` for a path that nginx answers with 400: a broken percent escape, NUL, or a climb
    /// above the root.
    pub(super) fn of(path: &str) -> Option<Self> {
        let mut segments: Vec<Vec<u8>> = Vec::new();
        for segment in decode(path)?.split(|byte| *byte == b'/') {
            match segment {
                b"" | b"." => {}
                b".." => drop(segments.pop()?),
                _ => segments.push(segment.to_vec()),
            }
        }
        Some(Self(segments))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn first_is(&self, word: &str) -> bool {
        self.0.first().is_some_and(|first| first.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The pool that the second segment names.
    ///
    /// # Errors
    /// When that is no name: why.
    pub(super) fn name(&self) -> Result<Name, String> {
        let name = self.0.get(1).map(Vec::as_slice).unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| "a pool name is UTF-8".to_owned())?;
        Name::new(name).map_err(|bad| bad.to_string())
    }

    /// The second segment for a log line.
    pub(super) fn shown(&self) -> String {
        one_line(&String::from_utf8_lossy(self.0.get(1).map(Vec::as_slice).unwrap_or_default()))
    }
}

fn decode(path: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            _ => byte,
        });
    }
    (!decoded.contains(&0)).then_some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_as_nginx_and_dyups_cut_them() {
        for (path, expected) in [
            ("/", Some(&[] as &[&str])),
            ("*", Some(&["*"])),
            ("/list/", Some(&["list"])),
            ("//upstream///a%2Eb", Some(&["upstream", "a.b"])),
            ("/upstream/a%2Fb", Some(&["upstream", "a", "b"])),
            ("/x/../%6Cist/.", Some(&["list"])),
            ("/..", None),
            ("/a/%2e%2e/..", None),
            ("/%", None),
            ("/%4", None),
            ("/%+4", None),
            ("/%zz", None),
            ("/a%00", None),
        ] {
            let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().into()).collect();
            assert_eq!(Segments::of(path), expected.map(|all| Segments(words(all))), "{path:?}");
        }
    }

    #[test]
    fn a_name_is_what_a_pool_may_be_called() {
        let name = |path| Segments::of(path).expect("a path").name();
        assert_eq!(name("/upstream/K%C3%B6ln").map(|name| name.to_string()), Ok("Köln".into()));
        assert!(name("/upstream/%ff").is_err() && name("/upstream/a%0Ab").is_err());
        assert!(name("/upstream").is_err());
    }
}
