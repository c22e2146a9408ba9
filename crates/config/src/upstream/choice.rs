//! How a pool chooses a server: the words for its methods, what they hash, and the cookie that
//! brings a client back.

use tidegate_model::{
    Balance, Span, WhenAllDown,
    template::Variable,
    upstream::{HashKey, Sticky},
};

use crate::{
    node::{Words, is_token},
    reader::Reader,
};

/// A header or a cookie by a name that none can have would be the same for every client.
pub(crate) fn names_a_token(key: &HashKey) -> Result<(), String> {
    match key.variable() {
        Variable::Header(name) | Variable::Cookie(name) if !is_token(name) => {
            Err(format!("\"{}\" is no name of a header or cookie", name.escape_debug()))
        }
        _ => Ok(()),
    }
}

/// `None` without a cookie to speak of.
pub(super) fn sticky(reader: &mut Reader<'_>) -> Option<Sticky> {
    let cookie = reader.require_if("cookie", cookie_name);
    let max_age = reader.take_if("max_age", whole_seconds);
    Some(Sticky { cookie: cookie?, max_age })
}

/// RFC 6265 §4.1.1
#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn cookie_name(name: &String) -> Result<(), String> {
    match is_token(name) {
        true => Ok(()),
        false => Err(format!("\"{}\" is no name of a cookie", name.escape_debug())),
    }
}

/// RFC 6265 §4.1.1: `Max-Age` is a number of seconds, and zero takes the cookie away.
fn whole_seconds(span: &Span) -> Result<(), String> {
    let seconds = span.as_millis() > 0 && span.as_millis().is_multiple_of(1_000);
    if seconds { Ok(()) } else { Err("has to be whole seconds, at least 1s".into()) }
}

impl Words for Balance {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("round_robin", Self::RoundRobin),
        ("least_conn", Self::LeastConn),
        ("random_two", Self::RandomTwo),
        ("ip_hash", Self::IpHash),
        ("hash", Self::Hash),
        ("maglev", Self::Maglev),
        ("ewma", Self::Ewma),
    ];
}

impl Words for WhenAllDown {
    const WORDS: &'static [(&'static str, Self)] =
        &[("try_all", Self::TryAll), ("fail", Self::Fail)];
}
