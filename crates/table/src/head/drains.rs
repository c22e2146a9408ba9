//! The part of building that deals with drains: which pools they concern, whose end comes with the
//! end of their server, and what begins for the servers they let go.

use std::{collections::HashSet, sync::Arc};

use imbl::ordmap::DiffItem;
use tidegate_model::Name;

use super::{Stage, Turning};
use crate::{
    drain::{Drain, Drains},
    effect::Effect,
};

impl Stage<'_> {
    /// What a recovered state begins with; `last`: the largest id that was ever given.
    pub(crate) fn drains(mut self, drains: Drains, last: u64) -> Self {
        self.snapshot.drains = drains;
        self.staged.head.last_drain = last;
        self
    }

    /// Ends the drains of servers that no pool lists any more; says which, for the journal: replay
    /// knows no servers.
    pub(crate) fn end_orphans(&mut self) -> Vec<Effect> {
        let drains = &self.snapshot.drains;
        let pools: HashSet<Arc<str>> =
            drains.values().map(|drain| drain.spec.upstream.folded()).collect();
        let pools = pools.iter().filter_map(|key| self.snapshot.pools.get(key));
        let listed: HashSet<u64> =
            pools.flat_map(|pool| &pool.servers).filter_map(|server| server.draining).collect();
        let orphans: Vec<u64> = drains.keys().filter(|id| !listed.contains(id)).copied().collect();
        for id in &orphans {
            self.snapshot.drains.remove(id);
        }
        orphans.into_iter().map(Effect::DrainEnd).collect()
    }

    /// The pool that has to be built anew: one with a server that is out from now on.
    pub(super) fn put_drain(&mut self, drain: &Arc<Drain>) -> Option<Arc<str>> {
        let last = &mut self.staged.head.last_drain;
        *last = drain.id.max(*last);
        let before = self.snapshot.drains.insert(drain.id, Arc::clone(drain));
        self.touch(&drain.spec.upstream);
        before.is_none().then(|| drain.spec.upstream.folded())
    }

    /// The pool that has to be built anew: its server may be back.
    pub(super) fn end_drain(&mut self, id: u64) -> Option<Arc<str>> {
        let drain = self.snapshot.drains.remove(&id)?;
        self.touch(&drain.spec.upstream);
        Some(drain.spec.upstream.folded())
    }

    fn touch(&mut self, pool: &Name) {
        if !self.staged.changed.contains(pool) {
            self.staged.changed.push(pool.clone());
        }
    }

    /// Compares the drains with those before. A server that gets one or loses it has no requests to
    /// be cut, and one that takes requests again starts slowly, if it is to.
    pub(super) fn turn_drained(&mut self) {
        let before = Arc::clone(&self.staged.head.snapshot);
        for item in before.drains.diff(&self.snapshot.drains) {
            self.staged.drains_changed = true;
            let (drain, ended) = match item {
                DiffItem::Add(_, drain) => (drain, false),
                DiffItem::Remove(_, drain) => (drain, true),
                DiffItem::Update { .. } => continue,
            };
            let pool = self.snapshot.pools.get(&drain.spec.upstream.folded());
            let mut servers = pool.iter().flat_map(|pool| &pool.servers);
            let Some(server) = servers.find(|one| **one.state.label() == *drain.spec.server) else {
                continue;
            };
            let state = &server.state;
            self.staged.turning.push((Arc::clone(state), Turning::Spare));
            if ended && server.draining.is_none() {
                self.staged.turning.push((Arc::clone(state), Turning::Ramp));
            }
        }
    }
}
