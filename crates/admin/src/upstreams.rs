//! `/api/v1/upstreams`: pools, as defined and as they stand.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use tidegate_model::{Balance, Name, UpstreamSpec};
use tidegate_table::{Attempt, Operation, Pool, Refused, Snapshot, Source, Standing, Subject};
use utoipa::ToSchema;

use crate::{
    Admin,
    changing::{Asked, Terse, Wish, pool_name, read_terms_only, resolve},
    context::Context,
    difference, json,
    openapi::{
        parameters::{OnChange, OnPut, OnShow},
        refusals::{OfBody, OfChange, OfNames, OfTerms, OfWork},
    },
    preview::ChangeAnswer,
    problem::Problem,
    servers::Server,
    terms::{etag, has_newest},
};

#[derive(Serialize, ToSchema)]
#[schema(as = UpstreamList)]
struct Listed {
    generation: u64,
    upstreams: Vec<Row>,
    /// Pools of the configuration file that were deleted through the API.
    deleted: Vec<Name>,
}

/// A pool at a glance.
#[derive(Serialize, ToSchema)]
#[schema(as = UpstreamRow)]
struct Row {
    name: Name,
    /// The one that last changed it.
    generation: u64,
    source: Source,
    balance: Balance,
    servers: Counts,
    requests_active: u64,
    tunnels_active: u64,
    requests_total: u64,
    /// Servers that take requests and are well.
    eligible: usize,
}

/// Servers by state.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ServerCounts)]
struct Counts {
    total: usize,
    up: usize,
    down: usize,
    draining: usize,
    unhealthy: usize,
    ejected: usize,
    checking: usize,
}

/// The body of a PUT: the keys of a pool, and what may be said of every change.
#[derive(ToSchema)]
#[schema(as = UpstreamPut)]
#[expect(dead_code, reason = "its parts are read apart")]
struct Definition {
    #[serde(flatten)]
    spec: UpstreamSpec,
    #[serde(flatten)]
    terms: Terse,
}

/// A pool in full.
#[derive(Serialize, ToSchema)]
#[schema(as = Upstream)]
struct Shown {
    name: Name,
    /// The one that last changed it.
    generation: u64,
    source: Source,
    /// What a PUT of it would say.
    #[schema(value_type = UpstreamSpec)]
    definition: Arc<UpstreamSpec>,
    /// What the configuration file says of it.
    #[schema(value_type = Option<UpstreamSpec>)]
    file: Option<Arc<UpstreamSpec>>,
    /// The keys that are not as the file says.
    overridden: Vec<String>,
    servers: Vec<Server>,
    /// Of its servers.
    drains: Vec<u64>,
}

/// Every pool at a glance
#[utoipa::path(
    get,
    path = "/api/v1/upstreams",
    operation_id = "listUpstreams",
    tag = "upstreams",
    responses((status = 200, description = "In the order of creation", body = Listed), OfWork),
)]
pub(crate) async fn list(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    // Every server of every pool is looked at.
    Ok(Json(context.aside(Listed::now).await?).into_response())
}

/// One pool, as defined and as it stands
#[utoipa::path(
    get,
    path = "/api/v1/upstreams/{name}",
    operation_id = "showUpstream",
    tag = "upstreams",
    params(("name" = Name, Path, description = "A pool"), OnShow),
    responses(
        (status = 200, description = "The pool", body = Shown,
         headers(("ETag" = String, description = "The generation that last changed it"))),
        (status = 304, description = "It is as it was",
         headers(("ETag" = String, description = "The generation that last changed it"))),
        OfNames, OfWork,
    ),
)]
pub(crate) async fn show(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = pool_name(&name)?;
    let snapshot = context.admin.table.snapshot();
    let pool = find(&snapshot, &name)?;
    let generation = pool.generation;
    if has_newest(&headers, generation) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(generation))]).into_response());
    }
    let shown = context.aside(move |admin| Shown::of(&pool, &snapshot, admin)).await?;
    Ok(([(header::ETAG, etag(generation))], Json(shown)).into_response())
}

/// Creates a pool, or defines it anew
///
/// What the body does not speak of comes from `[upstream_defaults]`, not from what was before.
#[utoipa::path(
    put,
    path = "/api/v1/upstreams/{name}",
    operation_id = "putUpstream",
    tag = "upstreams",
    params(("name" = Name, Path, description = "A pool"), OnPut, OnChange),
    request_body = Definition,
    responses(
        (status = 200, description = "It is as asked for, or would be", body = ChangeAnswer,
         headers(("ETag" = String, description = "The generation of the change"))),
        OfBody, OfChange, OfTerms, OfNames, OfWork,
    ),
)]
pub(crate) async fn put(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = Asked::read(&context, request).await?;
    let name = pool_name(&name)?;
    let (said, definition) = json::split::<Terse>(&asked.body, &["reason", "force", "existing"])?;
    let spec: UpstreamSpec = json::parse_value(Value::Object(definition))?;
    let resolved = resolve(&context, spec.servers.as_deref().unwrap_or_default()).await?;
    let subject = Subject::Pool(name.clone());
    let operations = vec![Operation::Put { name, spec, resolved }];
    let wish =
        Wish { what: "upstream.put", subject, operations, conditions: vec![], said: said.into() };
    Ok(asked.carry_out(&context, wish).await)
}

/// Deletes a pool
#[utoipa::path(
    delete,
    path = "/api/v1/upstreams/{name}",
    operation_id = "deleteUpstream",
    tag = "upstreams",
    params(("name" = Name, Path, description = "A pool"), OnChange),
    responses(
        (status = 200, description = "It is gone, or would be", body = ChangeAnswer,
         headers(("ETag" = String, description = "The generation of the change"))),
        OfBody, OfChange, OfTerms, OfNames, OfWork,
    ),
)]
pub(crate) async fn delete(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (asked, said) = read_terms_only(&context, request).await?;
    let name = pool_name(&name)?;
    let subject = Subject::Pool(name.clone());
    let operations = vec![Operation::Delete { name }];
    let wish = Wish { what: "upstream.delete", subject, operations, conditions: vec![], said };
    Ok(asked.carry_out(&context, wish).await)
}

/// # Errors
/// When there is no such pool.
pub(crate) fn find(snapshot: &Snapshot, name: &Name) -> Result<Arc<Pool>, Problem> {
    let pool = snapshot.pool(name.as_str()).cloned();
    pool.ok_or_else(|| json::refused(&Refused::NotFound(name.clone())))
}

impl Listed {
    fn now(admin: &Admin) -> Self {
        let snapshot = admin.table.snapshot();
        let now = admin.totals.failure_clock();
        let upstreams = snapshot.in_order().into_iter().map(|pool| Row::of(pool, now)).collect();
        let filed: BTreeMap<_, _> = snapshot.filed.iter().collect();
        let deleted = filed.into_iter().filter(|(key, _)| !snapshot.pools.contains_key(*key));
        let deleted = deleted.map(|(_, (name, _))| name.clone()).collect();
        Self { generation: snapshot.generation, upstreams, deleted }
    }
}

impl Row {
    fn of(pool: &Pool, now: u64) -> Self {
        let mut servers = Counts { total: pool.servers.len(), ..Counts::default() };
        let (mut requests_active, mut tunnels_active, mut requests_total) = (0, 0, 0);
        for server in &pool.servers {
            *servers.of(pool.standing(server, now)) += 1;
            let (busy, tunnels) = (server.state.busy(), server.state.tunnels());
            requests_active += u64::from(busy.saturating_sub(tunnels));
            tunnels_active += u64::from(tunnels);
            requests_total +=
                server.state.cells.sum(|cells| cells.attempt(Attempt::Answered).value());
        }
        Self {
            name: pool.name.clone(),
            generation: pool.generation,
            source: pool.source,
            balance: pool.upstream.balance,
            eligible: servers.up,
            servers,
            requests_active,
            tunnels_active,
            requests_total,
        }
    }
}

impl Counts {
    fn of(&mut self, standing: Standing) -> &mut usize {
        match standing {
            Standing::Checking => &mut self.checking,
            Standing::Down => &mut self.down,
            Standing::Draining => &mut self.draining,
            Standing::Ejected => &mut self.ejected,
            Standing::Failed | Standing::Unhealthy => &mut self.unhealthy,
            Standing::Up => &mut self.up,
        }
    }
}

impl Shown {
    fn of(pool: &Pool, snapshot: &Snapshot, admin: &Admin) -> Self {
        let file = snapshot.filed(&pool.name).cloned();
        let overridden = file.as_deref().map_or_else(Vec::new, |file| overridden(file, &pool.spec));
        let now = admin.totals.failure_clock();
        let server = |server| Server::of(pool, server, file.as_deref(), now);
        Self {
            name: pool.name.clone(),
            generation: pool.generation,
            source: pool.source,
            definition: Arc::clone(&pool.spec),
            servers: pool.servers.iter().map(server).collect(),
            drains: pool.servers.iter().filter_map(|server| server.draining).collect(),
            file,
            overridden,
        }
    }
}

/// The keys of a pool that are not as the file says.
fn overridden(file: &UpstreamSpec, is: &UpstreamSpec) -> Vec<String> {
    let mut keys = difference::keys(Some(file), Some(is));
    if file.servers != is.servers {
        keys.push("servers".into());
    }
    keys
}
