//! No text panics, however little it resembles a configuration, and every problem points into it.

use proptest::{collection::vec, prelude::*, sample::Index};
use tidegate_config::parse;

const REFERENCE: &str = include_str!("../../../config/reference.toml");

/// Pieces that mean something at least somewhere.
const PIECES: [&str; 24] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "\"",
    "'",
    "\n",
    "#",
    ".",
    ",",
    "-1",
    "99999999999999999999",
    "0x",
    "1979-05-27",
    "\u{0}",
    "é",
    "${",
    "~ (",
    "*",
    "unix:",
    "[upstream.a]\n",
];

fn check(text: &str) {
    let problems = match parse("t", text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => {
            assert!(!problems.is_empty());
            problems
        }
    };
    for problem in problems {
        let line = text.split('\n').nth(problem.line - 1).expect("the line exists");
        assert!((1..=line.chars().count() + 1).contains(&problem.column), "{problem}");
    }
}

/// The reference with some stretches replaced.
fn mutated(cuts: &[(Index, usize, &str)]) -> String {
    let mut text: Vec<char> = REFERENCE.chars().collect();
    for (at, length, piece) in cuts {
        let start = at.index(text.len() + 1);
        let end = text.len().min(start + length);
        text.splice(start..end, piece.chars());
    }
    text.into_iter().collect()
}

proptest! {
    #[test]
    fn random_text_is_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_pieces_are_read_or_refused(pieces in vec(proptest::sample::select(&PIECES[..]), 0..60)) {
        check(&pieces.concat());
    }

    #[test]
    fn a_damaged_reference_is_read_or_refused(
        cuts in vec((any::<Index>(), 0..8usize, proptest::sample::select(&PIECES[..])), 1..6),
    ) {
        check(&mutated(&cuts));
    }
}
