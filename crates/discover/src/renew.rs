//! Looking host names up again: each pool with names at its `resolve_interval`. New addresses join
//! the pool and lost ones leave it by a change like any other, so that servers that stay keep all
//! that is known of them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_model::{Name, Resolved, address::Place};
use tidegate_table::{Change, Operation, Origin, Pool, Refused, Table};

use crate::resolve::{Resolver, Unresolved};

/// How often it is looked which pool is due.
const TICK: Duration = Duration::from_millis(500);
/// A name that was never found is asked for this often, if the pool would not ask more often.
const WHILE_MISSING: Duration = Duration::from_secs(2);

/// Looks names up again for as long as the table takes changes. Cancel safe: dropped, it stops.
pub async fn renew(table: Arc<Table>, resolver: Arc<Resolver>) {
    let mut due = Due::default();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for pool in due.take(&table, Instant::now()) {
            if let Err(Refused::Closed) = renew_one(&table, &resolver, &pool).await {
                return;
            }
        }
    }
}

/// When each pool with names is to be asked about next.
#[derive(Default)]
struct Due {
    /// The generation that was last looked at for such pools.
    generation: Option<u64>,
    pools: HashMap<Name, Instant>,
}

impl Due {
    fn take(&mut self, table: &Table, now: Instant) -> Vec<Arc<Pool>> {
        let snapshot = table.snapshot();
        if self.generation != Some(snapshot.generation) {
            self.generation = Some(snapshot.generation);
            let named = snapshot.pools.values().filter(|pool| has_names(pool));
            let known = std::mem::take(&mut self.pools);
            self.pools = named
                .map(|pool| {
                    let at = known.get(&pool.name).copied();
                    (pool.name.clone(), at.unwrap_or_else(|| now + first(pool)))
                })
                .collect();
        }
        let mut pools = Vec::new();
        for (name, at) in self.pools.iter_mut().filter(|(_, at)| **at <= now) {
            if let Some(pool) = snapshot.pool(name.as_str()) {
                *at = now + interval(pool);
                pools.push(Arc::clone(pool));
            }
        }
        pools
    }
}

fn has_names(pool: &Pool) -> bool {
    pool.upstream.servers.iter().any(|server| matches!(server.address.place(), Place::Host(..)))
}

fn interval(pool: &Pool) -> Duration {
    let usual = pool.upstream.resolve_interval.as_duration();
    let is_missing = pool.upstream.servers.iter().any(|server| {
        matches!(server.address.place(), Place::Host(..))
            && !pool.resolved.contains_key(server.address.as_str())
    });
    if is_missing { usual.min(WHILE_MISSING) } else { usual }
}

/// Pools that came together do not ask together.
fn first(pool: &Pool) -> Duration {
    interval(pool).mul_f64(0.5 + fastrand::f64() / 2.0)
}

async fn renew_one(table: &Table, resolver: &Resolver, pool: &Pool) -> Result<(), Refused> {
    let (mut found, unresolved) = resolver.resolve_some(&pool.upstream.servers).await;
    for Unresolved { name, reason } in unresolved {
        let stands = pool.resolved.get(&name).map_or(0, Vec::len);
        tracing::warn!(upstream = %pool.name, name, reason, addresses = stands, "host name not found; what was known of it stands");
    }
    found.retain(|name, addresses| !is_known(&pool.resolved, name, addresses));
    if found.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = found.keys().cloned().collect();
    let change = Change {
        operations: vec![Operation::Resolve { name: pool.name.clone(), resolved: found }],
        origin: Origin::Resolver,
        caller: "resolver".into(),
        reason: None,
    };
    match table.change(change).await {
        Ok(applied) => {
            let (generation, added, removed) = (applied.generation, applied.added, applied.removed);
            tracing::info!(upstream = %pool.name, ?names, generation, added, removed, "host names have other addresses");
            Ok(())
        }
        // The pool has left meanwhile.
        Err(Refused::NotFound(_)) => Ok(()),
        Err(refused) => {
            tracing::error!(upstream = %pool.name, %refused, "cannot take the new addresses of its host names");
            Err(refused)
        }
    }
}

/// Whether the answer is the one that stands; name servers shuffle.
fn is_known(resolved: &Resolved, name: &str, addresses: &[std::net::SocketAddr]) -> bool {
    let set = |addresses: &[_]| addresses.iter().copied().collect::<BTreeSet<_>>();
    resolved.get(name).is_some_and(|known| set(known) == set(addresses))
}
