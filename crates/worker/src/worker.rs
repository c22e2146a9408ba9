//! One worker: a thread with a runtime of its own, and what its connections share.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use foldhash::fast::RandomState;
use tidegate_health::Suspects;
use tidegate_metrics::{Counter, Gauge, PerWorker};
use tidegate_net::{Scratch, Timers, coarse_millis};
use tidegate_pool::{Budget, Idle};
use tidegate_table::{PoolLive, Reader, Series, Snapshot, Table};
use tidegate_tunnel::Register;

use crate::{
    access::{AccessLog, Format, Record},
    door::Stay,
    identity::RequestId,
    listener::{Listener, ListenerLive},
    memory::ReplayMemory,
    room::Room,
    traces::Traces,
    turns::Turns,
};

/// How often idle connections are looked after.
const SWEEP: Duration = Duration::from_secs(1);

/// Series kept at hand before they are looked up anew.
const MAX_SERIES: usize = 4_096;

/// Lines of each kind that one worker writes a second; more are counted.
const LINES_A_SECOND: u32 = 20;

/// Kinds of lines that are bounded apart: what a stranger can cause must not silence the rest.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    Failure,
    Refusal,
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    pub table: Arc<Table>,
    pub workers: usize,
    pub budget: Arc<Budget>,
    /// What traffic may take of the descriptors.
    pub room: Room,
    pub totals: PerWorker<Totals>,
    pub access: Option<AccessLog>,
    /// Where spans of requests go; `None`: Tidegate takes no part in traces.
    pub traces: Option<Traces>,
    /// For bodies that may have to be sent again.
    pub replay: Arc<ReplayMemory>,
    /// Every tunnel that is open.
    pub tunnels: Arc<Register>,
    /// Who asks the checks about a server that failed a request.
    pub suspects: Suspects,
}

impl Shared {
    /// Whether a request is written down in full, and not only what nginx's form of it takes.
    pub fn logs_all(&self) -> bool {
        self.access.as_ref().is_some_and(|log| log.format() == Format::Json)
    }

    /// Hands over what became of a request, to the access log and to be exported.
    pub fn keep(&self, mut record: Box<Record>) {
        self.export(&mut record);
        if let Some(log) = &self.access {
            log.write(record);
        }
    }

    /// Exports a request's span, if it is to be, as the record has it now.
    pub fn export(&self, record: &mut Record) {
        if let Some(traces) = &self.traces
            && record.span.is_some()
        {
            traces.export(Box::new(record.clone()));
            record.span = None;
        }
    }
}

/// The label of what reached no route: one for the whole process, for it is a key.
pub fn no_route() -> Arc<str> {
    static NO_ROUTE: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| Arc::from(""));
    Arc::clone(&NO_ROUTE)
}

/// One worker's counts about itself.
#[derive(Debug, Default)]
pub struct Totals {
    /// Accepts that failed because descriptors, ports or memory ran out.
    pub accept_errors: Counter,
    /// Connects to servers that failed so.
    pub connect_errors: Counter,
    /// Log lines that were not written.
    pub lines_dropped: Counter,
    /// When the worker last came round, in milliseconds of the coarse clock.
    pub alive: Gauge,
}

/// A series at hand. It holds what its key was made from, so that no address can come to mean
/// something else meanwhile.
#[derive(Debug)]
struct Known {
    series: Arc<Series>,
    _listener: Arc<ListenerLive>,
    _route: Arc<str>,
    _live: Arc<PoolLive>,
}

/// One worker.
#[derive(Debug)]
pub struct Worker {
    pub index: usize,
    pub shared: Arc<Shared>,
    pub scratch: Scratch,
    pub timers: Timers,
    pub idle: RefCell<Idle>,
    reader: RefCell<Reader>,
    pub random: RefCell<fastrand::Rng>,
    /// Of handshakes.
    turns: Turns,
    date: RefCell<(u64, String)>,
    series: RefCell<HashMap<(usize, usize, usize), Known, RandomState>>,
    /// Whose turn it is among a pool's addresses to connect from.
    source: Cell<usize>,
    lines: [Cell<(u64, u32)>; 2],
}

impl Worker {
    pub fn new(index: usize, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            index,
            scratch: Scratch::default(),
            timers: Timers::default(),
            idle: RefCell::new(Idle::new(Arc::clone(&shared.budget))),
            reader: RefCell::new(shared.table.reader()),
            random: RefCell::new(fastrand::Rng::new()),
            turns: Turns::default(),
            date: RefCell::default(),
            series: RefCell::default(),
            source: Cell::new(0),
            lines: Default::default(),
            shared,
        })
    }

    /// Runs the timers and looks after idle connections. Never ends.
    pub async fn keep_house(self: Rc<Self>) {
        let sweeping = async {
            let mut every = tokio::time::interval(SWEEP);
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                self.totals().alive.set(coarse_millis());
                self.idle.borrow_mut().sweep();
            }
        };
        tokio::join!(sweeping, self.timers.drive());
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.reader.borrow_mut().snapshot())
    }

    pub fn with_snapshot<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> T {
        look(self.reader.borrow_mut().snapshot())
    }

    pub fn totals(&self) -> &Totals {
        self.shared.totals.of(self.index)
    }

    /// From now on connections of that stay end with their current request; those that wait for one,
    /// within `linger`.
    pub fn end(&self, stay: &Stay, linger: Duration) {
        stay.end(linger);
        self.timers.hurry_idle(stay.number(), linger);
    }

    pub fn request_id(&self) -> RequestId {
        RequestId::random(self.random.borrow_mut().u128(..))
    }

    /// Writes the date of now (RFC 9110 §5.6.7), made anew ten times a second at most.
    pub fn with_date<T>(&self, write: impl FnOnce(&str) -> T) -> T {
        let tenth = coarse_millis() / 100;
        let mut date = self.date.borrow_mut();
        if date.0 != tenth || date.1.is_empty() {
            *date = (tenth, httpdate::fmt_http_date(SystemTime::now()));
        }
        write(&date.1)
    }

    /// The series that counts this listener's, route's and pool's requests.
    pub fn series(
        &self,
        listener: &Listener,
        route: &Arc<str>,
        live: &Arc<PoolLive>,
    ) -> Arc<Series> {
        let of_listener = Arc::as_ptr(&listener.live).addr();
        let key = (of_listener, Arc::as_ptr(route).addr(), Arc::as_ptr(live).addr());
        let mut known = self.series.borrow_mut();
        if let Some(known) = known.get(&key) {
            return Arc::clone(&known.series);
        }
        let series = live.series(&listener.live.name, route);
        if known.len() >= MAX_SERIES {
            known.clear();
        }
        let entry = Known {
            series: Arc::clone(&series),
            _listener: Arc::clone(&listener.live),
            _route: Arc::clone(route),
            _live: Arc::clone(live),
        };
        known.insert(key, entry);
        series
    }

    /// The next of a pool's own addresses from which a server can be connected to; `None` leaves it to
    /// the system.
    pub fn next_source(&self, sources: &[IpAddr], server: IpAddr) -> Option<IpAddr> {
        if sources.is_empty() {
            return None;
        }
        let turn = self.source.get();
        self.source.set(turn.wrapping_add(1));
        let of_family = || {
            let sources = sources.iter().map(IpAddr::to_canonical);
            sources.filter(|source| source.is_ipv4() == server.is_ipv4())
        };
        of_family().nth(turn.checked_rem(of_family().count())?)
    }

    /// Runs what serves a client of which nothing is known yet: however many of them there are, the
    /// others are looked at in between. Cancel safe if that is.
    pub async fn in_turn<F: Future>(&self, serving: F) -> F::Output {
        self.turns.run(serving).await
    }

    /// Whether one more line of that kind may be written now.
    pub fn may_log(&self, kind: Line) -> bool {
        let budget = &self.lines[kind as usize];
        let second = coarse_millis() / 1_000;
        let (last, lines) = budget.get();
        let lines = if last == second { lines } else { 0 };
        budget.set((second, lines + 1));
        let allowed = lines < LINES_A_SECOND;
        if !allowed {
            self.totals().lines_dropped.add(1);
        }
        allowed
    }
}
