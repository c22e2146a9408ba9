//! `/api/v1/events`: what happens is told as it happens, to whoever follows it, and nobody who follows
//! can hold anything up.

pub mod follower;

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::{Domain, Type};

use follower::Follower;

use crate::{
    drains::Drain,
    kit::{Chat, Edge, Origin, Socket, eventually, named_reply},
    websocket,
};

/// Readers at once.
const MOST_READERS: usize = 64;

fn refused(edge: &Edge, query: &str, fields: &str) -> (u16, Value) {
    let mut socket = Socket::connect(edge.admin());
    let admin = edge.admin();
    let answer =
        socket.ask(format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: {admin}\r\n{fields}\r\n"));
    assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{answer:?}");
    (answer.status(), serde_json::from_slice(&answer.body).unwrap())
}

#[test]
fn a_change_is_told_with_its_generation_and_who_made_it() {
    let edge = Edge::new().start();
    let mut follower = Follower::begin(&edge, "");
    edge.post("kf_a", "server 127.0.0.1:1; server 127.0.0.1:2;");
    edge.post("kf_a", "server 127.0.0.1:1;");
    edge.call("DELETE", "/upstream/kf_a", "");
    let told = [(2, 0), (0, 1), (0, 1)].map(|servers| (follower.told(), servers));
    let mut generation = 1;
    let mut id = told[0].0.id - 1;
    for (told, (added, removed)) in told {
        (generation, id) = (generation + 1, id + 1);
        assert_eq!((told.kind.as_str(), told.id), ("change", id));
        let data = &told.data;
        assert_eq!((&data["generation"], &data["source"]), (&json!(generation), &json!("dyups")));
        assert_eq!((&data["changed"], &data["changed_total"]), (&json!(["kf_a"]), &json!(1)));
        assert_eq!(
            (&data["servers_added"], &data["servers_removed"]),
            (&json!(added), &json!(removed))
        );
        assert!(data["caller"].as_str().unwrap().starts_with("127.0.0.1:"), "{data}");
        assert!(data["at"].as_u64().unwrap() > 1_700_000_000_000, "{data}");
    }
}

#[test]
fn a_change_names_a_hundred_pools_at_most() {
    let pools: Vec<String> =
        (0..150).map(|n| format!("[upstream.p{n}]\nservers = [\"127.0.0.1:1\"]")).collect();
    let edge = Edge::new().start();
    let mut follower = Follower::begin(&edge, "?kinds=change,reload");
    edge.rewrite(|file| format!("{file}\n{}", pools.join("\n")));
    edge.signal(Signal::HUP);
    let change = follower.told();
    assert_eq!(
        (&change.data["source"], &change.data["changed_total"]),
        (&json!("file"), &json!(150))
    );
    assert_eq!(change.data["changed"].as_array().unwrap().len(), 100);
    let reload = follower.told();
    assert_eq!((reload.kind.as_str(), &reload.data["outcome"]), ("reload", &json!("applied")));
    edge.rewrite(|file| format!("{file}\nnonsense = 1\n"));
    edge.signal(Signal::HUP);
    let reload = follower.told();
    assert_eq!((reload.kind.as_str(), &reload.data["outcome"]), ("reload", &json!("refused")));
    assert!(reload.data["detail"].as_str().unwrap().contains("nonsense"), "{reload:?}");
}

#[test]
fn a_server_that_turns_sick_and_well_is_told() {
    let (sick, well) = (switchable(), Origin::named("well"));
    let check = "check = { type = \"http\", path = \"/ping\", interval = \"20ms\", \
                 fast_interval = \"20ms\", fall = 2, rise = 2 }";
    let edge = Edge::new().pool_of("app", &[(&sick.origin, ""), (&well, "")], check).start();
    let mut follower = Follower::begin(&edge, "?kinds=health");
    for (is_well, from, to) in [(false, "up", "unhealthy"), (true, "unhealthy", "up")] {
        sick.set(is_well);
        let told = follower.told();
        assert_eq!(
            (&told.data["upstream"], &told.data["server"]),
            (&json!("app"), &json!(sick.origin.address()))
        );
        assert_eq!((&told.data["from"], &told.data["to"]), (&json!(from), &json!(to)), "{told:?}");
        assert!(!told.data["detail"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_server_that_fails_requests_is_told_when_it_goes_and_comes_back() {
    let (sick, well) = (switchable(), Origin::named("well"));
    let servers = [(&sick.origin, ", fail_timeout = \"1s\""), (&well, "")];
    let edge = Edge::new().pool_of("app", &servers, "next = { on = [\"error\", \"http_500\"] }");
    let edge = edge.start();
    let mut follower = Follower::begin(&edge, "?kinds=health");
    sick.set(false);
    let asking = |what: &str, done: &mut dyn FnMut() -> bool| {
        eventually(what, || {
            assert_eq!(edge.get("app", "/").status(), 200);
            done()
        });
    };
    let requests = sick.origin.count();
    asking("it was asked", &mut || sick.origin.count() > requests);
    let told = follower.told();
    assert_eq!(
        (&told.data["from"], &told.data["to"]),
        (&json!("up"), &json!("failed")),
        "{told:?}"
    );
    assert!(told.data["detail"].as_str().unwrap().contains("http_500"), "{told:?}");
    sick.set(true);
    let requests = sick.origin.count();
    asking("it is asked again", &mut || sick.origin.count() > requests);
    let told = follower.told();
    assert_eq!(
        (&told.data["from"], &told.data["to"]),
        (&json!("failed"), &json!("up")),
        "{told:?}"
    );
}

#[test]
fn an_ejection_is_told_and_its_end_too() {
    let (sick, well) = (switchable(), Origin::named("well"));
    let keys = "eject = { consecutive_5xx = 2, base = \"50ms\", max_share = \"50%\" }";
    let edge = Edge::new().pool_of("app", &[(&sick.origin, ""), (&well, "")], keys).start();
    let mut follower = Follower::begin(&edge, "?kinds=health");
    sick.set(false);
    for _ in 0..4 {
        edge.get("app", "/");
    }
    for (from, to) in [("up", "ejected"), ("ejected", "up")] {
        let told = follower.told();
        assert_eq!((&told.data["from"], &told.data["to"]), (&json!(from), &json!(to)), "{told:?}");
    }
}

#[test]
fn a_drain_is_told_from_its_beginning_to_its_end() {
    let (a, b) = (Chat::named("a"), Chat::named("b"));
    let edge = websocket::edge().pool("app", &[&a, &b]).start();
    let tunnels = crate::drains::open_to(&edge, &a, 2);
    let mut follower = Follower::begin(&edge, "?kinds=drain");
    let drain = Drain::begin(&edge, &a, &json!({"rate": "1/h"}));
    let mut next = |change: &str, tunnels: u64| {
        let told = follower.told();
        let data = &told.data;
        assert_eq!((&data["id"], &data["change"]), (&json!(drain.id), &json!(change)), "{told:?}");
        assert_eq!((&data["upstream"], &data["server"]), (&json!("app"), &json!(a.address())));
        assert_eq!(data["remaining"], json!({"tunnels": tunnels, "requests": 0}), "{told:?}");
    };
    next("begun", 2);
    for (change, word) in [
        (json!({"paused": true}), "paused"),
        (json!({"rate": "2/h"}), "altered"),
        (json!({"paused": false}), "resumed"),
    ] {
        let (status, said) = edge.json("PATCH", &drain.path(), &change);
        assert_eq!(status, 200, "{said}");
        next(word, 2);
    }
    tunnels.into_iter().for_each(Socket::reset);
    next("finished", 0);
    drain.cancel();
    next("cancelled", 0);
}

#[test]
fn a_drain_ends_with_its_server() {
    let (a, b) = (Chat::named("a"), Chat::named("b"));
    let edge = websocket::edge().pool("app", &[&a, &b]).start();
    let _open = crate::drains::open_to(&edge, &a, 1);
    let drain = Drain::begin(&edge, &a, &json!({"rate": "1/h"}));
    let mut follower = Follower::begin(&edge, "?kinds=drain");
    edge.post("app", &format!("server {};", b.address()));
    let told = follower.told();
    assert_eq!((&told.data["id"], &told.data["change"]), (&json!(drain.id), &json!("left")));
}

#[test]
fn who_comes_again_gets_exactly_what_was_missed() {
    let edge = Edge::new().start();
    let (follower, greeted) = Follower::on(Socket::connect(edge.admin()), &edge, "", "");
    drop(follower);
    for n in 1..=5 {
        edge.post(&format!("p{n}"), "server 127.0.0.1:1;");
    }
    let pools = |follower: &mut Follower, from: u64| {
        for n in from..=5 {
            let told = follower.told();
            assert_eq!((told.id, &told.data["changed"]), (greeted + n, &json!([format!("p{n}")])));
        }
    };
    pools(&mut Follower::after(&edge, greeted), 1);
    pools(&mut Follower::after(&edge, greeted + 3), 4);
    let query = format!("?last_event_id={}", greeted + 4);
    let mut follower = Follower::begin(&edge, &query);
    pools(&mut follower, 5);
    // The header is newer than the address.
    let field = format!("Last-Event-ID: {}\r\n", greeted + 2);
    pools(&mut Follower::on(Socket::connect(edge.admin()), &edge, &query, &field).0, 3);
    edge.post("p6", "server 127.0.0.1:1;");
    assert_eq!(follower.told().data["changed"], json!(["p6"]), "it goes on from there");
}

#[test]
fn the_id_of_an_earlier_process_is_told_to_be_lost_and_the_rest_follows() {
    let mut edge = Edge::new().durable().start();
    let mut follower = Follower::begin(&edge, "");
    edge.post("p1", "server 127.0.0.1:1;");
    let last = follower.told().id;
    edge.restart();
    edge.post("p2", "server 127.0.0.1:1;");
    let mut follower = Follower::after(&edge, last);
    let lost = follower.told();
    assert_eq!(lost.kind, "lost");
    assert_eq!(lost.data, json!({"after": last, "reason": "another_process"}));
    let opened = follower.told();
    assert_eq!((opened.id, opened.kind.as_str()), (lost.id + 1, "listener"));
    assert!(opened.id > last, "ids are not repeated: {last}, {opened:?}");
    assert_eq!(
        opened.data["listener"].as_str().zip(opened.data["change"].as_str()),
        Some(("edge", "opened"))
    );
    assert_eq!(opened.data["address"], json!(edge.port("edge").to_string()));
    assert_eq!(follower.told().data["changed"], json!(["p2"]));
}

/// Names of pools so long that few changes are more than sockets hold.
fn long_name(n: usize) -> String {
    format!("{n:0>250}")
}

#[test]
fn who_does_not_read_holds_nobody_up_and_is_told_what_it_lost() {
    let edge = Edge::new().start();
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&edge.admin().into()).unwrap();
    let (mut silent, _) = Follower::on(Socket::over(socket), &edge, "?kinds=change", "");
    let reading = Follower::begin(&edge, "?kinds=change");
    let count = 4_000;
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reading = reading;
            (0..4 * count).map(|_| reading.told().id).collect::<Vec<_>>()
        });
        for teller in 0..4 {
            let admin = edge.admin();
            scope.spawn(move || changes(admin, teller, count));
        }
        let ids = reader.join().unwrap();
        assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "nothing is missing");
    });
    // What was on its way to it, then that something is missing, and no more.
    let mut last = silent.told();
    while last.kind == "change" {
        last = silent.told();
    }
    assert_eq!((last.kind.as_str(), &last.data["reason"]), ("lost", &json!("too_slow")));
    assert_eq!(silent.next(), None);
    assert_eq!(edge.metric("tidegate_event_readers_dropped_total"), Some(1.0));
    assert_eq!(edge.metric("tidegate_events_total{kind=\"change\"}"), Some(4.0 * count as f64));
    // It comes again with the id of the marker, and misses nothing more.
    let next = Follower::after(&edge, last.id).told();
    assert_eq!((next.id, next.kind.as_str()), (last.id + 1, "change"));
}

/// So many changes on one connection, all of them of one pool.
fn changes(admin: SocketAddr, teller: usize, count: usize) {
    let mut socket = Socket::connect(admin);
    let name = long_name(teller);
    for n in 0..count {
        let body = format!("server 127.0.0.1:{};", n % 60_000 + 1);
        let length = body.len();
        let answer = socket.ask(format!(
            "POST /upstream/{name} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
}

#[test]
fn there_is_room_for_so_many_and_who_has_gone_makes_room() {
    let edge = Edge::new().start();
    let mut all: Vec<_> = (0..MOST_READERS).map(|_| Follower::begin(&edge, "")).collect();
    let (status, problem) = refused(&edge, "", "");
    assert_eq!((status, &problem["title"]), (503, &json!("Service Unavailable")), "{problem}");
    assert_eq!(edge.metric("tidegate_event_readers "), Some(MOST_READERS as f64));
    all.pop().unwrap().0.reset();
    // A client that has gone is noticed when something is told to it.
    eventually("there is room again", || {
        edge.post("p", "server 127.0.0.1:1;");
        edge.metric("tidegate_event_readers ") < Some(MOST_READERS as f64)
    });
    all.push(Follower::begin(&edge, ""));
}

#[test]
fn a_stop_ends_the_streams_and_does_not_wait_for_them() {
    let mut edge = Edge::new().start();
    let mut followers: Vec<_> = (0..3).map(|_| Follower::begin(&edge, "")).collect();
    edge.signal(Signal::TERM);
    for follower in &mut followers {
        let closed = follower.told();
        assert_eq!((closed.kind.as_str(), &closed.data["change"]), ("listener", &json!("closed")));
        assert_eq!(follower.next(), None);
        follower.0.expect_end();
    }
    assert_eq!(edge.wait_for_exit().code(), Some(0));
}

#[test]
fn kinds_are_chosen_and_strange_questions_refused() {
    let edge = Edge::new().start();
    let mut reloads = Follower::begin(&edge, "?kinds=reload,health");
    edge.post("p", "server 127.0.0.1:1;");
    edge.signal(Signal::HUP);
    assert_eq!(reloads.told().kind, "reload");
    let known = "change, drain, health, listener, reload";
    for (query, fields, field, reason) in [
        ("?kinds=change,nope", "", "kinds", known),
        ("?kinds=", "", "kinds", known),
        ("?kinds=change&kinds=drain", "", "kinds", "twice"),
        ("?nope=1", "", "nope", "last_event_id"),
        ("?last_event_id=x", "", "last_event_id", "id"),
        ("", "Last-Event-ID: -1\r\n", "Last-Event-ID", "id"),
        ("", "Last-Event-ID: 99999999999999999999999\r\n", "Last-Event-ID", "id"),
    ] {
        let (status, problem) = refused(&edge, query, fields);
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!(field)), "{problem}");
        let said = problem["errors"][0]["reason"].as_str().unwrap();
        assert!(said.contains(reason), "{said}");
    }
    // One that has seen nothing so far.
    Follower::on(Socket::connect(edge.admin()), &edge, "?last_event_id=", "Last-Event-ID: \r\n");
}

#[test]
fn curl_follows_too() {
    let edge = Edge::new().start();
    let address = format!("http://{}/api/v1/events?kinds=change", edge.admin());
    let curl = Command::new("curl")
        .args(["-sN", "--max-time", "10", &address])
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut curl) = curl else {
        return crate::kit::skip("curl_follows_too", "there is no curl");
    };
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(curl.stdout.take().unwrap()));
    let mut line = || lines.next().unwrap().unwrap();
    assert_eq!(line(), ": connected");
    assert!(line().starts_with("id: ") && line().is_empty());
    edge.post("p", "server 127.0.0.1:1;");
    assert!(line().starts_with("id: "));
    assert_eq!(line(), "event: change");
    assert!(line().starts_with("data: {\"generation\":2,"));
    curl.kill().unwrap();
    curl.wait().unwrap();
}

/// An origin that answers 200 or 500, as it is told.
struct Switchable {
    origin: Origin,
    is_well: Arc<AtomicBool>,
}

impl Switchable {
    fn set(&self, is_well: bool) {
        self.is_well.store(is_well, SeqCst);
    }
}

fn switchable() -> Switchable {
    let is_well = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&is_well);
    let origin = Origin::new(move |conn| {
        while conn.receive().is_ok() {
            let sick = b"HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n".to_vec();
            let is_well = told.load(SeqCst);
            if conn.try_send(if is_well { named_reply("ok") } else { sick }).is_err() {
                return;
            }
        }
    });
    Switchable { origin, is_well }
}
