//! How a server is chosen: the method, what it hashes, the cookie that overrides it, and what
//! happens when nobody is fit.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::{Span, template::Variable};

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The faster of two random servers, by a moving average of their latency.
    Ewma,
    /// nginx's `hash … consistent`.
    Hash,
    IpHash,
    /// The server with the fewest requests and tunnels for its weight.
    LeastConn,
    Maglev,
    /// The less busy of two random servers (nginx's `random two`).
    RandomTwo,
    #[default]
    RoundRobin,
}

impl Balance {
    /// The word for it in files and answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ewma => "ewma",
            Self::Hash => "hash",
            Self::IpHash => "ip_hash",
            Self::LeastConn => "least_conn",
            Self::Maglev => "maglev",
            Self::RandomTwo => "random_two",
            Self::RoundRobin => "round_robin",
        }
    }

    /// Whether it goes by the pool's `hash_key`.
    pub fn hashes(self) -> bool {
        matches!(self, Self::Hash | Self::Maglev)
    }
}

/// What happens when nobody is eligible only because of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenAllDown {
    /// Answer at once, as nginx does.
    Fail,
    /// Pick as if none were marked.
    #[default]
    TryAll,
}

/// What `hash` and `maglev` go by: `client_ip`, `uri`, `header:N`, `cookie:N` or `query:N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashKey(Variable);

/// Why a text is no hash key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHashKey(String);

impl HashKey {
    /// # Errors
    /// When the text is none of the five.
    pub fn parse(text: &str) -> Result<Self, BadHashKey> {
        match Variable::parse(text) {
            Some(
                variable @ (Variable::ClientIp
                | Variable::Uri
                | Variable::Header(_)
                | Variable::Cookie(_)
                | Variable::QueryArgument(_)),
            ) => Ok(Self(variable)),
            _ => Err(BadHashKey(format!(
                "\"{}\" is none of client_ip, uri, header:NAME, cookie:NAME and query:NAME",
                text.escape_debug()
            ))),
        }
    }

    pub fn variable(&self) -> &Variable {
        &self.0
    }
}

impl Default for HashKey {
    fn default() -> Self {
        Self(Variable::ClientIp)
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Variable::Uri => f.write_str("uri"),
            Variable::Header(name) => write!(f, "header:{name}"),
            Variable::Cookie(name) => write!(f, "cookie:{name}"),
            Variable::QueryArgument(name) => write!(f, "query:{name}"),
            _ => f.write_str("client_ip"),
        }
    }
}

impl fmt::Display for BadHashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadHashKey {}

impl Serialize for HashKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HashKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The cookie that brings a client back to its server (Tengine's `session_sticky`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    pub cookie: String,
    /// `None`: until the browser closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_keys_read_and_print() {
        for text in ["client_ip", "uri", "header:x-user", "cookie:uid", "query:room"] {
            assert_eq!(HashKey::parse(text).map(|key| key.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "host", "header:", "cookie", "server", "env:HOME", "$uri"] {
            assert!(HashKey::parse(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn words_are_those_of_the_journal() {
        for balance in [
            Balance::Ewma,
            Balance::Hash,
            Balance::IpHash,
            Balance::LeastConn,
            Balance::Maglev,
            Balance::RandomTwo,
            Balance::RoundRobin,
        ] {
            let text = serde_json::to_string(&balance).expect("it prints");
            assert_eq!(text, format!("\"{}\"", balance.word()));
        }
    }
}
