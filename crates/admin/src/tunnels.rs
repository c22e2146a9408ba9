//! `/api/v1/tunnels`: what is open, filtered, sorted and by pages; and closing one.

use std::{cmp::Reverse, collections::HashSet, net::IpAddr, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tidegate_model::schema::Ip;
use tidegate_net::coarse_millis;
use tidegate_tunnel::{Card, Register};
use utoipa::ToSchema;

use crate::{
    audit::{Audit, Outcome},
    caller::Caller,
    context::Context,
    openapi::refusals::{OfNames, OfQuery, OfWork},
    problem::Problem,
};

/// Tunnels on a page, unless asked otherwise, and at most.
const USUAL: usize = 100;
const MOST: usize = 1_000;

/// What is asked for.
#[derive(Debug, Default)]
struct Wanted {
    upstream: Option<String>,
    server: Option<String>,
    listener: Option<String>,
    client: Option<IpAddr>,
    sort: Sort,
    limit: Option<usize>,
    /// What the page before gave as `next`.
    after: Option<Key>,
}

/// What comes first; equal ones by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(as = TunnelSort, rename_all = "snake_case")]
enum Sort {
    /// The oldest.
    Age,
    /// Those that carried most.
    Bytes,
    #[default]
    Id,
    /// Those without data for longest.
    Idle,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TunnelPage)]
struct Page {
    tunnels: Vec<Row>,
    /// For `after`; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Of all that were asked for.
    total: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tunnel)]
struct Row {
    id: u64,
    kind: &'static str,
    upstream: String,
    #[schema(value_type = String)]
    server: Arc<str>,
    #[schema(value_type = String)]
    listener: Arc<str>,
    client: Option<String>,
    state: &'static str,
    age_ms: u64,
    idle_ms: u64,
    bytes_to_client: u64,
    bytes_to_server: u64,
    /// The server is in the middle of a WebSocket message.
    within_message: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TunnelClosing)]
struct Closing {
    id: u64,
    state: &'static str,
}

/// Where a tunnel stands in its order: the larger come first.
type Key = (u64, Reverse<u64>);

/// Tunnels that are open, by pages
#[utoipa::path(
    get,
    path = "/api/v1/tunnels",
    operation_id = "listTunnels",
    tag = "tunnels",
    params(
        ("upstream" = Option<String>, Query, description = "Only of this pool"),
        ("server" = Option<String>, Query, description = "Only of this server"),
        ("listener" = Option<String>, Query, description = "Only of this listener"),
        ("client" = Option<Ip>, Query, description = "Only of this client"),
        ("sort" = inline(Option<Sort>), Query, description = "What comes first; otherwise the oldest id"),
        ("limit" = Option<u64>, Query, description = "Tunnels on the page; otherwise 100, and at \
                                                      most 1,000"),
        ("after" = Option<String>, Query, pattern = "^[0-9]{1,18}-[0-9]{1,18}$",
         description = "The `next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page), OfQuery, OfWork),
)]
pub(crate) async fn list(
    State(context): State<Arc<Context>>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(parameters) =
        parameters.map_err(|error| bad().with_fault("query", error.body_text()))?;
    let wanted = Wanted::read(parameters)?;
    let register = Arc::clone(&context.admin.tunnels);
    // Ten thousand of them are sorted beside the control thread.
    let page = context.aside(move |_| page(&register, &wanted)).await?;
    Ok(Json(page).into_response())
}

/// Closes a tunnel
///
/// Politely: the client is told, and has a few seconds to answer.
#[utoipa::path(
    delete,
    path = "/api/v1/tunnels/{id}",
    operation_id = "closeTunnel",
    tag = "tunnels",
    params(("id" = u64, Path, description = "A tunnel")),
    responses((status = 202, description = "It is closing", body = Closing), OfNames),
)]
pub(crate) async fn close(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let mut audit = Audit::of("tunnel.close");
    let closed = tell(&context, &caller, &id, &mut audit);
    audit.on(closed)
}

fn tell(
    context: &Context,
    caller: &Caller,
    id: &str,
    audit: &mut Audit,
) -> Result<Response, Problem> {
    let none = || Problem::new(StatusCode::NOT_FOUND, "there is no such tunnel");
    let id = id.parse().map_err(|_| none())?;
    let (_, card) = context.admin.tunnels.find(id).ok_or_else(none)?;
    audit.upstream(card.server.pool());
    caller.may_change(card.server.pool())?;
    if !context.admin.operate.close(id) {
        return Err(none());
    }
    audit.before(&Row::of(&card, coarse_millis()), 1);
    audit.outcome(Outcome::Applied);
    tracing::info!(%caller, tunnel = id, "told to close");
    Ok((StatusCode::ACCEPTED, Json(Closing { id, state: "closing" })).into_response())
}

fn page(register: &Register, wanted: &Wanted) -> Page {
    let now = coarse_millis();
    let mut found = Vec::new();
    register.each(|_, card| {
        if wanted.fits(card) {
            found.push((wanted.sort.key(card, now), Arc::clone(card)));
        }
    });
    let total = found.len();
    found.retain(|(key, _)| wanted.after.is_none_or(|after| *key < after));
    found.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let limit = wanted.limit.unwrap_or(USUAL).clamp(1, MOST);
    let next = (found.len() > limit).then(|| {
        let (value, Reverse(id)) = found[limit - 1].0;
        format!("{value}-{id}")
    });
    found.truncate(limit);
    let tunnels = found.iter().map(|(_, card)| Row::of(card, now)).collect();
    Page { tunnels, next, total }
}

fn cursor(text: &str) -> Option<Key> {
    let (value, id) = text.split_once('-')?;
    Some((value.parse().ok()?, Reverse(id.parse().ok()?)))
}

fn bad() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "the query is not what can be asked for here")
}

impl Wanted {
    /// # Errors
    /// When something is wrong with the parameters: the first thing that is.
    fn read(parameters: Vec<(String, String)>) -> Result<Self, Problem> {
        let (mut wanted, mut seen) = (Self::default(), HashSet::new());
        for (name, value) in parameters {
            let read = match seen.insert(name.clone()) {
                true => wanted.parameter(&name, value),
                false => Err("given twice"),
            };
            read.map_err(|reason| bad().with_fault(name, reason))?;
        }
        Ok(wanted)
    }

    fn parameter(&mut self, name: &str, value: String) -> Result<(), &'static str> {
        match name {
            "after" => {
                let reason = "this is not the next of an earlier page";
                self.after = Some(cursor(&value).ok_or(reason)?);
            }
            "client" => self.client = Some(value.parse().map_err(|_| "this is no IP address")?),
            "limit" => self.limit = Some(value.parse().map_err(|_| "this is no number")?),
            "listener" => self.listener = Some(value),
            "server" => self.server = Some(value),
            "sort" => self.sort = Sort::parse(&value).ok_or("there are: age, bytes, id, idle")?,
            "upstream" => self.upstream = Some(value),
            _ => {
                return Err("unknown; there are: after, client, limit, listener, server, sort, \
                            upstream");
            }
        }
        Ok(())
    }

    fn fits(&self, card: &Card) -> bool {
        let Self { upstream, server, listener, client, .. } = self;
        let is = |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|w| w == text);
        let pool = card.server.pool().as_str();
        upstream.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(pool))
            && is(server, card.server.label())
            && is(listener, &card.listener)
            && client.is_none_or(|ip| card.client.is_some_and(|client| client.ip() == ip))
    }
}

impl Sort {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "age" => Some(Self::Age),
            "bytes" => Some(Self::Bytes),
            "id" => Some(Self::Id),
            "idle" => Some(Self::Idle),
            _ => None,
        }
    }

    /// Ages and silences by when they began, so that a page does not move while it is turned.
    fn key(self, card: &Card, now: u64) -> Key {
        let value = match self {
            Self::Age => u64::MAX - card.opened,
            Self::Bytes => card.to_client() + card.to_server(),
            Self::Id => 0,
            Self::Idle => u64::MAX - card.last_data().min(now),
        };
        (value, Reverse(card.id))
    }
}

impl Row {
    fn of(card: &Card, now: u64) -> Self {
        Self {
            id: card.id,
            kind: card.kind.word(),
            upstream: card.server.pool().to_string(),
            server: Arc::clone(card.server.label()),
            listener: Arc::clone(&card.listener),
            client: card.client.map(|client| client.to_string()),
            state: card.phase().word(),
            age_ms: now.saturating_sub(card.opened),
            idle_ms: now.saturating_sub(card.last_data()),
            bytes_to_client: card.to_client(),
            bytes_to_server: card.to_server(),
            within_message: card.is_within_message(),
        }
    }
}
