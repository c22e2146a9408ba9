//! What is answered where. Paths of ours are few and fixed; everything else is dyups', which knows
//! its own way of saying no.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Admin, checks, config, context::Context, drains, dyups, events, explain, generations,
    guard::guard, metrics, openapi, problem::Problem, reload, servers, status, transactions,
    tunnels, upstreams,
};

/// The admin listeners' routes. `addresses` are where they listen.
pub(crate) fn admin(admin: Arc<Admin>, addresses: Vec<IpAddr>) -> Router {
    let context = Arc::new(Context::new(admin, addresses));
    Router::from(described())
        .fallback(elsewhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&context), guard))
        .with_state(context)
}

/// Those of them that have a place of their own, with their descriptions. Each handler brings its
/// path and its method along.
pub(crate) fn described() -> OpenApiRouter<Arc<Context>> {
    pages()
        .routes(routes!(config::show))
        .routes(routes!(drains::list, drains::begin))
        .routes(routes!(drains::show, drains::alter, drains::cancel))
        .routes(routes!(events::follow))
        .routes(routes!(explain::answer))
        .routes(routes!(generations::list))
        .routes(routes!(generations::show))
        .routes(routes!(generations::compare))
        .routes(routes!(generations::restore))
        .routes(routes!(openapi::page))
        .routes(routes!(reload::reload))
        .routes(routes!(status::page))
        .routes(routes!(transactions::run))
        .routes(routes!(tunnels::list))
        .routes(routes!(tunnels::close))
        .routes(routes!(upstreams::list))
        .routes(routes!(upstreams::show, upstreams::put, upstreams::delete))
        .routes(routes!(servers::add))
        .routes(routes!(servers::show, servers::alter, servers::remove))
        .routes(routes!(checks::page))
}

/// The metrics listeners' routes: reading only, by anybody.
pub(crate) fn metrics(admin: Arc<Admin>) -> Router {
    let context = Arc::new(Context::new(admin, Vec::new()));
    Router::from(pages())
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(wrong_method)
        .with_state(context)
}

fn pages() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::default()
        .routes(routes!(alive))
        .routes(routes!(ready))
        .routes(routes!(metrics::page))
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "isAlive",
    tag = "process",
    security(()),
    responses((status = 200, description = "It does", content_type = "text/plain", body = String)),
)]
async fn alive() -> &'static str {
    "ok\n"
}

/// Whether new connections are taken
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "isReady",
    tag = "process",
    security(()),
    responses(
        (status = 200, description = "They are", content_type = "text/plain", body = String),
        (status = 503, description = "The process stops", content_type = "text/plain", body = String),
    ),
)]
async fn ready(State(context): State<Arc<Context>>) -> Response {
    if context.admin.status.is_serving() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    }
}

async fn elsewhere(State(context): State<Arc<Context>>, request: Request) -> Response {
    let path = request.uri().path();
    if context.admin.settings.load().dyups && path != "/api" && !path.starts_with("/api/") {
        dyups::answer(&context, request).await
    } else {
        Problem::not_found().into_response()
    }
}

/// Which ones are, axum puts into `Allow`.
async fn wrong_method(request: Request) -> Problem {
    let detail = format!("{} is not a method of this path", request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
