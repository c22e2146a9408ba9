//! What a watch goes by: one server and its check, as the newest snapshot has them, and the server's
//! live state, where findings are written down.

use std::{sync::Arc, time::SystemTime};

use tidegate_events::Condition;
use tidegate_model::Check;
use tidegate_net::coarse_millis;
use tidegate_table::{Ailment, Pool, Probed, Server, Turned};

use crate::turns::Turns;

/// The longest detail kept of a probe, in characters. Some of them are the server's own words.
const LONGEST_DETAIL: usize = 200;

/// One server and its check, in the newest snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) pool: Arc<Pool>,
    /// Of the server in its pool.
    pub(crate) index: usize,
    pub(crate) check: Arc<Check>,
    /// Of the check.
    pub(crate) epoch: u64,
}

impl Facts {
    pub(crate) fn server(&self) -> &Server {
        &self.pool.servers[self.index]
    }

    /// Whether a probe by the others says nothing about these.
    pub(crate) fn asks_otherwise(&self, others: &Self) -> bool {
        self.epoch != others.epoch
            || self.server().target != others.server().target
            || self.pool.upstream.tls != others.pool.upstream.tls
            || self.pool.upstream.protocol != others.pool.upstream.protocol
            || !self.check.asks_as(&others.check)
    }

    pub(crate) fn has_other_pace(&self, others: &Self) -> bool {
        let pace = |facts: &Self| (facts.check.interval, facts.check.fast_interval);
        pace(self) != pace(others)
    }

    /// Writes down what a probe has found, and says so when that changes anything. `epoch`: that of
    /// the check when it began.
    pub(crate) fn take_note(
        &self,
        turns: &Turns,
        epoch: u64,
        ok: bool,
        detail: &str,
        confirms: bool,
    ) {
        let Server { spec, state, .. } = self.server();
        let detail = one_line(detail);
        let probed = Probed { at: SystemTime::now(), ok, detail: detail.clone() };
        let (upstream, server) = (&self.pool.name, state.label());
        let before = self.condition();
        let turned = state.probed(spec, &self.check, epoch, probed, confirms);
        let after = self.condition();
        if before != after {
            turns.tell(state, before, after, &detail);
        }
        match turned {
            Some(Turned::Up) => {
                tracing::info!(%upstream, %server, detail, "server is healthy again");
            }
            Some(Turned::Down) => {
                tracing::warn!(%upstream, %server, detail, "server is unhealthy");
            }
            None => (),
        }
    }

    fn condition(&self) -> Condition {
        let Server { spec, state, .. } = self.server();
        match state.health.ailment(coarse_millis()) {
            Some(Ailment::Checking) => Condition::Checking,
            Some(Ailment::Ejected) => Condition::Ejected,
            Some(Ailment::Unhealthy) => Condition::Unhealthy,
            None if !self.pool.is_single() && state.has_failed(spec) => Condition::Failed,
            None => Condition::Up,
        }
    }
}

/// The words of a server may hold anything.
fn one_line(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST_DETAIL).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_server_become_one_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[31m"), "a  b [31m");
        assert_eq!(one_line(&"\u{e4}".repeat(500)).chars().count(), LONGEST_DETAIL);
    }
}
