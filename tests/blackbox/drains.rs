//! Drains: a server is emptied at a pace, while everybody else is served as before. How they end,
//! by themselves or at their deadline, is in `drain_ends.rs`.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    kit::{
        Chat, Edge, Gate, Origin, Socket, eventually,
        frames::{CLOSE, ENDS, TEXT, TEXT_BEGINS, frame, masked},
    },
    register::{id_of, tunnels},
    websocket::{edge, open},
};

/// What clients of a drain are told unless it says otherwise.
const SAID: &str = "server is being drained";

/// A drain under way.
pub struct Drain<'e> {
    edge: &'e Edge,
    pub id: u64,
}

/// An order to drain a server of the pool "app".
pub fn order(server: &Origin, more: &Value) -> Value {
    let mut order = json!({"upstream": "app", "server": server.address()});
    let all = order.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().iter().map(|(key, value)| (key.clone(), value.clone())));
    order
}

impl<'e> Drain<'e> {
    #[track_caller]
    pub fn begin(edge: &'e Edge, server: &Origin, more: &Value) -> Self {
        let (status, said) = edge.json("POST", "/api/v1/drains", &order(server, more));
        assert_eq!(status, 201, "{said}");
        Self { edge, id: said["id"].as_u64().unwrap() }
    }

    pub fn path(&self) -> String {
        format!("/api/v1/drains/{}", self.id)
    }

    #[track_caller]
    pub fn view(&self) -> Value {
        let (status, view) = self.edge.json("GET", &self.path(), &Value::Null);
        assert_eq!(status, 200, "{view}");
        view
    }

    #[track_caller]
    fn alter(&self, change: &Value) -> Value {
        let (status, view) = self.edge.json("PATCH", &self.path(), change);
        assert_eq!(status, 200, "{view}");
        view
    }

    #[track_caller]
    pub fn cancel(&self) {
        let (status, said) = self.edge.json("DELETE", &self.path(), &Value::Null);
        assert_eq!(status, 200, "{said}");
    }

    /// Waits until it looks like this.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || is_so(&self.view()));
        self.view()
    }

    #[track_caller]
    pub fn is_over(&self) -> Value {
        self.until("it is drained", |view| view["state"] == "drained")
    }
}

/// Tunnels that all lead to that server of two.
#[track_caller]
pub fn open_to(edge: &Edge, server: &Chat, count: usize) -> Vec<Socket> {
    let mut found = Vec::new();
    while found.len() < count {
        let client = open(edge);
        let id = id_of(edge, &client);
        if tunnels(edge, &format!("server={}", server.address())).iter().any(|one| one["id"] == id)
        {
            found.push(client);
        }
    }
    found
}

/// Clients that leave when they are told to; each on a thread, which answers when and with what.
pub fn leaving(clients: Vec<Socket>) -> Vec<thread::JoinHandle<(Instant, (u16, String))>> {
    let leave = |mut client: Socket| {
        thread::spawn(move || {
            let goodbye = client.hear().goodbye();
            let when = Instant::now();
            client.send(masked(CLOSE, goodbye.0.to_be_bytes()));
            client.expect_end();
            (when, goodbye)
        })
    };
    clients.into_iter().map(leave).collect()
}

fn two() -> (Chat, Chat) {
    (Chat::named("a"), Chat::named("b"))
}

#[test]
fn a_drain_begins_and_its_server_gets_nothing_new() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let mut staying = open_to(&edge, &a, 3);
    let more = json!({"rate": "1/h", "reason": "a new kernel", "deadline": "2h"});
    let answer = edge.call("POST", "/api/v1/drains", &order(&a, &more).to_string());
    let before = a.connections();
    assert_eq!(answer.status(), 201, "{answer:?}");
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    let id = said["id"].as_u64().unwrap();
    assert_eq!(answer.field("location"), Some(format!("/api/v1/drains/{id}").as_str()));
    for (key, wanted) in [
        ("upstream", json!("app")),
        ("server", json!(a.address())),
        ("rate", json!("1/h")),
        ("order", json!("quiet_first")),
        ("deadline", json!("2h")),
        ("reason", json!("a new kernel")),
        ("state", json!("running")),
        ("total", json!(3)),
        ("closed", json!(0)),
        ("left", json!(0)),
        ("cut", json!(0)),
        ("remaining", json!({"tunnels": 3, "requests": 0})),
        ("durable", json!(false)),
    ] {
        assert_eq!(said[key], wanted, "{key} in {said}");
    }
    assert!(said["generation"].is_u64() && said["visible_us"].is_u64() && said["begun"].is_u64());
    assert!(said["eta_seconds"].as_u64() > Some(3_600), "three at one an hour: {said}");
    for _ in 0..20 {
        assert_eq!(edge.get("app", "/").text(), "b");
        open(&edge).chats("and a new tunnel");
    }
    assert_eq!(a.connections(), before, "nobody came to the server that is being drained");
    staying.iter_mut().for_each(|client| client.chats("not yet"));
    let listed = edge.json("GET", "/api/v1/drains", &Value::Null).1;
    assert_eq!(listed["drains"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["drains"][0]["id"], id);
}

#[test]
fn others_can_see_that_it_drains() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let _tunnels = open_to(&edge, &a, 2);
    let drain = Drain::begin(&edge, &a, &json!({"rate": "1/h"}));
    let said = edge.json("GET", "/api/v1/explain?host=app", &Value::Null).1;
    let its = |one: &&Value| one["address"] == a.address();
    let candidate = said["candidates"].as_array().unwrap().iter().find(its).unwrap();
    assert_eq!(candidate["eligible"], false, "{candidate}");
    let reason = format!("draining: drain {}", drain.id);
    assert!(candidate["reason"].as_str().unwrap().contains(&reason), "{candidate}");
    let (id, server) = (drain.id, a.address());
    let remaining =
        format!("tidegate_drain_remaining{{id=\"{id}\",upstream=\"app\",server=\"{server}\"}}");
    assert_eq!(edge.metric(&remaining), Some(2.0));
    let state =
        format!("tidegate_server_state{{upstream=\"app\",server=\"{server}\",state=\"draining\"}}");
    assert_eq!(edge.metric(&state), Some(1.0));
    drain.cancel();
    assert_eq!((edge.metric(&remaining), edge.metric(&state)), (None, None));
}

#[test]
fn tunnels_are_closed_no_faster_than_the_rate() {
    let (a, b) = two();
    let edge = edge().logging().pool("app", &[&a, &b]).start();
    let clients = open_to(&edge, &a, 10);
    let began = Instant::now();
    let more = json!({"rate": "20/s", "close_code": 4001, "reason": "moving house"});
    let drain = Drain::begin(&edge, &a, &more);
    let ended: Vec<_> = leaving(clients).into_iter().map(|one| one.join().unwrap()).collect();
    let last = ended.iter().map(|one| one.0).max().unwrap();
    assert!(last - began >= Duration::from_millis(400), "{:?} for ten", last - began);
    assert!(ended.iter().all(|one| one.1 == (4001, "moving house".into())), "{ended:?}");
    let view = drain.is_over();
    assert_eq!((&view["total"], &view["closed"]), (&json!(10), &json!(10)), "{view}");
    assert_eq!((&view["left"], &view["cut"]), (&json!(0), &json!(0)), "{view}");
    let by_it = |record: &&Value| record["close"] == "drain" && record["close_by"] == drain.id;
    eventually("all are in the log", || edge.records(0).iter().filter(by_it).count() == 10);
    let series = format!(
        "tidegate_tunnel_closes_total{{upstream=\"app\",server=\"{}\",cause=\"drain\"}}",
        a.address()
    );
    assert_eq!(edge.metric(&series), Some(10.0));
}

#[test]
fn over_spreads_them_over_a_time_and_the_pool_says_how_long_by_default() {
    let (a, b) = two();
    let keys = "tunnel = { drain_over = \"1s\", close_code = 4002 }";
    let edge = edge().pool_of("app", &[(&a, ""), (&b, "")], keys).start();
    for more in [json!({"over": "500ms"}), json!({})] {
        let clients = open_to(&edge, &a, 8);
        let began = Instant::now();
        let drain = Drain::begin(&edge, &a, &more);
        let ended: Vec<_> = leaving(clients).into_iter().map(|one| one.join().unwrap()).collect();
        let last = ended.iter().map(|one| one.0).max().unwrap();
        assert!(last - began >= Duration::from_millis(300), "{more}: {:?}", last - began);
        assert!(ended.iter().all(|one| one.1 == (4002, SAID.into())), "{ended:?}");
        drain.is_over();
        drain.cancel();
    }
}

/// Whoever is not open any more must be the first ones in that order, whenever it is looked.
#[track_caller]
fn closes_in_order(edge: &Edge, clients: &[Socket]) {
    let ids: Vec<u64> = clients.iter().map(|client| id_of(edge, client)).collect();
    let still_open = || -> Vec<u64> {
        let all = tunnels(edge, "upstream=app");
        let open = all.iter().filter(|one| one["state"] == "open");
        open.map(|one| one["id"].as_u64().unwrap()).collect()
    };
    eventually("all are closed in order", || {
        let open = still_open();
        let is_open: Vec<bool> = ids.iter().map(|id| open.contains(id)).collect();
        assert!(is_open.is_sorted(), "{is_open:?} are still open");
        !is_open.contains(&true)
    });
}

#[test]
fn quiet_tunnels_go_first() {
    let a = Chat::new();
    // One worker: the register is read in one go.
    let edge = edge().workers(1).pool("app", &[&a]).start();
    let mut clients: Vec<Socket> = (0..4).map(|_| open(&edge)).collect();
    clients.reverse();
    for client in &mut clients {
        client.chats("one after the other");
        let its = id_of(&edge, client);
        eventually("the next one speaks clearly later", || {
            let all = tunnels(&edge, "sort=idle");
            let idle = all.iter().find(|one| one["id"] == its).unwrap()["idle_ms"].as_u64();
            idle.unwrap() >= 30
        });
    }
    let more = json!({"rate": "10/s", "order": "quiet_first", "force": true});
    let drain = Drain::begin(&edge, &a, &more);
    closes_in_order(&edge, &clients);
    clients.iter_mut().for_each(|client| drop(client.leaves()));
    drain.is_over();
}

#[test]
fn the_oldest_go_first_if_they_are_to() {
    let a = Chat::new();
    let edge = edge().workers(1).pool("app", &[&a]).start();
    let mut clients: Vec<Socket> = Vec::new();
    for _ in 0..4 {
        clients.push(open(&edge));
        let its = id_of(&edge, clients.last().unwrap());
        eventually("the next one is clearly younger", || {
            let all = tunnels(&edge, "");
            let age = all.iter().find(|one| one["id"] == its).unwrap()["age_ms"].as_u64();
            age.unwrap() >= 30
        });
    }
    // The quietest is the youngest.
    clients.iter_mut().rev().for_each(|client| client.chats("busy"));
    let more = json!({"rate": "10/s", "order": "oldest_first", "force": true});
    let drain = Drain::begin(&edge, &a, &more);
    closes_in_order(&edge, &clients);
    clients.iter_mut().for_each(|client| drop(client.leaves()));
    drain.is_over();
}

/// Who is in the middle of a message is asked when nobody else is left.
#[test]
fn who_is_within_a_message_is_passed_over() {
    let gate = Gate::default();
    let a = {
        let gate = gate.clone();
        Chat::with(move |conn, heard| {
            if conn.number == 0 {
                conn.send(frame(TEXT_BEGINS, "a long "));
                gate.wait();
                conn.send(frame(ENDS, "story"));
            }
            heard.chat(conn);
        })
    };
    let edge = edge().pool("app", &[&a]).start();
    let mut busy = open(&edge);
    assert!(busy.hear().is(TEXT_BEGINS, "a long "));
    let mut others: Vec<Socket> = (0..5).map(|_| open(&edge)).collect();
    eventually("it is seen", || {
        tunnels(&edge, "").iter().filter(|one| one["within_message"] == true).count() == 1
    });
    let drain = Drain::begin(&edge, &a, &json!({"rate": "1000/s", "order": "any", "force": true}));
    others.iter_mut().for_each(|client| assert_eq!(client.leaves(), (1012, SAID.into())));
    gate.open();
    assert!(busy.hear().is(ENDS, "story"), "nothing stands between");
    assert_eq!(busy.leaves(), (1012, SAID.into()));
    drain.is_over();
}

/// What a tunnel says after the answer to a PATCH shows that no word was left on it before.
fn split(clients: Vec<Socket>) -> (Vec<Socket>, usize) {
    let (mut open, mut told) = (Vec::new(), 0);
    for mut client in clients {
        client.send(masked(TEXT, "are you there"));
        let heard = client.hear();
        if heard.first == CLOSE {
            told += 1;
        } else {
            open.push(client);
        }
    }
    (open, told)
}

#[test]
fn a_paused_drain_closes_nobody_and_goes_on_later() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let clients = open_to(&edge, &a, 20);
    let drain = Drain::begin(&edge, &a, &json!({"rate": "1000/s", "paused": true}));
    assert_eq!(drain.view()["state"], "paused");
    assert!(drain.view().get("eta_seconds").is_none(), "nobody knows: {}", drain.view());
    let (mut clients, told) = split(clients);
    assert_eq!((clients.len(), told), (20, 0));
    assert_eq!(edge.get("app", "/").text(), "b", "it is out of rotation all the same");
    assert_eq!(drain.alter(&json!({"rate": "20/s", "paused": false}))["state"], "running");
    drain.until("some are closed", |view| view["closed"].as_u64() > Some(2));
    assert_eq!(drain.alter(&json!({"paused": true}))["state"], "paused");
    let told;
    (clients, told) = split(clients);
    assert!(told > 2 && !clients.is_empty(), "{told} were told");
    for _ in 0..50 {
        clients.iter_mut().for_each(|client| client.chats("nobody closes meanwhile"));
    }
    assert_eq!(drain.view()["closed"], told);
    drain.alter(&json!({"rate": "1000/s", "paused": false}));
    clients.iter_mut().for_each(|client| assert_eq!(client.leaves(), (1012, SAID.into())));
    let view = drain.is_over();
    assert_eq!((&view["closed"], &view["total"]), (&json!(20), &json!(20)), "{view}");
}

#[test]
fn its_pace_can_be_changed() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let mut clients = open_to(&edge, &a, 10);
    let drain = Drain::begin(&edge, &a, &json!({"over": "10h"}));
    let view = drain.alter(&json!({"rate": "1/h", "order": "oldest_first"}));
    assert_eq!(
        (&view["rate"], view.get("over"), &view["order"]),
        (&json!("1/h"), None, &json!("oldest_first")),
        "{view}"
    );
    clients.iter_mut().for_each(|client| client.chats("an hour is long"));
    let view = drain.alter(&json!({"rate": "500/s", "close_code": 4003}));
    assert_eq!((&view["id"], &view["close_code"]), (&json!(drain.id), &json!(4003)), "{view}");
    clients.iter_mut().for_each(|client| assert_eq!(client.leaves(), (4003, SAID.into())));
    drain.is_over();
}

#[test]
fn a_second_order_changes_the_first() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let mut clients = open_to(&edge, &a, 4);
    let first = Drain::begin(&edge, &a, &json!({"rate": "1/h", "reason": "slowly"}));
    let second = Drain::begin(&edge, &a, &json!({"rate": "500/s"}));
    assert_eq!(first.id, second.id);
    assert_eq!(
        edge.json("GET", "/api/v1/drains", &Value::Null).1["drains"].as_array().unwrap().len(),
        1
    );
    clients.iter_mut().for_each(|client| assert_eq!(client.leaves(), (1012, SAID.into())));
    let view = second.is_over();
    assert_eq!((&view["rate"], view.get("reason")), (&json!("500/s"), None), "{view}");
    assert_eq!((&view["total"], &view["closed"]), (&json!(4), &json!(4)), "{view}");
}

#[test]
fn a_cancelled_drain_closes_nobody_and_its_server_serves_again() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let clients = open_to(&edge, &a, 20);
    let drain = Drain::begin(&edge, &a, &json!({"rate": "20/s"}));
    drain.until("it has begun", |view| view["closed"].as_u64() > Some(0));
    drain.cancel();
    let (mut clients, told) = split(clients);
    assert!(told > 0 && !clients.is_empty(), "{told} were told");
    for _ in 0..50 {
        clients.iter_mut().for_each(|client| client.chats("it is over"));
    }
    let names: Vec<String> = (0..8).map(|_| edge.get("app", "/").text()).collect();
    assert!(names.contains(&"a".into()) && names.contains(&"b".into()), "{names:?}");
    let gone = edge.call("GET", &drain.path(), "");
    assert_eq!(
        (gone.status(), gone.field("content-type")),
        (404, Some("application/problem+json"))
    );
    assert_eq!(edge.call("DELETE", &drain.path(), "").status(), 404);
    assert_eq!(edge.call("PATCH", &drain.path(), "{}").status(), 404);
    let again = Drain::begin(&edge, &a, &json!({"rate": "1/h"}));
    assert!(again.id > drain.id, "a number is given once: {} and {}", drain.id, again.id);
}

#[test]
fn those_that_leave_by_themselves_are_counted_apart() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let mut clients = open_to(&edge, &a, 10);
    let drain = Drain::begin(&edge, &a, &json!({"rate": "1/h"}));
    drop(clients.split_off(7));
    let view = drain.until("three have left", |view| view["left"] == 3);
    assert_eq!(view["remaining"], json!({"tunnels": 7, "requests": 0}), "{view}");
    drain.alter(&json!({"rate": "1000/s"}));
    clients.iter_mut().for_each(|client| drop(client.leaves()));
    let view = drain.is_over();
    for (key, wanted) in [("total", 10), ("closed", 7), ("left", 3), ("cut", 0)] {
        assert_eq!(view[key], wanted, "{key} in {view}");
    }
    assert_eq!(view["remaining"], json!({"tunnels": 0, "requests": 0}));
    assert!(view["finished"].as_u64() >= view["begun"].as_u64(), "{view}");
    assert!(view.get("eta_seconds").is_none(), "{view}");
}

/// Two servers of one pool, each at a pace of its own.
#[test]
fn drains_run_beside_each_other() {
    let (a, b) = two();
    let c = Chat::named("c");
    let edge = edge().pool("app", &[&a, &b, &c]).start();
    let (mut of_a, mut of_b) = (open_to(&edge, &a, 5), open_to(&edge, &b, 5));
    let slow = Drain::begin(&edge, &a, &json!({"rate": "1/h"}));
    let fast = Drain::begin(&edge, &b, &json!({"rate": "500/s", "reason": "b"}));
    assert_ne!(slow.id, fast.id);
    of_b.iter_mut().for_each(|client| assert_eq!(client.leaves(), (1012, "b".into())));
    fast.is_over();
    of_a.iter_mut().for_each(|client| client.chats("not our turn"));
    assert_eq!(slow.view()["closed"], 0);
    assert_eq!(edge.get("app", "/").text(), "c");
}

/// A pool of many tunnels on all workers is emptied to the last one.
#[test]
fn two_hundred_tunnels_are_all_told() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a]).start();
    let clients: Vec<Socket> = (0..200).map(|_| open(&edge)).collect();
    edge.post("app", &format!("server {}; server {};", a.address(), b.address()));
    let drain = Drain::begin(&edge, &a, &json!({"rate": "400/s"}));
    for ended in leaving(clients) {
        assert_eq!(ended.join().unwrap().1, (1012, SAID.to_owned()));
    }
    let view = drain.is_over();
    assert_eq!((&view["total"], &view["closed"]), (&json!(200), &json!(200)), "{view}");
}
