//! `GET /openapi.json`: what the admin listeners answer, as OpenAPI 3.1. It is made of what stands
//! beside each handler and of the types that are read and written; the router takes its routes from
//! the same place, so that neither has one that the other lacks.
//!
//! See `refusals` for the answers that say no, `finish` for what the types cannot say themselves,
//! `dyups` for the paths that no route of ours has.

mod dyups;
mod finish;
pub(crate) mod parameters;
pub(crate) mod refusals;

use std::sync::LazyLock;

use axum::{
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};

use crate::router;

/// Made when it is first asked for.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate admin API",
        description = "Errors are `application/problem+json` (RFC 9457), except for those of dyups. \
                       A method that a path does not have is answered with 405 and the ones it has \
                       in `Allow`.",
    ),
    servers((url = "/", description = "The admin listener that this document came from")),
    // Where no token is configured, nobody is asked for one.
    security(("bearer" = []), ()),
    paths(dyups::list, dyups::detail, dyups::show, dyups::replace, dyups::delete),
    tags(
        (name = "upstreams", description = "Pools and their servers"),
        (name = "generations", description = "What was changed, and the way back"),
        (name = "drains", description = "Emptying servers of their tunnels, at a pace"),
        (name = "tunnels", description = "What is open"),
        (name = "explain", description = "What would become of a request"),
        (name = "process", description = "The process as a whole"),
        (name = "dyups", description = "Tengine's dyups, byte for byte; unless `admin.dyups` is off"),
    ),
    modifiers(&Bearer),
)]
struct Outline;

/// The tokens of `[admin]`.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", scheme);
    }
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "describe",
    tag = "process",
    responses((
        status = 200,
        description = "OpenAPI 3.1",
        body = serde_json::Value,
        content_type = "application/json",
    )),
)]
pub(crate) async fn page() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

fn document() -> Value {
    let mut outline = Outline::openapi();
    outline.merge(router::described().into_openapi());
    // All of it is numbers, texts, lists and maps by texts.
    let document = serde_json::to_value(outline).expect("a description has a JSON form");
    finish::finished(document)
}

#[cfg(test)]
mod tests;
