//! HTTP/2 with clients: how many speak it, and who asked too much.

use super::{ListenerTotals, page::Page};

/// What there is to say about the HTTP/2 of one listener.
#[derive(Clone, Debug)]
pub struct Http2Totals {
    pub connections: u64,
    pub streams: u64,
    /// Connections that were closed for what their clients did, by reason.
    pub faulty: Vec<(&'static str, u64)>,
}

pub(super) fn families(page: &mut Page, listeners: &[ListenerTotals]) {
    let http = || listeners.iter().filter(|one| one.protocol == "http");
    page.counter(
        "tidegate_http2_connections_total",
        "Connections of clients that spoke HTTP/2.",
        |samples| {
            http().for_each(|one| samples.count(&[("listener", &one.name)], one.http2.connections));
        },
    );
    page.counter("tidegate_http2_streams_total", "Streams that clients have opened.", |samples| {
        http().for_each(|one| samples.count(&[("listener", &one.name)], one.http2.streams));
    });
    page.counter(
        "tidegate_http2_faults_total",
        "Connections that were closed for what their clients did.",
        |samples| {
            for one in http() {
                for (reason, count) in &one.http2.faulty {
                    samples.count(&[("listener", &one.name), ("reason", reason)], *count);
                }
            }
        },
    );
}
