//! What the tests of a pool's keys have in common: one file with one pool, and what is said of it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use tidegate_config::{Config, parse};
use tidegate_model::{Span, UpstreamSpec};

/// What every file needs, on one line so that the lines of a test count from 2.
const LISTENER: &str = "listener = [{ address = '0.0.0.0:8080' }]\n";

pub(crate) fn config(text: &str) -> Config {
    parse("t", &format!("{LISTENER}{text}")).expect("it reads").config
}

/// The only pool.
pub(crate) fn pool(text: &str) -> UpstreamSpec {
    config(text).upstreams.remove(0).1
}

pub(crate) fn found(text: &str) -> Vec<String> {
    let text = format!("{LISTENER}{text}\n[[route]]\nupstream = 'a'");
    let problems = parse("t", &text).map_or_else(|problems| problems, |loaded| loaded.warnings);
    problems.iter().map(ToString::to_string).collect()
}

/// `text` has one problem, and it is this one.
#[track_caller]
pub(crate) fn refused(text: &str, problem: &str) {
    assert_eq!(found(text), [problem], "{text}");
    assert!(parse("t", &format!("{LISTENER}{text}")).is_err(), "{text} is only warned of");
}

#[allow(dead_code, reason = "every test file is a crate of its own, and not all have warnings")]
#[track_caller]
pub(crate) fn warned(text: &str, warning: &str) {
    assert_eq!(found(text), [warning], "{text}");
    assert!(parse("t", &format!("{LISTENER}{text}")).is_ok(), "{text} is refused");
}

pub(crate) fn seconds(seconds: u64) -> Option<Span> {
    Some(Span::from_secs(seconds))
}
