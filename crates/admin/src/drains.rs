//! `/api/v1/drains`: emptying a server at a pace, looking on, changing one's mind.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tidegate_model::{
    Name, Span,
    drain::{DrainSpec, Order, Rate},
    upstream::CloseCode,
};
use tidegate_operate::View;
use tidegate_table::{Applied, DrainChange, Operation, Origin, Refused};
use utoipa::ToSchema;

use crate::{
    audit::Audit,
    caller::{Caller, one_line},
    context::Context,
    json::{self, Changed},
    openapi::refusals::{OfBody, OfChange, OfNames},
    problem::Problem,
};

/// The body of a POST.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DrainOrder)]
struct Asked {
    upstream: Name,
    /// As the pool knows it: the address as typed, for a host name `NAME:PORT@IP`; `#2`, `#3` tell
    /// equal ones apart.
    server: String,
    /// All that are open at the start, evenly over this time, which is not 0. With neither this nor
    /// a rate, the pool's `drain_over`.
    over: Option<Span>,
    /// So many in a time; not beside `over`.
    rate: Option<Rate>,
    #[serde(default)]
    order: Order,
    /// Whatever is left after so long is cut; absent: nothing is cut.
    deadline: Option<Span>,
    /// Absent: the pool's.
    close_code: Option<CloseCode>,
    /// What the Close frames say besides the code, in at most 123 bytes, and what the history keeps.
    #[schema(max_length = 123)]
    reason: Option<String>,
    /// An `http://` URL that is told when the server is empty.
    #[schema(pattern = "^http://[A-Za-z0-9.-]+(:[0-9]{1,4})?(/[A-Za-z0-9._~/-]*)?$")]
    notify: Option<String>,
    #[serde(default)]
    paused: bool,
    /// Also the last server of its pool.
    #[serde(default)]
    force: bool,
}

/// A drain that was begun or changed.
#[derive(Serialize, ToSchema)]
#[schema(as = DrainDone)]
struct Done {
    #[serde(flatten)]
    view: View,
    durable: bool,
    visible_us: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DrainList)]
struct Listed {
    drains: Vec<View>,
}

/// Every drain
#[utoipa::path(
    get,
    path = "/api/v1/drains",
    operation_id = "listDrains",
    tag = "drains",
    responses((status = 200, description = "All that were begun and not ended", body = Listed)),
)]
pub(crate) async fn list(State(context): State<Arc<Context>>) -> Response {
    Json(Listed { drains: context.admin.operate.drains() }).into_response()
}

/// One drain
#[utoipa::path(
    get,
    path = "/api/v1/drains/{id}",
    operation_id = "showDrain",
    tag = "drains",
    params(("id" = u64, Path, description = "A drain")),
    responses((status = 200, description = "How it stands", body = View), OfNames),
)]
pub(crate) async fn show(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = number(&id)?;
    let view = context.admin.operate.drain(id).ok_or_else(|| missing(id))?;
    Ok(Json(view).into_response())
}

/// Begins to empty a server
///
/// It takes no more requests, and its tunnels are closed at the pace that is asked for. One that is
/// being emptied already goes on as this says.
#[utoipa::path(
    post,
    path = "/api/v1/drains",
    operation_id = "beginDrain",
    tag = "drains",
    request_body = Asked,
    responses(
        (status = 201, description = "It has begun", body = Done,
         headers(("Location" = String, description = "The path of the drain"))),
        OfBody, OfChange, OfNames,
    ),
)]
pub(crate) async fn begin(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Response {
    let mut audit = Audit::of("drain.begin");
    let begun = try_begin(&context, &caller, body, &mut audit).await;
    audit.on(begun)
}

async fn try_begin(
    context: &Context,
    caller: &Caller,
    body: Body,
    audit: &mut Audit,
) -> Result<Response, Problem> {
    let asked: Asked = json::read(body).await?;
    let (spec, force) = asked.parts();
    audit.upstream(&spec.upstream);
    audit.reason(spec.reason.as_deref());
    caller.may_change(&spec.upstream)?;
    spec.notify.as_deref().map_or(Ok(()), check_url)?;
    let operate = Arc::clone(&context.admin.operate);
    let caller = caller.to_string();
    let (upstream, server) = (spec.upstream.clone(), one_line(&spec.server));
    let begun = async move {
        let begun = operate.begin(spec, force, caller.clone()).await;
        told(&caller, "begin", &begun);
        begun
    };
    let (id, applied) = on_its_own(begun).await?;
    tracing::info!(drain = id, %upstream, server, "draining");
    audit.applied(&applied);
    let done = done(context, id, applied)?;
    audit.after(&done.view.spec, 1);
    let mut response = (StatusCode::CREATED, done).into_response();
    if let Ok(place) = header::HeaderValue::from_str(&format!("/api/v1/drains/{id}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// Pauses a drain, resumes it, or changes its pace
#[utoipa::path(
    patch,
    path = "/api/v1/drains/{id}",
    operation_id = "alterDrain",
    tag = "drains",
    params(("id" = u64, Path, description = "A drain")),
    request_body = DrainChange,
    responses((status = 200, description = "As it is now", body = Done), OfBody, OfChange, OfNames),
)]
pub(crate) async fn alter(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    let mut audit = Audit::of("drain.alter");
    let altered = try_alter(&context, &caller, &id, body, &mut audit).await;
    audit.on(altered)
}

async fn try_alter(
    context: &Context,
    caller: &Caller,
    id: &str,
    body: Body,
    audit: &mut Audit,
) -> Result<Response, Problem> {
    let (id, pace) = (number(id)?, json::read::<DrainChange>(body).await?);
    find(context, caller, id, audit)?;
    let applied = change(context, caller, "alter", Operation::AlterDrain { id, pace }).await?;
    audit.applied(&applied);
    let done = done(context, id, applied)?;
    audit.after(&done.view.spec, 1);
    Ok(done.into_response())
}

/// Ends a drain
///
/// The server takes requests again; its tunnels stay as they are.
#[utoipa::path(
    delete,
    path = "/api/v1/drains/{id}",
    operation_id = "endDrain",
    tag = "drains",
    params(("id" = u64, Path, description = "A drain")),
    responses((status = 200, description = "It has ended", body = Changed), OfChange, OfNames),
)]
pub(crate) async fn cancel(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let mut audit = Audit::of("drain.cancel");
    let cancelled = try_cancel(&context, &caller, &id, &mut audit).await;
    audit.on(cancelled)
}

async fn try_cancel(
    context: &Context,
    caller: &Caller,
    id: &str,
    audit: &mut Audit,
) -> Result<Response, Problem> {
    let id = number(id)?;
    find(context, caller, id, audit)?;
    let applied = change(context, caller, "cancel", Operation::EndDrain { id }).await?;
    audit.applied(&applied);
    Ok(Json(Changed::from(applied)).into_response())
}

/// Whether there is such a drain, of a pool that the caller may change.
fn find(context: &Context, caller: &Caller, id: u64, audit: &mut Audit) -> Result<(), Problem> {
    let spec = context.admin.operate.drain(id).ok_or_else(|| missing(id))?.spec;
    audit.upstream(&spec.upstream);
    audit.before(&spec, 1);
    caller.may_change(&spec.upstream)
}

/// That it is no `https` and the like is the table's to say.
pub(crate) fn check_url(url: &str) -> Result<(), Problem> {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    if host.is_some_and(|host| !host.is_empty()) {
        return Ok(());
    }
    let detail = "\"notify\" of a drain is the URL of somebody who is told when it is over";
    Err(Problem::new(StatusCode::BAD_REQUEST, detail).with_fault("notify", "this is no URL"))
}

impl Asked {
    fn parts(self) -> (DrainSpec, bool) {
        let Self { upstream, server, over, rate, order, deadline, close_code, .. } = self;
        let Self { reason, notify, paused, force, .. } = self;
        let spec = DrainSpec {
            upstream,
            server,
            over,
            rate,
            order,
            deadline,
            close_code,
            reason,
            notify,
            paused,
        };
        (spec, force)
    }
}

async fn change(
    context: &Context,
    caller: &Caller,
    what: &'static str,
    operation: Operation,
) -> Result<Applied, Problem> {
    let operate = Arc::clone(&context.admin.operate);
    let caller = caller.to_string();
    on_its_own(async move {
        let changed = operate.change(operation, Origin::Api, caller.clone()).await;
        told(&caller, what, &changed);
        changed
    })
    .await
}

/// A client that goes away neither undoes a change nor keeps it out of the log.
async fn on_its_own<T: Send + 'static>(
    changing: impl Future<Output = Result<T, Refused>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(changing).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(refused)) => Err(json::refused(&refused)),
        Err(_) => Err(json::refused(&Refused::Closed)),
    }
}

fn told<T>(caller: &str, what: &'static str, done: &Result<T, Refused>) {
    match done {
        Ok(_) => tracing::info!(caller, what, "drain changed"),
        Err(refused) => {
            let reason = one_line(&refused.to_string());
            tracing::warn!(caller, what, reason, "drain refused");
        }
    }
}

fn done(context: &Context, id: u64, applied: Applied) -> Result<Json<Done>, Problem> {
    let view = context.admin.operate.drain(id).ok_or_else(|| missing(id))?;
    let visible_us = u64::try_from(applied.visible.as_micros()).unwrap_or(u64::MAX);
    Ok(Json(Done { view, durable: applied.durable, visible_us }))
}

fn number(id: &str) -> Result<u64, Problem> {
    let detail = "there is no such drain";
    id.parse().map_err(|_| Problem::new(StatusCode::NOT_FOUND, detail))
}

fn missing(id: u64) -> Problem {
    json::refused(&Refused::DrainNotFound(id))
}
