//! Who gets how much: by weight, by load, by latency, and by rank.

use std::{thread, time::Duration};

use super::{BY_LOAD, METHODS, active, answers, count, get, named};
use crate::{
    kit::{Edge, Gate, Origin, SWITCHING, eventually, named_reply},
    pools::{counts, pool, tally},
    websocket::open,
};

fn balance(method: &str) -> String {
    format!("balance = \"{method}\"")
}

/// The share of the first of two servers with weights 3 and 1, in per mille, of requests that never
/// overlap.
fn share_of_three_quarters(method: &str, requests: usize) -> usize {
    let [a, b] = named(["a", "b"]);
    let edge = pool(&[(&a, ", weight = 3"), (&b, "")], &balance(method));
    let requests = vec![get("/"); requests];
    let seen = count(answers(&edge, requests.clone()));
    seen["a"] * 1_000 / requests.len()
}

#[test]
fn weights_hold_within_1_percent_over_2000_requests() {
    for method in ["round_robin", "least_conn"] {
        let share = share_of_three_quarters(method, 2_000);
        assert!((740..=760).contains(&share), "{method}: {share} per mille");
    }
}

/// Drawn by lot: four standard deviations are 2 %.
#[test]
fn weights_hold_where_servers_are_drawn_by_lot() {
    let share = share_of_three_quarters("random_two", 8_000);
    assert!((730..=770).contains(&share), "{share} per mille");
}

#[test]
fn weights_hold_under_concurrent_clients() {
    for method in ["round_robin", "least_conn", "random_two"] {
        let [a, b] = named(["a", "b"]);
        let edge = pool(&[(&a, ", weight = 3"), (&b, "")], &balance(method));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| answers(&edge, vec![get("/"); 250]));
            }
        });
        // Whoever looks at the load does not promise a share to the last request.
        let tolerance = if method == "round_robin" { 10 } else { 150 };
        let share = a.count() * 1_000 / 4_000;
        assert_eq!(a.count() + b.count(), 4_000, "{method}");
        assert!(share.abs_diff(750) <= tolerance, "{method}: {share} per mille");
    }
}

#[test]
fn l1_idle_servers_share_evenly_by_least_conn() {
    let [a, b] = named(["a", "b"]);
    let edge = pool(&[(&a, ""), (&b, "")], &balance("least_conn"));
    assert_eq!(count(answers(&edge, vec![get("/"); 10])), counts(&[("a", 5), ("b", 5)]), "L1");
}

/// Answers with its name, for /wait once the gate is open.
fn waiting(name: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::new(move |conn| {
        while let Ok(request) = conn.receive() {
            if request.head.target() == "/wait" {
                gate.wait();
            }
            if conn.try_send(named_reply(name)).is_err() {
                return;
            }
        }
    })
}

/// Two requests hang on the first server; whoever comes now goes to the second.
#[test]
fn l2_the_idle_server_gets_everything() {
    for method in BY_LOAD {
        let gates = [Gate::default(), Gate::default()];
        let (a, b) = (waiting("a", &gates[0]), waiting("b", &gates[1]));
        let edge = pool(&[(&a, ""), (&b, "")], &balance(method));
        let mut clients = Vec::new();
        while a.count() < 2 {
            let before = a.count() + b.count();
            let mut client = edge.client();
            client.send(get("/wait"));
            eventually("it hangs somewhere", || a.count() + b.count() > before);
            clients.push(client);
        }
        gates[1].open();
        eventually("the second is idle", || active(&edge, &b) == Some(0.0));
        assert_eq!(tally(&edge, 10), counts(&[("b", 10)]), "L2, {method}");
        gates[0].open();
    }
}

/// Tunnels are load, too.
#[test]
fn tunnels_count_as_load() {
    let tunnel = || {
        Origin::new(|conn| {
            while let Ok(request) = conn.receive() {
                if request.head.has("upgrade") {
                    conn.send(SWITCHING);
                    let _ = conn.rest();
                    return;
                }
                conn.send(named_reply("plain"));
            }
        })
    };
    let (a, b) = (tunnel(), tunnel());
    let edge = pool(&[(&a, ""), (&b, "")], &balance("least_conn"));
    let _tunnels: Vec<_> = (0..6).map(|_| open(&edge)).collect();
    assert_eq!((a.count(), b.count()), (3, 3), "six tunnels over two servers");
    edge.post("app", &format!("least_conn; server {};", a.address()));
    let _more: Vec<_> = (0..3).map(|_| open(&edge)).collect();
    edge.post("app", &format!("least_conn; server {}; server {};", a.address(), b.address()));
    let before = b.count();
    assert_eq!(tally(&edge, 8), counts(&[("plain", 8)]));
    assert_eq!(b.count() - before, 8, "six tunnels are more than three");
}

#[test]
fn ewma_prefers_the_faster_server() {
    let slow = Origin::new(|conn| {
        while conn.receive().is_ok() {
            thread::sleep(Duration::from_millis(40));
            if conn.try_send(named_reply("slow")).is_err() {
                return;
            }
        }
    });
    let fast = Origin::named("fast");
    let edge = pool(&[(&slow, ""), (&fast, "")], &balance("ewma"));
    let seen = count(answers(&edge, vec![get("/"); 300]));
    assert!(seen["fast"] >= 240, "{seen:?}");
    let slow = seen.get("slow").copied().unwrap_or_default();
    assert!(slow >= 1, "nobody is forgotten before it was tried: {seen:?}");
}

/// Of equally fast servers none is left out once there is load.
#[test]
fn ewma_spreads_load_over_equals() {
    let worker = |name: &'static str| {
        Origin::new(move |conn| {
            while conn.receive().is_ok() {
                thread::sleep(Duration::from_millis(5));
                if conn.try_send(named_reply(name)).is_err() {
                    return;
                }
            }
        })
    };
    let origins = [worker("a"), worker("b"), worker("c")];
    let edge = pool(&origins.each_ref().map(|origin| (origin, "")), &balance("ewma"));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| answers(&edge, vec![get("/"); 60]));
        }
    });
    let shares = origins.each_ref().map(Origin::count);
    assert!(shares.iter().all(|share| *share >= 96), "of 960: {shares:?}");
}

/// Backups are for when nobody else is left, and are chosen from by the same method; only `ip_hash`
/// knows none.
#[test]
fn backups_come_last_with_every_method() {
    for method in METHODS.into_iter().filter(|method| *method != "ip_hash") {
        let [a, b, spare, other] = named(["a", "b", "spare", "other"]);
        let backup = ", backup = true";
        let servers = [(&a, ""), (&b, ""), (&spare, backup), (&other, backup)];
        let edge = pool(&servers, &balance(method));
        let seen = tally(&edge, 20);
        assert!(!seen.contains_key("spare") && !seen.contains_key("other"), "{method}: {seen:?}");
        let dead = [Origin::refusing(), Origin::refusing()];
        let servers = [(&dead[0], ""), (&dead[1], ""), (&spare, backup), (&other, backup)];
        let edge = pool(&servers, &balance(method));
        let seen = tally(&edge, 20);
        let spares = ["spare", "other"].map(|name| seen.get(name).copied().unwrap_or_default());
        assert_eq!(spares.iter().sum::<usize>(), 20, "{method}: {seen:?}");
        if method == "round_robin" {
            assert_eq!(spares, [10, 10], "{method}");
        }
    }
}

/// A server that nobody needs to ask about twice: whatever chooses, a failed one is left out.
#[test]
fn a_failed_server_is_left_out_by_every_method() {
    for method in METHODS {
        let (dead, a, b) = (Origin::refusing(), Origin::named("a"), Origin::named("b"));
        let hour = ", fail_timeout = \"1h\"";
        let edge = pool(&[(&dead, hour), (&a, hour), (&b, hour)], &balance(method));
        let seen = tally(&edge, 30);
        assert_eq!(seen.values().sum::<usize>(), 30, "{method}");
        assert!(seen.keys().all(|name| name == "a" || name == "b"), "{method}: {seen:?}");
        let tries = "tidegate_upstream_attempts_total{upstream=\"app\",server=";
        let tries = edge.metric(&format!("{tries}\"{}\"", dead.address())).unwrap_or_default();
        assert!(tries <= 1.0, "{method}: {tries}");
    }
}

/// Above 64 servers some methods draw instead of comparing, and hashes have larger tables.
#[test]
fn a_large_pool_is_served_by_every_method() {
    let [up] = named(["up"]);
    let line = format!("{:?}, ", up.address());
    for method in METHODS {
        let toml =
            format!("[upstream.app]\nbalance = \"{method}\"\nservers = [{}]", line.repeat(300));
        let edge = Edge::new().route("upstream = \"app\"").toml(&toml).start();
        assert_eq!(count(answers(&edge, vec![get("/"); 200])), counts(&[("up", 200)]), "{method}");
    }
}
