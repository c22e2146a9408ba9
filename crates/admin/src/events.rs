//! `/api/v1/events`: what happens, as server-sent events (WHATWG HTML, §9.2). A connection is a place
//! in the ring of events and what its socket holds; one that takes nothing is given up like any
//! other.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream::unfold;
use tidegate_events::{Full, Kind, Kinds, Subscription};
use tokio::time::timeout;

use crate::{context::Context, openapi::refusals::OfQuery, problem::Problem};

/// After so long without an event a comment is sent: proxies in between do not take the connection
/// for dead, and a client that has gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

const LAST_EVENT_ID: &str = "last-event-id";

/// What is asked for.
struct Wanted {
    kinds: Kinds,
    /// The last event that the client has seen.
    after: Option<u64>,
}

/// A client that follows.
struct Follower {
    events: Subscription,
    is_greeted: bool,
}

/// What happens, from now on
///
/// Server-sent events. Each has an id; `Last-Event-ID` goes on after it. `lost` says what cannot be
/// had any more.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "followEvents",
    tag = "process",
    params(
        ("kinds" = Option<String>, Query, description = "Some of them, separated by commas"),
        ("last_event_id" = Option<u64>, Query, description = "For who cannot send the header"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last one that was seen"),
    ),
    responses(
        (status = 200, description = "They come as they happen", content_type = "text/event-stream",
         body = String),
        (status = 503, description = "Too many follow already",
         content_type = "application/problem+json", body = Problem),
        OfQuery,
    ),
)]
pub(crate) async fn follow(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(parameters) =
        parameters.map_err(|error| bad().with_fault("query", error.body_text()))?;
    let Wanted { kinds, after } = Wanted::read(&headers, parameters)?;
    let full = |full: Full| Problem::new(StatusCode::SERVICE_UNAVAILABLE, full.to_string());
    let events = context.admin.events.subscribe(after, kinds).map_err(full)?;
    let begin = Follower { events, is_greeted: false };
    let texts = unfold(begin, |mut follower| async move {
        let text = follower.next().await?;
        Some((Ok::<_, Infallible>(text), follower))
    });
    let fields = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx in between is not to wait for more.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((fields, Body::from_stream(texts)).into_response())
}

impl Follower {
    /// `None`: it is over. Not cancel safe.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.is_greeted {
            self.is_greeted = true;
            return Some(self.comment("connected"));
        }
        match timeout(KEEP_ALIVE, self.events.next()).await {
            Ok(next) => next,
            Err(_) => Some(self.comment("keep-alive")),
        }
    }

    /// A comment, and where to go on from: a client that comes again has missed nothing of what was
    /// told since, nor does it ask for what it did not want.
    fn comment(&self, words: &str) -> Bytes {
        format!(": {words}\nid: {}\n\n", self.events.last_id()).into()
    }
}

impl Wanted {
    /// The header is what an `EventSource` sends when it comes again, and newer than its address.
    fn read(headers: &HeaderMap, parameters: Vec<(String, String)>) -> Result<Self, Problem> {
        let (mut kinds, mut after) = (None, None);
        for (name, value) in parameters {
            let is_new = match &*name {
                "kinds" => kinds.replace(parse_kinds(&value)?).is_none(),
                "last_event_id" => after.replace(parse_id("last_event_id", &value)?).is_none(),
                _ => {
                    let reason = "unknown; there are: kinds, last_event_id";
                    return Err(bad().with_fault(name, reason));
                }
            };
            if !is_new {
                return Err(bad().with_fault(name, "given twice"));
            }
        }
        if let Some(value) = headers.get(LAST_EVENT_ID) {
            after = Some(parse_id("Last-Event-ID", value.to_str().unwrap_or("?"))?);
        }
        Ok(Self { kinds: kinds.unwrap_or(Kinds::ALL), after: after.flatten() })
    }
}

fn bad() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "these are not events that can be followed")
}

fn parse_kinds(text: &str) -> Result<Kinds, Problem> {
    let kind = |word: &str| {
        Kind::parse(word).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::word).join(", ");
            bad().with_fault("kinds", format!("there are: {known}"))
        })
    };
    text.split(',').map(kind).collect()
}

/// An empty one is none: that of an `EventSource` that has seen nothing.
fn parse_id(field: &'static str, text: &str) -> Result<Option<u64>, Problem> {
    let wrong = |_| bad().with_fault(field, "this is not the id of an event");
    match text {
        "" => Ok(None),
        _ => text.parse().map(Some).map_err(wrong),
    }
}
