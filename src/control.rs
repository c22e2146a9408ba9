//! The control loop: signals, reloads, the watchdog, and the graceful end.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use tidegate_admin::{Admin, Outcome, Reload, TableChange};
use tidegate_config::{Config, load};
use tidegate_discover::Resolver;
use tidegate_events::{Hub, ListenerTurn};
use tidegate_model::Name;
use tidegate_operate::{Operate, Stopped};
use tidegate_table::{Reloaded, Table};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use crate::{
    facts::Process,
    file, told,
    workers::{Order, Orders},
};

/// A worker that has not looked at its clock for so long is stuck.
const STUCK: Duration = Duration::from_secs(3);

/// How often it is looked whether all connections have ended.
const LOOK: Duration = Duration::from_millis(20);

/// How often it is said how far a stop is.
const TELL: Duration = Duration::from_secs(5);

/// After the last tunnel was asked to close, it has so long to.
const GOODBYE: Duration = Duration::from_secs(5);

/// What the control loop works with.
pub(crate) struct Control {
    pub(crate) config: Config,
    /// `None`: there is no file to read again.
    pub(crate) path: Option<PathBuf>,
    pub(crate) table: Arc<Table>,
    pub(crate) process: Arc<Process>,
    pub(crate) orders: Orders,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) operate: Arc<Operate>,
    pub(crate) admin: Arc<Admin>,
    pub(crate) events: Arc<Hub>,
}

/// What the process is told from outside. Without a handler most of these end a process, so they
/// are caught before anybody can know that it runs.
pub(crate) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    reopen: Signal,
    terminate: Signal,
}

impl Control {
    /// Runs until the process is to end and its connections have, or their time is over.
    pub(crate) async fn run(&mut self, mut signals: Signals) {
        let mut watch = interval(Duration::from_secs(1));
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let Signals { hangup, interrupt, reopen, terminate } = &mut signals;
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = hangup.recv() => self.reload().await,
                _ = reopen.recv() => self.reopen_logs(),
                _ = watch.tick() => self.watch(),
            }
        }
        self.stop(&mut signals).await;
    }

    fn watch(&self) {
        for (worker, lag) in self.process.lags().into_iter().enumerate() {
            if lag >= STUCK {
                tracing::error!(
                    worker,
                    silent_ms = lag.as_millis(),
                    "a worker does not come round"
                );
            }
        }
    }

    fn reopen_logs(&self) {
        if let Some(log) = &self.process.shared.access {
            log.reopen();
            tracing::info!("access log opened anew");
        }
        self.admin.audit.reopen();
    }

    async fn reload(&mut self) {
        let done = self.try_reload().await;
        self.admin.audit.table_change(record(&done)).await;
        let done = done.map(|done| told(&done));
        let (outcome, detail) = match done {
            Ok(detail) => {
                tracing::info!(detail, "configuration reloaded");
                (Outcome::Applied, detail)
            }
            Err(detail) => {
                tracing::error!(detail, "configuration not reloaded, nothing was changed");
                (Outcome::Refused, detail)
            }
        };
        told::reload(&self.events, outcome, &detail);
        let mut last = self.process.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Reload { at: SystemTime::now(), outcome, detail });
    }

    async fn try_reload(&mut self) -> Result<Reloaded, String> {
        let path = self.path.clone().ok_or("it did not come from a file")?;
        let read = tokio::task::spawn_blocking(move || load(&path))
            .await
            .map_err(|error| error.to_string())?;
        let loaded = read.map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("; ")
        })?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let fixed = file::fixed_changes(&self.config, &loaded.config);
        if !fixed.is_empty() {
            return Err(format!("{} changed, which takes a restart", fixed.join(", ")));
        }
        let state = file::state(&loaded.config, &self.resolver).await;
        let done = self
            .table
            .reload(state, "SIGHUP".into())
            .await
            .map_err(|refused| refused.to_string())?;
        self.admin.set(file::admin_settings(&loaded.config.admin));
        self.config = loaded.config;
        Ok(done)
    }

    /// Lets requests end and empties the tunnels at their pools' pace, then returns. A second signal
    /// ends the wait, and so does its end: the larger of `graceful_timeout` and the longest
    /// `drain_over` of a pool with tunnels, with a little for the last ones to say goodbye.
    async fn stop(&self, signals: &mut Signals) {
        self.process.serving.store(false, Relaxed);
        self.orders.tell(Order::Stop);
        told::listeners(&self.events, &self.process.listeners, ListenerTurn::Closed);
        let patience = self.config.process.graceful_timeout.as_duration();
        let emptying = self.operate.stop().map(|over| over + GOODBYE);
        let limit = emptying.map_or(patience, |emptying| emptying.max(patience));
        tracing::info!(
            open = self.process.open(),
            tunnels = self.operate.stopped().open,
            within_ms = limit.as_millis(),
            "stopping: no new connections, requests may end, tunnels are closed one by one"
        );
        let started = Instant::now();
        let how = tokio::select! {
            () = self.emptied() => "every connection has ended",
            () = tokio::time::sleep(limit) => "the time is over, the rest is cut",
            () = signals.stop() => "told twice, stopping at once",
        };
        let Stopped { closed, left, open } = self.operate.stopped();
        let cut = self.process.open();
        tracing::info!(
            took_ms = started.elapsed().as_millis(),
            tunnels_closed = closed,
            tunnels_left = left,
            tunnels_cut = open,
            cut,
            "{how}"
        );
    }

    /// Waits until nothing is open any more, and says now and then how far that is.
    async fn emptied(&self) {
        let mut told = Instant::now();
        while self.process.open() > 0 {
            if told.elapsed() >= TELL {
                told = Instant::now();
                let Stopped { closed, left, open } = self.operate.stopped();
                let connections = self.process.open();
                tracing::info!(
                    connections,
                    tunnels = open,
                    tunnels_closed = closed,
                    tunnels_left = left,
                    "stopping"
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What a reload did, for the audit log.
fn record(done: &Result<Reloaded, String>) -> TableChange {
    let names = |done: &Reloaded| [done.changed.as_slice(), &done.removed].concat();
    TableChange {
        caller: "SIGHUP".into(),
        what: "reload",
        upstreams: done.as_ref().map_or_else(|_| Vec::new(), names),
        outcome: done.as_ref().map(|done| done.generation).map_err(Clone::clone),
    }
}

/// What a reload did, for the log and the status page.
fn told(done: &Reloaded) -> String {
    let names = |names: &[Name]| {
        let names: Vec<&str> = names.iter().map(Name::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    format!(
        "generation {}; upstreams changed: {}; removed: {}; changes through the API replaced: {}; routes {}",
        done.generation,
        names(&done.changed),
        names(&done.removed),
        names(&done.replaced_api_changes),
        if done.routes_changed { "changed" } else { "unchanged" },
    )
}

impl Signals {
    /// # Errors
    /// When the system does not let them be caught.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}
