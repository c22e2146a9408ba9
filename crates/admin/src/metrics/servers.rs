//! What is counted by server.

use tidegate_metrics::Counter;
use tidegate_table::{Attempt, Close, ServerCells};

use super::{
    page::{Page, Samples},
    rows::{Listed, Row},
};

pub(super) fn families(page: &mut Page, listed: &Listed) {
    let rows = listed.rows();
    traffic(page, &rows);
    now(page, &rows);
    checks(page, &rows);
    tunnels(page, &rows);
}

fn traffic(page: &mut Page, rows: &[Row<'_>]) {
    page.counter(
        "tidegate_upstream_requests_total",
        "Answers of servers by status code.",
        |samples| {
            for row in rows {
                for (code, count) in row.codes() {
                    let code = ("code", &*code.to_string());
                    samples.count(&[upstream(row), server(row), code], count);
                }
            }
        },
    );
    page.counter(
        "tidegate_upstream_attempts_total",
        "Attempts at servers by how they ended.",
        |samples| {
            by_label(samples, rows, "outcome", &Attempt::ALL, |cells, outcome| {
                cells.attempt(outcome)
            });
        },
    );
}

fn now(page: &mut Page, rows: &[Row<'_>]) {
    page.gauge(
        "tidegate_server_state",
        "1 for the state that a server is in: up, down, draining, unhealthy, ejected, \
         checking or removed.",
        |samples| {
            for row in rows {
                samples.count(&[upstream(row), server(row), ("state", row.state)], 1);
            }
        },
    );
    page.gauge("tidegate_server_requests_active", "Requests that run on a server.", |samples| {
        for row in rows {
            samples.count(&[upstream(row), server(row)], row.requests());
        }
    });
    page.gauge("tidegate_server_tunnels_active", "Tunnels open to a server.", |samples| {
        for row in rows {
            samples.count(&[upstream(row), server(row)], row.tunnels());
        }
    });
}

fn checks(page: &mut Page, rows: &[Row<'_>]) {
    page.counter("tidegate_checks_total", "Probes of a server by how they ended.", |samples| {
        for row in rows {
            let (passed, failed) = row.probes();
            for (outcome, count) in [("passed", passed), ("failed", failed)] {
                samples.count_some(&[upstream(row), server(row), ("outcome", outcome)], count);
            }
        }
    });
}

fn tunnels(page: &mut Page, rows: &[Row<'_>]) {
    page.counter("tidegate_tunnels_total", "Tunnels opened to a server.", |samples| {
        for row in rows {
            let opened = row.sum(|cells| cells.tunnels.value());
            samples.count_some(&[upstream(row), server(row)], opened);
        }
    });
    page.counter("tidegate_tunnel_closes_total", "Tunnels by why they ended.", |samples| {
        by_label(samples, rows, "cause", &Close::ALL, |cells, cause| cells.close(cause));
    });
    page.counter("tidegate_tunnel_bytes_total", "Bytes carried through tunnels.", |samples| {
        let directions = [(true, "to_client"), (false, "to_server")];
        by_label(samples, rows, "direction", &directions, |cells, to_client| {
            if to_client { &cells.bytes_to_client } else { &cells.bytes_to_server }
        });
    });
}

/// One sample for every row and value of a label that was counted at all.
fn by_label<V: Copy>(
    samples: &mut Samples,
    rows: &[Row<'_>],
    label: &'static str,
    values: &[(V, &'static str)],
    counter: impl Fn(&ServerCells, V) -> &Counter,
) {
    for row in rows {
        for (value, word) in values {
            let count = row.sum(|cells| counter(cells, *value).value());
            samples.count_some(&[upstream(row), server(row), (label, word)], count);
        }
    }
}

fn upstream<'l>(row: &Row<'l>) -> (&'static str, &'l str) {
    ("upstream", row.upstream)
}

fn server<'l>(row: &Row<'l>) -> (&'static str, &'l str) {
    ("server", row.server)
}
