//! Planning of drains: finds the server that is meant, refuses what would leave a pool without
//! anybody, and gives each drain its number.

use std::{collections::HashSet, sync::Arc};

use tidegate_model::{Name, Span, drain::DrainSpec};

use super::Plan;
use crate::{
    change::Refused,
    drain::{self, Drain, DrainChange},
    effect::Effect,
    pool::{Entry, entries},
};

/// What fits into a Close frame beside its code (RFC 6455 §5.5).
const LONGEST_REASON: usize = 123;

impl Plan<'_> {
    pub(super) fn drain(&mut self, spec: DrainSpec, force: bool) -> Result<Effect, Refused> {
        check(&spec)?;
        let id = match self.drain_of(&spec) {
            Some(id) => id,
            None => {
                self.check_server(&spec, force)?;
                self.generation.max(self.last_drain.saturating_add(1))
            }
        };
        self.last_drain = self.last_drain.max(id);
        let (begun, generation) = (self.at, self.generation);
        Ok(self.put_drain(Drain { id, spec, begun, generation, finished: None }))
    }

    pub(super) fn alter_drain(&mut self, id: u64, pace: DrainChange) -> Result<Effect, Refused> {
        let drain = self.known_drain(id)?;
        let spec = pace.onto(drain.spec.clone());
        check(&spec)?;
        let generation = self.generation;
        Ok(self.put_drain(Drain { spec, generation, ..Drain::clone(&drain) }))
    }

    pub(super) fn end_drain(&mut self, id: u64) -> Result<Effect, Refused> {
        self.drains.remove(&id).ok_or(Refused::DrainNotFound(id))?;
        Ok(Effect::DrainEnd(id))
    }

    pub(super) fn finish_drain(&mut self, id: u64) -> Result<Effect, Refused> {
        let drain = self.known_drain(id)?;
        let (generation, finished) = (self.generation, drain.finished.or(Some(self.at)));
        Ok(self.put_drain(Drain { generation, finished, ..Drain::clone(&drain) }))
    }

    fn drain_of(&self, spec: &DrainSpec) -> Option<u64> {
        let mut drains = drain::of(&self.drains, &spec.upstream);
        drains.find(|drain| drain.spec.server == spec.server).map(|drain| drain.id)
    }

    fn known_drain(&self, id: u64) -> Result<Arc<Drain>, Refused> {
        self.drains.get(&id).cloned().ok_or(Refused::DrainNotFound(id))
    }

    fn put_drain(&mut self, drain: Drain) -> Effect {
        let drain = Arc::new(drain);
        self.drains.insert(drain.id, Arc::clone(&drain));
        Effect::DrainPut(drain)
    }

    /// Whether the pool lists the server and, unless forced, has another one for its requests.
    fn check_server(&self, spec: &DrainSpec, force: bool) -> Result<(), Refused> {
        let DrainSpec { upstream: pool, server, .. } = spec;
        let definition = self.current(pool).ok_or_else(|| Refused::NotFound(pool.clone()))?;
        let servers = definition.spec.servers.as_deref().unwrap_or_default();
        let entries = entries(servers, &definition.resolved);
        let meant = |entry: &Entry<'_>| *entry.label() == **server;
        let Some(at) = entries.iter().position(meant) else {
            let listed = entries.iter().map(Entry::label).collect();
            return Err(Refused::ServerNotFound {
                pool: pool.clone(),
                server: server.clone(),
                listed,
            });
        };
        let serves = self.serving(pool, &entries);
        if !force && serves[at] && serves.iter().filter(|serves| **serves).count() == 1 {
            return Err(Refused::LastServer { pool: pool.clone(), server: server.clone() });
        }
        Ok(())
    }

    /// Which of a pool's servers take requests, as far as definitions and drains go.
    fn serving(&self, pool: &Name, entries: &[Entry<'_>]) -> Vec<bool> {
        let drained: HashSet<&str> =
            drain::of(&self.drains, pool).map(|drain| &*drain.spec.server).collect();
        let serves =
            |entry: &Entry<'_>| entry.spec.takes_requests() && !drained.contains(&*entry.label());
        entries.iter().map(serves).collect()
    }
}

/// Refuses an order that says no pace, or what cannot be sent.
fn check(spec: &DrainSpec) -> Result<(), Refused> {
    let bad = |field, reason| Err(Refused::BadDrain { field, reason });
    if spec.over.is_some() && spec.rate.is_some() {
        return bad("rate", "a drain goes \"over\" a time or at a \"rate\", not both");
    }
    if spec.over == Some(Span::default()) {
        return bad("over", "\"over\" of a drain must be more than 0");
    }
    if spec.reason.as_ref().is_some_and(|reason| reason.len() > LONGEST_REASON) {
        let reason = "\"reason\" of a drain is at most 123 bytes long: it goes into Close frames";
        return bad("reason", reason);
    }
    if spec.notify.as_ref().is_some_and(|url| !url.starts_with("http://")) {
        return bad("notify", "\"notify\" of a drain must start with http://");
    }
    Ok(())
}
