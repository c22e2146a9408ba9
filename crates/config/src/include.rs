//! `include`: further files, by a path or by a pattern with `*` in its last part.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The files that `pattern` means, relative to `dir`, in order of their names. A pattern may match
/// nothing, a plain path is taken as it is.
///
/// # Errors
/// When a directory cannot be read or a `*` stands before the last part.
pub(crate) fn expand(dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let (parent, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let parent = match parent {
        "" if pattern.starts_with('/') => PathBuf::from("/"),
        _ if parent.contains('*') => return Err("'*' only works in the last part".into()),
        _ => dir.join(parent),
    };
    if !last.contains('*') {
        return Ok(vec![parent.join(last)]);
    }
    let listed = if parent.as_os_str().is_empty() { Path::new(".") } else { &parent };
    match matching(listed, last) {
        Ok(names) => Ok(names.into_iter().map(|name| parent.join(name)).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{} cannot be listed: {error}", parent.display())),
    }
}

/// The names in `dir` that match, sorted; hidden ones only when the pattern says so, as in a shell.
fn matching(dir: &Path, pattern: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let hidden = name.starts_with('.') && !pattern.starts_with('.');
        if !hidden && matches(pattern, &name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// `*` stands for any run of characters. What stands between two stars is looked for from the left,
/// which is enough: a later place for it would only leave less for the rest.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_run() {
        for (pattern, name) in [
            ("*", ""),
            ("*.toml", "a.toml"),
            ("a*b*c", "a1b2bc"),
            ("a**b", "ab"),
            ("a.toml", "a.toml"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.toml", "a.toml~"), ("a*b*c", "acb"), ("ab*ba", "aba"), ("a", "b"), ("a*", "b")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn files_come_sorted_and_hidden_ones_do_not() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["b.toml", "a.toml", ".c.toml", "d.txt"] {
            fs::write(dir.path().join(name), "").expect("it is written");
        }
        let found = expand(dir.path(), "*.toml").expect("it is listed");
        assert_eq!(found, [dir.path().join("a.toml"), dir.path().join("b.toml")]);
        assert_eq!(expand(dir.path(), "none/*.toml"), Ok(Vec::new()));
        assert_eq!(expand(dir.path(), "x.toml"), Ok(vec![dir.path().join("x.toml")]));
        assert_eq!(expand(dir.path(), "/x.toml"), Ok(vec![PathBuf::from("/x.toml")]));
        assert!(expand(dir.path(), "*/x.toml").is_err());
    }
}
