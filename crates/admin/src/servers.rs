//! `/api/v1/upstreams/{name}/servers`: one server of a pool, as defined and as it stands.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tidegate_model::{
    Name, ServerSpec, Span, UpstreamSpec, schema::ServerOrAddress, upstream::ServerChange,
};
use tidegate_table::{Attempt, Operation, Pool, Probed, Refused, ServerCells, Source, Subject};
use utoipa::ToSchema;

use crate::{
    changing::{Asked, Wish, pool_name, read_terms_only, resolve},
    context::Context,
    json,
    openapi::{
        parameters::{OnChange, OnShow},
        refusals::{OfBody, OfChange, OfNames, OfTerms, OfWork},
    },
    preview::ChangeAnswer,
    problem::Problem,
    terms::{Said, etag, has_newest},
    time::rfc3339,
    upstreams::find,
};

/// A server, as defined and as it stands. One given by host name is several: one an address.
#[derive(Serialize, ToSchema)]
pub(crate) struct Server {
    /// What the API and the metrics call it: the address as typed, with what tells it from others.
    #[schema(value_type = String)]
    address: Arc<str>,
    weight: u32,
    max_conns: u32,
    max_fails: u32,
    fail_timeout: Span,
    slow_start: Span,
    backup: bool,
    down: bool,
    tags: BTreeMap<String, String>,
    /// `file`: it is just as the configuration file says.
    source: Source,
    state: &'static str,
    /// The drain that keeps it out of rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<u64>,
    live: Live,
}

/// What is known of it now.
#[derive(Serialize, ToSchema)]
#[schema(as = ServerLive)]
struct Live {
    requests_active: u32,
    tunnels_active: u32,
    /// Answers since the server came.
    requests_total: u64,
    /// Attempts that ended without an answer that was passed on.
    fails_total: u64,
    /// `None`: it has not answered yet.
    ewma_ms: Option<f64>,
    last_check: Option<LastCheck>,
    /// Since when its check says what it says; without a check, since when it is listed.
    since: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct LastCheck {
    at: String,
    ok: bool,
    detail: String,
}

/// The body of a POST.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JoiningServers)]
struct Joining {
    #[schema(min_items = 1, value_type = Vec<ServerOrAddress>)]
    servers: Vec<ServerSpec>,
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    force: bool,
}

/// The body of a PATCH.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ServerPatch)]
struct Altering {
    weight: Option<u32>,
    max_conns: Option<u32>,
    max_fails: Option<u32>,
    fail_timeout: Option<Span>,
    slow_start: Option<Span>,
    backup: Option<bool>,
    down: Option<bool>,
    /// All of them.
    tags: Option<BTreeMap<String, String>>,
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    force: bool,
}

/// Adds servers to a pool
#[utoipa::path(
    post,
    path = "/api/v1/upstreams/{name}/servers",
    operation_id = "addServers",
    tag = "upstreams",
    params(("name" = Name, Path, description = "A pool"), OnChange),
    request_body = Joining,
    responses(
        (status = 200, description = "They are there, or would be", body = ChangeAnswer,
         headers(("ETag" = String, description = "The generation of the change"))),
        OfBody, OfChange, OfTerms, OfNames, OfWork,
    ),
)]
pub(crate) async fn add(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = Asked::read(&context, request).await?;
    let name = pool_name(&name)?;
    let Joining { servers, reason, force } = json::parse_body(&asked.body)?;
    if servers.is_empty() {
        return Err(json::wrong_body("servers", "there is none"));
    }
    let resolved = resolve(&context, &servers).await?;
    let subject = Subject::Pool(name.clone());
    let operations = vec![Operation::AddServers { name, servers, resolved }];
    let said = Said { reason, force, existing: None };
    let wish = Wish { what: "server.add", subject, operations, conditions: vec![], said };
    Ok(asked.carry_out(&context, wish).await)
}

/// One server, as defined and as it stands
#[utoipa::path(
    get,
    path = "/api/v1/upstreams/{name}/servers/{address}",
    operation_id = "showServer",
    tag = "upstreams",
    params(
        ("name" = Name, Path, description = "A pool"),
        ("address" = String, Path, description = "As the pool's list of servers has it"),
        OnShow,
    ),
    responses(
        (status = 200, description = "The server", body = Server,
         headers(("ETag" = String, description = "The generation that last changed it"))),
        (status = 304, description = "It is as it was",
         headers(("ETag" = String, description = "The generation that last changed it"))),
        OfNames,
    ),
)]
pub(crate) async fn show(
    State(context): State<Arc<Context>>,
    Path((name, address)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = pool_name(&name)?;
    let snapshot = context.admin.table.snapshot();
    let pool = find(&snapshot, &name)?;
    let server = pool.servers.iter().find(|server| **server.state.label() == *address);
    let server = server.ok_or_else(|| missing(&pool, &address))?;
    let defined = pool.definition_of(server.spec.address.as_str());
    let generation = pool.server_generation(&address).or_else(|| Some(pool.since[defined?]));
    let generation = generation.unwrap_or(pool.generation);
    let tag = [(header::ETAG, etag(generation))];
    if has_newest(&headers, generation) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    let file = snapshot.filed(&pool.name).map(|file| &**file);
    let now = context.admin.totals.failure_clock();
    Ok((tag, Json(Server::of(&pool, server, file, now))).into_response())
}

/// Alters one server, as far as the body speaks of it
#[utoipa::path(
    patch,
    path = "/api/v1/upstreams/{name}/servers/{address}",
    operation_id = "alterServer",
    tag = "upstreams",
    params(
        ("name" = Name, Path, description = "A pool"),
        ("address" = String, Path, description = "As the pool's list of servers has it"),
        OnChange,
    ),
    request_body = Altering,
    responses(
        (status = 200, description = "It is as asked for, or would be", body = ChangeAnswer,
         headers(("ETag" = String, description = "The generation of the change"))),
        OfBody, OfChange, OfTerms, OfNames, OfWork,
    ),
)]
pub(crate) async fn alter(
    State(context): State<Arc<Context>>,
    Path((name, server)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = Asked::read(&context, request).await?;
    let name = pool_name(&name)?;
    let (change, said) = json::parse_body::<Altering>(&asked.body)?.parts();
    let subject = Subject::Server(name.clone(), server.clone());
    let operations = vec![Operation::AlterServer { name, server, change }];
    let wish = Wish { what: "server.set", subject, operations, conditions: vec![], said };
    Ok(asked.carry_out(&context, wish).await)
}

/// Removes one server from its pool
#[utoipa::path(
    delete,
    path = "/api/v1/upstreams/{name}/servers/{address}",
    operation_id = "removeServer",
    tag = "upstreams",
    params(
        ("name" = Name, Path, description = "A pool"),
        ("address" = String, Path, description = "As the pool's list of servers has it"),
        OnChange,
    ),
    responses(
        (status = 200, description = "It is gone, or would be", body = ChangeAnswer,
         headers(("ETag" = String, description = "The generation of the change"))),
        OfBody, OfChange, OfTerms, OfNames, OfWork,
    ),
)]
pub(crate) async fn remove(
    State(context): State<Arc<Context>>,
    Path((name, server)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (asked, said) = read_terms_only(&context, request).await?;
    let name = pool_name(&name)?;
    let subject = Subject::Server(name.clone(), server.clone());
    let operations = vec![Operation::RemoveServer { name, server }];
    let wish = Wish { what: "server.remove", subject, operations, conditions: vec![], said };
    Ok(asked.carry_out(&context, wish).await)
}

fn missing(pool: &Pool, address: &str) -> Problem {
    json::refused(&Refused::ServerNotFound {
        pool: pool.name.clone(),
        server: address.to_owned(),
        listed: pool.servers.iter().map(|server| Arc::clone(server.state.label())).collect(),
    })
}

impl Altering {
    fn parts(self) -> (ServerChange, Said) {
        let Self { weight, max_conns, max_fails, fail_timeout, slow_start, backup, down, .. } =
            self;
        let Self { tags, reason, force, .. } = self;
        let change = ServerChange {
            weight,
            max_conns,
            max_fails,
            fail_timeout,
            slow_start,
            backup,
            down,
            tags,
        };
        (change, Said { reason, force, existing: None })
    }
}

impl Server {
    pub(crate) fn of(
        pool: &Pool,
        server: &tidegate_table::Server,
        file: Option<&UpstreamSpec>,
        now: u64,
    ) -> Self {
        let spec = &server.spec;
        let mut filed = file.and_then(|file| file.servers.as_deref()).unwrap_or_default().iter();
        Self {
            address: Arc::clone(server.state.label()),
            weight: spec.weight,
            max_conns: spec.max_conns,
            max_fails: spec.max_fails,
            fail_timeout: spec.fail_timeout,
            slow_start: spec.slow_start,
            backup: spec.backup,
            down: spec.down,
            tags: spec.tags.clone(),
            source: if filed.any(|filed| filed == spec) { Source::File } else { Source::Api },
            state: pool.standing(server, now).word(),
            drain: server.draining,
            live: Live::of(server),
        }
    }
}

impl Live {
    fn of(server: &tidegate_table::Server) -> Self {
        let state = &server.state;
        let (busy, tunnels) = (state.busy(), state.tunnels());
        let last = state.health.checked().and_then(|checked| checked.last);
        Self {
            requests_active: busy.saturating_sub(tunnels),
            tunnels_active: tunnels,
            requests_total: state.cells.sum(|cells| cells.attempt(Attempt::Answered).value()),
            fails_total: state.cells.sum(failures),
            #[allow(clippy::cast_precision_loss)]
            ewma_ms: state.latency.value().map(|micros| micros as f64 / 1_000.0),
            last_check: last.map(LastCheck::from),
            since: state.health.since().map(rfc3339),
        }
    }
}

/// Attempts that failed, as nginx counts failures.
fn failures(cells: &ServerCells) -> u64 {
    const FAILURES: [Attempt; 6] = [
        Attempt::ConnectFailed,
        Attempt::ConnectTimedOut,
        Attempt::Failed,
        Attempt::Malformed,
        Attempt::TimedOut,
        Attempt::TlsFailed,
    ];
    FAILURES.into_iter().map(|outcome| cells.attempt(outcome).value()).sum()
}

impl From<Probed> for LastCheck {
    fn from(Probed { at, ok, detail }: Probed) -> Self {
        Self { at: rfc3339(at), ok, detail }
    }
}
