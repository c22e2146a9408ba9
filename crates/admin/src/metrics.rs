//! `/metrics` for Prometheus. Nothing is kept between scrapes: every number is read where it is
//! counted, on a thread of its own, family by family. See `rows` for the servers it speaks of.

mod events;
mod http2;
mod listeners;
mod page;
mod pools;
mod process;
mod rows;
mod servers;
mod tls;
mod tunnels;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use tidegate_table::ChangeTotals;
use tidegate_worker::Tunnels;

use crate::{
    Admin, AuditLog, RefusedTotals,
    context::Context,
    openapi::refusals::OfWork,
    problem::Problem,
    status::{Facts, Outcome},
};
use page::Page;

pub use http2::Http2Totals;
pub(crate) use process::{max_descriptors, open_descriptors};
pub(crate) use rows::{Listed, Row};
pub use tls::{Certificate, TlsTotals};

/// Numbers that are counted outside the table.
pub trait Totals: Send + Sync {
    fn listeners(&self) -> Vec<ListenerTotals>;

    /// Lines of the access log that found no room.
    fn access_log_dropped(&self) -> u64;

    /// `None`: no spans are exported.
    fn spans(&self) -> Option<SpanTotals>;

    /// Log lines about failures and refusals that were over their rate.
    fn log_lines_dropped(&self) -> u64;

    /// How often it was seen that files for TLS to servers cannot be read again.
    fn upstream_tls_file_failures(&self) -> u64;

    /// Panics that were caught.
    fn panics(&self) -> u64;

    /// Errors of this machine and not of a server, by kind (EMFILE, EADDRNOTAVAIL, ...).
    fn local_errors(&self) -> Vec<(&'static str, u64)>;

    /// How late each worker's timer was when last looked at.
    fn worker_lag(&self) -> Vec<Duration>;

    /// The clock that servers' health is told by, in milliseconds.
    fn failure_clock(&self) -> u64;
}

/// One listener as it stands.
#[derive(Clone, Debug)]
pub struct ListenerTotals {
    pub name: String,
    pub address: String,
    pub protocol: &'static str,
    /// Nobody comes in any more.
    pub is_closed: bool,
    /// Sessions of a udp listener.
    pub connections_active: u64,
    pub connections_total: u64,
    /// Connections that were turned away, by who had enough of them.
    pub refused: Vec<(&'static str, u64)>,
    pub tunnels: Tunnels,
    /// `None`: its clients speak plain text.
    pub tls: Option<TlsTotals>,
    pub http2: Http2Totals,
    /// Of a udp listener.
    pub datagrams: Option<DatagramTotals>,
}

/// What became of the spans of requests.
#[derive(Clone, Copy, Debug)]
pub struct SpanTotals {
    pub exported: u64,
    pub dropped: u64,
}

/// The datagrams of one listener.
#[derive(Clone, Copy, Debug)]
pub struct DatagramTotals {
    pub to_server: u64,
    pub to_client: u64,
    pub dropped: u64,
    /// Sessions that gave way to others.
    pub evicted: u64,
}

/// Numbers for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "showMetrics",
    tag = "process",
    responses(
        (status = 200, description = "Prometheus' text format", body = String,
         content_type = "text/plain; version=0.0.4"),
        OfWork,
    ),
)]
pub(crate) async fn page(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    let text = context.aside(render).await?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

fn render(admin: &Admin) -> String {
    let listed = Listed::now(&admin.table, &*admin.totals);
    let facts = admin.status.facts();
    let mut page = Page::default();
    about(&mut page, &facts, listed.snapshot.generation);
    changes(&mut page, &admin.table.changes());
    let listeners = admin.totals.listeners();
    listeners::families(&mut page, &listeners);
    tls::families(&mut page, &listeners);
    tls::to_servers(&mut page, admin.totals.upstream_tls_file_failures());
    http2::families(&mut page, &listeners);
    tunnels::families(&mut page, &listeners, &admin.operate.drains());
    pools::families(&mut page, &listed, admin.table.nowhere());
    servers::families(&mut page, &listed);
    events::families(&mut page, &admin.events.totals());
    refusals(&mut page, &admin.refused);
    trouble(&mut page, &*admin.totals, &admin.audit);
    process::families(&mut page, facts.started);
    page.into_text()
}

fn about(page: &mut Page, facts: &Facts, generation: u64) {
    page.gauge("tidegate_build_info", "What was built; always 1.", |samples| {
        samples.add(&[("version", facts.version)], 1.0);
    });
    page.gauge("tidegate_generation", "The newest generation of the table.", |samples| {
        samples.count(&[], generation);
    });
    // A start-up is a file read well.
    let (applied, at) = facts
        .last_reload
        .as_ref()
        .map_or((true, facts.started), |reload| (reload.outcome == Outcome::Applied, reload.at));
    page.gauge(
        "tidegate_config_last_reload_successful",
        "Whether the configuration file was applied when it was last read.",
        |samples| samples.count(&[], u64::from(applied)),
    );
    page.gauge(
        "tidegate_config_last_reload_timestamp_seconds",
        "When the configuration file was last read.",
        |samples| samples.add(&[], unix_time(at)),
    );
}

fn unix_time(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn changes(page: &mut Page, totals: &ChangeTotals) {
    page.counter("tidegate_changes_total", "Changes of the table.", |samples| {
        for ((source, outcome), count) in &totals.counts {
            samples.count(&[("source", source), ("outcome", outcome)], *count);
        }
    });
    page.histogram(
        "tidegate_change_seconds",
        "From the start of a change to its visibility on every worker.",
        |samples| samples.distribution(&[], &totals.seconds),
    );
}

fn refusals(page: &mut Page, refused: &RefusedTotals) {
    page.counter(
        "tidegate_admin_refused_total",
        "Requests of the admin side that were refused for who asked, or how.",
        |samples| {
            for (reason, count) in refused.counts() {
                samples.count(&[("reason", reason)], count);
            }
        },
    );
}

fn trouble(page: &mut Page, totals: &dyn Totals, audit: &AuditLog) {
    page.counter(
        "tidegate_access_log_dropped_total",
        "Lines of the access log that found no room.",
        |samples| samples.count(&[], totals.access_log_dropped()),
    );
    if let Some(spans) = totals.spans() {
        exported(page, spans);
    }
    page.counter(
        "tidegate_audit_log_errors_total",
        "Lines of the audit log that could not be written, and failed reopenings.",
        |samples| samples.count(&[], audit.errors()),
    );
    page.counter(
        "tidegate_log_lines_dropped_total",
        "Log lines about failures and refusals that were over their rate.",
        |samples| samples.count(&[], totals.log_lines_dropped()),
    );
    page.counter(
        "tidegate_panics_total",
        "Panics, each of which ended one connection.",
        |samples| samples.count(&[], totals.panics()),
    );
    page.counter(
        "tidegate_local_errors_total",
        "Errors of this machine, for which no server is blamed.",
        |samples| {
            for (kind, count) in totals.local_errors() {
                samples.count(&[("kind", kind)], count);
            }
        },
    );
    page.gauge(
        "tidegate_worker_lag_seconds",
        "How late a worker's timer was when last looked at.",
        |samples| {
            for (worker, lag) in totals.worker_lag().into_iter().enumerate() {
                samples.add(&[("worker", &worker.to_string())], lag.as_secs_f64());
            }
        },
    );
}

fn exported(page: &mut Page, spans: SpanTotals) {
    page.counter(
        "tidegate_otlp_exported_total",
        "Spans that the collector has taken.",
        |samples| samples.count(&[], spans.exported),
    );
    page.counter(
        "tidegate_otlp_dropped_total",
        "Spans that found no room, or that the collector did not take.",
        |samples| samples.count(&[], spans.dropped),
    );
}
