//! The control loop: signals, the watchdog, and the graceful end.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tidegate_admin::Admin;
use tidegate_config::Config;
use tidegate_discover::Resolver;
use tidegate_events::{Hub, ListenerTurn};
use tidegate_operate::{Operate, Stopped};
use tidegate_pool::Securing;
use tidegate_table::Table;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::Receiver,
    time::{MissedTickBehavior, interval},
};

use crate::{
    certificates::Renewal,
    facts::Process,
    listeners::Listeners,
    reload::Asked,
    told,
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
    pub(crate) securing: Arc<Securing>,
    pub(crate) operate: Arc<Operate>,
    pub(crate) admin: Arc<Admin>,
    pub(crate) events: Arc<Hub>,
    pub(crate) listeners: Listeners,
    /// From the admin API.
    pub(crate) reloads: Receiver<Asked>,
    /// From whoever looks at files of certificates.
    pub(crate) renewals: Receiver<Renewal>,
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
                _ = hangup.recv() => self.hang_up().await,
                Some(Asked { caller, reply }) = self.reloads.recv() => {
                    // Who asked may have left.
                    let _ = reply.send(self.reload(caller).await);
                }
                Some(renewal) = self.renewals.recv() => self.renew(renewal).await,
                _ = reopen.recv() => self.reopen_logs(),
                _ = watch.tick() => self.watch(),
            }
        }
        // Whoever waits for one is told that there will be none.
        self.reloads.close();
        while self.reloads.try_recv().is_ok() {}
        self.stop(&mut signals).await;
    }

    fn watch(&self) {
        self.forget_closed();
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

    /// Lets requests end and empties the tunnels at their pools' pace, then returns. A second signal
    /// ends the wait, and so does its end: the larger of `graceful_timeout` and the longest
    /// `drain_over` of a pool with tunnels, with a little for the last ones to say goodbye.
    async fn stop(&self, signals: &mut Signals) {
        self.process.serving.store(false, Relaxed);
        self.orders.tell(|| Order::Stop);
        let listeners = &self.process.listeners;
        listeners.with(|all| told::listeners(&self.events, &*all, ListenerTurn::Closed));
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
