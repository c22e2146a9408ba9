//! The retry budget: retries because of a status or a time-out add at most a share to the traffic,
//! and what costs a sick server nothing is never refused.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::GET;
use crate::kit::{Edge, Origin, named_reply};

/// Bad servers first in every turn, and never out.
fn pool(bad: &Origin, good: &Origin, keys: &str) -> Edge {
    let never_out = ", max_fails = 0";
    let edge = Edge::new().route("upstream = \"app\"");
    edge.pool_of("app", &[(bad, never_out), (good, never_out)], keys).start()
}

/// How many of `8 × each` requests, sent as fast as they are answered, got this status.
fn storm(edge: &Edge, each: usize, status: u16) -> usize {
    let seen = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = edge.client();
                for _ in 0..each {
                    let answer = client.ask(GET);
                    if answer.status() == status {
                        seen.fetch_add(1, Ordering::SeqCst);
                    } else {
                        assert_eq!(answer.text(), "good");
                    }
                }
            });
        }
    });
    seen.into_inner()
}

fn metric(edge: &Edge, series: &str) -> usize {
    edge.metric(series).unwrap_or_default() as usize
}

const EXHAUSTED: &str = "tidegate_retry_budget_exhausted_total{upstream=\"app\"}";

#[test]
fn beyond_the_budget_the_servers_own_503_is_passed_on() {
    let (bad, good) = (Origin::answering(503, "busy"), Origin::named("good"));
    let edge = pool(&bad, &good, "next = { on = [\"http_503\"], budget = \"0%\" }");
    let refused = storm(&edge, 50, 503);
    assert!(refused > 0, "more than ten a second went on");
    assert_eq!(refused, metric(&edge, EXHAUSTED), "each refusal is counted");
    let retries = metric(&edge, "tidegate_retries_total{upstream=\"app\",cause=\"http_503\"}");
    assert!(retries >= 10, "ten a second are always allowed, not {retries}");
    assert_eq!(retries + refused, bad.count(), "every 503 was retried or passed on");
}

#[test]
fn within_the_budget_no_503_is_seen() {
    let (bad, good) = (Origin::answering(503, "busy"), Origin::named("good"));
    let edge = pool(&bad, &good, "next = { on = [\"http_503\"], budget = \"1000%\" }");
    assert_eq!(storm(&edge, 50, 503), 0);
    assert_eq!(edge.metric(EXHAUSTED), None);
    assert!(bad.count() >= 100, "it had its turns: {}", bad.count());
}

#[test]
fn time_outs_are_within_the_budget_or_504() {
    let (bad, good) = (Origin::silent(), Origin::named("good"));
    let keys = "next = { budget = \"0%\" }\ntimeouts = { read = \"400ms\" }";
    let edge = pool(&bad, &good, keys);
    let timed_out = thread::scope(|scope| {
        let ask = || scope.spawn(|| usize::from(edge.client().ask(GET).status() == 504));
        let asked: Vec<_> = (0..64).map(|_| ask()).collect();
        asked.into_iter().map(|one| one.join().unwrap()).sum::<usize>()
    });
    let refused = metric(&edge, EXHAUSTED);
    assert!(refused > 0, "32 at once are more than ten a second");
    assert!(timed_out >= refused, "{timed_out} of 64 were told, and {refused} not retried");
}

/// A dead server does not suffer from retries, so they are never refused.
#[test]
fn failed_connects_and_lost_connections_are_never_refused() {
    let dying = Origin::new(|conn| {
        // Keeps the first connection of each turn for one answer, and drops the second request.
        if conn.receive().is_ok()
            && conn.number % 2 == 1
            && conn.try_send(named_reply("good")).is_ok()
        {
            let _ = conn.receive();
        }
    });
    for bad in [Origin::refusing(), Origin::closing(), dying] {
        let good = Origin::named("good");
        let edge = pool(&bad, &good, "next = { budget = \"0%\" }");
        assert_eq!(storm(&edge, 50, 502), 0);
        assert_eq!(edge.metric(EXHAUSTED), None);
    }
}
