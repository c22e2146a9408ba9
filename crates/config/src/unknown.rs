//! What to say about a key that is not known here: that it comes in a later version, which known
//! key was probably meant, or which keys there are.

use tidegate_model::nearest;

/// Keys of the interface that this version refuses, by the table they belong to.
const LATER: [(&str, &[&str]); 2] = [("listener", LATER_LISTENER), ("upstream", LATER_POOL)];

const LATER_LISTENER: &[&str] = &["h2c"];

const LATER_POOL: &[&str] = &["protocol"];

/// The message about `key` in a table of that kind, which knows the keys `known`.
pub(crate) fn message(kind: &str, key: &str, known: &[&str]) -> String {
    let kind = if kind == "upstream_defaults" { "upstream" } else { kind };
    if LATER.iter().any(|(table, keys)| *table == kind && keys.contains(&key)) {
        return "not available yet in this version".into();
    }
    match nearest(key, known.iter().copied()) {
        Some(meant) => format!("unknown key; did you mean \"{meant}\"?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_gets_a_suggestion_and_a_stranger_the_list() {
        let known = ["address", "weight"];
        assert_eq!(message("", "adress", &known), "unknown key; did you mean \"address\"?");
        assert_eq!(message("", "wieght", &known), "unknown key; did you mean \"weight\"?");
        assert_eq!(message("", "colour", &known), "unknown key; known here: address, weight");
        assert_eq!(message("listener", "h2c", &known), "not available yet in this version");
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
