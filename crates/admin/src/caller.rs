//! Who asks, and text from the network made fit for a log line or a header.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::http::StatusCode;
use tidegate_model::{Access, Name, Role};
use tidegate_net::Peer;

use crate::problem::Problem;

/// The longest text taken over into a header or a log line, in bytes.
const MAX_LINE: usize = 512;

/// The two ends of an admin connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) peer: Peer,
    /// The address the client connected to, when it is one.
    pub(crate) local: Option<SocketAddr>,
}

/// Who a request comes from, for the log and the journal, and what it may do.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) token: Option<Arc<str>>,
    pub(crate) access: Access,
}

impl Caller {
    /// # Errors
    /// 403, when its role is less than that.
    pub(crate) fn may(&self, wanted: Role) -> Result<(), Problem> {
        if self.access.role >= wanted {
            return Ok(());
        }
        let (name, role) = (self.name(), self.access.role.word());
        let detail = format!("{name} has the role \"{role}\", this takes \"{}\"", wanted.word());
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }

    /// Whether it may change that pool, its servers, drains and tunnels.
    ///
    /// # Errors
    /// 403, when its role is less than that or the pool none of its own.
    pub(crate) fn may_change(&self, pool: &Name) -> Result<(), Problem> {
        self.may(Role::Operate)?;
        if self.access.covers(pool) {
            return Ok(());
        }
        let own = self.access.upstreams().unwrap_or_default().join(", ");
        let name = self.name();
        let detail = format!("{name} may change upstreams {own}, not \"{pool}\"");
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }

    fn name(&self) -> String {
        match &self.token {
            Some(token) => format!("the token \"{token}\""),
            None => "who brings no token".into(),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.token {
            Some(token) => write!(f, "{} as {token}", self.peer),
            None => self.peer.fmt(f),
        }
    }
}

/// `text` as one line of visible ASCII: whatever else it holds becomes '?', and its end is cut off
/// when it is long.
pub(crate) fn one_line(text: &str) -> String {
    let visible = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(MAX_LINE).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_network_breaks_a_line() {
        assert_eq!(one_line("a\r\nX-Evil: 1\x1b[2Jé"), "a??X-Evil: 1?[2J?");
        assert_eq!(one_line(&"a".repeat(10_000)).len(), MAX_LINE);
    }

    fn caller(token: Option<&str>, access: Access) -> Caller {
        Caller { peer: Peer::Unix(Some(1000)), token: token.map(Into::into), access }
    }

    #[test]
    fn a_caller_is_named_with_its_token() {
        assert_eq!(caller(None, Access::default()).to_string(), "unix uid 1000");
        assert_eq!(caller(Some("ci"), Access::default()).to_string(), "unix uid 1000 as ci");
    }

    #[test]
    fn a_refusal_names_the_token_and_what_it_lacks() {
        let told = |problem: Problem| {
            let body = serde_json::to_value(&problem).expect("JSON");
            assert_eq!(body["status"], 403);
            body["detail"].as_str().expect("a text").to_owned()
        };
        let (chat, kf) = (Name::new("chat").expect("a name"), Name::new("KF_1").expect("a name"));
        let some = Access::of(Role::Operate).within(vec!["kf_*".into(), "im".into()]);
        let ci = caller(Some("ci"), some);
        assert!(ci.may(Role::Operate).is_ok() && ci.may_change(&kf).is_ok());
        assert_eq!(
            told(ci.may(Role::Admin).expect_err("it is refused")),
            "the token \"ci\" has the role \"operate\", this takes \"admin\""
        );
        assert_eq!(
            told(ci.may_change(&chat).expect_err("it is refused")),
            "the token \"ci\" may change upstreams kf_*, im, not \"chat\""
        );
        let reader = caller(Some("graphs"), Access::of(Role::Read));
        assert!(reader.may_change(&kf).is_err(), "a role that only reads changes no pool");
    }
}
