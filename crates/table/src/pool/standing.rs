//! How a server stands at one moment, in the words of the admin API and the metrics.

use super::{Pool, Server};
use crate::health::Ailment;

/// The state of a listed server, as the admin API calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It has yet to pass its first probes.
    Checking,
    /// Somebody said so.
    Down,
    /// It is being emptied, or its weight is 0: nothing new comes.
    Draining,
    Ejected,
    /// It has failed requests, and its `fail_timeout` is not over.
    Failed,
    /// It has failed its probes.
    Unhealthy,
    Up,
}

impl Standing {
    /// The state as interface §3.2 words it: a server that failed requests is `unhealthy` too.
    pub fn word(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Ejected => "ejected",
            Self::Failed | Self::Unhealthy => "unhealthy",
            Self::Up => "up",
        }
    }

    /// Whether it gets no requests for a reason that `when_all_down` may overlook.
    pub fn is_ailing(self) -> bool {
        matches!(self, Self::Checking | Self::Ejected | Self::Failed | Self::Unhealthy)
    }
}

impl Pool {
    /// How many of its servers take requests and are well at `now`.
    pub fn eligible(&self, now: u64) -> usize {
        self.servers.iter().filter(|server| self.standing(server, now) == Standing::Up).count()
    }

    /// How `server` stands at `now`, in milliseconds of the clock that failures are told by.
    pub fn standing(&self, server: &Server, now: u64) -> Standing {
        if server.spec.down {
            return Standing::Down;
        }
        if !server.takes_requests() {
            return Standing::Draining;
        }
        match server.state.health.ailment(now) {
            Some(Ailment::Checking) => Standing::Checking,
            Some(Ailment::Ejected) => Standing::Ejected,
            Some(Ailment::Unhealthy) => Standing::Unhealthy,
            None if !self.single && server.state.is_failed(&server.spec, now) => Standing::Failed,
            None => Standing::Up,
        }
    }
}
