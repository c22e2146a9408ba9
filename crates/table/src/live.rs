//! What is counted about a pool and its servers. It lives as long as the pool or the server does,
//! across every change of its list, and its series leave with it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tidegate_metrics::{Codes, Counter, Histogram, PerWorker};

/// How an attempt at a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// An answer came, whatever its status.
    Answered,
    /// The client went away.
    Cancelled,
    ConnectFailed,
    ConnectTimedOut,
    /// The connection broke before the answer's head was complete.
    Failed,
    /// The answer was not HTTP.
    Malformed,
    /// A kept connection turned out to be dead; the server is not blamed.
    Stale,
    TimedOut,
}

impl Attempt {
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Answered, "answered"),
        (Self::Cancelled, "cancelled"),
        (Self::ConnectFailed, "connect_failed"),
        (Self::ConnectTimedOut, "connect_timeout"),
        (Self::Failed, "failed"),
        (Self::Malformed, "malformed"),
        (Self::Stale, "stale"),
        (Self::TimedOut, "timeout"),
    ];

    pub fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    Client,
    Error,
    Idle,
    Server,
    Stop,
}

impl Close {
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Client, "client"),
        (Self::Error, "error"),
        (Self::Idle, "idle"),
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
}

impl PoolCells {
    /// Attempts that were followed by another, by what ended them.
    pub fn retries(&self, cause: Attempt) -> &Counter {
        &self.retries[cause as usize]
    }
}

/// The requests of one listener and route, by status code.
pub type Series = PerWorker<Codes>;

/// A listener and a route, as the metrics name them.
pub type SeriesKey = (Arc<str>, Arc<str>);

/// What is counted about one pool.
#[derive(Debug)]
pub struct PoolLive {
    pub cells: PerWorker<PoolCells>,
    workers: usize,
    requests: Mutex<BTreeMap<SeriesKey, Arc<Series>>>,
}

impl PoolLive {
    pub fn new(workers: usize) -> Self {
        Self { cells: PerWorker::new(workers), workers, requests: Mutex::default() }
    }

    /// The series of a listener and a route. Takes a lock: workers keep what they got.
    pub fn series(&self, listener: &Arc<str>, route: &Arc<str>) -> Arc<Series> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let series = requests.entry((Arc::clone(listener), Arc::clone(route)));
        Arc::clone(series.or_insert_with(|| Arc::new(PerWorker::new(self.workers))))
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
    fn labels_stand_at_the_index_of_their_variant() {
        assert!(Attempt::ALL.iter().enumerate().all(|(at, (outcome, _))| *outcome as usize == at));
        assert!(Close::ALL.iter().enumerate().all(|(at, (cause, _))| *cause as usize == at));
    }
}
