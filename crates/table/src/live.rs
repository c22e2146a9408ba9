//! What is counted about a pool and its servers. It lives as long as the pool or the server does,
//! across every change of its list, and its series leave with it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tidegate_metrics::{Codes, Counter, Histogram, PerWorker, Recent};
use tidegate_model::upstream::Share;

/// How an attempt at a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// An answer came, whatever its status.
    Answered,
    /// The client went away.
    Cancelled,
    ConnectFailed,
    ConnectTimedOut,
    /// Its server was drained, and the drain's deadline came.
    Drained,
    /// The connection broke before the answer's head was complete.
    Failed,
    /// An answer of that status came, and the request went on to another server.
    Http403,
    Http404,
    Http429,
    Http500,
    Http502,
    Http503,
    Http504,
    /// The answer was not HTTP.
    Malformed,
    /// A kept connection turned out to be dead; the server is not blamed.
    Stale,
    TimedOut,
    /// A connection, but no TLS over it: a handshake that failed, or a certificate of somebody else's.
    TlsFailed,
}

impl Attempt {
    pub const ALL: [(Self, &'static str); 17] = [
        (Self::Answered, "answered"),
        (Self::Cancelled, "cancelled"),
        (Self::ConnectFailed, "connect_failed"),
        (Self::ConnectTimedOut, "connect_timeout"),
        (Self::Drained, "drained"),
        (Self::Failed, "failed"),
        (Self::Http403, "http_403"),
        (Self::Http404, "http_404"),
        (Self::Http429, "http_429"),
        (Self::Http500, "http_500"),
        (Self::Http502, "http_502"),
        (Self::Http503, "http_503"),
        (Self::Http504, "http_504"),
        (Self::Malformed, "malformed"),
        (Self::Stale, "stale"),
        (Self::TimedOut, "timeout"),
        (Self::TlsFailed, "tls_failed"),
    ];

    pub fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// How a TLS handshake with a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    Failed,
    Full,
    /// A session from before was taken up again.
    Resumed,
}

impl Handshake {
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Failed, "failed"), (Self::Full, "full"), (Self::Resumed, "resumed")];
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Somebody asked for it by its id.
    Admin,
    /// The client said its last word first.
    Client,
    /// Its server was drained.
    Drain,
    /// The client's connection broke.
    ErrorClient,
    /// A bug of ours.
    ErrorInternal,
    /// A side did not answer a ping of ours.
    ErrorPing,
    /// The server's connection broke.
    ErrorServer,
    Idle,
    /// Its server has left the pool.
    Removal,
    /// The server said its last word first.
    Server,
    /// The process ends.
    Stop,
}

impl Close {
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Admin, "admin"),
        (Self::Client, "client"),
        (Self::Drain, "drain"),
        (Self::ErrorClient, "error_client"),
        (Self::ErrorInternal, "error_internal"),
        (Self::ErrorPing, "error_ping"),
        (Self::ErrorServer, "error_server"),
        (Self::Idle, "idle"),
        (Self::Removal, "removal"),
        (Self::Server, "server"),
        (Self::Stop, "stop"),
    ];

    pub fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// One worker's counts about one server.
#[derive(Debug, Default)]
pub struct ServerCells {
    pub codes: Codes,
    attempts: [Counter; Attempt::ALL.len()],
    pub tunnels: Counter,
    closes: [Counter; Close::ALL.len()],
    pub bytes_to_client: Counter,
    pub bytes_to_server: Counter,
}

impl ServerCells {
    pub fn attempt(&self, outcome: Attempt) -> &Counter {
        &self.attempts[outcome as usize]
    }

    pub fn close(&self, cause: Close) -> &Counter {
        &self.closes[cause as usize]
    }
}

/// One worker's counts about one pool.
#[derive(Debug, Default)]
pub struct PoolCells {
    /// From the request's first byte to the end of the answer.
    pub request_seconds: Histogram,
    /// From the pick to the answer's head, of the last attempt.
    pub upstream_seconds: Histogram,
    retries: [Counter; Attempt::ALL.len()],
    handshakes: [Counter; Handshake::ALL.len()],
    /// First attempts, by second.
    recent: Recent,
    /// Retries because of a status or time-out, by second.
    recent_retries: Recent,
    /// Retries that the budget refused.
    pub budget_exhausted: Counter,
    /// Bodies that found no room to be kept for a retry.
    pub replay_refused: Counter,
}

/// A retry budget looks back so far.
const BUDGET_SECONDS: u64 = 10;
/// So many retries a second are always allowed.
const ALWAYS: u64 = 10;

impl PoolCells {
    /// A request comes, at `now` in milliseconds.
    pub fn begin(&self, now: u64) {
        self.recent.add(now / 1_000, 1);
    }

    /// Attempts that were followed by another, by what ended them.
    pub fn retries(&self, cause: Attempt) -> &Counter {
        &self.retries[cause as usize]
    }

    /// TLS handshakes with its servers, by how they ended.
    pub fn handshakes(&self, outcome: Handshake) -> &Counter {
        &self.handshakes[outcome as usize]
    }
}

/// Which limit of its route turned a request away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// As many at once as there may be.
    Connections,
    /// Its client is not allowed there.
    Denied,
    /// Too many in too short a time.
    Rate,
}

impl Barred {
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Connections, "conn_limit"), (Self::Denied, "denied"), (Self::Rate, "rate_limit")];

    pub fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// One worker's counts about the requests of one listener and route.
#[derive(Debug, Default)]
pub struct RequestCells {
    pub codes: Codes,
    barred: [Counter; Barred::ALL.len()],
}

impl RequestCells {
    /// One that was answered with that code.
    pub fn count(&self, code: u16) {
        self.codes.count(code);
    }

    /// Those that a limit turned away.
    pub fn barred(&self, by: Barred) -> &Counter {
        &self.barred[by as usize]
    }
}

/// The requests of one listener and route.
pub type Series = PerWorker<RequestCells>;

/// A listener and a route, as the metrics name them.
pub type SeriesKey = (Arc<str>, Arc<str>);

/// What is counted about one pool.
#[derive(Debug)]
pub struct PoolLive {
    pub cells: PerWorker<PoolCells>,
    /// Servers ejected for their answers, by whoever saw it.
    ejections: AtomicU64,
    workers: usize,
    requests: Mutex<BTreeMap<SeriesKey, Arc<Series>>>,
}

impl PoolLive {
    pub fn new(workers: usize) -> Self {
        Self {
            cells: PerWorker::new(workers),
            ejections: AtomicU64::new(0),
            workers,
            requests: Mutex::default(),
        }
    }

    /// Asks for one more retry because of a status or time-out, at `now` in milliseconds: the
    /// pool's budget allows `share` of the last ten seconds' requests, and ten a second in any case.
    /// Workers that ask at the same moment may together get a few too many.
    pub fn take_retry(&self, worker: usize, share: Share, now: u64) -> bool {
        let second = now / 1_000;
        let over = |seconds, of: fn(&PoolCells) -> &Recent| {
            self.cells.sum(|cells| of(cells).over(second, seconds))
        };
        let allowed = over(1, |cells| &cells.recent_retries) < ALWAYS
            || over(BUDGET_SECONDS, |cells| &cells.recent_retries)
                < share.of(over(BUDGET_SECONDS, |cells| &cells.recent));
        let cells = self.cells.of(worker);
        if allowed {
            cells.recent_retries.add(second, 1);
        } else {
            cells.budget_exhausted.add(1);
        }
        allowed
    }

    pub(crate) fn ejected(&self) {
        self.ejections.fetch_add(1, Relaxed);
    }

    /// Servers ejected so far.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// The series of a listener and a route. Takes a lock: workers keep what they got.
    pub fn series(&self, listener: &Arc<str>, route: &Arc<str>) -> Arc<Series> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let series = requests.entry((Arc::clone(listener), Arc::clone(route)));
        Arc::clone(series.or_insert_with(|| Arc::new(PerWorker::new(self.workers))))
    }

    /// Drops the series of a listener that is no more.
    pub(crate) fn forget(&self, listener: &str) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.retain(|(of, _), _| &**of != listener);
    }

    /// Every series, with its listener and route.
    pub fn all_series(&self) -> Vec<(SeriesKey, Arc<Series>)> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().map(|(key, series)| (key.clone(), Arc::clone(series))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_may_add_their_share_and_ten_a_second() {
        let live = PoolLive::new(2);
        (0..2).for_each(|worker| (0..500).for_each(|_| live.cells.of(worker).begin(5_000)));
        let take = |worker, now| live.take_retry(worker, Share::from_percent(20), now);
        assert_eq!((0..300).filter(|at| take(at % 2, 5_500)).count(), 200);
        assert_eq!((0..300).filter(|at| take(at % 2, 6_000)).count(), 10);
        assert_eq!(live.cells.sum(|cells| cells.budget_exhausted.value()), 390);
        assert_eq!((0..300).filter(|_| take(0, 40_000)).count(), 10);
    }

    #[test]
    fn labels_stand_at_the_index_of_their_variant() {
        assert!(Attempt::ALL.iter().enumerate().all(|(at, (outcome, _))| *outcome as usize == at));
        assert!(Barred::ALL.iter().enumerate().all(|(at, (by, _))| *by as usize == at));
        assert!(Handshake::ALL.iter().enumerate().all(|(at, (how, _))| *how as usize == at));
        assert!(Close::ALL.iter().enumerate().all(|(at, (cause, _))| *cause as usize == at));
    }
}
