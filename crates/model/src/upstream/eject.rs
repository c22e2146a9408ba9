//! Passive outlier ejection: a server that answers badly or far slower than its pool is left out
//! for a while (Envoy's outlier detection).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::next::Share;
use crate::Span;

/// `[upstream.NAME.eject]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EjectSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_5xx: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_factor: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_share: Option<Share>,
}

/// The same, with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eject {
    /// So many answers of 5xx, time-outs and broken connections in a row; 0: never.
    pub consecutive_5xx: u32,
    /// An average latency of more than so many times the pool's median; 0: never.
    pub latency_factor: u32,
    /// How long the first ejection lasts; the nth lasts n times as long.
    pub base: Span,
    /// The most of a pool that is ejected at once.
    pub max_share: Share,
}

impl EjectSpec {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn resolve(&self, defaults: &Self) -> Eject {
        Eject {
            consecutive_5xx: self.consecutive_5xx.or(defaults.consecutive_5xx).unwrap_or(0),
            latency_factor: self.latency_factor.or(defaults.latency_factor).unwrap_or(0),
            base: self.base.or(defaults.base).unwrap_or(Span::from_secs(30)),
            max_share: self.max_share.or(defaults.max_share).unwrap_or(Share::from_percent(10)),
        }
    }
}

impl Eject {
    /// How many of `servers` may be ejected at once: at least one, or a small pool would never
    /// lose a sick server, and never the last.
    pub fn most(&self, servers: usize) -> usize {
        let share = usize::try_from(self.max_share.of(servers as u64)).unwrap_or(usize::MAX);
        let at_all = usize::from(self.max_share.percent() > 0);
        share.max(at_all).min(servers.saturating_sub(1))
    }
}
