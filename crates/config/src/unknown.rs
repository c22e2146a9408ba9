//! What to say about a key that is not known here: that it comes in a later version, which known
//! key was probably meant, or which keys there are.

/// Keys of the interface that this version refuses, by the table they belong to.
const LATER: [(&str, &[&str]); 3] =
    [("listener", LATER_LISTENER), ("route", LATER_ROUTE), ("upstream", LATER_POOL)];

const LATER_LISTENER: &[&str] = &["h2c", "max_connections_per_client", "tls"];

const LATER_ROUTE: &[&str] = &[
    "allow",
    "compress",
    "conn_limit",
    "cookie",
    "deny",
    "error_pages",
    "header",
    "method",
    "next",
    "query",
    "rate_limit",
    "redirect",
    "request_headers",
    "respond",
    "response_headers",
    "rewrite",
    "split",
    "strip_prefix",
    "timeouts",
];

const LATER_POOL: &[&str] = &["protocol", "tls"];

/// Longer keys are not compared: the effort grows with the square of the length.
const LONGEST_COMPARED: usize = 40;

/// The message about `key` in a table of that kind, which knows the keys `known`.
pub(crate) fn message(kind: &str, key: &str, known: &[&str]) -> String {
    let kind = if kind == "upstream_defaults" { "upstream" } else { kind };
    if LATER.iter().any(|(table, keys)| *table == kind && keys.contains(&key)) {
        return "not available yet in this version".into();
    }
    match nearest(key, known) {
        Some(meant) => format!("unknown key; did you mean \"{meant}\"?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// The known key that is a typing error or two away.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    if key.len() > LONGEST_COMPARED {
        return None;
    }
    let allowed = (key.len() / 3).clamp(1, 3);
    let measured = known.iter().map(|candidate| (distance(key, candidate), *candidate));
    measured.filter(|(far, _)| *far <= allowed).min().map(|(_, candidate)| candidate)
}

/// How many bytes to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (slot, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = *slot;
            left = replaced.min(diagonal + 1).min(left + 1);
            *slot = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, far) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("A", "a", 0)]
        {
            assert_eq!(distance(a, b), far, "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_typing_error_gets_a_suggestion_and_a_stranger_the_list() {
        let known = ["address", "weight"];
        assert_eq!(message("", "adress", &known), "unknown key; did you mean \"address\"?");
        assert_eq!(message("", "wieght", &known), "unknown key; did you mean \"weight\"?");
        assert_eq!(message("", "colour", &known), "unknown key; known here: address, weight");
        assert_eq!(message("listener", "tls", &known), "not available yet in this version");
    }

    #[test]
    fn the_reference_names_every_key_that_is_not_available_yet() {
        let reference = include_str!("../../../docs/configuration.md");
        let (_, later) = reference.split_once("## Not available yet").expect("the chapter");
        for (table, keys) in LATER {
            for key in keys {
                assert!(later.contains(&format!("`{key}`")), "{table}.{key}");
            }
        }
    }
}
