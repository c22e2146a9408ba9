//! The text form of a pool that dyups users send and read: a POST body is what nginx reads inside
//! an `upstream` block, and `/detail` and `/upstream/NAME` print it back in Tengine's words.
//!
//! The whole grammar of nginx is read. What Tidegate has is applied; what it lacks is refused with
//! its line and name, so that nothing is accepted and then ignored.

mod check;
mod directives;
mod method;
mod print;
mod server;
mod time;
mod tokens;

use std::fmt;

pub use print::{Shown, detail, lines, shown};

use crate::{Balance, UpstreamSpec};
use directives::Reading;
use tokens::Tokens;

/// The largest body, in bytes: nginx's default `client_max_body_size`.
pub const MAX_BODY: usize = 1 << 20;
/// The most servers one body may list.
pub const MAX_SERVERS: usize = 10_000;

/// Why a body was refused, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Counted from 1; `None` when the whole body is at fault.
    line: Option<usize>,
    reason: String,
}

/// Reads the body of a dyups POST: what it says about a pool. `servers` and `balance` are always
/// set, for a body without a method asks for round robin; the rest only when the body says it. One
/// without `check` asks for none; with one, nobody is tried once all are down, as in Tengine.
///
/// `zone` is read and means nothing here: the state of a pool is shared by all workers anyway.
///
/// # Errors
/// When nginx would refuse the body, or when it asks for something that Tidegate does not have.
pub fn parse(body: &[u8]) -> Result<UpstreamSpec, Refusal> {
    if body.len() > MAX_BODY {
        return Err(Refusal::whole(format!("the body is longer than {MAX_BODY} bytes")));
    }
    let mut reading = Reading::default();
    for directive in Tokens::new(body) {
        let directive = directive?;
        reading.apply(&directive).map_err(|reason| Refusal::at(directive.line, reason))?;
    }
    let Reading { mut spec, servers, checking } = reading;
    spec.check = checking.finish()?;
    // nginx counts a server that is `down` as one, a backup not.
    if servers.iter().all(|server| server.backup) {
        return Err(Refusal::whole("no servers in upstream (backup ones do not count)".into()));
    }
    spec.balance.get_or_insert(Balance::RoundRobin);
    spec.servers = Some(servers);
    Ok(spec)
}

/// A word of a body, fit to be quoted in a reason: one line, and not the whole megabyte.
fn quoted(word: &[u8]) -> String {
    const MAX_SHOWN: usize = 80;
    match word.get(..MAX_SHOWN) {
        Some(start) => format!("\"{}...\"", start.escape_ascii()),
        None => format!("\"{}\"", word.escape_ascii()),
    }
}

impl Refusal {
    fn at(line: usize, reason: String) -> Self {
        Self { line: Some(line), reason }
    }

    fn whole(reason: String) -> Self {
        Self { line: None, reason }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests;
