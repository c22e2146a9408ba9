//! `rate_limit`. The rates are by the hour, so that no time a test takes brings anything back.

use std::thread;

use super::{TRUSTED, get_as, refused, reload};
use crate::kit::{Edge, Origin};

/// Four at once, and then one an hour.
const FOUR: &str = "upstream = \"app\"\nrate_limit = { rate = \"1/h\", burst = 3 }";

fn statuses(edge: &Edge, client: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| get_as(edge, client, "/").status()).collect()
}

#[test]
fn above_the_rate_it_is_429_with_the_time_to_come_again() {
    let origin = Origin::named("up");
    let edge = Edge::new().listener(TRUSTED).route(FOUR).pool("app", &[&origin]).logging().start();
    assert_eq!(statuses(&edge, "192.0.2.1", 4), [200; 4]);
    let answer = get_as(&edge, "192.0.2.1", "/");
    assert_eq!(answer.status(), 429);
    let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&seconds), "{seconds}");
    assert_eq!(statuses(&edge, "192.0.2.2", 4), [200; 4], "another client has its own");
    assert_eq!(statuses(&edge, "2001:db8::1", 2), [200; 2]);
    assert_eq!(statuses(&edge, "2001:db8::ffff:1", 3), [200, 200, 429], "a network is one");
    assert_eq!(statuses(&edge, "2001:db8:0:1::1", 1), [200]);
    assert_eq!(origin.count(), 13);
    assert_eq!(refused(&edge, "/", "rate_limit"), 2.0);
    let records = edge.records(15);
    let limited: Vec<_> = records.iter().filter(|r| r["refused"] == "rate_limit").collect();
    assert_eq!(limited.len(), 2, "{records:?}");
    assert!(limited.iter().all(|record| record["status"] == 429 && record["route"] == "/"));
}

#[test]
fn all_workers_count_together() {
    let origin = Origin::named("up");
    let edge = Edge::new()
        .workers(4)
        .route("upstream = \"app\"\nrate_limit = { rate = \"1/h\", burst = 49 }")
        .pool("app", &[&origin])
        .start();
    let passed = || {
        let many = (0..40).map(|_| edge.get("a", "/").status());
        many.filter(|status| *status == 200).count()
    };
    let passed: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(passed)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 50);
}

#[test]
fn a_reload_forgets_nothing_of_a_limit_that_stays() {
    let origin = Origin::named("up");
    let edge = Edge::new().listener(TRUSTED).route(FOUR).pool("app", &[&origin]).start();
    assert_eq!(statuses(&edge, "192.0.2.1", 5), [200, 200, 200, 200, 429]);
    edge.rewrite(|text| text.replace("burst = 3", "burst = 4"));
    reload(&edge);
    assert_eq!(statuses(&edge, "192.0.2.1", 2), [200, 429], "one more may come at once now");
    edge.rewrite(|text| {
        text.replace("upstream = \"app\"", "upstream = \"app\"\nmax_body = \"2m\"")
    });
    reload(&edge);
    assert_eq!(statuses(&edge, "192.0.2.1", 1), [429]);
    edge.rewrite(|text| text.replace("1/h", "2/h"));
    reload(&edge);
    assert_eq!(statuses(&edge, "192.0.2.1", 1), [200], "another rate begins anew");
}

#[test]
fn keys_are_what_the_route_says() {
    let origin = Origin::named("up");
    let limit = |path: &str, key: &str| {
        format!(
            "path = \"{path}\"\nupstream = \"app\"\nrate_limit = {{ key = \"{key}\", rate = \"1/h\" }}"
        )
    };
    let edge = Edge::new()
        .route(&limit("/header", "header:x-user"))
        .route(&limit("/cookie", "cookie:uid"))
        .route(&limit("/query", "query:q"))
        .route(&limit("/uri", "uri"))
        .pool("app", &[&origin])
        .start();
    let ask = |target: &str, field: &str| {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: a\r\n{field}Connection: close\r\n\r\n");
        edge.client().ask(request).status()
    };
    for (target, field, status) in [
        ("/header", "X-User: a\r\n", 200),
        ("/header", "X-User: b\r\n", 200),
        ("/header", "x-user: a\r\n", 429),
        ("/header", "", 200),
        ("/header", "", 200),
        ("/header", "X-User:\r\n", 200),
        ("/header", "X-User:\r\n", 200),
        ("/cookie", "Cookie: x=1; uid=7\r\n", 200),
        ("/cookie", "Cookie: uid=7\r\n", 429),
        ("/cookie", "Cookie: uid=8\r\n", 200),
        ("/query?q=1", "", 200),
        ("/query?x=2&q=1", "", 429),
        ("/query", "", 200),
        ("/query", "", 200),
        ("/uri?1", "", 200),
        ("/uri?2", "", 200),
        ("/uri?1", "", 429),
    ] {
        assert_eq!(ask(target, field), status, "{target} {field:?}");
    }
}

/// One that nobody else's requests can push out: not even many more than are remembered.
#[test]
fn a_flood_of_keys_frees_nobody_and_stops_no_stranger() {
    let origin = Origin::named("up");
    let edge = Edge::new()
        .route("upstream = \"app\"\nrate_limit = { key = \"query:q\", rate = \"1/h\", burst = 1 }")
        .pool("app", &[&origin])
        .start();
    let mut client = edge.client();
    let mut ask =
        |key: &str| client.ask(format!("GET /?q={key} HTTP/1.1\r\nHost: a\r\n\r\n")).status();
    assert_eq!([ask("busy"), ask("busy"), ask("busy")], [200, 200, 429]);
    let strangers = crate::kit::env_number("TIDEGATE_STRANGERS", 2_000);
    assert!((0..strangers).all(|number| ask(&number.to_string()) == 200));
    assert_eq!(ask("busy"), 429);
}
