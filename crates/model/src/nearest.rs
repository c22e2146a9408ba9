//! What was probably meant by a word that is not known.

/// Longer words are not compared: the effort grows with the square of the length.
const LONGEST_COMPARED: usize = 40;

/// The known word that is a typing error or two away; case makes no difference.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > LONGEST_COMPARED {
        return None;
    }
    let allowed = (word.len() / 3).clamp(1, 3);
    let close = |known: &&str| known.len().abs_diff(word.len()) <= allowed;
    let measured = known.into_iter().filter(close).map(|known| (distance(word, known), known));
    measured.filter(|(far, _)| *far <= allowed).min().map(|(_, known)| known)
}

/// How many bytes to insert, delete, replace, or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            let is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if is_swap {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_slips_of_the_hand() {
        for (a, b, far) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("A", "a", 0),
            ("chta", "chat", 1),
            ("abcd", "badc", 2),
        ] {
            assert_eq!(distance(a, b), far, "{a:?} {b:?}");
            assert_eq!(distance(b, a), far, "{b:?} {a:?}");
        }
    }

    #[test]
    fn the_nearest_is_found_and_strangers_are_not() {
        let known = ["chat", "shop", "login"];
        assert_eq!(nearest("chta", known), Some("chat"));
        assert_eq!(nearest("cat", known), Some("chat"));
        assert_eq!(nearest("SHOPS", known), Some("shop"));
        assert_eq!(nearest("orders", known), None);
        assert_eq!(nearest(&"x".repeat(1_000), known), None);
    }
}
