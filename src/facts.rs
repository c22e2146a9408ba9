//! What the admin side asks the process about itself.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use tidegate_admin::{DatagramTotals, Facts, ListenerTotals, Reload, StatusSource, Totals};
use tidegate_net::{Descriptors, coarse_millis};
use tidegate_worker::{ListenerLive, Shared};

/// Panics since the start; counted by the hook that logs them.
pub(crate) static PANICS: AtomicU64 = AtomicU64::new(0);

/// A worker looks at its clock this often.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// A listener, as it tells about itself.
pub(crate) struct Listening {
    pub(crate) address: String,
    pub(crate) protocol: &'static str,
    pub(crate) live: Arc<ListenerLive>,
}

/// The process, as it tells about itself.
pub(crate) struct Process {
    pub(crate) started: (SystemTime, Instant),
    pub(crate) workers: usize,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) descriptors: Descriptors,
    pub(crate) shared: Arc<Shared>,
    pub(crate) listeners: Vec<Listening>,
    pub(crate) serving: AtomicBool,
    pub(crate) last_reload: Mutex<Option<Reload>>,
}

impl Process {
    /// Client connections open now, tunnels among them.
    pub(crate) fn open(&self) -> u64 {
        self.listeners.iter().map(|listener| u64::from(listener.live.open())).sum()
    }

    /// How long ago each worker was last seen alive, beyond the time between two looks.
    pub(crate) fn lags(&self) -> Vec<Duration> {
        let now = coarse_millis();
        let lag = |index| {
            // One that has not come round yet has just been started.
            let alive = Some(self.shared.totals.of(index).alive.value()).filter(|at| *at > 0);
            Duration::from_millis(alive.map_or(0, |alive| now.saturating_sub(alive)))
                .saturating_sub(ALIVE_EVERY)
        };
        (0..self.workers).map(lag).collect()
    }
}

impl StatusSource for Process {
    fn facts(&self) -> Facts {
        let last_reload = self.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
        Facts {
            version: env!("CARGO_PKG_VERSION"),
            started: self.started.0,
            started_at: self.started.1,
            workers: self.workers,
            state_dir: self.state_dir.clone(),
            last_reload: last_reload.clone(),
            tunnels_that_fit: self.descriptors.tunnels(),
        }
    }

    fn is_serving(&self) -> bool {
        self.serving.load(Relaxed)
    }
}

impl Totals for Process {
    fn listeners(&self) -> Vec<ListenerTotals> {
        let totals = |Listening { address, protocol, live }: &Listening| ListenerTotals {
            name: live.name.to_string(),
            address: address.clone(),
            protocol,
            connections_active: live.cells.sum(|cells| cells.active.value()),
            connections_total: live.cells.sum(|cells| cells.accepted.value()),
            tunnels: live.tunnels(),
            datagrams: (*protocol == "udp").then(|| DatagramTotals {
                to_server: live.cells.sum(|cells| cells.udp.to_server.value()),
                to_client: live.cells.sum(|cells| cells.udp.to_client.value()),
                dropped: live.cells.sum(|cells| cells.udp.dropped.value()),
                evicted: live.cells.sum(|cells| cells.udp.evicted.value()),
            }),
        };
        self.listeners.iter().map(totals).collect()
    }

    fn access_log_dropped(&self) -> u64 {
        self.shared.access.as_ref().map_or(0, tidegate_worker::AccessLog::dropped)
    }

    fn log_lines_dropped(&self) -> u64 {
        self.shared.totals.sum(|totals| totals.lines_dropped.value())
    }

    fn panics(&self) -> u64 {
        PANICS.load(Relaxed)
    }

    fn local_errors(&self) -> Vec<(&'static str, u64)> {
        let totals = &self.shared.totals;
        vec![
            ("accept", totals.sum(|totals| totals.accept_errors.value())),
            ("connect", totals.sum(|totals| totals.connect_errors.value())),
        ]
    }

    fn worker_lag(&self) -> Vec<Duration> {
        self.lags()
    }

    fn failure_clock(&self) -> u64 {
        coarse_millis()
    }
}
