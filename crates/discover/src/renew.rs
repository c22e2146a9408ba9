//! Looking host names up again: each pool with names at its `resolve_interval`. New addresses join
//! the pool and lost ones leave it by a change like any other, so that servers that stay keep all
//! that is known of them. Pools are asked about side by side, each at most once at a time: a name
//! server that is silent about one must not keep the others waiting.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_model::{Name, Resolved, address::Place};
use tidegate_table::{Change, Operation, Origin, Pool, Refused, Table};
use tokio::task::JoinSet;

use crate::resolve::{Resolver, Unresolved};

/// How often it is looked which pool is due.
const TICK: Duration = Duration::from_millis(500);
/// A pool with a name that was never found is asked about this soon, then half as often each time
/// until it is as often as its `resolve_interval` says.
const WHILE_MISSING: Duration = Duration::from_secs(2);

/// Looks names up again for as long as the table takes changes. Cancel safe: dropped, it stops.
pub async fn renew(table: Arc<Table>, resolver: Arc<Resolver>) {
    let mut due = Due::default();
    let mut running = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => for pool in due.take(&table, Instant::now()) {
                running.spawn(renew_one(Arc::clone(&table), Arc::clone(&resolver), pool));
            },
            Some(done) = running.join_next() => match done {
                Ok((_, Err(Refused::Closed))) => return,
                Ok((name, _)) => due.done(&name, &table, Instant::now()),
                Err(error) => tracing::error!(%error, "a look-up of host names has died"),
            },
        }
    }
}

/// When each pool with names is to be asked about next.
#[derive(Default)]
struct Due {
    /// The generation that was last looked at for such pools.
    generation: Option<u64>,
    pools: HashMap<Name, Turn>,
}

/// When one pool is.
#[derive(Clone, Copy)]
struct Turn {
    /// `None`: it is being asked about.
    at: Option<Instant>,
    /// So often names were missing, one time after the other.
    missing: u32,
}

impl Due {
    /// The pools whose time has come.
    fn take(&mut self, table: &Table, now: Instant) -> Vec<Arc<Pool>> {
        let snapshot = table.snapshot();
        if self.generation != Some(snapshot.generation) {
            self.generation = Some(snapshot.generation);
            let known = std::mem::take(&mut self.pools);
            let named = snapshot.pools.values().filter(|pool| names(pool).next().is_some());
            self.pools = named
                .map(|pool| {
                    let first = || Turn { at: Some(now + first(pool)), missing: 0 };
                    (pool.name.clone(), known.get(&pool.name).copied().unwrap_or_else(first))
                })
                .collect();
        }
        let mut pools = Vec::new();
        for (name, turn) in &mut self.pools {
            if turn.at.is_some_and(|at| at <= now)
                && let Some(pool) = snapshot.pool(name.as_str())
            {
                turn.at = None;
                pools.push(Arc::clone(pool));
            }
        }
        pools
    }

    /// One was asked about: its next turn.
    fn done(&mut self, name: &Name, table: &Table, now: Instant) {
        let (snapshot, turn) = (table.snapshot(), self.pools.get_mut(name));
        if let (Some(pool), Some(turn)) = (snapshot.pool(name.as_str()), turn) {
            turn.missing = if is_missing(pool) { turn.missing.saturating_add(1) } else { 0 };
            turn.at = Some(now + interval(pool, turn.missing));
        }
    }
}

/// The host names of a pool, as typed.
fn names(pool: &Pool) -> impl Iterator<Item = &str> {
    let servers = pool.upstream.servers.iter();
    let named = servers.filter(|server| matches!(server.address.place(), Place::Host(..)));
    named.map(|server| server.address.as_str())
}

/// Whether it has a name that was never found.
fn is_missing(pool: &Pool) -> bool {
    names(pool).any(|name| !pool.resolved.contains_key(name))
}

fn interval(pool: &Pool, missing: u32) -> Duration {
    let usual = pool.upstream.resolve_interval.as_duration();
    match missing.checked_sub(1) {
        None => usual,
        Some(times) => usual.min(WHILE_MISSING.saturating_mul(1 << times.min(16))),
    }
}

/// Pools that came together do not ask together.
fn first(pool: &Pool) -> Duration {
    interval(pool, u32::from(is_missing(pool))).mul_f64(0.5 + fastrand::f64() / 2.0)
}

async fn renew_one(
    table: Arc<Table>,
    resolver: Arc<Resolver>,
    pool: Arc<Pool>,
) -> (Name, Result<(), Refused>) {
    let (mut found, unresolved) = resolver.resolve_some(&pool.upstream.servers).await;
    for Unresolved { name, reason } in unresolved {
        let stands = pool.resolved.get(&name).map_or(0, Vec::len);
        tracing::warn!(upstream = %pool.name, name, reason, addresses = stands, "host name not found; what was known of it stands");
    }
    found.retain(|name, addresses| !is_known(&pool.resolved, name, addresses));
    let taken = if found.is_empty() { Ok(()) } else { take_over(&table, &pool, found).await };
    (pool.name.clone(), taken)
}

async fn take_over(table: &Table, pool: &Pool, found: Resolved) -> Result<(), Refused> {
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
fn is_known(resolved: &Resolved, name: &str, addresses: &[SocketAddr]) -> bool {
    let set = |addresses: &[_]| addresses.iter().copied().collect::<BTreeSet<_>>();
    resolved.get(name).is_some_and(|known| set(known) == set(addresses))
}
