//! How a server is chosen: one rotation for all workers, weights, down, backup, max_conns, nginx's
//! rules for failures, and what happens when nobody is left. Other methods are in `balancing.rs`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::kit::{Edge, Gate, Origin, Socket, eventually, named_reply};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A pool "app" of these lines, each `(server, parameters)`, before four workers.
pub fn pool(servers: &[(&Origin, &str)], keys: &str) -> Edge {
    Edge::new().workers(4).route("upstream = \"app\"").pool_of("app", servers, keys).start()
}

/// Who answered how often, over a connection for each request.
pub fn tally(edge: &Edge, requests: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        let answer = edge.client().ask(GET);
        let name = if answer.status() == 200 { answer.text() } else { answer.status().to_string() };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

pub fn counts(wanted: &[(&str, usize)]) -> BTreeMap<String, usize> {
    wanted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn two_equal_servers_share_evenly_whichever_workers_serve() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = pool(&[(&a, ""), (&b, "")], "");
    assert_eq!(tally(&edge, 20), counts(&[("a", 10), ("b", 10)]));
}

#[test]
fn weights_are_exact() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = pool(&[(&a, ", weight = 3"), (&b, "")], "");
    assert_eq!(tally(&edge, 40), counts(&[("a", 30), ("b", 10)]));
}

#[test]
fn the_rotation_is_smooth() {
    let (a, b, c) = (Origin::named("a"), Origin::named("b"), Origin::named("c"));
    let edge = pool(&[(&a, ", weight = 5"), (&b, ""), (&c, "")], "");
    let order: String = (0..14).map(|_| edge.client().ask(GET).text()).collect();
    assert_eq!(order, "aabacaaaabacaa");
}

#[test]
fn concurrent_clients_share_one_rotation() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = pool(&[(&a, ", weight = 3"), (&b, "")], "");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|_| drop(edge.client().ask(GET))));
        }
    });
    assert_eq!((a.count(), b.count()), (120, 40));
}

#[test]
fn a_server_that_is_down_gets_nothing() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = pool(&[(&a, ", down = true"), (&b, "")], "");
    assert_eq!(tally(&edge, 10), counts(&[("b", 10)]));
}

#[test]
fn weight_0_gets_nothing() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = pool(&[(&a, ", weight = 0"), (&b, "")], "");
    assert_eq!(tally(&edge, 10), counts(&[("b", 10)]));
}

#[test]
fn a_backup_serves_only_when_no_other_can() {
    let (dead, spare) = (Origin::refusing(), Origin::named("spare"));
    let alive = Origin::named("alive");
    let edge = pool(&[(&alive, ""), (&spare, ", backup = true")], "");
    assert_eq!(tally(&edge, 10), counts(&[("alive", 10)]));
    let edge = pool(&[(&dead, ""), (&spare, ", backup = true")], "");
    assert_eq!(tally(&edge, 10), counts(&[("spare", 10)]));
    let edge = pool(&[(&alive, ", down = true"), (&spare, ", backup = true")], "");
    assert_eq!(tally(&edge, 10), counts(&[("spare", 10)]));
}

/// Servers that hold every request until their gate opens, and requests on their way to them.
struct Held<'a> {
    edge: &'a Edge,
    clients: Vec<Socket>,
}

/// Answers with its name once the gate is open.
pub fn holding(name: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::new(move |conn| {
        while conn.receive().is_ok() {
            gate.wait();
            if conn.try_send(named_reply(name)).is_err() {
                return;
            }
        }
    })
}

impl Held<'_> {
    /// Sends a request, and waits until a server has it or an error is back.
    fn add(&mut self, origins: &[&Origin]) {
        let before: usize = origins.iter().map(|origin| origin.count()).sum();
        let mut client = self.edge.client();
        client.send(GET);
        let arrived = || origins.iter().map(|origin| origin.count()).sum::<usize>() > before;
        eventually("the request arrives or is refused", || {
            arrived() || !client.is_quiet_for(Duration::from_millis(10))
        });
        self.clients.push(client);
    }

    fn answers(mut self, gate: &Gate) -> Vec<String> {
        gate.open();
        let answer = |client: &mut Socket| {
            let answer = client.response().unwrap();
            if answer.status() == 200 { answer.text() } else { answer.status().to_string() }
        };
        self.clients.iter_mut().map(answer).collect()
    }
}

/// What `requests` at the same time are answered, in their order. Lines of one name are one server.
pub fn at_once(requests: usize, servers: &[(&str, &str)], keys: &str) -> Vec<String> {
    let gate = Gate::default();
    let mut origins = BTreeMap::new();
    for (name, _) in servers {
        origins.entry(*name).or_insert_with(|| holding(String::leak((*name).to_owned()), &gate));
    }
    let lines: Vec<(&Origin, &str)> =
        servers.iter().map(|(name, keys)| (&origins[name], *keys)).collect();
    let edge = pool(&lines, keys);
    let mut held = Held { edge: &edge, clients: Vec::new() };
    let origins: Vec<&Origin> = origins.values().collect();
    (0..requests).for_each(|_| held.add(&origins));
    held.answers(&gate)
}

/// The cases of nginx's upstream_max_conns.t for round robin; the others are in `balancing/limits.rs`.
#[test]
fn max_conns_as_nginx_has_it() {
    let one = ", max_conns = 1";
    assert_eq!(at_once(4, &[("1", ""), ("2", "")], ""), ["1", "2", "1", "2"], "unlimited");
    assert_eq!(at_once(4, &[("1", ", max_conns = 3")], ""), ["1", "1", "1", "502"], "single");
    assert_eq!(at_once(4, &[("1", one), ("2", one)], ""), ["1", "2", "502", "502"], "all limited");
    assert_eq!(at_once(4, &[("1", one), ("2", "")], ""), ["1", "2", "2", "2"], "some limited");
    assert_eq!(
        at_once(4, &[("1", ", max_conns = 1, weight = 2"), ("2", ", weight = 2")], ""),
        ["1", "2", "2", "2"],
        "the weight does not scale the limit"
    );
    assert_eq!(
        at_once(6, &[("1", ", max_conns = 2"), ("2", ", backup = true")], ""),
        ["1", "1", "2", "2", "2", "2"],
        "a backup takes the rest"
    );
    assert_eq!(
        at_once(6, &[("1", ", max_conns = 2"), ("2", ", backup = true, max_conns = 3")], ""),
        ["1", "1", "2", "2", "2", "502"],
        "a backup has a limit too"
    );
}

#[test]
fn a_place_is_free_again_after_each_request() {
    let a = Origin::named("a");
    let edge = pool(&[(&a, ", max_conns = 1")], "");
    let mut client = edge.client();
    for _ in 0..50 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "a");
    }
}

/// max_conns holds however many workers ask at once, and no place is lost on the way.
#[test]
fn max_conns_is_exact_under_contention() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let a = {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Origin::new(move |conn| {
            while conn.receive().is_ok() {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                conn.send(named_reply("a"));
            }
        })
    };
    let edge = pool(&[(&a, ", max_conns = 3")], "");
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = edge.client();
                for _ in 0..50 {
                    let status = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status();
                    assert!(matches!(status, 200 | 502), "{status}");
                }
            });
        }
    });
    let most = most.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most), "{most} at once");
    let active =
        format!("tidegate_server_requests_active{{upstream=\"app\",server=\"{}\"}}", a.address());
    eventually("every place is free again", || edge.metric(&active) == Some(0.0));
}

#[test]
fn a_failing_server_is_skipped_for_its_fail_timeout() {
    let (bad, good) = (Origin::closing(), Origin::named("good"));
    let edge = pool(&[(&bad, ", fail_timeout = \"1h\""), (&good, "")], "");
    assert_eq!(tally(&edge, 20), counts(&[("good", 20)]));
    assert_eq!(bad.count(), 1, "one try, then none for an hour");
}

#[test]
fn max_fails_counts_across_workers_and_0_means_never() {
    let (bad, good) = (Origin::closing(), Origin::named("good"));
    let edge = pool(&[(&bad, ", max_fails = 3, fail_timeout = \"1h\""), (&good, "")], "");
    assert_eq!(tally(&edge, 20), counts(&[("good", 20)]));
    assert_eq!(bad.count(), 3);
    let (bad, good) = (Origin::closing(), Origin::named("good"));
    let edge = pool(&[(&bad, ", max_fails = 0, fail_timeout = \"1h\""), (&good, "")], "");
    assert_eq!(tally(&edge, 20), counts(&[("good", 20)]));
    assert!((10..=20).contains(&bad.count()), "every turn of its own: {}", bad.count());
}

#[test]
fn after_fail_timeout_one_request_probes() {
    let bad = Origin::new(|conn| {
        if conn.number > 0 {
            conn.answer_all(&named_reply("healed"));
        }
    });
    let good = Origin::named("good");
    let edge = pool(&[(&bad, ", fail_timeout = \"1s\""), (&good, "")], "");
    assert_eq!(tally(&edge, 2), counts(&[("good", 2)]));
    eventually("the failed server is tried again", || edge.client().ask(GET).text() == "healed");
    let after = tally(&edge, 10);
    assert_eq!(after.get("healed"), Some(&5), "it has its share again: {after:?}");
}

#[test]
fn a_single_server_is_never_given_up() {
    let flaky = Origin::new(|conn| {
        if conn.number % 2 == 1 {
            let _ = conn.receive();
            conn.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nup");
        }
    });
    let edge = pool(&[(&flaky, ", fail_timeout = \"1h\"")], "when_all_down = \"fail\"");
    assert_eq!(tally(&edge, 6), counts(&[("up", 3), ("502", 3)]));
}

#[test]
fn when_all_have_failed_the_pool_says_what_to_do() {
    for (keys, tries) in [("when_all_down = \"fail\"", 1), ("when_all_down = \"try_all\"", 5)] {
        let (one, two) = (Origin::closing(), Origin::closing());
        let hour = ", fail_timeout = \"1h\"";
        let edge = pool(&[(&one, hour), (&two, hour)], keys);
        assert_eq!(tally(&edge, 5), counts(&[("502", 5)]));
        assert_eq!((one.count(), two.count()), (tries, tries), "{keys}");
    }
}

/// Two servers of which one is down are not "single": the other can be given up.
#[test]
fn a_pool_of_two_with_one_down_can_lose_both() {
    let (one, two) = (Origin::closing(), Origin::named("two"));
    let edge = pool(
        &[(&one, ", fail_timeout = \"1h\""), (&two, ", down = true")],
        "when_all_down = \"fail\"",
    );
    assert_eq!(tally(&edge, 5), counts(&[("502", 5)]));
    assert_eq!((one.count(), two.count()), (1, 0));
}

#[test]
fn an_unknown_pool_is_502_at_once() {
    let edge = Edge::new().start();
    for host in ["nobody", "localhost", "127.0.0.1", "example.com"] {
        assert_eq!(edge.get(host, "/").status(), 502, "{host}");
    }
}

#[test]
fn a_pool_without_servers_to_choose_is_502() {
    let a = Origin::named("a");
    let edge = pool(&[(&a, ", down = true")], "");
    assert_eq!(tally(&edge, 3), counts(&[("502", 3)]));
    assert_eq!(a.connections(), 0);
}

#[test]
fn upstream_defaults_fill_what_a_pool_does_not_say() {
    let silent = Origin::silent();
    let edge = Edge::new()
        .toml("[upstream_defaults]\ntimeouts = { read = \"200ms\" }")
        .pool("file", &[&silent])
        .start();
    assert_eq!(edge.get("file", "/").status(), 504);
    edge.post("posted", &format!("server {};", silent.address()));
    assert_eq!(edge.get("posted", "/").status(), 504);
}

#[test]
fn idle_connections_to_a_removed_server_are_closed() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let edge = Edge::new()
        .toml("[upstream_defaults]\nkeepalive_timeout = \"1h\"")
        .pool("app", &[&old])
        .start();
    assert_eq!(edge.get("app", "/").text(), "old");
    edge.post("app", &format!("server {};", new.address()));
    old.wait_for_ended(1);
    assert_eq!(edge.get("app", "/").text(), "new");
}

#[test]
fn keepalive_requests_and_keepalive_0_are_obeyed() {
    let (two, none) = (Origin::named("two"), Origin::named("none"));
    let edge = Edge::new()
        .workers(1)
        .toml(&format!(
            "[upstream.two]\nservers = [{:?}]\nkeepalive_requests = 2\n\
             [upstream.none]\nservers = [{:?}]\nkeepalive = 0",
            two.address(),
            none.address()
        ))
        .start();
    for _ in 0..6 {
        edge.get("two", "/");
        edge.get("none", "/");
    }
    assert_eq!((two.connections(), none.connections()), (3, 6));
}

#[test]
fn the_host_a_server_sees_can_be_set() {
    let a = Origin::named("a");
    let edge = Edge::new()
        .route("upstream = \"app\"")
        .toml(&format!(
            "[upstream.app]\nservers = [{:?}]\nhost_header = \"internal.example\"",
            a.address()
        ))
        .start();
    edge.get("outside.example", "/");
    assert_eq!(a.last_request().head.all("host"), ["internal.example"]);
}
