//! What the admin side asks the process about itself.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use tidegate_admin::{
    Certificate, Configuration, DatagramTotals, Facts, Http2Totals, ListenerTotals, NotReloaded,
    Reload, Reloading, SpanTotals, StatusSource, TlsTotals, Totals,
};
use tidegate_h2::Fault;
use tidegate_net::{Descriptors, coarse_millis};
use tidegate_pool::Securing;
use tidegate_worker::{Full, Handshake, Http2Cells, ListenerLive, Shared};
use tokio::sync::{mpsc::Sender, oneshot};

use crate::{
    certificates::{Secured, Watched},
    reload::Asked,
};

/// Panics since the start; counted by the hook that logs them.
pub(crate) static PANICS: AtomicU64 = AtomicU64::new(0);

/// A worker looks at its clock this often.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// A listener, as it tells about itself.
pub(crate) struct Listening {
    pub(crate) address: String,
    pub(crate) protocol: &'static str,
    pub(crate) live: Arc<ListenerLive>,
    /// What it does TLS with.
    pub(crate) secured: Option<Arc<Secured>>,
    /// Nobody comes in any more.
    pub(crate) is_closed: bool,
}

/// The listeners that there is something to say about: those that are open, and closed ones until
/// their last connection has ended. Each name is there once.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Vec<Listening>>);

impl Registry {
    /// What is counted about the one of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<ListenerLive>> {
        let same = |one: &&Listening| &*one.live.name == name;
        self.with(|all| all.iter().find(same).map(|one| Arc::clone(&one.live)))
    }

    /// From now on these are open, and no others.
    pub(crate) fn set(&self, open: Vec<Listening>) {
        self.with(|all| {
            let before = std::mem::replace(all, open);
            for one in before {
                if !all.iter().any(|listed| listed.live.name == one.live.name) {
                    all.push(Listening { is_closed: true, ..one });
                }
            }
        });
    }

    /// Forgets those that are closed and have no connection left: their names.
    pub(crate) fn sweep(&self) -> Vec<Arc<str>> {
        let is_over = |one: &mut Listening| one.is_closed && one.live.open() == 0;
        self.with(|all| all.extract_if(.., is_over).map(|one| Arc::clone(&one.live.name)).collect())
    }

    /// Those that do TLS.
    pub(crate) fn secured(&self) -> Vec<Watched> {
        let watched = |one: &Listening| {
            let secured = one.secured.as_ref().filter(|_| !one.is_closed)?;
            Some(Watched { live: Arc::clone(&one.live), secured: Arc::clone(secured) })
        };
        self.with(|all| all.iter().filter_map(watched).collect())
    }

    /// Looks at all of them, or changes them. Nobody else does meanwhile.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Vec<Listening>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The process, as it tells about itself.
pub(crate) struct Process {
    pub(crate) started: (SystemTime, Instant),
    pub(crate) workers: usize,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) descriptors: Descriptors,
    pub(crate) shared: Arc<Shared>,
    pub(crate) securing: Arc<Securing>,
    pub(crate) listeners: Arc<Registry>,
    pub(crate) serving: AtomicBool,
    pub(crate) last_reload: Mutex<Option<Reload>>,
    pub(crate) configuration: Mutex<Arc<Configuration>>,
    /// To the control loop.
    pub(crate) reloads: Sender<Asked>,
}

impl Process {
    /// Client connections open now, tunnels among them.
    pub(crate) fn open(&self) -> u64 {
        self.listeners.with(|all| all.iter().map(|one| u64::from(one.live.open())).sum())
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

    fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.configuration.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self, caller: String) -> Reloading {
        let ((reply, answer), reloads) = (oneshot::channel(), self.reloads.clone());
        Box::pin(async move {
            // Once the process stops nobody takes orders, and those that wait are dropped.
            let sent = reloads.send(Asked { caller, reply }).await;
            sent.map_err(|_| NotReloaded::Stopping)?;
            answer.await.unwrap_or(Err(NotReloaded::Stopping))
        })
    }
}

fn http2(live: &ListenerLive) -> Http2Totals {
    let sum = |of: fn(&Http2Cells) -> u64| live.cells.sum(|cells| of(&cells.http2));
    let faulty =
        |fault: Fault| (fault.label(), live.cells.sum(|cells| cells.http2.faulty(fault).value()));
    Http2Totals {
        connections: sum(|cells| cells.connections.value()),
        streams: sum(|cells| cells.streams.value()),
        faulty: Fault::ALL.map(faulty).to_vec(),
    }
}

fn tls(live: &ListenerLive, secured: &Secured) -> TlsTotals {
    let shaken = |outcome: Handshake| {
        let count = live.cells.sum(|cells| cells.handshakes[outcome as usize].value());
        (outcome.label(), count)
    };
    let certificate = |one: &tidegate_net::Certificate| Certificate {
        file: one.file.display().to_string(),
        names: one.names.clone(),
        not_after: one.not_after,
    };
    TlsTotals {
        handshakes: Handshake::ALL.map(shaken).to_vec(),
        bad_certificates: live.bad_certificates.load(Relaxed),
        certificates: secured.server.certificates().iter().map(certificate).collect(),
    }
}

impl Totals for Process {
    fn listeners(&self) -> Vec<ListenerTotals> {
        let totals = |Listening { address, protocol, live, secured, is_closed }: &Listening| {
            ListenerTotals {
                name: live.name.to_string(),
                address: address.clone(),
                protocol,
                is_closed: *is_closed,
                connections_active: live.cells.sum(|cells| cells.active.value()),
                connections_total: live.cells.sum(|cells| cells.accepted.value()),
                refused: Full::ALL
                    .map(|full| {
                        let sum = live.cells.sum(|cells| cells.refused(full).value());
                        (full.word(), sum)
                    })
                    .to_vec(),
                tunnels: live.tunnels(),
                tls: secured.as_ref().map(|secured| tls(live, secured)),
                http2: http2(live),
                datagrams: (*protocol == "udp").then(|| DatagramTotals {
                    to_server: live.cells.sum(|cells| cells.udp.to_server.value()),
                    to_client: live.cells.sum(|cells| cells.udp.to_client.value()),
                    dropped: live.cells.sum(|cells| cells.udp.dropped.value()),
                    evicted: live.cells.sum(|cells| cells.udp.evicted.value()),
                }),
            }
        };
        self.listeners.with(|all| all.iter().map(totals).collect())
    }

    fn access_log_dropped(&self) -> u64 {
        self.shared.access.as_ref().map_or(0, tidegate_worker::AccessLog::dropped)
    }

    fn spans(&self) -> Option<SpanTotals> {
        let exported = self.shared.traces.as_ref()?.exported();
        Some(SpanTotals {
            exported: exported.sent.load(Relaxed),
            dropped: exported.dropped.load(Relaxed),
        })
    }

    fn log_lines_dropped(&self) -> u64 {
        self.shared.totals.sum(|totals| totals.lines_dropped.value())
    }

    fn upstream_tls_file_failures(&self) -> u64 {
        self.securing.failures()
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
