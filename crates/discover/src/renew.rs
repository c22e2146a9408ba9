//! Looking host names up again: each pool with names at its `resolve_interval`. New addresses join
//! the pool and lost ones leave it by a change like any other, so that servers that stay keep all
//! that is known of them. Pools are asked about side by side, each at most once at a time: a name
//! server that is silent about one must not keep the others waiting.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// Looks names up again for as long as the table takes changes.
pub struct Renewal {
    table: Arc<Table>,
    resolver: Arc<Resolver>,
    due: Due,
    news: News,
}

/// Pools that a change has touched since it was last looked: never all of them, for there may be
/// ten thousand.
type News = Arc<Mutex<HashSet<Name>>>;

/// When each pool with names is to be asked about next.
#[derive(Default)]
struct Due(HashMap<Name, Turn>);

/// When one pool is.
#[derive(Clone, Copy)]
struct Turn {
    /// `None`: it is being asked about.
    at: Option<Instant>,
    /// So often names were missing, one time after the other.
    missing: u32,
}

impl Renewal {
    /// Looks at every pool once; from then on at those that change.
    pub fn new(table: Arc<Table>, resolver: Arc<Resolver>) -> Self {
        let news = News::default();
        let told = Arc::clone(&news);
        table.on_change(move |names| lock(&told).extend(names.iter().cloned()));
        let snapshot = table.snapshot();
        let mut due = Due::default();
        snapshot.pools.values().for_each(|pool| due.admit(pool, Instant::now()));
        Self { table, resolver, due, news }
    }

    /// Cancel safe: dropped, it stops.
    pub async fn run(mut self) {
        let mut running = JoinSet::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => for pool in self.take(Instant::now()) {
                    let (table, resolver) = (Arc::clone(&self.table), Arc::clone(&self.resolver));
                    running.spawn(renew_one(table, resolver, pool));
                },
                Some(done) = running.join_next() => match done {
                    Ok((_, Err(Refused::Closed))) => return,
                    Ok((name, _)) => self.due.done(&name, &self.table, Instant::now()),
                    Err(error) => tracing::error!(%error, "a look-up of host names has died"),
                },
            }
        }
    }

    /// The pools whose time has come.
    fn take(&mut self, now: Instant) -> Vec<Arc<Pool>> {
        let (news, snapshot) = (std::mem::take(&mut *lock(&self.news)), self.table.snapshot());
        for name in news {
            match snapshot.pool(name.as_str()) {
                Some(pool) => self.due.admit(pool, now),
                None => drop(self.due.0.remove(&name)),
            }
        }
        let is_due = |turn: &Turn| turn.at.is_some_and(|at| at <= now);
        let due = self.due.0.iter_mut().filter(|(_, turn)| is_due(turn));
        due.filter_map(|(name, turn)| {
            let pool = Arc::clone(snapshot.pool(name.as_str())?);
            turn.at = None;
            Some(pool)
        })
        .collect()
    }
}

fn lock(news: &News) -> MutexGuard<'_, HashSet<Name>> {
    news.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Due {
    /// A pool is new, or has changed: it keeps its turn, if it had and still has names.
    fn admit(&mut self, pool: &Pool, now: Instant) {
        if names(pool).next().is_none() {
            self.0.remove(&pool.name);
        } else if !self.0.contains_key(&pool.name) {
            let turn = Turn { at: Some(now + first(pool)), missing: 0 };
            self.0.insert(pool.name.clone(), turn);
        }
    }

    /// One was asked about: its next turn.
    fn done(&mut self, name: &Name, table: &Table, now: Instant) {
        let (snapshot, turn) = (table.snapshot(), self.0.get_mut(name));
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
    let operation = Operation::Resolve { name: pool.name.clone(), resolved: found };
    let change = Change::new(vec![operation], Origin::Resolver, "resolver");
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
