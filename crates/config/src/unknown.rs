//! What to say about a key that is not known here: which known key was probably meant, or which keys
//! there are.

use tidegate_model::nearest;

/// The message about `key` in a table that knows the keys `known`.
pub(crate) fn message(key: &str, known: &[&str]) -> String {
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
        assert_eq!(message("adress", &known), "unknown key; did you mean \"address\"?");
        assert_eq!(message("wieght", &known), "unknown key; did you mean \"weight\"?");
        assert_eq!(message("colour", &known), "unknown key; known here: address, weight");
    }
}
