//! What is answered where. Paths of ours are few and fixed; everything else is dyups', which knows
//! its own way of saying no.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};

use crate::{
    Admin, checks, config, context::Context, drains, dyups, events, explain, generations,
    guard::guard, metrics, problem::Problem, reload, servers, status, transactions, tunnels,
    upstreams,
};

/// The admin listeners' routes. `addresses` are where they listen.
pub(crate) fn admin(admin: Arc<Admin>, addresses: Vec<IpAddr>) -> Router {
    let context = Arc::new(Context::new(admin, addresses));
    pages()
        .route("/api/v1/config", get(config::show))
        .route("/api/v1/drains", get(drains::list).post(drains::begin))
        .route("/api/v1/drains/{id}", get(drains::show).patch(drains::alter).delete(drains::cancel))
        .route("/api/v1/events", get(events::follow))
        .route("/api/v1/explain", get(explain::answer))
        .route("/api/v1/generations", get(generations::list))
        .route("/api/v1/generations/{n}", get(generations::show))
        .route("/api/v1/generations/{n}/diff", get(generations::compare))
        .route("/api/v1/generations/{n}/restore", post(generations::restore))
        .route("/api/v1/reload", post(reload::reload))
        .route("/api/v1/status", get(status::page))
        .route("/api/v1/transactions", post(transactions::run))
        .route("/api/v1/tunnels", get(tunnels::list))
        .route("/api/v1/tunnels/{id}", delete(tunnels::close))
        .route("/api/v1/upstreams", get(upstreams::list))
        .route(
            "/api/v1/upstreams/{name}",
            get(upstreams::show).put(upstreams::put).delete(upstreams::delete),
        )
        .route("/api/v1/upstreams/{name}/servers", post(servers::add))
        .route(
            "/api/v1/upstreams/{name}/servers/{address}",
            get(servers::show).patch(servers::alter).delete(servers::remove),
        )
        .route("/status", get(checks::page))
        .fallback(elsewhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&context), guard))
        .with_state(context)
}

/// The metrics listeners' routes: reading only, by anybody.
pub(crate) fn metrics(admin: Arc<Admin>) -> Router {
    let context = Arc::new(Context::new(admin, Vec::new()));
    pages()
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(wrong_method)
        .with_state(context)
}

fn pages() -> Router<Arc<Context>> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::page))
}

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

async fn wrong_method(request: Request) -> Response {
    let detail = format!("{} is not a method of this path", request.method());
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).into_response();
    let allowed = header::HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}
