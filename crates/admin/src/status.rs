//! `GET /api/v1/status`: the process at a glance.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime},
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Admin,
    config::Configuration,
    context::Context,
    metrics::{
        Certificate, Listed, ListenerTotals, Row, TlsTotals, max_descriptors, open_descriptors,
    },
    openapi::refusals::OfWork,
    problem::Problem,
    reload::{NotReloaded, Reloading},
    time::rfc3339,
};

/// What the admin side asks the process about itself.
pub trait StatusSource: Send + Sync {
    fn facts(&self) -> Facts;

    /// Whether new connections are taken; false once the process stops.
    fn is_serving(&self) -> bool;

    /// The configuration as it runs.
    fn configuration(&self) -> Arc<Configuration> {
        Arc::default()
    }

    /// Reads the configuration file again and applies it. A process has no file unless it says so.
    fn reload(&self, _caller: String) -> Reloading {
        Box::pin(std::future::ready(Err(NotReloaded::NoFile)))
    }
}

/// What is known of the process.
#[derive(Clone, Debug)]
pub struct Facts {
    pub version: &'static str,
    pub started: SystemTime,
    pub started_at: Instant,
    pub workers: usize,
    /// `None`: state is in memory only.
    pub state_dir: Option<PathBuf>,
    /// The last time the configuration file was read again.
    pub last_reload: Option<Reload>,
    /// How many tunnels the limit on descriptors leaves room for.
    pub tunnels_that_fit: u64,
}

/// A configuration file that was read again.
#[derive(Clone, Debug)]
pub struct Reload {
    pub at: SystemTime,
    pub outcome: Outcome,
    pub detail: String,
}

/// What became of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ReloadOutcome)]
pub enum Outcome {
    Applied,
    Refused,
}

#[derive(Serialize, ToSchema)]
struct Status {
    version: &'static str,
    generation: u64,
    pid: u32,
    started: String,
    uptime_seconds: u64,
    workers: usize,
    durable: bool,
    #[schema(value_type = Option<String>)]
    state_dir: Option<PathBuf>,
    listeners: Vec<Listener>,
    pools: usize,
    /// By state.
    servers: BTreeMap<&'static str, usize>,
    connections_active: u64,
    tunnels_active: u64,
    tunnels_that_fit: u64,
    descriptors: Descriptors,
    last_reload: Option<LastReload>,
}

#[derive(Serialize, ToSchema)]
struct Listener {
    name: String,
    address: String,
    protocol: &'static str,
    /// Nobody comes in any more; it is shown until its last connection has ended.
    is_closed: bool,
    connections_active: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
}

/// What a listener does TLS with.
#[derive(Serialize, ToSchema)]
#[schema(as = ListenerTls)]
struct Tls {
    certificates: Vec<Shown>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Certificate)]
struct Shown {
    file: String,
    /// That it is for.
    names: Vec<String>,
    not_after: String,
}

#[derive(Serialize, ToSchema)]
struct Descriptors {
    limit: Option<u64>,
    open: Option<u64>,
}

#[derive(Serialize, ToSchema)]
struct LastReload {
    at: String,
    outcome: Outcome,
    detail: String,
}

/// The process at a glance
#[utoipa::path(
    get,
    path = "/api/v1/status",
    operation_id = "showStatus",
    tag = "process",
    responses((status = 200, description = "As it stands", body = Status), OfWork),
)]
pub(crate) async fn page(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    // Every server is looked at and every descriptor counted.
    Ok(Json(context.aside(Status::of).await?).into_response())
}

impl Status {
    fn of(admin: &Admin) -> Self {
        let facts = admin.status.facts();
        let listed = Listed::now(&admin.table, &*admin.totals);
        let rows = listed.rows();
        let mut servers = BTreeMap::new();
        rows.iter().for_each(|row| *servers.entry(row.state).or_default() += 1);
        let listeners: Vec<Listener> = listeners(admin);
        Self {
            version: facts.version,
            generation: listed.snapshot.generation,
            pid: std::process::id(),
            started: rfc3339(facts.started),
            uptime_seconds: facts.started_at.elapsed().as_secs(),
            workers: facts.workers,
            durable: admin.table.is_durable(),
            state_dir: facts.state_dir,
            pools: listed.snapshot.pools.len(),
            servers,
            connections_active: listeners.iter().map(|each| each.connections_active).sum(),
            listeners,
            tunnels_active: rows.iter().map(Row::tunnels).sum(),
            tunnels_that_fit: facts.tunnels_that_fit,
            descriptors: Descriptors { limit: max_descriptors(), open: open_descriptors() },
            last_reload: facts.last_reload.map(LastReload::from),
        }
    }
}

fn listeners(admin: &Admin) -> Vec<Listener> {
    let listener = |totals: ListenerTotals| Listener {
        name: totals.name,
        address: totals.address,
        protocol: totals.protocol,
        is_closed: totals.is_closed,
        connections_active: totals.connections_active,
        tls: totals.tls.map(Tls::from),
    };
    admin.totals.listeners().into_iter().map(listener).collect()
}

impl From<TlsTotals> for Tls {
    fn from(totals: TlsTotals) -> Self {
        let shown = |one: Certificate| Shown {
            file: one.file,
            names: one.names,
            not_after: rfc3339(one.not_after),
        };
        Self { certificates: totals.certificates.into_iter().map(shown).collect() }
    }
}

impl From<Reload> for LastReload {
    fn from(reload: Reload) -> Self {
        Self { at: rfc3339(reload.at), outcome: reload.outcome, detail: reload.detail }
    }
}
