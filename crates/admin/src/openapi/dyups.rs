//! dyups' paths, which are no routes of ours: whatever none of them fits is dyups' to answer, in its
//! own odd codes. These functions are only there to be described.
#![expect(dead_code, reason = "utoipa describes functions")]

/// The names of all pools, a line each
#[utoipa::path(
    get,
    path = "/list",
    operation_id = "dyupsList",
    tag = "dyups",
    responses(
        (status = 200, description = "Names, in the order of creation", content_type = "text/plain",
         body = String),
        (status = 204, description = "There is no pool"),
    ),
)]
pub(super) fn list() {}

/// All pools with their servers
#[utoipa::path(
    get,
    path = "/detail",
    operation_id = "dyupsDetail",
    tag = "dyups",
    responses(
        (status = 200, description = "A block for each pool: its name, a line for each server, and \
                                      an empty line", content_type = "text/plain", body = String),
        (status = 204, description = "There is no pool"),
    ),
)]
pub(super) fn detail() {}

/// The servers of one pool, a line each
#[utoipa::path(
    get,
    path = "/upstream/{name}",
    operation_id = "dyupsShow",
    tag = "dyups",
    params(("name" = tidegate_model::Name, Path, description = "A pool")),
    responses(
        (status = 200, description = "`server ADDRESS` lines", content_type = "text/plain",
         body = String),
        (status = 400, description = "The path does not decode", content_type = "text/html",
         body = String),
        (status = 404, description = "There is no such pool; the body is empty"),
    ),
)]
pub(super) fn show() {}

/// Replaces the servers of a pool, or creates it
///
/// The body is that of an nginx `upstream` block. What it does not speak of stays as it is.
#[utoipa::path(
    post,
    path = "/upstream/{name}",
    operation_id = "dyupsReplace",
    tag = "dyups",
    params(
        ("name" = tidegate_model::Name, Path, description = "A pool"),
        ("existing" = Option<tidegate_model::upstream::OnRemove>, Query,
         description = "What becomes of the tunnels to servers that leave; otherwise what the pool \
                        says"),
    ),
    request_body(content = String, content_type = "text/plain",
                 example = json!("server 10.0.0.1:8080 weight=2;\nserver 10.0.0.2:8080;")),
    responses(
        (status = 200, description = "`success`: every worker serves by it, and it is on disk where \
                                      there is one", content_type = "text/plain", body = String),
        (status = 204, description = "The body was empty, and nothing was changed"),
        (status = 400, description = "The path does not decode, or `existing` is no such word",
         content_type = "text/html", body = String),
        (status = 404, description = "The path names nothing that dyups changes",
         content_type = "text/plain", body = String),
        (status = 408, description = "The body did not come in time", content_type = "text/html",
         body = String),
        (status = 409, description = "Too many large bodies at once: wait and try again",
         content_type = "text/plain", body = String),
        (status = 413, description = "The body is longer than 1 MiB", content_type = "text/html",
         body = String),
        (status = 500, description = "`add server failed`: the body does not read, or cannot be",
         content_type = "text/plain", body = String,
         headers(("X-Tidegate-Reason" = String, description = "Why in full"))),
        (status = 503, description = "The process stops", content_type = "text/plain", body = String),
        (status = 507, description = "The change could not be stored, and nothing was changed",
         content_type = "text/plain", body = String),
    ),
)]
pub(super) fn replace() {}

/// Deletes a pool
#[utoipa::path(
    delete,
    path = "/upstream/{name}",
    operation_id = "dyupsDelete",
    tag = "dyups",
    params(
        ("name" = tidegate_model::Name, Path, description = "A pool"),
        ("existing" = Option<tidegate_model::upstream::OnRemove>, Query,
         description = "What becomes of the tunnels to its servers; otherwise what the pool says"),
    ),
    responses(
        (status = 200, description = "`success`", content_type = "text/plain", body = String),
        (status = 400, description = "The path does not decode, or `existing` is no such word",
         content_type = "text/html", body = String),
        (status = 404, description = "`not found uptream`", content_type = "text/plain",
         body = String),
        (status = 405, description = "The path names nothing that dyups deletes",
         content_type = "text/plain", body = String),
        (status = 500, description = "`add server failed`: it cannot be", content_type = "text/plain",
         body = String),
        (status = 503, description = "The process stops", content_type = "text/plain", body = String),
        (status = 507, description = "The change could not be stored, and nothing was changed",
         content_type = "text/plain", body = String),
    ),
)]
pub(super) fn delete() {}
