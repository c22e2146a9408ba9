//! Slow start: a server that is new in a running pool, or is back in it, gets little at first and its
//! share in the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::{answers, count, get, named};
use crate::{
    kit::{Edge, Gate, Origin, eventually, named_reply},
    pools::{counts, holding, pool, tally},
};

/// The share of "b" in the next requests, and the most it may be: half of the traffic times the time
/// that has passed of the slow start, and something for the draw.
fn share(edge: &Edge, since: Instant, slow_start: f64) -> (f64, f64) {
    let seen = count(answers(edge, vec![get("/"); 200]));
    let passed = since.elapsed().as_secs_f64();
    let b = seen.get("b").copied().unwrap_or_default();
    (b as f64 / 200.0, (passed / slow_start).min(1.0) / 2.0 + 0.12)
}

#[test]
fn a_new_server_gets_little_at_first_and_its_share_later() {
    for method in ["round_robin", "least_conn", "random_two"] {
        let [a, b] = named(["a", "b"]);
        let directive = match method {
            "round_robin" => "",
            "least_conn" => "least_conn;",
            _ => "random two;",
        };
        let edge = pool(&[(&a, "")], &format!("balance = \"{method}\""));
        assert_eq!(tally(&edge, 10), counts(&[("a", 10)]));
        let list = format!(
            "{directive} server {} slow_start=3s; server {} slow_start=3s;",
            a.address(),
            b.address()
        );
        edge.post("app", &list);
        let began = Instant::now();
        let (first, most) = share(&edge, began, 3.0);
        assert!(first <= most, "{method}: {first} at first, when at most {most} is due");
        eventually("it has its share", || share(&edge, began, 3.0).0 > 0.4);
    }
}

/// In a pool that has just begun everybody is new: there is nobody to spare them.
#[test]
fn servers_of_a_new_pool_start_at_once() {
    let [a, b] = named(["a", "b"]);
    let edge = pool(&[(&a, ", slow_start = \"1h\""), (&b, "")], "");
    assert_eq!(tally(&edge, 20), counts(&[("a", 10), ("b", 10)]));
}

/// A server that was in the list before is not new, whatever else changed.
#[test]
fn a_change_of_the_list_starts_nobody_anew() {
    let [a, b, c] = named(["a", "b", "c"]);
    let edge = pool(&[(&a, ""), (&b, "")], "");
    let line = |origin: &Origin| format!("server {} weight=2 slow_start=1h;", origin.address());
    edge.post("app", &format!("{}{}", line(&a), line(&b)));
    assert_eq!(tally(&edge, 20), counts(&[("a", 10), ("b", 10)]));
    edge.post("app", &format!("{}{}{}", line(&a), line(&b), line(&c)));
    let seen = tally(&edge, 20);
    assert!(seen["a"] >= 8 && seen["b"] >= 8, "{seen:?}");
}

/// least_conn would give an empty server every connection until it has as many as the others.
#[test]
fn least_conn_does_not_pour_everything_onto_an_empty_server() {
    for (parameter, floods) in [("", true), ("slow_start=1h", false)] {
        let gate = Gate::default();
        let (a, b) = (holding("a", &gate), holding("b", &gate));
        let edge = pool(&[(&a, "")], "balance = \"least_conn\"");
        let mut clients = Vec::new();
        let mut hold = |requests: usize| {
            for _ in 0..requests {
                let before = a.count() + b.count();
                let mut client = edge.client();
                client.send(get("/"));
                eventually("it has arrived", || a.count() + b.count() > before);
                clients.push(client);
            }
        };
        hold(30);
        edge.post(
            "app",
            &format!("least_conn; server {}; server {} {parameter};", a.address(), b.address()),
        );
        hold(30);
        let fair = 15;
        if floods {
            assert_eq!(b.count(), 30, "that is what slow_start is against");
        } else {
            assert!(b.count() <= fair, "{} of 30 while it starts", b.count());
        }
        gate.open();
    }
}

#[test]
fn who_comes_back_from_down_starts_slowly() {
    let [a, b] = named(["a", "b"]);
    let edge = pool(&[(&a, ""), (&b, ", down = true, slow_start = \"3s\"")], "");
    assert_eq!(tally(&edge, 10), counts(&[("a", 10)]));
    edge.post("app", &format!("server {}; server {} slow_start=3s;", a.address(), b.address()));
    let began = Instant::now();
    let (first, most) = share(&edge, began, 3.0);
    assert!(first <= most, "{first} at first, when at most {most} is due");
    eventually("it has its share", || share(&edge, began, 3.0).0 > 0.4);
}

#[test]
fn who_comes_back_from_failures_starts_slowly() {
    let well = Arc::new(AtomicBool::new(true));
    let b = {
        let well = Arc::clone(&well);
        Origin::new(move |conn| {
            while conn.receive().is_ok() && well.load(Ordering::SeqCst) {
                if conn.try_send(named_reply("b")).is_err() {
                    return;
                }
            }
        })
    };
    let a = Origin::named("a");
    let edge = pool(&[(&a, ""), (&b, ", fail_timeout = \"1s\", slow_start = \"1h\"")], "");
    assert_eq!(tally(&edge, 10), counts(&[("a", 5), ("b", 5)]), "it is not new");
    well.store(false, Ordering::SeqCst);
    assert_eq!(tally(&edge, 10), counts(&[("a", 10)]), "it failed");
    well.store(true, Ordering::SeqCst);
    eventually("it is tried again", || edge.client().ask(get("/")).text() == "b");
    let seen = tally(&edge, 100);
    assert!(seen["a"] >= 80, "most go elsewhere for an hour: {seen:?}");
}
