//! What is counted by pool. Requests that found none have the empty name.

use std::collections::BTreeMap;

use tidegate_metrics::{Counter, Histogram, Totals};
use tidegate_table::{Attempt, Barred, Handshake, PoolCells, PoolLive};

use super::{
    page::{Page, Samples},
    rows::Listed,
};

type Named<'l> = (&'l str, &'l PoolLive);

pub(super) fn families(page: &mut Page, listed: &Listed, nowhere: &PoolLive) {
    let pools = listed.snapshot.in_order();
    let mut named: Vec<Named<'_>> =
        pools.into_iter().map(|pool| (pool.name.as_str(), &*pool.live)).collect();
    named.push(("", nowhere));
    requests(page, &named);
    barred(page, nowhere);
    page.histogram(
        "tidegate_request_seconds",
        "From a request's first byte to the end of its answer.",
        |samples| distributions(samples, &named, |cells| &cells.request_seconds),
    );
    page.histogram(
        "tidegate_upstream_seconds",
        "From the choice of a server to the head of its answer.",
        |samples| distributions(samples, &named, |cells| &cells.upstream_seconds),
    );
    retries(page, &named);
    refusals(page, &named);
    handshakes(page, &named);
}

fn requests(page: &mut Page, pools: &[Named<'_>]) {
    page.counter(
        "tidegate_requests_total",
        "Requests by the code they were answered with.",
        |samples| {
            for (upstream, live) in pools {
                for ((listener, route), series) in live.all_series() {
                    let mut codes = BTreeMap::new();
                    series.all().for_each(|cells| cells.codes.collect(&mut codes));
                    for (code, count) in codes {
                        let labels = [
                            ("listener", &*listener),
                            ("route", &*route),
                            ("upstream", upstream),
                            ("code", &*code.to_string()),
                        ];
                        samples.count(&labels, count);
                    }
                }
            }
        },
    );
}

/// Those that a limit of their route turned away: before a pool was looked for, so under none.
fn barred(page: &mut Page, nowhere: &PoolLive) {
    page.counter(
        "tidegate_requests_refused_total",
        "Requests that a limit of their route turned away.",
        |samples| {
            for ((listener, route), series) in nowhere.all_series() {
                for (by, reason) in Barred::ALL {
                    let labels = [("listener", &*listener), ("route", &*route), ("reason", reason)];
                    samples.count_some(&labels, series.sum(|cells| cells.barred(by).value()));
                }
            }
        },
    );
}

fn distributions(
    samples: &mut Samples,
    pools: &[Named<'_>],
    histogram: impl Fn(&PoolCells) -> &Histogram,
) {
    for (upstream, live) in pools {
        let mut totals = Totals::default();
        live.cells.all().for_each(|cells| histogram(cells).collect(&mut totals));
        if totals.buckets.iter().any(|count| *count > 0) {
            samples.distribution(&[("upstream", upstream)], &totals);
        }
    }
}

fn retries(page: &mut Page, pools: &[Named<'_>]) {
    page.counter(
        "tidegate_retries_total",
        "Attempts that were followed by another, by how they ended.",
        |samples| {
            for (upstream, live) in pools {
                for (cause, word) in Attempt::ALL {
                    let count = live.cells.sum(|cells| cells.retries(cause).value());
                    samples.count_some(&[("upstream", upstream), ("cause", word)], count);
                }
            }
        },
    );
}

fn refusals(page: &mut Page, pools: &[Named<'_>]) {
    page.counter(
        "tidegate_retry_budget_exhausted_total",
        "Retries that a pool's budget refused.",
        |samples| by_pool(samples, pools, |live| sum(live, |cells| &cells.budget_exhausted)),
    );
    page.counter(
        "tidegate_replay_refused_total",
        "Request bodies that found no room in process.replay_memory to be kept for a retry.",
        |samples| by_pool(samples, pools, |live| sum(live, |cells| &cells.replay_refused)),
    );
    page.counter(
        "tidegate_ejections_total",
        "Servers taken out of rotation for their answers.",
        |samples| by_pool(samples, pools, PoolLive::ejections),
    );
}

fn handshakes(page: &mut Page, pools: &[Named<'_>]) {
    page.counter(
        "tidegate_upstream_tls_handshakes_total",
        "TLS handshakes with servers, by how they ended.",
        |samples| {
            for (upstream, live) in pools {
                for (outcome, word) in Handshake::ALL {
                    let count = live.cells.sum(|cells| cells.handshakes(outcome).value());
                    samples.count_some(&[("upstream", upstream), ("outcome", word)], count);
                }
            }
        },
    );
}

/// One sample for every pool in which it was counted at all.
fn by_pool(samples: &mut Samples, pools: &[Named<'_>], count: impl Fn(&PoolLive) -> u64) {
    for (upstream, live) in pools {
        samples.count_some(&[("upstream", upstream)], count(live));
    }
}

fn sum(live: &PoolLive, counter: impl Fn(&PoolCells) -> &Counter) -> u64 {
    live.cells.sum(|cells| counter(cells).value())
}
