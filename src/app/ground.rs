//! What stands before a worker runs: the table as it was left, the logs, the checks, and what all
//! workers share.

use std::{path::Path, sync::Arc, thread::JoinHandle};

use anyhow::{Context as _, Result};
use tidegate_admin::AuditLog;
use tidegate_config::{AccessFormat, Config, LogPath};
use tidegate_discover::{Renewal, Resolver};
use tidegate_events::Hub;
use tidegate_health::{Checks, Settings, Suspects};
use tidegate_net::Descriptors;
use tidegate_pool::{Budget, Securing};
use tidegate_table::{Bounds, Options, Table};
use tidegate_tunnel::Register;
use tidegate_worker::{AccessLog, Format, ReplayMemory, Room, Shared};

use crate::{file, secure, told, traces};

/// Probes in flight at once, however many descriptors there are.
const MAX_PROBES: usize = 1_024;

pub(super) struct Ground {
    pub(super) table: Arc<Table>,
    pub(super) resolver: Arc<Resolver>,
    pub(super) securing: Arc<Securing>,
    pub(super) events: Arc<Hub>,
    pub(super) shared: Arc<Shared>,
    pub(super) checks: Checks,
    pub(super) audit: AuditLog,
    /// The threads of log files.
    pub(super) logs: Vec<JoinHandle<()>>,
    /// What exports spans, where that is wanted.
    pub(super) exporter: Option<traces::Exporter>,
}

impl Ground {
    /// `base`: what relative names of files are relative to.
    ///
    /// # Errors
    /// When the state cannot be recovered, or a log not be opened.
    pub(super) async fn lay(
        config: &Config,
        base: &Path,
        workers: usize,
        descriptors: Descriptors,
    ) -> Result<Self> {
        let resolver = Arc::new(Resolver::new());
        let securing = Securing::new(base);
        let table = open_table(config, &resolver, workers, &securing).await?;
        tokio::spawn(secure::watch(Arc::clone(&securing)));
        secure::forget_left(&table, &securing);
        let (access, access_thread) = open_access_log(config)?;
        let (audit, audit_thread) = open_audit_log(config)?;
        let (traces, exporter) = traces::start(config.otlp.as_ref())?;
        let events = Hub::new();
        told::changes(&table, &events);
        let (suspects, checks) = start_checks(&table, &events, descriptors)?;
        let process = &config.process;
        let shared = Arc::new(Shared {
            table: Arc::clone(&table),
            workers,
            budget: Budget::new(usize::try_from(process.max_idle_upstream).unwrap_or(usize::MAX)),
            room: Room::of(descriptors.limit),
            totals: tidegate_metrics::PerWorker::new(workers),
            access,
            traces,
            replay: ReplayMemory::new(
                usize::try_from(process.replay_memory.bytes()).unwrap_or(usize::MAX),
            ),
            suspects,
            tunnels: Register::new(workers),
        });
        tokio::spawn(Renewal::new(Arc::clone(&table), Arc::clone(&resolver)).run());
        let logs = [access_thread, audit_thread].into_iter().flatten().collect();
        Ok(Self { table, resolver, securing, events, shared, checks, audit, logs, exporter })
    }
}

fn start_checks(
    table: &Arc<Table>,
    events: &Arc<Hub>,
    descriptors: Descriptors,
) -> Result<(Suspects, Checks)> {
    let at_once = usize::try_from(descriptors.limit / 16).unwrap_or(usize::MAX);
    let settings = Settings { at_once: at_once.clamp(1, MAX_PROBES), events: Arc::clone(events) };
    tidegate_health::start(table, settings).context("cannot start the health checks")
}

/// Recovers what was changed before, and says what it found.
async fn open_table(
    config: &Config,
    resolver: &Resolver,
    workers: usize,
    securing: &Arc<Securing>,
) -> Result<Arc<Table>> {
    let state = file::state(config, resolver).await;
    let state_dir = config.process.state_dir.clone();
    let history = &config.admin.history;
    let history = Bounds {
        count: usize::try_from(history.count).unwrap_or(usize::MAX),
        age: history.age.as_duration(),
    };
    let secures = Some(Arc::clone(securing) as _);
    let options = Options { workers, state_dir, history, secures };
    let opened = tokio::task::spawn_blocking(move || Table::open(options, state)).await?;
    let (table, recovered) = opened?;
    if table.is_durable() {
        tracing::info!("{recovered}");
    } else {
        tracing::warn!(
            "changes are kept in memory only and are lost at the next start: set process.state_dir to keep them"
        );
    }
    Ok(table)
}

fn open_access_log(config: &Config) -> Result<(Option<AccessLog>, Option<JoinHandle<()>>)> {
    let Some(log) = &config.access_log else {
        return Ok((None, None));
    };
    let format = match log.format {
        AccessFormat::Combined => Format::Combined,
        AccessFormat::Json => Format::Json,
    };
    let path = match &log.path {
        LogPath::File(path) => Some(path.clone()),
        LogPath::Stdout => None,
    };
    let opened = AccessLog::open(path.clone(), format);
    let (log, thread) = opened.with_context(|| format!("access_log.path: {path:?}"))?;
    Ok((Some(log), Some(thread)))
}

fn open_audit_log(config: &Config) -> Result<(AuditLog, Option<JoinHandle<()>>)> {
    let Some(path) = &config.admin.audit_log else {
        return Ok((AuditLog::default(), None));
    };
    let opened = AuditLog::open(path.clone());
    let (log, thread) = opened.with_context(|| format!("admin.audit_log: {path:?}"))?;
    Ok((log, Some(thread)))
}
