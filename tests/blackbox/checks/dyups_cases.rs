//! The cases C44 to C50 of dyups' own tests: a check in a body, optimistic and not.

use std::time::{Duration, Instant};

use crate::{
    dyups::Bench,
    kit::{eventually, status_of},
};

const OPTIMIST: &str = "server 127.0.0.1:8088;check interval=3000 rise=2 fall=5 timeout=1000 \
                        type=http default_down=false;";
const PESSIMIST: &str = "server 127.0.0.1:8088;check interval=1000 rise=2 fall=5 timeout=1000 \
                         type=http default_down=true;";
/// Before this no two probes can have passed.
const TWO_PROBES: Duration = Duration::from_millis(900);

#[track_caller]
fn expect(bench: &Bench, case: &str, method: &str, body: Option<&str>, wanted: &str) {
    let answer = bench.admin(method, "/upstream/dyhost", body);
    assert!(answer.ends_with(wanted), "{case}: {method} {body:?}: {answer:?}");
}

#[test]
fn c44_to_c46_an_optimistic_check_serves_at_once() {
    let bench = Bench::with_hosts(1);
    expect(&bench, "C44", "POST", Some(OPTIMIST), "success");
    assert!(bench.front("dyhost").ends_with("8088"), "C45");
    expect(&bench, "C46", "DELETE", None, "success");
    assert_eq!(status_of(bench.front("dyhost").as_bytes()), 502, "C46");
}

#[test]
fn c47_to_c50_a_pessimistic_check_serves_after_two_probes() {
    let bench = Bench::with_hosts(1);
    let started = Instant::now();
    expect(&bench, "C47", "POST", Some(PESSIMIST), "success");
    let answer = bench.front("dyhost");
    let is_early = started.elapsed() < TWO_PROBES;
    assert!(!is_early || status_of(answer.as_bytes()) == 502, "C48: {answer:?}");
    eventually("C49: it serves", || bench.front("dyhost").ends_with("8088"));
    assert!(started.elapsed() >= TWO_PROBES, "C49: after two probes, an interval apart");
    expect(&bench, "C50", "DELETE", None, "success");
}

/// They carry over a POST that changes nothing, and end with one that has none.
#[test]
fn a_body_without_a_check_takes_it_away() {
    let bench = Bench::with_hosts(4);
    let down = "server 127.0.0.1:8088;check interval=1000 rise=1 fall=1 timeout=1000 type=http \
                default_down=true; check_http_expect_alive http_4xx;";
    expect(&bench, "with", "POST", Some(down), "success");
    for _ in 0..4 {
        expect(&bench, "again", "POST", Some(down), "success");
        assert_eq!(status_of(bench.front("dyhost").as_bytes()), 502, "it stays down");
    }
    expect(&bench, "without", "POST", Some("server 127.0.0.1:8088;"), "success");
    for _ in 0..8 {
        assert!(bench.front("dyhost").ends_with("8088"), "on every worker, at once");
    }
}
