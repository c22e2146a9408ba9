//! All emptyings at once: those of the table's drains, of servers that left their pool, and of the
//! end of the process. One task on the control thread ticks them while there are any.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tidegate_model::{
    Name, Span,
    drain::Order,
    upstream::{CloseCode, OnRemove},
};
use tidegate_table::{
    Applied, Change, Departure, Drain, Operation, Origin, Pool, Refused, ServerState, Snapshot,
    Table,
};
use tidegate_tunnel::{Ask, How, Register, Why};
use tokio::sync::Notify;

use crate::{
    emptying::{Emptying, Orders, Wakes},
    notify::notify,
    pace::Speed,
    view::{Remaining, State, View},
};

/// How often an emptying looks at the clock. At the highest sensible rates that is a few tunnels.
const TICK: Duration = Duration::from_millis(5);
/// A server that left with `close` has so long before what is left of its tunnels is cut.
const CLOSE_WITHIN: Duration = Duration::from_secs(15);
/// All there are.
const AT_ONCE: Speed = Speed { count: 1 << 30, per: TICK };
/// After a finished drain could not be recorded.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The way to the workers.
pub trait Workers: Send + Sync {
    /// Wakes the tasks that wait for timers of these keys.
    fn wake(&self, worker: usize, timers: Vec<u32>);

    /// Wakes everything, to look whether its server has been cut.
    fn recheck(&self);
}

/// Everything that is being emptied.
pub struct Operate {
    table: Arc<Table>,
    register: Arc<Register>,
    workers: Box<dyn Workers>,
    running: Mutex<Running>,
    departures: Mutex<Vec<Departure>>,
    bell: Notify,
}

#[derive(Default)]
struct Running {
    drains: BTreeMap<u64, Ordered>,
    removals: Vec<Emptying>,
    stopping: Vec<Emptying>,
    /// Drains whose end is being recorded.
    finishing: HashSet<u64>,
}

/// A drain of the table, under way.
struct Ordered {
    drain: Arc<Drain>,
    emptying: Emptying,
}

/// What the end of the process did to its tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    pub closed: u64,
    pub left: u64,
    /// Those still open.
    pub open: u64,
}

impl Operate {
    /// Takes up the drains that the table holds.
    pub fn new(table: Arc<Table>, register: Arc<Register>, workers: Box<dyn Workers>) -> Arc<Self> {
        let this = Arc::new(Self {
            table,
            register,
            workers,
            running: Mutex::default(),
            departures: Mutex::default(),
            bell: Notify::new(),
        });
        let told = Arc::downgrade(&this);
        this.table
            .on_drains(move || told.upgrade().into_iter().for_each(|it| it.bell.notify_one()));
        let told = Arc::downgrade(&this);
        this.table.on_departure(move |left| {
            let Some(it) = told.upgrade() else { return };
            let ends = left.iter().filter(|one| one.existing != OnRemove::Keep);
            lock(&it.departures).extend(ends.cloned());
            it.bell.notify_one();
        });
        this
    }

    /// Empties what is to be emptied. Never ends. Cancel safe: what goes on is in the table.
    pub async fn run(self: Arc<Self>) {
        loop {
            let is_busy = self.turn(Instant::now());
            let bell = self.bell.notified();
            if is_busy {
                tokio::time::sleep(TICK).await;
            } else {
                bell.await;
            }
        }
    }

    /// Applies an operation on drains.
    ///
    /// # Errors
    /// What the table has against it.
    async fn change(
        &self,
        operation: Operation,
        origin: Origin,
        caller: String,
    ) -> Result<Applied, Refused> {
        self.table.change(Change::new(vec![operation], origin, caller)).await
    }

    /// Every drain of the table.
    pub fn drains(&self) -> Vec<View> {
        let running = &mut *lock(&self.running);
        self.follow(running, Instant::now());
        running.drains.values().map(view).collect()
    }

    /// One drain.
    pub fn drain(&self, id: u64) -> Option<View> {
        let running = &mut *lock(&self.running);
        self.follow(running, Instant::now());
        running.drains.get(&id).map(view)
    }

    /// Asks one tunnel to close, politely; `false` when there is none of that id.
    pub fn close(&self, id: u64) -> bool {
        let Some((worker, card)) = self.register.find(id) else { return false };
        let pool = self.table.snapshot();
        let pool = pool.pool(card.server.pool().as_str());
        card.ask(Arc::new(Ask {
            why: Why::Admin,
            how: How::WhenQuiet,
            code: pool.map_or_else(CloseCode::default, |pool| pool.upstream.tunnel.close_code),
            reason: "closed by an operator".into(),
            tally: Arc::default(),
        }));
        self.workers.wake(worker, vec![card.timer()]);
        true
    }

    /// Begins to empty every server: the process ends. How long that takes, if there is a tunnel.
    pub fn stop(&self) -> Option<Duration> {
        let now = Instant::now();
        let snapshot = self.table.snapshot();
        let mut pools = HashMap::<Name, (Span, Vec<Arc<ServerState>>)>::new();
        for pool in snapshot.pools.values() {
            let states = pool.servers.iter().map(|server| Arc::clone(&server.state));
            let over = pool.upstream.tunnel.drain_over;
            pools.insert(pool.name.clone(), (over, states.collect()));
        }
        for state in self.table.departed() {
            let usual = Span::from_secs(60);
            pools.entry(state.pool().clone()).or_insert((usual, Vec::new())).1.push(state);
        }
        // A request that runs may be about to open a tunnel.
        let busy = pools.into_values().filter(|(_, states)| states.iter().any(|s| s.busy() > 0));
        let mut longest = None;
        let emptyings = busy.map(|(over, servers)| {
            let over = over.as_duration();
            let has_tunnels = servers.iter().any(|state| state.tunnels() > 0);
            let speed = if has_tunnels {
                longest = longest.max(Some(over));
                evenly(&servers, over)
            } else {
                AT_ONCE
            };
            let orders = Orders {
                why: Why::Stop,
                servers,
                order: Order::QuietFirst,
                code: CloseCode::GOING_AWAY,
                reason: "shutting down".into(),
                deadline: None,
            };
            Emptying::new(orders, speed, now)
        });
        lock(&self.running).stopping = emptyings.collect();
        self.bell.notify_one();
        longest
    }

    /// What [`Self::stop`] has done so far.
    pub fn stopped(&self) -> Stopped {
        let running = lock(&self.running);
        let sum = running.stopping.iter().fold(Stopped::default(), |sum, one| Stopped {
            closed: sum.closed + one.tally.closed(),
            left: sum.left + one.left(),
            open: 0,
        });
        Stopped { open: self.register.len() as u64, ..sum }
    }

    /// One turn of everything; `true` while there is something to do.
    fn turn(self: &Arc<Self>, now: Instant) -> bool {
        let running = &mut *lock(&self.running);
        self.follow(running, now);
        for departure in std::mem::take(&mut *lock(&self.departures)) {
            // Who left, came back and leaves again does so once.
            let is_it = |one: &Emptying| Arc::ptr_eq(&one.orders.servers[0], &departure.state);
            running.removals.retain(|one| !is_it(one));
            running.removals.push(removal(departure, now));
        }
        let left_again = |one: &Emptying| one.orders.servers.iter().all(|state| state.is_gone());
        running.removals.retain(|one| one.tunnels() > 0 && left_again(one));
        let drains = running.drains.values_mut().filter(|one| one.drain.finished.is_none());
        let all = drains.map(|one| &mut one.emptying);
        let mut is_busy = false;
        for emptying in all.chain(&mut running.removals).chain(&mut running.stopping) {
            is_busy |= !emptying.is_over();
            let (wakes, recheck) = emptying.tick(&self.register, now);
            self.wake(wakes, recheck);
        }
        self.finish(running);
        is_busy
    }

    fn wake(&self, wakes: Wakes, recheck: bool) {
        for (worker, timers) in wakes {
            self.workers.wake(worker, timers);
        }
        if recheck {
            self.workers.recheck();
        }
    }

    /// Takes note of what has become of the table's drains.
    fn follow(&self, running: &mut Running, now: Instant) {
        let snapshot = self.table.snapshot();
        running.drains.retain(|id, ordered| {
            let stays = snapshot.drains.contains_key(id);
            if !stays {
                ordered.emptying.orders.servers.iter().for_each(|state| state.spare_requests());
            }
            stays
        });
        for (id, drain) in &snapshot.drains {
            match running.drains.get_mut(id) {
                Some(ordered) if ordered.drain.generation == drain.generation => (),
                Some(ordered) => ordered.change(drain, &snapshot, now),
                None => {
                    if let Some(ordered) = Ordered::begin(drain, &snapshot, now) {
                        running.drains.insert(*id, ordered);
                    }
                }
            }
        }
    }

    /// Records drains that are over.
    fn finish(self: &Arc<Self>, running: &mut Running) {
        for (id, ordered) in &running.drains {
            let is_new = ordered.drain.finished.is_none() && ordered.emptying.is_over();
            if is_new && running.finishing.insert(*id) {
                tokio::spawn(Arc::clone(self).record(*id));
            }
        }
    }

    async fn record(self: Arc<Self>, id: u64) {
        let done = self.change(Operation::FinishDrain { id }, Origin::Drain, "drain".into()).await;
        match done {
            Ok(_) => {
                if let Some(view) = self.drain(id) {
                    let View { spec, total, closed, left, cut, .. } = &view;
                    tracing::info!(drain = id, upstream = %spec.upstream, server = spec.server, total, closed, left, cut, "server drained");
                    tokio::spawn(notify(view));
                }
            }
            // It was cancelled, or its server has left.
            Err(Refused::DrainNotFound(_)) => (),
            Err(error) => {
                tracing::error!(drain = id, %error, "the end of a drain could not be recorded");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
        lock(&self.running).finishing.remove(&id);
        self.bell.notify_one();
    }
}

impl Ordered {
    fn begin(drain: &Arc<Drain>, snapshot: &Snapshot, now: Instant) -> Option<Self> {
        let pool = snapshot.pool(drain.spec.upstream.as_str())?;
        let server = pool.servers.iter().find(|server| server.draining == Some(drain.id))?;
        let orders = orders(drain, pool, vec![Arc::clone(&server.state)], now);
        let speed = speed(drain, pool, &orders.servers);
        let mut emptying = Emptying::new(orders, speed, now);
        emptying.pace.set_paused(drain.spec.paused, now);
        Some(Self { drain: Arc::clone(drain), emptying })
    }

    fn change(&mut self, drain: &Arc<Drain>, snapshot: &Snapshot, now: Instant) {
        let Some(pool) = snapshot.pool(drain.spec.upstream.as_str()) else { return };
        let begins_anew = drain.begun != self.drain.begun;
        let pace = |drain: &Drain| (drain.begun, drain.spec.over, drain.spec.rate);
        let servers = self.emptying.orders.servers.clone();
        // What is left goes on as it went: a pause must not stretch the time it was given.
        let speed = match pace(drain) == pace(&self.drain) {
            true => self.emptying.pace.speed(),
            false => speed(drain, pool, &servers),
        };
        self.drain = Arc::clone(drain);
        let orders = orders(drain, pool, servers, now);
        if begins_anew && self.emptying.is_over() {
            self.emptying = Emptying::new(orders, speed, now);
        } else {
            self.emptying.orders = orders;
            self.emptying.pace.set_speed(speed, now);
        }
        self.emptying.pace.set_paused(drain.spec.paused, now);
    }
}

fn orders(drain: &Drain, pool: &Pool, servers: Vec<Arc<ServerState>>, now: Instant) -> Orders {
    let spec = &drain.spec;
    let since = Duration::from_millis(unix_millis().saturating_sub(drain.begun));
    let deadline = spec.deadline.map(|deadline| now + deadline.as_duration().saturating_sub(since));
    Orders {
        why: Why::Drain(drain.id),
        servers,
        order: spec.order,
        code: spec.close_code.unwrap_or(pool.upstream.tunnel.close_code),
        reason: spec.reason.as_deref().unwrap_or("server is being drained").into(),
        deadline,
    }
}

fn speed(drain: &Drain, pool: &Pool, servers: &[Arc<ServerState>]) -> Speed {
    match drain.spec.rate {
        Some(rate) => {
            let (count, millis) = rate.as_ratio();
            Speed { count: count.into(), per: Duration::from_millis(millis) }
        }
        None => {
            let over = drain.spec.over.unwrap_or(pool.upstream.tunnel.drain_over);
            evenly(servers, over.as_duration())
        }
    }
}

/// All tunnels that are open now, over that time.
fn evenly(servers: &[Arc<ServerState>], over: Duration) -> Speed {
    let open = servers.iter().map(|state| u64::from(state.tunnels())).sum::<u64>();
    Speed { count: open.max(1), per: over.max(TICK) }
}

/// A server left its pool, and its tunnels are to end.
fn removal(departure: Departure, now: Instant) -> Emptying {
    let Departure { state, existing, drain_over, close_code, generation } = departure;
    let servers = vec![state];
    let (speed, deadline) = match existing {
        OnRemove::Close => (AT_ONCE, Some(now + CLOSE_WITHIN)),
        OnRemove::Drain | OnRemove::Keep => (evenly(&servers, drain_over.as_duration()), None),
    };
    let orders = Orders {
        why: Why::Removal(generation),
        servers,
        order: Order::QuietFirst,
        code: close_code,
        reason: "server was removed".into(),
        deadline,
    };
    Emptying::new(orders, speed, now)
}

fn view(ordered: &Ordered) -> View {
    let Ordered { drain, emptying } = ordered;
    let state = match (drain.finished, drain.spec.paused) {
        (Some(_), _) => State::Drained,
        (None, true) => State::Paused,
        (None, false) => State::Running,
    };
    View {
        id: drain.id,
        generation: drain.generation,
        spec: drain.spec.clone(),
        state,
        begun: drain.begun,
        finished: drain.finished,
        total: emptying.total(),
        closed: emptying.tally.closed(),
        left: emptying.left(),
        cut: emptying.tally.cut(),
        remaining: Remaining { tunnels: emptying.tunnels(), requests: emptying.requests() },
        eta_seconds: (state == State::Running)
            .then(|| emptying.eta().map(|eta| eta.as_secs_f64().ceil() as u64))
            .flatten(),
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
