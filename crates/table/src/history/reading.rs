//! What can be asked of the past. Reads files: not for a thread that must not wait.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::Arc,
};

use tidegate_model::{Name, UpstreamSpec};

use super::{Entry, History};
use crate::{
    change::Origin,
    effect::{Definition, Effect, touched},
    journal::record::Changed,
    snapshot::Snapshot,
};

/// Bytes of records that one page is made of, but for a single record that is longer.
const MOST_AT_ONCE: usize = 16 << 20;

/// One generation of the past, with what it changed.
#[derive(Clone, Debug)]
pub struct Past {
    pub generation: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    pub origin: Origin,
    pub caller: String,
    pub reason: Option<String>,
    /// Every pool it was about, also those of whose servers it drained one.
    pub changed: Vec<Name>,
    /// What became of their definitions.
    pub pools: Vec<PastPool>,
}

/// A pool before and after; `None`: there was none.
#[derive(Clone, Debug)]
pub struct PastPool {
    pub name: Name,
    pub before: Option<Arc<UpstreamSpec>>,
    pub after: Option<Arc<UpstreamSpec>>,
}

/// Part of the past, the newest first.
#[derive(Clone, Debug)]
pub struct Page {
    pub generations: Vec<Past>,
    /// Where an older page begins, if there is one.
    pub next: Option<u64>,
    pub oldest: u64,
}

/// Pools by folded name, as they were; `None`: there was none.
pub(crate) type Definitions = HashMap<Arc<str>, (Name, Option<Definition>)>;

impl History {
    /// Up to `limit` generations below `before`, of one pool or of all.
    pub(crate) fn page(
        &self,
        newest: u64,
        before: Option<u64>,
        limit: usize,
        pool: Option<&str>,
    ) -> io::Result<Page> {
        self.settle();
        let Some((oldest, last)) = self.span(newest) else {
            return Ok(Page { generations: Vec::new(), next: None, oldest: newest });
        };
        let is_asked_for = |entry: &&Entry| {
            entry.generation <= last
                && before.is_none_or(|before| entry.generation < before)
                && pool.is_none_or(|pool| entry.is_about(pool))
        };
        let mut found: Vec<Entry> = {
            let inner = self.inner();
            inner.entries.iter().rev().filter(is_asked_for).take(limit + 1).cloned().collect()
        };
        let limit = limit.min(fitting(&found)).max(1);
        let next = (found.len() > limit).then(|| found[limit - 1].generation);
        found.truncate(limit);
        let generations = found.iter().map(|entry| self.record(entry).map(past));
        Ok(Page { generations: generations.collect::<io::Result<_>>()?, next, oldest })
    }

    /// One generation; `None` when it is not remembered.
    pub(crate) fn past(&self, generation: u64) -> io::Result<Option<Past>> {
        let entry = {
            let inner = self.inner();
            inner.index(generation).map(|at| inner.entries[at].clone())
        };
        entry.map(|entry| self.record(&entry).map(past)).transpose()
    }

    /// Every pool that was changed after a generation, as it was then. Each is found in the first
    /// record after it that is about the pool: the effort grows with what changed, not with how long
    /// ago it was.
    pub(crate) fn state_at(&self, generation: u64) -> io::Result<Definitions> {
        let mut wanted: Vec<(Entry, Vec<Arc<str>>)> = Vec::new();
        {
            let inner = self.inner();
            let mut seen = HashSet::new();
            for entry in inner.entries.iter().filter(|entry| entry.generation > generation) {
                let new = entry.touched.defined.iter();
                let new: Vec<_> =
                    new.filter(|pool| seen.insert(Arc::clone(pool))).cloned().collect();
                if !new.is_empty() {
                    wanted.push((entry.clone(), new));
                }
            }
        }
        let mut found = Definitions::new();
        for (entry, pools) in wanted {
            let before = definitions(self.record(&entry)?);
            found.extend(before.into_iter().filter(|(key, _)| pools.contains(key)));
        }
        Ok(found)
    }

    /// What became of pools from one generation to a later one; `now`: as they are.
    pub(crate) fn between(&self, from: u64, to: u64, now: &Snapshot) -> io::Result<Vec<PastPool>> {
        let (before, after) = (self.state_at(from)?, self.state_at(to)?);
        let mut pools = BTreeMap::new();
        for (key, (name, was)) in before {
            let after = match after.get(&key) {
                Some((_, definition)) => definition.as_ref().map(|one| Arc::clone(&one.spec)),
                None => now.pools.get(&key).map(|pool| Arc::clone(&pool.spec)),
            };
            let before = was.map(|definition| definition.spec);
            if before != after {
                pools.insert(key, PastPool { name, before, after });
            }
        }
        Ok(pools.into_values().collect())
    }
}

/// How many of the first entries have records that may be read at once.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.length();
        bytes <= MOST_AT_ONCE
    };
    entries.iter().take_while(fits).count()
}

/// What the pools of a record were before it.
fn definitions(change: Changed) -> Definitions {
    let mut found = Definitions::new();
    for effect in change.effects {
        let name = match effect {
            Effect::PoolDelete(name) => name,
            Effect::PoolPut(definition) => definition.name,
            _ => continue,
        };
        found.insert(name.folded(), (name, None));
    }
    for definition in change.before.into_iter().flatten() {
        found.insert(definition.name.folded(), (definition.name.clone(), Some(definition)));
    }
    found
}

fn past(change: Changed) -> Past {
    let changed = touched(&change);
    let mut pools = BTreeMap::<Arc<str>, PastPool>::new();
    for effect in change.effects {
        let (name, after) = match effect {
            Effect::PoolDelete(name) => (name, None),
            Effect::PoolPut(Definition { name, spec, .. }) => (name, Some(spec)),
            _ => continue,
        };
        pools.insert(name.folded(), PastPool { name, before: None, after });
    }
    for before in change.before.into_iter().flatten() {
        if let Some(pool) = pools.get_mut(&before.name.folded()) {
            pool.before = Some(before.spec);
        }
    }
    Past {
        generation: change.generation,
        at: change.at,
        origin: change.origin,
        caller: change.caller,
        reason: change.reason,
        changed,
        pools: pools.into_values().collect(),
    }
}
