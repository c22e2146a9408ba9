//! `/api/v1/drains`: emptying a server at a pace, looking on, changing one's mind.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
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
use tidegate_table::{Applied, Drain, DrainChange, Operation, Refused, Subject};
use utoipa::ToSchema;

use crate::{
    audit::Audit,
    changing::{Asked, Done, Wish, read_terms_only, tagged},
    context::Context,
    json::{self, Changed},
    openapi::{
        parameters::OnChange,
        refusals::{OfBody, OfChange, OfNames, OfTerms, OfWork},
    },
    preview::DryRun,
    problem::Problem,
    terms::Said,
};

/// The body of a POST.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DrainOrder)]
struct Ordered {
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
struct Begun {
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
    let tag = Subject::Drain(id).generation(&context.admin.table.snapshot());
    Ok(tagged(Json(view).into_response(), false, tag))
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
    params(OnChange),
    request_body = Ordered,
    responses(
        (status = 200, description = "What would change, in a dry run", body = DryRun),
        (status = 201, description = "It has begun", body = Begun,
         headers(("Location" = String, description = "The path of the drain"))),
        OfBody, OfChange, OfNames, OfTerms, OfWork,
    ),
)]
pub(crate) async fn begin(State(context): State<Arc<Context>>, request: Request) -> Response {
    let mut audit = Audit::of("drain.begin");
    let begun = try_begin(&context, request, &mut audit).await;
    audit.on(begun)
}

async fn try_begin(
    context: &Arc<Context>,
    request: Request,
    audit: &mut Audit,
) -> Result<Response, Problem> {
    let asked = Asked::read(context, request).await?;
    let (spec, force) = json::parse_body::<Ordered>(&asked.body)?.parts();
    spec.notify.as_deref().map_or(Ok(()), check_url)?;
    let (upstream, server) = (spec.upstream.clone(), spec.server.clone());
    let said = Said { reason: spec.reason.clone(), force, existing: None };
    let subject = Subject::Server(upstream.clone(), server.clone());
    let wish = wish("drain.begin", subject, Operation::Drain { spec, force }, said);
    let (applied, tag) = match asked.attempt(context, wish, audit).await? {
        Done::Foreseen(answer) => return Ok(answer),
        Done::Made(applied, tag) => (applied, tag),
    };
    let id = drain_of(context, &upstream, &server)?;
    let replayed = applied.replayed;
    let mut response = (StatusCode::CREATED, begun(context, id, applied)?).into_response();
    if let Ok(place) = header::HeaderValue::from_str(&format!("/api/v1/drains/{id}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(tagged(response, replayed, tag))
}

fn wish(what: &'static str, subject: Subject, operation: Operation, said: Said) -> Wish {
    Wish { what, subject, operations: vec![operation], conditions: Vec::new(), said }
}

/// The drain of a server.
fn drain_of(context: &Context, upstream: &Name, server: &str) -> Result<u64, Problem> {
    let snapshot = context.admin.table.snapshot();
    let is_it =
        |drain: &&Arc<Drain>| drain.spec.upstream == *upstream && drain.spec.server == *server;
    let found = snapshot.drains.values().find(is_it).map(|drain| drain.id);
    // Somebody was faster and has ended it, or taken the server out of its pool.
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "the drain has ended meanwhile"))
}

/// Pauses a drain, resumes it, or changes its pace
#[utoipa::path(
    patch,
    path = "/api/v1/drains/{id}",
    operation_id = "alterDrain",
    tag = "drains",
    params(("id" = u64, Path, description = "A drain"), OnChange),
    request_body = DrainChange,
    responses((status = 200, description = "As it is now", body = Begun),
        OfBody, OfChange, OfNames, OfTerms, OfWork),
)]
pub(crate) async fn alter(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let mut audit = Audit::of("drain.alter");
    let altered = try_alter(&context, &id, request, &mut audit).await;
    audit.on(altered)
}

async fn try_alter(
    context: &Arc<Context>,
    id: &str,
    request: Request,
    audit: &mut Audit,
) -> Result<Response, Problem> {
    let asked = Asked::read(context, request).await?;
    let id = number(id)?;
    let drain = context.admin.operate.drain(id).ok_or_else(|| missing(id))?;
    asked.caller.may_change(&drain.spec.upstream)?;
    let pace = json::parse_body::<DrainChange>(&asked.body)?;
    let operation = Operation::AlterDrain { id, pace };
    let wish = wish("drain.alter", Subject::Drain(id), operation, Said::default());
    match asked.attempt(context, wish, audit).await? {
        Done::Foreseen(answer) => Ok(answer),
        Done::Made(applied, tag) => {
            let replayed = applied.replayed;
            Ok(tagged(begun(context, id, applied)?.into_response(), replayed, tag))
        }
    }
}

/// Ends a drain
///
/// The server takes requests again; its tunnels stay as they are.
#[utoipa::path(
    delete,
    path = "/api/v1/drains/{id}",
    operation_id = "endDrain",
    tag = "drains",
    params(("id" = u64, Path, description = "A drain"), OnChange),
    responses(
        (status = 200, description = "It has ended, or would", body = Changed),
        OfBody, OfChange, OfNames, OfTerms, OfWork,
    ),
)]
pub(crate) async fn cancel(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (asked, said) = read_terms_only(&context, request).await?;
    let id = number(&id)?;
    let operation = Operation::EndDrain { id };
    let wish = wish("drain.cancel", Subject::Drain(id), operation, said);
    Ok(asked.carry_out(&context, wish).await)
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

impl Ordered {
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

fn begun(context: &Context, id: u64, applied: Applied) -> Result<Json<Begun>, Problem> {
    let view = context.admin.operate.drain(id).ok_or_else(|| missing(id))?;
    let visible_us = u64::try_from(applied.visible.as_micros()).unwrap_or(u64::MAX);
    Ok(Json(Begun { view, durable: applied.durable, visible_us }))
}

fn number(id: &str) -> Result<u64, Problem> {
    let detail = "there is no such drain";
    id.parse().map_err(|_| Problem::new(StatusCode::NOT_FOUND, detail))
}

fn missing(id: u64) -> Problem {
    json::refused(&Refused::DrainNotFound(id))
}
