//! What becomes of the tunnels of a server that leaves its pool: they stay, they go at a pace, or they
//! go now, as the change or the pool says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    drains::{leaving, open_to},
    kit::{Chat, Edge, Origin, Socket, eventually, frames::header},
    register::tunnels,
    websocket::{edge, open},
};

const SAID: &str = "server was removed";
/// Far above the fifteen seconds that `close` gives everybody.
const FAR: Duration = Duration::from_secs(60);

fn two() -> (Chat, Chat) {
    (Chat::named("a"), Chat::named("b"))
}

/// A pool of two with these keys of `tunnel`.
fn pool(a: &Chat, b: &Chat, tunnel: &str) -> Edge {
    edge()
        .logging()
        .pool_of("app", &[(a, ""), (b, "")], &format!("tunnel = {{ {tunnel} }}"))
        .start()
}

/// Posts a list without the first server.
#[track_caller]
fn remove(edge: &Edge, stays: &Origin, query: &str) {
    let body = format!("server {};", stays.address());
    let answer = edge.call("POST", &format!("/upstream/app{query}"), &body);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "success"));
}

#[track_caller]
fn stay(clients: &mut [Socket]) {
    (0..30).for_each(|_| clients.iter_mut().for_each(|client| client.chats("here to stay")));
}

#[test]
fn they_stay_unless_somebody_says_otherwise() {
    let (a, b) = two();
    let edge = pool(&a, &b, "close_code = 1012");
    let mut clients = open_to(&edge, &a, 3);
    remove(&edge, &b, "");
    stay(&mut clients);
    assert_eq!(edge.call("DELETE", "/upstream/app", "").text(), "success");
    stay(&mut clients);
}

#[test]
fn existing_close_closes_all_of_them_politely() {
    let (a, b) = two();
    let edge = pool(&a, &b, "close_code = 4004");
    let (mut clients, mut others) = (open_to(&edge, &a, 10), open_to(&edge, &b, 1));
    remove(&edge, &b, "?existing=close");
    let generation = edge.metric("tidegate_generation ").unwrap();
    clients.iter_mut().for_each(|client| assert_eq!(client.leaves(), (4004, SAID.into())));
    let by_it = |record: &&Value| {
        record["close"] == "removal" && record["close_by"].as_f64() == Some(generation)
    };
    eventually("all are in the log", || edge.records(0).iter().filter(by_it).count() == 10);
    let closes = "tidegate_listener_tunnel_closes_total{listener=\"edge\",cause=\"removal\"}";
    assert_eq!(edge.metric(closes), Some(10.0));
    stay(&mut others);
}

#[test]
fn the_pool_says_what_happens_by_default_and_the_change_says_it_better() {
    let (a, b) = two();
    let edge = pool(&a, &b, "on_remove = \"close\"");
    let mut kept = open_to(&edge, &a, 2);
    remove(&edge, &b, "?existing=keep");
    stay(&mut kept);
    edge.post("app", &format!("server {}; server {};", a.address(), b.address()));
    stay(&mut kept);
    remove(&edge, &b, "");
    kept.iter_mut().for_each(|client| assert_eq!(client.leaves(), (1012, SAID.into())));
}

#[test]
fn existing_drain_takes_as_long_as_the_pool_says() {
    let (a, b) = two();
    let edge = pool(&a, &b, "drain_over = \"1s\"");
    let clients = open_to(&edge, &a, 10);
    let began = Instant::now();
    remove(&edge, &b, "?existing=drain");
    let ended: Vec<_> = leaving(clients).into_iter().map(|one| one.join().unwrap()).collect();
    let last = ended.iter().map(|one| one.0).max().unwrap();
    assert!(last - began >= Duration::from_millis(700), "{:?} for ten", last - began);
    assert!(ended.iter().all(|one| one.1 == (1012, SAID.into())), "{ended:?}");
}

#[test]
fn deleting_the_pool_knows_the_verbs_too() {
    let (a, b) = two();
    let edge = pool(&a, &b, "drain_over = \"500ms\", on_remove = \"drain\"");
    let mut kept: Vec<Socket> = (0..3).map(|_| open(&edge)).collect();
    assert_eq!(edge.call("DELETE", "/upstream/app?existing=keep", "").text(), "success");
    stay(&mut kept);
    let both = format!("server {}; server {};", a.address(), b.address());
    edge.post("app", &both);
    stay(&mut kept);
    assert_eq!(edge.call("DELETE", "/upstream/app?existing=close", "").text(), "success");
    kept.iter_mut().for_each(|client| assert_eq!(client.leaves(), (1012, SAID.into())));
}

#[test]
fn a_server_that_comes_back_keeps_what_is_left_of_its_tunnels() {
    let (a, b) = two();
    let edge = pool(&a, &b, "on_remove = \"drain\", drain_over = \"4s\"");
    let mut clients = open_to(&edge, &a, 20);
    remove(&edge, &b, "");
    eventually("it has begun", || tunnels(&edge, "").iter().any(|one| one["state"] == "closing"));
    edge.post("app", &format!("server {}; server {};", a.address(), b.address()));
    let mut left = Vec::new();
    for mut client in clients.drain(..) {
        client.send(crate::kit::frames::masked(crate::kit::frames::TEXT, "here to stay"));
        match client.hear() {
            heard if heard.first == crate::kit::frames::CLOSE => (),
            _ => left.push(client),
        }
    }
    assert!((1..20).contains(&left.len()), "{} are left", left.len());
    stay(&mut left);
    // And it takes new ones.
    left.extend(open_to(&edge, &a, 1));
    stay(&mut left);
}

/// Its server never ends its frame: after a while it gets FIN.
#[test]
fn existing_close_does_not_wait_for_ever() {
    let begun = [header(crate::kit::frames::BINARY, 100_000, 0), vec![1; 1_000]].concat();
    let a = {
        let begun = begun.clone();
        Chat::with(move |conn, _| {
            conn.send(&begun);
            conn.inner().set_read_timeout(Some(FAR)).unwrap();
            assert!(conn.rest().unwrap().is_empty());
        })
    };
    let b = Chat::named("b");
    let edge = edge().pool("app", &[&a]).start();
    let mut client = open(&edge);
    assert!(client.exactly(begun.len()).unwrap() == begun);
    remove(&edge, &b, "?existing=close");
    client.inner().set_read_timeout(Some(FAR)).unwrap();
    assert!(client.rest().unwrap().is_empty(), "FIN, and not a byte of ours");
    drop(client);
    let closes = "tidegate_listener_tunnel_closes_total{listener=\"edge\",cause=\"removal\"}";
    eventually("it is counted", || edge.metric(closes) == Some(1.0));
}

#[test]
fn another_word_is_400_and_changes_nothing() {
    let (a, b) = two();
    let edge = pool(&a, &b, "on_remove = \"close\"");
    let mut clients = open_to(&edge, &a, 1);
    let body = format!("server {};", b.address());
    for query in ["?existing=now", "?existing=", "?existing=Close", "?x=1&existing=no"] {
        for (method, body) in [("POST", body.as_str()), ("DELETE", "")] {
            let answer = edge.call(method, &format!("/upstream/app{query}"), body);
            assert_eq!(answer.status(), 400, "{method} {query}: {answer:?}");
            let reason = answer.field("x-tidegate-reason").expect("a reason");
            assert!(reason.contains("keep, drain or close"), "{reason}");
        }
    }
    let (_, said) = edge.json("GET", "/api/v1/explain?host=app", &json!(null));
    assert_eq!(said["candidates"].as_array().unwrap().len(), 2, "{said}");
    stay(&mut clients);
    // What else a query holds is nobody's.
    let answer = edge.call("POST", "/upstream/app?who=me&existing", &body);
    assert_eq!(answer.text(), "success");
    clients.iter_mut().for_each(|client| assert_eq!(client.leaves().0, 1012));
}

/// A pool that goes from the file goes by the pool's own word.
#[test]
fn a_reload_that_removes_a_server_goes_by_the_pool() {
    let (a, b) = two();
    let edge = pool(&a, &b, "on_remove = \"close\"");
    let (mut clients, mut others) = (open_to(&edge, &a, 3), open_to(&edge, &b, 1));
    let line = format!("  {{ address = {:?} }},\n", a.address());
    edge.rewrite(|text| {
        assert!(text.contains(&line), "{text}");
        text.replace(&line, "")
    });
    edge.signal(rustix::process::Signal::HUP);
    clients.iter_mut().for_each(|client| assert_eq!(client.leaves(), (1012, SAID.into())));
    stay(&mut others);
}
