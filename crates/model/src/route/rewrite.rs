//! Another path for the server than the client asked for. Both kinds see the path as routes do:
//! decoded, resolved and merged, without the query.

use regex::bytes::Regex;

use super::regex;

/// Why a rewrite is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRewrite {
    From(String),
    To(String),
}

/// How a path is rewritten.
#[derive(Clone, Debug)]
pub enum Rewrite {
    /// The whole path becomes `to` when `from` matches in it (nginx's `rewrite`).
    Replace { from: Regex, to: String },
    /// These segments at its beginning go.
    Strip(String),
}

impl Rewrite {
    /// Reads a regular expression, and a path that may hold its captures as `$1` or `${name}`.
    ///
    /// # Errors
    /// When either is not one, or `to` names what `from` does not capture.
    pub fn replace(from: &str, to: &str) -> Result<Self, BadRewrite> {
        let from = regex(from).map_err(BadRewrite::From)?;
        check(&from, to).map_err(BadRewrite::To)?;
        Ok(Self::Replace { from, to: to.into() })
    }

    /// What the path becomes; `None` when it stays as it is.
    pub fn apply(&self, path: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Replace { from, to } => {
                let captures = from.captures(path)?;
                let mut out = Vec::with_capacity(to.len() + path.len());
                captures.expand(to.as_bytes(), &mut out);
                Some(out)
            }
            Self::Strip(prefix) => {
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                let rest = path.strip_prefix(prefix.as_bytes())?;
                match rest {
                    [] => Some(vec![b'/']),
                    [b'/', ..] => Some(rest.to_vec()),
                    // Another segment, which only begins like it.
                    _ => None,
                }
            }
        }
    }
}

fn check(from: &Regex, to: &str) -> Result<(), String> {
    if !to.starts_with(['/', '$']) {
        return Err("a path starts with '/'".into());
    }
    if let Some(bad) = to.chars().find(|c| !c.is_ascii_graphic() || "%?#\\".contains(*c)) {
        let bad = bad.escape_debug();
        return Err(format!("a '{bad}' has no place here: a path, not escaped, without a query"));
    }
    for name in references(to)? {
        let known = match name.parse::<usize>() {
            Ok(number) => number < from.captures_len(),
            Err(_) => from.capture_names().flatten().any(|known| known == name),
        };
        if !known {
            return Err(format!("\"from\" captures no \"{name}\"; ${{1}}x is $1 and an x"));
        }
    }
    Ok(())
}

/// The captures that a replacement names, by the rules of `regex`: the longest run of letters,
/// digits and `_` after a `$`, or what stands in braces; `$$` is a dollar.
fn references(to: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    let mut rest = to;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let (name, after) = match rest.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or("'${' without '}'")?,
            None => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()))
            }
        };
        if name.is_empty() {
            return Err("a '$' without a name; '$$' stands for a dollar".into());
        }
        names.push(name);
        rest = after;
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(rewrite: &Rewrite, path: &str) -> Option<String> {
        let out = rewrite.apply(path.as_bytes())?;
        Some(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn whole_segments_are_stripped() {
        for prefix in ["/ws", "/ws/"] {
            let strip = Rewrite::Strip(prefix.into());
            assert_eq!(apply(&strip, "/ws").as_deref(), Some("/"));
            assert_eq!(apply(&strip, "/ws/").as_deref(), Some("/"));
            assert_eq!(apply(&strip, "/ws/a/b").as_deref(), Some("/a/b"));
            assert_eq!(apply(&strip, "/wsx"), None);
            assert_eq!(apply(&strip, "/a/ws"), None);
        }
        assert_eq!(apply(&Rewrite::Strip("/".into()), "/a").as_deref(), Some("/a"));
    }

    #[test]
    fn the_whole_path_is_replaced_as_in_nginx() {
        let rewrite = |from, to| Rewrite::replace(from, to).expect("a rewrite");
        let users = rewrite("^/u/([0-9]+)/(?<rest>.*)$", "/users/${1}x/$rest");
        assert_eq!(apply(&users, "/u/7/a/b").as_deref(), Some("/users/7x/a/b"));
        assert_eq!(apply(&users, "/u/x/a"), None);
        assert_eq!(apply(&rewrite("/old", "/new"), "/x/old/y").as_deref(), Some("/new"));
        assert_eq!(apply(&rewrite("(.*)", "$1"), "/a").as_deref(), Some("/a"));
        assert_eq!(apply(&rewrite("^/a", "/$$1"), "/a").as_deref(), Some("/$1"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (from, to) in [
            ("(", "/"),
            ("(a)", "b/$1"),
            ("(a)", ""),
            ("(a)", "/$2"),
            ("(a)", "/$1x"),
            ("(a)", "/$name"),
            ("(a)", "/${1"),
            ("(a)", "/$"),
            ("(a)", "/$/"),
            ("(a)", "/a b"),
            ("(a)", "/a?b=$1"),
            ("(a)", "/%20"),
            ("(a)", "/a\r\nX: y"),
            ("(a)", "/\\"),
            ("(a)", "/é"),
        ] {
            assert!(Rewrite::replace(from, to).is_err(), "{from} {to:?}");
        }
    }
}
