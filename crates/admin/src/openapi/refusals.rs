//! The answers that say no. A handler's annotation names the groups that fit; each of their answers
//! is described once for the whole document.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::{
    IntoResponses,
    openapi::{Ref, RefOr, Response},
};

/// Statuses, what the document calls them, and what they mean here.
pub(super) const ALL: [(u16, &str, &str); 13] = [
    (400, "BadRequest", "Not what is asked for here; `errors` says which field and why."),
    (401, "Unauthorized", "A token is wanted that is one of this process."),
    (403, "Forbidden", "Host or Origin are not this process', or the token's role is too small."),
    (404, "NotFound", "There is no such thing."),
    (408, "RequestTimeout", "The body did not come in time."),
    (
        409,
        "Conflict",
        "It would leave nobody to take requests, which may be forced; or it is there.",
    ),
    (412, "PreconditionFailed", "What is to be changed is no longer as `If-Match` says."),
    (413, "ContentTooLarge", "The body is too long."),
    (422, "UnprocessableContent", "The key was used before, for another request."),
    (429, "TooManyRequests", "Too many requests; `Retry-After` says when to come again."),
    (500, "InternalServerError", "The answer could not be put together."),
    (503, "ServiceUnavailable", "The process stops and takes no more changes."),
    (507, "InsufficientStorage", "The change could not be stored, and nothing was changed."),
];

macro_rules! groups {
    ($($(#[$doc:meta])* $group:ident: $($status:literal)+;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $group;

        impl IntoResponses for $group {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$($status),+].into_iter().map(shared).collect()
            }
        }
    )+};
}

groups! {
    /// Where there is a body to read.
    OfBody: 400 408 413;
    /// Where the table is changed.
    OfChange: 409 503 507;
    /// Where the table's past is read.
    OfStore: 507;
    /// Where a change has conditions or a key.
    OfTerms: 412 422;
    /// Where something is named that may not be there.
    OfNames: 404;
    /// Where a query is read.
    OfQuery: 400;
    /// Where the answer is put together on another thread.
    OfWork: 500;
}

/// Nobody sees these: they stand for the shared descriptions in the document.
fn shared(status: u16) -> (String, RefOr<Response>) {
    let name = ALL.iter().find(|(known, ..)| *known == status).map_or("Unknown", |known| known.1);
    (status.to_string(), Ref::from_response_name(name).into())
}

/// The headers of an answer of that status, and what they say.
pub(super) fn headers(status: u16) -> &'static [(&'static str, &'static str)] {
    match StatusCode::from_u16(status) {
        Ok(StatusCode::UNAUTHORIZED) => &[("WWW-Authenticate", "Which scheme is wanted.")],
        Ok(StatusCode::TOO_MANY_REQUESTS) => &[("Retry-After", "Seconds to wait.")],
        _ => &[],
    }
}
