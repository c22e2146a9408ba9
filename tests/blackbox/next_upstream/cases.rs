//! nginx's own cases, by their numbers: proxy_next_upstream.t (N1 to N8), proxy_next_upstream_tries.t
//! (N9 to N16), proxy_non_idempotent.t (N17 to N24) and upstream.t (N25 to N27).

use std::{
    net::{IpAddr, TcpListener, ToSocketAddrs},
    thread,
    time::{Duration, Instant},
};

use super::{GET, HOUR, POST, edge, on, outcomes, plain};
use crate::{
    kit::{Conn, Edge, Origin, eventually, named_reply},
    pools::{counts, tally},
};

const NOT_FOUND: &[&str] = &["http_500", "http_404"];

#[test]
fn n1_to_n3_a_404_goes_on_and_leaves_its_server_in() {
    let (missing, good) = (Origin::answering(404, "missing"), Origin::named("good"));
    let edge = plain(&[&missing, &good], &on(NOT_FOUND));
    assert_eq!(tally(&edge, 2), counts(&[("good", 2)]), "N1, N2");
    eventually("N3: it is asked again and again", || {
        assert_eq!(edge.client().ask(GET).text(), "good", "N3");
        missing.count() >= 3
    });
}

#[test]
fn n4_to_n6_a_500_goes_on_and_takes_its_server_out() {
    let (broken, good) = (Origin::answering(500, "broken"), Origin::named("good"));
    let edge = plain(&[&broken, &good], &on(NOT_FOUND));
    assert_eq!(tally(&edge, 2), counts(&[("good", 2)]), "N4, N5");
    assert_eq!(tally(&edge, 10), counts(&[("good", 10)]), "N6");
    assert_eq!(broken.count(), 1, "N6: one failure is enough");
}

#[test]
fn n7_when_all_say_404_each_is_tried_once() {
    let origins = ["1", "2", "3"].map(|name| Origin::answering(404, name));
    let edge = plain(&origins.each_ref(), &on(NOT_FOUND));
    let answer = edge.client().ask(GET);
    assert_eq!((answer.status(), answer.text().as_str()), (404, "3"), "N7: the last one's own");
    assert_eq!(origins.each_ref().map(Origin::count), [1, 1, 1], "N7");
}

#[test]
fn n8_a_server_that_is_down_is_no_reason_to_go_on() {
    let (down, missing) = (Origin::named("down"), Origin::answering(404, "mine"));
    let edge = edge(&[(&down, ", down = true"), (&missing, "")], &on(NOT_FOUND));
    let answer = edge.client().ask(GET);
    assert_eq!((answer.status(), answer.text().as_str()), (404, "mine"), "N8");
    assert_eq!(down.connections(), 0, "N8");
}

/// Servers on every address of "localhost", so that it does not matter in which order it is resolved.
struct Local {
    port: u16,
    origins: Vec<Origin>,
}

impl Local {
    /// Says 404 after this time.
    fn missing(after: Duration) -> Self {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let names = ("localhost", port).to_socket_addrs().unwrap();
        let others = names.filter(|address| address.ip() != IpAddr::from([127, 0, 0, 1]));
        let listeners = others.filter_map(|address| TcpListener::bind(address).ok());
        let origin = |listener| Origin::over(listener, move |conn| missing_after(conn, after));
        Self { port, origins: std::iter::once(first).chain(listeners).map(origin).collect() }
    }

    fn count(&self) -> usize {
        self.origins.iter().map(Origin::count).sum()
    }
}

fn missing_after(conn: &mut Conn, time: Duration) {
    while conn.receive().is_ok() {
        thread::sleep(time);
        if conn.try_send("HTTP/1.1 404 Missing\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

/// One pool of each kind that nginx's cases have: three servers, one with two backups, three by name.
struct Kinds {
    edge: Edge,
    upstream: [Origin; 3],
    backup: [Origin; 3],
    resolved: [Local; 3],
}

impl Kinds {
    /// All of them say 404, after this time.
    fn start(after: Duration, next: &str) -> Self {
        let missing = || Origin::new(move |conn| missing_after(conn, after));
        let upstream = [(); 3].map(|()| missing());
        let backup = [(); 3].map(|()| missing());
        let resolved = [(); 3].map(|()| Local::missing(after));
        let keys = format!("next = {{ on = [\"http_404\"], {next} }}");
        let names = resolved.each_ref().map(|local| format!("localhost:{}", local.port));
        let spare = ", backup = true";
        let edge = Edge::new()
            .logging()
            .pool_of("upstream", &upstream.each_ref().map(|origin| (origin, "")), &keys)
            .pool_of("backup", &[(&backup[0], ""), (&backup[1], spare), (&backup[2], spare)], &keys)
            .toml(&format!("[upstream.resolved]\nservers = {names:?}\n{keys}"))
            .start();
        Self { edge, upstream, backup, resolved }
    }

    /// How many servers the names are.
    fn names(&self) -> usize {
        self.resolved.iter().map(|local| local.origins.len()).sum()
    }

    /// How often each kind is tried for one request, which says 404 in the end.
    fn tries(&self) -> [usize; 3] {
        thread::scope(|scope| {
            for kind in ["upstream", "backup", "resolved"] {
                scope.spawn(move || assert_eq!(self.edge.get(kind, "/").status(), 404, "{kind}"));
            }
        });
        for record in self.edge.records(3) {
            let outcomes = outcomes(&record);
            let (last, before) = outcomes.split_last().unwrap();
            assert_eq!(*last, "answered", "{record}");
            assert!(before.iter().all(|outcome| *outcome == "http_404"), "{record}");
        }
        let sum = |origins: &[Origin]| origins.iter().map(Origin::count).sum();
        let by_name = self.resolved.iter().map(Local::count).sum();
        [sum(&self.upstream), sum(&self.backup), by_name]
    }
}

#[test]
fn n9_to_n11_tries_counts_the_first() {
    assert_eq!(Kinds::start(Duration::ZERO, "tries = 2").tries(), [2, 2, 2], "N9, N10, N11");
}

#[test]
fn n12_no_limit_of_tries_is_every_server_once() {
    let kinds = Kinds::start(Duration::ZERO, "tries = 0");
    assert_eq!(kinds.tries(), [3, 3, kinds.names()], "N12");
}

/// nginx's servers take 2 s and its limit is 3.8 s; what matters is that the second try ends after it.
#[test]
fn n13_to_n15_no_try_begins_after_the_timeout() {
    let kinds = Kinds::start(Duration::from_millis(1_200), "timeout = \"2200ms\"");
    assert_eq!(kinds.tries(), [2, 2, 2], "N13, N14, N15");
}

#[test]
fn n16_no_timeout_is_every_server_once() {
    let kinds = Kinds::start(Duration::from_millis(200), "timeout = \"0s\"");
    assert_eq!(kinds.tries(), [3, 3, kinds.names()], "N16");
}

/// Two servers, a request to them, and how often each was asked when its answer has this status.
#[track_caller]
fn asked(servers: [Origin; 2], keys: &str, request: &str, status: u16) -> [usize; 2] {
    let edge = plain(&servers.each_ref(), keys);
    let answer = edge.client().ask(request);
    assert_eq!(answer.status(), status, "{answer:?}");
    if status == 404 {
        let last = if servers[1].count() == 0 { "1" } else { "2" };
        assert_eq!(answer.text(), last, "the last one's own body");
    }
    servers.each_ref().map(Origin::count)
}

#[test]
fn n17_and_n18_a_close_without_an_answer_sends_a_get_on_but_not_a_post() {
    let closing = || [Origin::closing(), Origin::closing()];
    assert_eq!(asked(closing(), "", GET, 502), [1, 1], "N17");
    assert_eq!(asked(closing(), "", POST, 502), [1, 0], "N18");
}

#[test]
fn n19_and_n20_a_404_sends_a_get_on_but_not_a_post() {
    let missing = || ["1", "2"].map(|name| Origin::answering(404, name));
    let keys = on(&["error", "http_404"]);
    assert_eq!(asked(missing(), &keys, GET, 404), [1, 1], "N19");
    assert_eq!(asked(missing(), &keys, POST, 404), [1, 0], "N20");
}

#[test]
fn n21_and_n22_non_idempotent_sends_a_post_on_too() {
    let keys = on(&["error", "http_404", "non_idempotent"]);
    let closing = [Origin::closing(), Origin::closing()];
    assert_eq!(asked(closing, &keys, POST, 502), [1, 1], "N21");
    let missing = ["1", "2"].map(|name| Origin::answering(404, name));
    assert_eq!(asked(missing, &keys, POST, 404), [1, 1], "N22");
}

/// Keeps a connection for one answer, and closes it on the next request.
fn drops_the_second() -> Origin {
    Origin::new(|conn| {
        if conn.receive().is_ok() && conn.try_send(named_reply("up")).is_ok() {
            let _ = conn.receive();
        }
    })
}

#[test]
fn n23_and_n24_a_post_on_a_kept_connection_that_dies_is_tried_once() {
    let origins = [drops_the_second(), drops_the_second()];
    let edge = Edge::new()
        .workers(1)
        .route("upstream = \"app\"")
        .logging()
        .pool_of("app", &origins.each_ref().map(|o| (o, HOUR)), "keepalive_timeout = \"1h\"")
        .start();
    assert_eq!(tally(&edge, 2), counts(&[("up", 2)]), "N23: one is kept to each");
    assert_eq!(edge.client().ask(POST).status(), 502, "N24");
    let posts = origins.iter().flat_map(Origin::requests);
    assert_eq!(posts.filter(|seen| seen.head.start.starts_with("POST")).count(), 1, "N24");
    assert_eq!(outcomes(&edge.records(3)[2]), ["stale"], "N24");
}

/// Two servers with `max_fails=3`; the first closes every third connection when `closes`.
fn thirds(closes: bool) -> (Edge, [Origin; 2]) {
    let one = Origin::new(move |conn| {
        let fails = closes && conn.number % 3 == 2;
        if conn.receive().is_ok() && !fails {
            conn.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1");
        }
    });
    let two = Origin::named("2");
    let limits = ", max_fails = 3, fail_timeout = \"10s\"";
    (edge(&[(&one, limits), (&two, limits)], ""), [one, two])
}

#[test]
fn n25_max_fails_changes_nothing_while_nothing_fails() {
    let (edge, _origins) = thirds(false);
    assert_eq!(tally(&edge, 30), counts(&[("1", 15), ("2", 15)]), "N25");
}

#[test]
fn n26_failures_add_up_although_successes_come_between() {
    let (edge, origins) = thirds(true);
    assert_eq!(tally(&edge, 30), counts(&[("1", 6), ("2", 24)]), "N26");
    assert_eq!(origins[0].count(), 9, "N26");
}

#[test]
fn n27_failures_add_up_over_more_than_a_second() {
    let (edge, _origins) = thirds(true);
    let started = Instant::now();
    let mut seen = std::collections::BTreeMap::new();
    for turn in 0..30 {
        *seen.entry(edge.client().ask(GET).text()).or_default() += 1;
        let due = Duration::from_millis(200) * (turn + 1);
        thread::sleep(due.saturating_sub(started.elapsed()));
    }
    assert_eq!(seen, counts(&[("1", 6), ("2", 24)]), "N27");
}
