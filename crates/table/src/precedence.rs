//! File against API (interface §2, "File and API"). The file's definition of a pool counts when it
//! differs from the one last applied; until then what the API made of the pool stands. Pure: start-up
//! and every reload ask the same question.

use std::collections::{BTreeSet, HashSet};

use tidegate_model::{Name, Resolved};

use crate::{
    change::FilePool,
    effect::{Definition, Effect, Mark},
    head::Head,
    pool::{Pool, Source},
};

/// What a file changes.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) effects: Vec<Effect>,
    pub(crate) changed: Vec<Name>,
    pub(crate) removed: Vec<Name>,
    /// Pools whose changes through the API it replaces.
    pub(crate) replaced: Vec<Name>,
}

/// Compares the file with what is there.
pub(crate) fn compare(file: &[FilePool], head: &Head) -> Verdict {
    let mut verdict = Verdict::default();
    let mut next_order = head.next_order;
    for pool in file {
        verdict.judge(pool, head, &mut next_order);
    }
    let defined: HashSet<_> = file.iter().map(|pool| pool.name.folded()).collect();
    for (key, mark) in head.marks.iter().filter(|(key, _)| !defined.contains(*key)) {
        verdict.effects.push(Effect::FileForgotten(mark.name.clone()));
        if let Some(pool) = head.snapshot.pools.get(key).filter(|pool| pool.source == Source::File)
        {
            verdict.effects.push(Effect::PoolDelete(pool.name.clone()));
            verdict.removed.push(pool.name.clone());
        }
    }
    verdict
}

impl Verdict {
    fn judge(&mut self, pool: &FilePool, head: &Head, next_order: &mut u64) {
        let key = pool.name.folded();
        let current = head.snapshot.pools.get(&key).map(|pool| &**pool);
        let mark = head.marks.get(&key);
        let resolved = resolution(pool, current);
        if mark.is_some_and(|mark| mark.hash == pool.hash) {
            let stands = current.is_none_or(|current| {
                current.source == Source::Api || same_addresses(&resolved, &current.resolved)
            });
            if stands {
                return;
            }
        } else {
            let mark = Mark { name: pool.name.clone(), hash: pool.hash.clone() };
            self.effects.push(Effect::FileApplied(mark));
        }
        let deleted_by_api = mark.is_some() && current.is_none();
        if deleted_by_api || current.is_some_and(|current| current.source == Source::Api) {
            self.replaced.push(pool.name.clone());
        }
        let order = current.map_or(*next_order, |current| current.order);
        *next_order = (*next_order).max(order.saturating_add(1));
        self.changed.push(pool.name.clone());
        self.effects.push(Effect::PoolPut(Definition {
            name: pool.name.clone(),
            order,
            source: Source::File,
            spec: pool.spec.clone().into(),
            resolved: resolved.into(),
        }));
    }
}

/// The file's addresses; for a host name that was not found just now, those it had before.
fn resolution(pool: &FilePool, current: Option<&Pool>) -> Resolved {
    let mut resolved = pool.resolved.clone();
    for server in pool.spec.servers.iter().flatten() {
        let text = server.address.as_str();
        let before = current.and_then(|current| current.resolved.get(text));
        if let Some(before) = before.filter(|_| resolved.get(text).is_none_or(Vec::is_empty)) {
            resolved.insert(text.into(), before.clone());
        }
    }
    resolved
}

/// Name servers rotate their answers: the order says nothing.
fn same_addresses(one: &Resolved, other: &Resolved) -> bool {
    let sorted = |resolved: &Resolved| -> Vec<(String, BTreeSet<_>)> {
        resolved.iter().map(|(host, ips)| (host.clone(), ips.iter().copied().collect())).collect()
    };
    sorted(one) == sorted(other)
}
