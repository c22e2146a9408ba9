//! The newest state as the writer knows it, and how the next one is built on it. Building changes
//! nothing that anybody can see: a staged state is published, or dropped.

mod drains;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use tidegate_model::{
    Check, Name, UpstreamSpec,
    upstream::{CheckStart, OnRemove, Tunnel},
};

use crate::{
    change::{FilePool, FileState},
    departed::{Departed, Departure, Identity},
    drain,
    effect::{Definition, Effect, Mark, Marks},
    keys::{Answered, Keys},
    live::PoolLive,
    pool::{Parts, Pool, Server, since},
    snapshot::Snapshot,
    state::ServerState,
};

/// A snapshot with what only the writer needs besides. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) marks: Arc<Marks>,
    pub(crate) defaults: Arc<UpstreamSpec>,
    /// The place of the next new pool.
    pub(crate) next_order: u64,
    /// The largest id that a drain ever had, unless that is below the generation.
    pub(crate) last_drain: u64,
    pub(crate) keys: Keys,
}

/// A state that is not yet published.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) head: Head,
    pub(crate) changed: Vec<Name>,
    pub(crate) leaving: HashMap<Identity, Departure>,
    /// Servers that had left and are listed again.
    pub(crate) returning: Vec<(Arc<ServerState>, Option<CheckStart>)>,
    /// What begins for servers that stay.
    pub(crate) turning: Vec<(Arc<ServerState>, Turning)>,
    pub(crate) added: usize,
    pub(crate) drains_changed: bool,
    /// Pools with TLS that is not as it was: it is yet to be made.
    pub(crate) unsecured: BTreeMap<Arc<str>, Arc<Pool>>,
}

/// What a change of its pool begins for a server that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turning {
    /// Another check, or (`None`) the end of checking.
    Check(Option<CheckStart>),
    /// It was down, or drained: a slow start.
    Ramp,
    /// Its requests are not to be cut, whatever was said before.
    Spare,
}

impl Staged {
    pub(crate) fn generation(&self) -> u64 {
        self.head.snapshot.generation
    }

    /// Tells servers that others know already what begins for them. Before the swap: nobody who
    /// sees the new list may take one for something it no longer is.
    pub(crate) fn settle(&self) {
        for (state, start) in &self.returning {
            state.come_back(*start);
        }
        for (state, turning) in &self.turning {
            match turning {
                Turning::Check(start) => state.health.restart(*start, false),
                Turning::Ramp => state.health.ramp(),
                Turning::Spare => state.spare_requests(),
            }
        }
    }
}

/// Builds the successor of a head.
pub(crate) struct Stage<'d> {
    generation: u64,
    departed: &'d Departed,
    workers: usize,
    snapshot: Snapshot,
    /// With what their pools said of tunnels when they left.
    leaving: HashMap<Identity, (Arc<ServerState>, Tunnel)>,
    existing: Option<OnRemove>,
    staged: Staged,
}

impl<'d> Stage<'d> {
    pub(crate) fn on(head: &Head, departed: &'d Departed, workers: usize) -> Self {
        let snapshot = Snapshot::clone(&head.snapshot);
        let staged = Staged {
            head: head.clone(),
            changed: Vec::new(),
            leaving: HashMap::new(),
            returning: Vec::new(),
            turning: Vec::new(),
            added: 0,
            drains_changed: false,
            unsecured: BTreeMap::new(),
        };
        Self {
            generation: snapshot.generation + 1,
            departed,
            workers,
            snapshot,
            leaving: HashMap::new(),
            existing: None,
            staged,
        }
    }

    /// What becomes of tunnels to servers that leave, whatever their pools say.
    pub(crate) fn existing(mut self, existing: Option<OnRemove>) -> Self {
        self.existing = existing;
        self
    }

    pub(crate) fn apply(mut self, effects: &[Effect]) -> Self {
        let mut drained = HashSet::new();
        for effect in effects {
            match effect {
                Effect::DrainEnd(id) => drained.extend(self.end_drain(*id)),
                Effect::DrainPut(drain) => drained.extend(self.put_drain(drain)),
                Effect::FileApplied(mark) => self.mark(mark.clone()),
                Effect::FileForgotten(name) => {
                    Arc::make_mut(&mut self.staged.head.marks).remove(&name.folded());
                }
                Effect::PoolDelete(name) => self.delete(name),
                Effect::PoolPut(definition) => {
                    self.put(definition, self.generation, None);
                    self.staged.changed.push(definition.name.clone());
                }
            }
        }
        drained.iter().for_each(|pool| self.rebuild(pool));
        self
    }

    /// Takes new defaults, and the effects of the file that brought them. Pools that mean something
    /// else by them are built anew, as defined.
    pub(crate) fn apply_by(mut self, defaults: &UpstreamSpec, effects: &[Effect]) -> Self {
        if *self.staged.head.defaults == *defaults {
            return self.apply(effects);
        }
        self.staged.head.defaults = Arc::new(defaults.clone());
        self = self.apply(effects);
        let altered = |pool: &&Arc<Pool>| pool.spec.resolve(defaults) != pool.upstream;
        let altered = self.snapshot.in_order().into_iter().filter(altered);
        let altered: Vec<_> = altered.map(|pool| pool.name.clone()).collect();
        for name in altered {
            self.rebuild(&name.folded());
            self.staged.changed.push(name);
        }
        self
    }

    /// What a configuration file says, besides the effects it has.
    pub(crate) fn file(mut self, file: &FileState) -> Self {
        self.snapshot.routes = Arc::clone(&file.routes);
        let filed = |pool: &FilePool| {
            (pool.name.folded(), (pool.name.clone(), Arc::new(pool.spec.clone())))
        };
        self.snapshot.filed = Arc::new(file.pools.iter().map(filed).collect());
        self
    }

    pub(crate) fn finish(mut self) -> Staged {
        self.snapshot.generation = self.generation;
        self.turn_drained();
        let mut seen = HashSet::new();
        self.staged.changed.retain(|name| seen.insert(name.clone()));
        self.staged.leaving = self.departures();
        self.staged.head.snapshot = Arc::new(self.snapshot);
        self.staged
    }

    /// As [`Self::finish`], for what is no change: the generation is given.
    pub(crate) fn recovered(mut self, generation: u64) -> Head {
        self.generation = generation;
        self.finish().head
    }

    /// Remembers what is answered to whoever repeats the change's key.
    pub(crate) fn answered(mut self, answered: Option<Arc<Answered>>) -> Self {
        if let Some(answered) = answered {
            self.staged.head.keys.insert(answered);
        }
        self
    }

    pub(crate) fn mark(&mut self, mark: Mark) {
        Arc::make_mut(&mut self.staged.head.marks).insert(mark.name.folded(), mark);
    }

    /// Builds a pool; `known_since`: the generation that last changed each of its servers, where it
    /// does not follow from the pool there is.
    pub(crate) fn put(
        &mut self,
        definition: &Definition,
        generation: u64,
        known_since: Option<Vec<u64>>,
    ) {
        let key = definition.name.folded();
        let previous = self.snapshot.pools.get(&key).cloned();
        let since = known_since.unwrap_or_else(|| {
            let before = previous.as_deref().map(|pool| (&*pool.spec, &*pool.since));
            since(before, &definition.spec, generation)
        });
        let parts = self.parts(definition, generation, since, previous.as_deref());
        let check = parts.upstream.check.clone();
        let joining = Joining {
            pool: &definition.name,
            start: check.as_ref().map(|check| check.start),
            is_late: previous.is_some(),
        };
        let known: HashMap<_, _> = previous.iter().flat_map(|pool| listed(pool)).collect();
        let pool = Pool::build(parts, |address, ordinal| match known.get(&(address, ordinal)) {
            Some(server) => Arc::clone(&server.state),
            None => self.join(&joining, address, ordinal),
        });
        if let Some(previous) = &previous {
            let before = previous.upstream.check.as_deref();
            let stay = pool
                .servers
                .iter()
                .filter_map(|server| Some((*known.get(&(&*server.key, server.ordinal))?, server)));
            self.staged.turning.extend(stay.filter_map(|(old, new)| {
                Some((Arc::clone(&new.state), turning(before, check.as_deref(), old, new)?))
            }));
        }
        let kept: HashSet<u64> = pool.servers.iter().map(|server| server.state.id()).collect();
        for server in known.into_values() {
            if !kept.contains(&server.state.id()) {
                self.leave(&key, server, pool.upstream.tunnel);
            }
        }
        self.staged.head.next_order =
            self.staged.head.next_order.max(definition.order.saturating_add(1));
        let pool = Arc::new(pool);
        self.keep_secure(&key, previous.as_deref(), &pool);
        self.snapshot.pools.insert(key, pool);
    }

    /// A pool keeps what it has for TLS as long as its settings stay; else there is work to do.
    fn keep_secure(&mut self, key: &Arc<str>, previous: Option<&Pool>, pool: &Arc<Pool>) {
        // Of a pool that was built twice for one change, only the last one counts.
        self.staged.unsecured.remove(key);
        if pool.upstream.tls.is_none() {
            return;
        }
        let same = previous.filter(|previous| previous.upstream.tls == pool.upstream.tls);
        match same.and_then(Pool::secure) {
            Some(secure) => pool.become_secure(Arc::clone(secure)),
            None => drop(self.staged.unsecured.insert(Arc::clone(key), Arc::clone(pool))),
        }
    }

    fn parts(
        &self,
        definition: &Definition,
        generation: u64,
        since: Vec<u64>,
        previous: Option<&Pool>,
    ) -> Parts {
        let Definition { name, order, source, spec, resolved } = definition.clone();
        let live = previous.map(|pool| Arc::clone(&pool.live));
        let drains = drain::of(&self.snapshot.drains, &name).cloned().collect();
        Parts {
            name,
            order,
            generation,
            source,
            upstream: spec.resolve(&self.staged.head.defaults),
            spec,
            since,
            resolved,
            live: live.unwrap_or_else(|| Arc::new(PoolLive::new(self.workers))),
            drains,
        }
    }

    fn delete(&mut self, name: &Name) {
        let key = name.folded();
        if let Some(pool) = self.snapshot.pools.remove(&key) {
            for server in &pool.servers {
                self.leave(&key, server, pool.upstream.tunnel);
            }
            self.staged.unsecured.remove(&key);
            self.staged.changed.push(pool.name.clone());
        }
    }

    /// Builds a pool again as it is defined, for what else it depends on.
    fn rebuild(&mut self, key: &str) {
        if let Some(pool) = self.snapshot.pools.get(key).cloned() {
            self.put(&Definition::from(&*pool), pool.generation, Some(pool.since.clone()));
        }
    }

    fn leave(&mut self, pool: &Arc<str>, server: &Server, tunnel: Tunnel) {
        let Server { key, ordinal, state, .. } = server;
        let identity =
            Identity { pool: Arc::clone(pool), address: Arc::clone(key), ordinal: *ordinal };
        self.leaving.insert(identity, (Arc::clone(state), tunnel));
    }

    /// Who leaves, by what their pool says in the end; of a deleted one, by what it said last.
    fn departures(&mut self) -> HashMap<Identity, Departure> {
        let leaving = std::mem::take(&mut self.leaving);
        let departure = |(identity, (state, last)): (Identity, (Arc<ServerState>, Tunnel))| {
            let pool = self.snapshot.pools.get(&identity.pool);
            let Tunnel { on_remove, drain_over, close_code, .. } =
                pool.map_or(last, |pool| pool.upstream.tunnel);
            let existing = self.existing.unwrap_or(on_remove);
            let generation = self.generation;
            (identity, Departure { state, existing, drain_over, close_code, generation })
        };
        leaving.into_iter().map(departure).collect()
    }

    /// The state of a server the pool did not list: the one it had, if anything still holds that.
    fn join(&mut self, joining: &Joining<'_>, address: &str, ordinal: u32) -> Arc<ServerState> {
        let identity = Identity { pool: joining.pool.folded(), address: address.into(), ordinal };
        if let Some((state, _)) = self.leaving.remove(&identity) {
            self.staged.turning.push((Arc::clone(&state), Turning::Check(joining.start)));
            return state;
        }
        self.staged.added += 1;
        if let Some(state) = self.departed.find(&identity) {
            self.staged.returning.push((Arc::clone(&state), joining.start));
            return state;
        }
        let state = ServerState::new(joining.pool, address, ordinal, self.workers);
        // Nobody else knows it yet.
        state.health.restart(joining.start, true);
        if joining.is_late {
            state.health.ramp();
        }
        Arc::new(state)
    }
}

/// How servers come into a pool.
struct Joining<'n> {
    pool: &'n Name,
    start: Option<CheckStart>,
    /// The pool was serving before.
    is_late: bool,
}

/// What a change of the pool begins for a server it keeps.
fn turning(
    before: Option<&Check>,
    after: Option<&Check>,
    old: &Server,
    new: &Server,
) -> Option<Turning> {
    let is_back = old.spec.down && !new.spec.down;
    match (before, after) {
        // Whoever was down has to show that it is well, whatever was known of it.
        (_, Some(_)) if is_back => Some(Turning::Check(Some(CheckStart::Down))),
        (Some(before), Some(after)) if before.asks_as(after) => None,
        (_, Some(after)) => Some(Turning::Check(Some(after.start))),
        (Some(_), None) => Some(Turning::Check(None)),
        (None, None) if is_back => Some(Turning::Ramp),
        (None, None) => None,
    }
}

/// The servers of a pool by what they are told apart by.
fn listed(pool: &Pool) -> impl Iterator<Item = ((&str, u32), &Server)> {
    pool.servers.iter().map(|server| ((&*server.key, server.ordinal), server))
}
