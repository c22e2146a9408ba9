//! `GET /status`: what health checks have found, on the page that Tengine's `check_status` serves,
//! for the scripts and dashboards that read it there. A server is up or down here as its check
//! says; what else keeps it out of rotation is in `/metrics` and the JSON API.

mod format;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use tidegate_model::upstream::CheckKind;
use tidegate_table::{Snapshot, Target};
use tidegate_wire::query_argument;

use crate::{context::Context, openapi::refusals::OfWork, problem::Problem};
use format::Format;

/// The servers that were asked for.
struct Listed<'l> {
    generation: u64,
    peers: Vec<Peer<'l>>,
}

/// One server with a check.
struct Peer<'l> {
    /// Its place among all servers with a check, shown or not.
    index: usize,
    upstream: &'l str,
    /// Where requests to it go.
    name: String,
    is_up: bool,
    /// Probes passed or failed in a row.
    rises: u32,
    falls: u32,
    kind: &'static str,
    /// As configured; 0: the server's own.
    port: u16,
}

/// What the query asks for.
#[derive(Clone, Copy)]
struct Wanted {
    format: Format,
    /// `None`: all of them.
    up: Option<bool>,
}

/// What health checks have found, as on Tengine's page
///
/// 500 where no pool has a check, as there. A word that is not known is as good as none.
#[utoipa::path(
    get,
    path = "/status",
    operation_id = "showChecks",
    tag = "process",
    params(
        ("format" = Option<String>, Query, example = "json",
         description = "`html`, otherwise also `csv`, `json` or `prometheus`"),
        ("status" = Option<String>, Query, example = "down",
         description = "`up` or `down`: only such servers"),
    ),
    responses(
        (status = 200, description = "The page", content(
            (String = "text/html"),
            (String = "text/plain"),
            (serde_json::Value = "application/json"),
        )),
        OfWork,
    ),
)]
pub(crate) async fn page(
    State(context): State<Arc<Context>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let wanted = Wanted::of(query.unwrap_or_default().as_bytes());
    let text = context.aside(move |admin| render(&admin.table.snapshot(), wanted)).await?;
    // Tengine's answer where nothing is checked.
    let text = text.ok_or_else(|| {
        let detail = "no upstream has a check; Tengine answers 500, too";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })?;
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static(wanted.format.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn render(snapshot: &Snapshot, wanted: Wanted) -> Option<String> {
    Some(wanted.format.render(&Listed::of(snapshot, wanted.up)?))
}

impl Wanted {
    /// What is not understood is as if it were not there.
    fn of(query: &[u8]) -> Self {
        let format = query_argument(query, "format").and_then(Format::named);
        let up = match query_argument(query, "status") {
            Some(word) if word.eq_ignore_ascii_case(b"up") => Some(true),
            Some(word) if word.eq_ignore_ascii_case(b"down") => Some(false),
            _ => None,
        };
        Self { format: format.unwrap_or_default(), up }
    }
}

impl<'l> Listed<'l> {
    /// `None`: no pool has a check.
    fn of(snapshot: &'l Snapshot, up: Option<bool>) -> Option<Self> {
        let pools = snapshot.in_order();
        if pools.iter().all(|pool| pool.upstream.check.is_none()) {
            return None;
        }
        let mut peers = Vec::new();
        for pool in pools {
            let Some(check) = &pool.upstream.check else { continue };
            let of_pool = pool.servers.iter().filter_map(|server| {
                // Nobody asks a server that somebody set down, in Tengine neither.
                let asked = !server.spec.down;
                // A change that is on its way may have ended the check already.
                let checked = asked.then(|| server.state.health.checked())??;
                Some((&server.target, checked))
            });
            peers.extend(of_pool.map(|(target, checked)| Peer {
                index: 0,
                upstream: pool.name.as_str(),
                name: name(target),
                is_up: checked.is_up,
                rises: checked.rises,
                falls: checked.falls,
                kind: kind(check.kind),
                port: check.port,
            }));
        }
        peers.iter_mut().enumerate().for_each(|(index, peer)| peer.index = index);
        peers.retain(|peer| up.is_none_or(|up| peer.is_up == up));
        Some(Self { generation: snapshot.generation, peers })
    }

    fn up(&self) -> usize {
        self.peers.iter().filter(|peer| peer.is_up).count()
    }
}

impl Peer<'_> {
    fn status(&self) -> &'static str {
        if self.is_up { "up" } else { "down" }
    }
}

fn name(target: &Target) -> String {
    match target {
        Target::Ip(address) => address.to_string(),
        Target::Unix(path) => format!("unix:{path}"),
    }
}

/// Tengine's words, and our own for what it does not have.
fn kind(kind: CheckKind) -> &'static str {
    match kind {
        CheckKind::Tls => "ssl_hello",
        kind => kind.word(),
    }
}
