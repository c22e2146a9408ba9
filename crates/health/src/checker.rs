//! Keeps a watch over every server that is to be checked: it follows the table from snapshot to
//! snapshot, passes on what requests suspect, and looks for servers that are too slow.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tidegate_net::coarse_millis;
use tidegate_table::{Ailment, Pool, Server, Table};
use tokio::{
    sync::mpsc::Receiver,
    task::{AbortHandle, spawn_local},
    time::{MissedTickBehavior, interval},
};

use crate::{
    facts::Facts,
    news::News,
    schedule::Newcomer,
    slow,
    turns::Turns,
    watch::{Shared, Watch},
};

/// How often latencies are compared.
const COMPARE_EVERY: Duration = Duration::from_secs(1);

/// All watches. Lives on the thread of the checks.
pub(crate) struct Checker {
    table: Arc<Table>,
    news: Arc<News>,
    /// Identities of servers.
    suspected: Receiver<u64>,
    shared: Rc<Shared>,
    /// The servers watched, by pool.
    pools: HashMap<Arc<str>, HashSet<u64>>,
    watches: HashMap<u64, Watched>,
    /// Pools that do not want servers far slower than the rest.
    comparing: HashMap<Arc<str>, Arc<Pool>>,
}

/// A watch under way. Dropped, it ends with its probe.
struct Watched {
    watch: Rc<Watch>,
    task: AbortHandle,
}

/// Counts who comes at the same time.
struct Arrivals {
    is_first: bool,
    count: usize,
}

impl Checker {
    pub(crate) fn new(
        table: Arc<Table>,
        at_once: usize,
        turns: Arc<Turns>,
        suspected: Receiver<u64>,
    ) -> Self {
        let news = News::of(&table);
        Self {
            table,
            news,
            suspected,
            shared: Rc::new(Shared::new(at_once, turns)),
            pools: HashMap::new(),
            watches: HashMap::new(),
            comparing: HashMap::new(),
        }
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        let pools: Vec<_> = self.table.snapshot().pools.keys().cloned().collect();
        self.follow(pools, true);
        let mut ticks = interval(COMPARE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                changed = self.news.next() => self.follow(changed, false),
                Some(server) = self.suspected.recv() => {
                    if let Some(watched) = self.watches.get(&server) {
                        watched.watch.hurry();
                    }
                }
                _ = ticks.tick(), if !self.comparing.is_empty() => self.compare(),
            }
        }
    }

    /// Catches up with the newest snapshot, as far as these pools go.
    fn follow(&mut self, pools: impl IntoIterator<Item = Arc<str>>, is_first: bool) {
        let snapshot = self.table.snapshot();
        let mut arrivals = Arrivals { is_first, count: 0 };
        for key in pools {
            let pool = snapshot.pools.get(&key);
            let watched = pool.map(|pool| self.watch(pool, &mut arrivals)).unwrap_or_default();
            let before = self.pools.remove(&key).unwrap_or_default();
            for left in before.difference(&watched) {
                self.watches.remove(left);
            }
            if !watched.is_empty() {
                self.pools.insert(Arc::clone(&key), watched);
            }
            if let Some(pool) = pool.filter(|pool| pool.upstream.eject.latency_factor > 0) {
                self.comparing.insert(key, Arc::clone(pool));
            } else {
                self.comparing.remove(&key);
            }
        }
    }

    /// Begins or continues the watches over a pool, and says over whom.
    fn watch(&mut self, pool: &Arc<Pool>, arrivals: &mut Arrivals) -> HashSet<u64> {
        let Some(check) = &pool.upstream.check else {
            return HashSet::new();
        };
        let mut watched = HashSet::new();
        for (index, server) in pool.servers.iter().enumerate().filter(|(_, one)| !one.spec.down) {
            let id = server.state.id();
            let epoch = server.state.health.epoch();
            let facts = Facts { pool: Arc::clone(pool), index, check: Arc::clone(check), epoch };
            self.watch_one(id, facts, arrivals.next(server), arrivals);
            watched.insert(id);
        }
        watched
    }

    fn watch_one(&mut self, id: u64, facts: Facts, newcomer: Newcomer, arrivals: &mut Arrivals) {
        if let Some(watched) = self.watches.get(&id) {
            arrivals.count += usize::from(watched.watch.learn(facts, newcomer));
            return;
        }
        let watch = Rc::new(Watch::new(facts, newcomer, &self.shared));
        let task = spawn_local(Rc::clone(&watch).run()).abort_handle();
        self.watches.insert(id, Watched { watch, task });
        arrivals.count += 1;
    }

    fn compare(&self) {
        let now = coarse_millis();
        self.comparing.values().for_each(|pool| slow::eject(pool, now, &self.shared.turns));
    }
}

impl Arrivals {
    /// How `server` comes, if it does.
    fn next(&self, server: &Server) -> Newcomer {
        let ailment = server.state.health.ailment(coarse_millis());
        Newcomer {
            is_awaited: ailment == Some(Ailment::Checking),
            is_first: self.is_first,
            before: self.count,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}
