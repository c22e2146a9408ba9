//! What a pool means for its tunnels: connections after a 101, and those of tcp listeners.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Span;

/// `[upstream.NAME.tunnel]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TunnelSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_interval: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_remove: Option<OnRemove>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_over: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_code: Option<CloseCode>,
}

/// The same, with nothing left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Without a byte either way for so long, a tunnel ends.
    pub idle_timeout: Span,
    /// WebSocket only: a peer that was silent for so long is sent a ping; 0: never.
    pub ping_interval: Span,
    pub on_remove: OnRemove,
    /// How long emptying a server takes, when its removal or the end of the process does it.
    pub drain_over: Span,
    /// What a Close of ours says.
    pub close_code: CloseCode,
}

/// What becomes of the tunnels of a server that leaves its pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRemove {
    /// All at once.
    Close,
    /// Little by little, over `drain_over`.
    Drain,
    /// Nothing: they end when their peers end them.
    #[default]
    Keep,
}

/// A status code that may stand in a WebSocket Close frame (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct CloseCode(u16);

/// Why a number is no such code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} may not stand in a Close frame: use 1000, 1001, 1008, 1011 to 1014 or 3000 to 4999")]
pub struct BadCloseCode(u16);

impl TunnelSpec {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn resolve(&self, defaults: &Self) -> Tunnel {
        Tunnel {
            idle_timeout: self
                .idle_timeout
                .or(defaults.idle_timeout)
                .unwrap_or(Span::from_secs(86_400)),
            ping_interval: self.ping_interval.or(defaults.ping_interval).unwrap_or_default(),
            on_remove: self.on_remove.or(defaults.on_remove).unwrap_or_default(),
            drain_over: self.drain_over.or(defaults.drain_over).unwrap_or(Span::from_secs(60)),
            close_code: self.close_code.or(defaults.close_code).unwrap_or_default(),
        }
    }
}

impl OnRemove {
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Close, "close"), (Self::Drain, "drain"), (Self::Keep, "keep")];

    /// The word for it in files, queries and answers.
    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// What that word means, if anything.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == word).map(|(meant, _)| meant)
    }
}

impl CloseCode {
    /// The peer is going away: what clients are told when the process stops.
    pub const GOING_AWAY: Self = Self(1001);
    /// The service restarts (IANA's registry of close codes): come back, a little later.
    pub const SERVICE_RESTART: Self = Self(1012);

    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for CloseCode {
    fn default() -> Self {
        Self::SERVICE_RESTART
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = BadCloseCode;

    /// # Errors
    /// For codes that are reserved, or that only an endpoint could mean.
    fn try_from(code: u16) -> Result<Self, BadCloseCode> {
        match code {
            1000 | 1001 | 1008 | 1011..=1014 | 3000..=4999 => Ok(Self(code)),
            _ => Err(BadCloseCode(code)),
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_at_the_index_of_their_variant() {
        for (at, (meant, word)) in OnRemove::ALL.into_iter().enumerate() {
            assert_eq!((meant as usize, OnRemove::parse(word)), (at, Some(meant)));
            assert_eq!(serde_json::to_string(&meant).expect("a word"), format!("\"{word}\""));
        }
        assert_eq!(OnRemove::parse("Keep"), None);
    }

    #[test]
    fn codes_that_may_not_be_sent_are_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert!(CloseCode::try_from(code).is_err(), "{code}");
        }
        assert_eq!(serde_json::from_str::<CloseCode>("4000").map(CloseCode::get).ok(), Some(4000));
        assert!(serde_json::from_str::<CloseCode>("1006").is_err());
    }
}
