//! How a drain ends: when the last request has, at its deadline, or with its server; what is refused;
//! and what becomes of it across changes of the pool and kill -9.

use serde_json::{Value, json};

use crate::{
    drains::{Drain, open_to, order},
    kit::{
        Chat, Edge, Gate, Origin, Socket, eventually,
        frames::{BINARY, CLOSE, header, masked},
    },
    register::{id_of, tunnels},
    websocket::{ASK, edge, open},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";

fn two() -> (Chat, Chat) {
    (Chat::named("a"), Chat::named("b"))
}

/// Begins a chunked answer, and ends it when the gate opens.
fn streaming(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::new(move |conn| {
        if conn.receive().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbegun\n\r\n");
            gate.wait();
            let _ = conn.try_send("4\r\nend\n\r\n0\r\n\r\n");
        }
    })
}

/// A pool where only `busy` takes requests, until `other` joins it.
fn with_other(edge: &Edge, busy: &Origin, other: &Origin) {
    edge.post("app", &format!("server {}; server {};", busy.address(), other.address()));
}

#[test]
fn it_is_drained_only_when_the_last_request_has_ended() {
    let gate = Gate::default();
    let (a, b) = (streaming(&gate), Origin::named("b"));
    let edge = edge().pool("app", &[&a]).start();
    let mut client = edge.client();
    client.send(GET);
    assert_eq!(client.head().unwrap().status(), 200);
    assert_eq!(client.exactly(11).unwrap(), b"6\r\nbegun\n\r\n");
    with_other(&edge, &a, &b);
    let drain = Drain::begin(&edge, &a, &json!({"rate": "500/s"}));
    for _ in 0..20 {
        assert_eq!(edge.get("app", "/").text(), "b");
    }
    let view = drain.view();
    assert_eq!((&view["state"], &view["total"]), (&json!("running"), &json!(0)), "{view}");
    assert_eq!(view["remaining"], json!({"tunnels": 0, "requests": 1}), "{view}");
    gate.open();
    assert_eq!(client.exactly(14).unwrap(), b"4\r\nend\n\r\n0\r\n\r\n", "it is whole");
    let view = drain.is_over();
    assert_eq!(view["remaining"], json!({"tunnels": 0, "requests": 0}), "{view}");
    assert_eq!(edge.get("app", "/").text(), "b", "its server stays out");
}

#[test]
fn a_server_on_which_nothing_runs_is_drained_at_once() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let drain = Drain::begin(&edge, &a, &json!({}));
    let view = drain.is_over();
    assert_eq!((&view["total"], &view["cut"]), (&json!(0), &json!(0)), "{view}");
    edge.wait_for_log("server drained");
}

/// One whose server never ends its frame, and one whose client reads nothing, beside one that can
/// be told.
#[test]
fn tunnels_that_cannot_be_told_are_cut_at_the_deadline() {
    let begun = [header(BINARY, 100_000, 0), vec![1; 1_000]].concat();
    let a = {
        let begun = begun.clone();
        Chat::with(move |conn, heard| match conn.number {
            0 => {
                conn.send(&begun);
                assert!(conn.rest().unwrap().is_empty(), "its server gets FIN, and no Close");
            }
            1 => {
                let whole = [header(BINARY, 64 << 20, 0), vec![2; 64 << 20]].concat();
                let _ = conn.try_send(whole);
            }
            _ => heard.chat(conn),
        })
    };
    let edge = edge().logging().pool("app", &[&a]).start();
    let mut stuck = open(&edge);
    assert!(stuck.exactly(begun.len()).unwrap() == begun);
    let mut deaf = edge.client();
    deaf.inner().set_recv_buffer_size(4_096).unwrap();
    deaf.send(ASK);
    let full = |one: &Value| one["bytes_to_client"].as_u64() > Some(50_000);
    eventually("it is full", || tunnels(&edge, "").iter().any(full));
    let mut polite = open(&edge);
    let drain =
        Drain::begin(&edge, &a, &json!({"rate": "1000/s", "deadline": "1s", "force": true}));
    assert_eq!(polite.leaves().0, 1012);
    assert!(stuck.rest().unwrap().is_empty(), "FIN, and not a byte of ours");
    drop(stuck);
    drop(deaf);
    let view = drain.is_over();
    for (key, wanted) in [("total", 3), ("closed", 1), ("cut", 2), ("left", 0)] {
        assert_eq!(view[key], wanted, "{key} in {view}");
    }
    let records = edge.records(3);
    let by_it = |record: &Value| record["close"] == "drain" && record["close_by"] == drain.id;
    assert!(records.iter().all(by_it), "{records:?}");
}

/// Each server tried, with the outcome.
fn tried(record: &Value) -> Vec<(String, String)> {
    let attempts = record["attempts"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    attempts.map(|attempt| (text(&attempt["server"]), text(&attempt["outcome"]))).collect()
}

/// A long poll that has no answer yet can have one of somebody else.
#[test]
fn at_the_deadline_a_get_without_an_answer_goes_on_to_another_server() {
    let (a, b) = (Origin::silent(), Origin::named("b"));
    let edge = edge().logging().pool("app", &[&a]).start();
    let mut client = edge.client();
    client.send(GET);
    a.wait_for_requests(1);
    with_other(&edge, &a, &b);
    let drain = Drain::begin(&edge, &a, &json!({"deadline": "200ms"}));
    let answer = client.response().unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "b"));
    let record = edge.records(1).remove(0);
    let attempts = [(a.address(), "drained".to_owned()), (b.address(), "answered".to_owned())];
    assert_eq!(tried(&record), attempts, "{record}");
    drain.is_over();
    assert_eq!(client.ask(GET).text(), "b", "the connection goes on");
    let failed = format!("tidegate_server_state{{upstream=\"app\",server=\"{}\"", a.address());
    drain.cancel();
    assert!(edge.metrics().lines().any(|l| l.starts_with(&failed) && l.contains("state=\"up\"")));
}

#[test]
fn at_the_deadline_a_post_without_an_answer_is_not_repeated() {
    let (a, b) = (Origin::silent(), Origin::named("b"));
    let edge = edge().logging().pool("app", &[&a]).start();
    let mut client = edge.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nbuy");
    a.wait_for_requests(1);
    with_other(&edge, &a, &b);
    let drain = Drain::begin(&edge, &a, &json!({"deadline": "200ms"}));
    assert_eq!(client.response().unwrap().status(), 502);
    assert_eq!(b.count(), 0, "it may have been done already");
    let record = edge.records(1).remove(0);
    assert_eq!(tried(&record), [(a.address(), "drained".to_owned())]);
    drain.is_over();
}

#[test]
fn at_the_deadline_an_answer_that_has_begun_is_cut() {
    let gate = Gate::default();
    let (a, b) = (streaming(&gate), Origin::named("b"));
    let edge = edge().logging().pool("app", &[&a]).start();
    let mut client = edge.client();
    client.send(GET);
    a.wait_for_requests(1);
    with_other(&edge, &a, &b);
    let drain = Drain::begin(&edge, &a, &json!({"deadline": "200ms"}));
    let broken = client.response().expect_err("nobody can take it for whole");
    assert!(broken.is_cut(), "{broken:?}");
    let record = edge.records(1).remove(0);
    assert_eq!(tried(&record), [(a.address(), "drained".to_owned())]);
    assert_eq!(record["status"], 200, "{record}");
    drain.is_over();
    gate.open();
}

/// A deadline can still be put off.
#[test]
fn a_cancelled_drain_has_no_deadline() {
    let (a, b) = (Origin::silent(), Origin::named("b"));
    let edge = edge().pool("app", &[&a]).start();
    let mut client = edge.client();
    client.send(GET);
    a.wait_for_requests(1);
    with_other(&edge, &a, &b);
    let drain = Drain::begin(&edge, &a, &json!({"deadline": "1h"}));
    drain.cancel();
    let again = Drain::begin(&edge, &a, &json!({"deadline": "1h"}));
    assert_eq!(edge.json("PATCH", &again.path(), &json!({"deadline": "0s"})).0, 200);
    assert_eq!(client.response().unwrap().text(), "b", "the new deadline is over");
}

#[test]
fn the_last_server_is_not_drained_unless_forced() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a]).start();
    let refused = |edge: &Edge| {
        let answer = edge.call("POST", "/api/v1/drains", &order(&a, &json!({})).to_string());
        assert_eq!(answer.status(), 409, "{answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&a.address()) && detail.contains("force"), "{detail}");
    };
    refused(&edge);
    for other in ["down", "max_fails=1 fail_timeout=1h"] {
        let dead = Origin::refusing();
        edge.post("app", &format!("server {}; server {} {other};", a.address(), dead.address()));
        // Until the dead one is found out.
        (0..4).for_each(|_| assert_eq!(edge.get("app", "/").text(), "a"));
        refused(&edge);
    }
    with_other(&edge, &a, &b);
    let first = Drain::begin(&edge, &b, &json!({}));
    refused(&edge);
    first.cancel();
    let first = Drain::begin(&edge, &b, &json!({}));
    let last = Drain::begin(&edge, &a, &json!({"force": true}));
    assert_eq!(edge.get("app", "/").status(), 502, "nobody is left");
    last.cancel();
    assert_eq!(edge.get("app", "/").text(), "a");
    first.cancel();
}

#[test]
fn a_server_that_a_check_has_found_dead_is_nobody_to_rely_on() {
    let (a, dead) = (Chat::named("a"), Origin::refusing());
    let keys = "check = { type = \"tcp\", interval = \"50ms\", fall = 1 }";
    let edge = edge().pool_of("app", &[(&a, ""), (&dead, "")], keys).start();
    let state = format!(
        "tidegate_server_state{{upstream=\"app\",server=\"{}\",state=\"unhealthy\"}}",
        dead.address()
    );
    eventually("it is found dead", || edge.metric(&state) == Some(1.0));
    let (status, said) = edge.json("POST", "/api/v1/drains", &order(&a, &json!({})));
    assert_eq!(status, 409, "{said}");
    // The dead one may be drained: nobody is worse off.
    Drain::begin(&edge, &dead, &json!({})).is_over();
}

#[test]
fn bad_orders_are_400_with_the_field() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let long = "x".repeat(124);
    for (more, field) in [
        (json!({"over": "1m", "rate": "1/s"}), "rate"),
        (json!({"over": "0s"}), "over"),
        (json!({"over": "soon"}), "over"),
        (json!({"over": -1}), "over"),
        (json!({"rate": "0/s"}), "rate"),
        (json!({"rate": "1/d"}), "rate"),
        (json!({"rate": 20}), "rate"),
        (json!({"order": "loud_first"}), "order"),
        (json!({"deadline": "never"}), "deadline"),
        (json!({"close_code": 999}), "close_code"),
        (json!({"close_code": 1005}), "close_code"),
        (json!({"close_code": 65536}), "close_code"),
        (json!({"reason": long}), "reason"),
        (json!({"notify": "https://example.com/"}), "notify"),
        (json!({"notify": "example.com"}), "notify"),
        (json!({"notify": "http://"}), "notify"),
        (json!({"notify": "http:///path"}), "notify"),
        (json!({"paused": "yes"}), "paused"),
        (json!({"force": 1}), "force"),
        (json!({"upstream": ""}), "upstream"),
        (json!({"nope": 1}), "nope"),
    ] {
        let answer = edge.call("POST", "/api/v1/drains", &order(&a, &more).to_string());
        assert_eq!(answer.status(), 400, "{more}: {answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{more}");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["errors"][0]["field"], field, "{more}: {problem}");
        assert!(problem["errors"][0]["reason"].as_str().is_some_and(|r| !r.is_empty()));
    }
    for (body, field) in [
        (r#"{"upstream":"app"}"#, "server"),
        (r#"{"server":"127.0.0.1:1"}"#, "upstream"),
        ("", "body"),
        ("[]", "body"),
        ("{", "body"),
        ("{} {}", "upstream"),
    ] {
        let (status, problem) = {
            let answer = edge.call("POST", "/api/v1/drains", body);
            (answer.status(), serde_json::from_slice::<Value>(&answer.body).unwrap())
        };
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!(field)), "{body}");
    }
    let large = format!("{{\"reason\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(edge.call("POST", "/api/v1/drains", &large).status(), 413);
    assert_eq!(edge.json("GET", "/api/v1/drains", &Value::Null).1, json!({"drains": []}));
    let drain = Drain::begin(&edge, &a, &json!({"rate": "1/h"}));
    for (change, field) in [
        (json!({"over": "1m", "rate": "1/s"}), "rate"),
        (json!({"over": "0s"}), "over"),
        (json!({"paused": 1}), "paused"),
        (json!({"server": "127.0.0.1:1"}), "server"),
        (json!({"notify": "http://127.0.0.1/"}), "notify"),
    ] {
        let (status, problem) = edge.json("PATCH", &drain.path(), &change);
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!(field)), "{change}");
    }
}

#[test]
fn servers_and_pools_that_are_not_there_are_404_and_those_that_are_named() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let ask = |body: Value| {
        let (status, problem) = edge.json("POST", "/api/v1/drains", &body);
        (status, problem["detail"].as_str().unwrap().to_owned())
    };
    let (status, detail) = ask(json!({"upstream": "app", "server": "127.0.0.1:1"}));
    assert_eq!(status, 404, "{detail}");
    assert!(detail.contains(&a.address()) && detail.contains(&b.address()), "{detail}");
    let (status, detail) = ask(json!({"upstream": "nobody", "server": a.address()}));
    assert_eq!(status, 404, "{detail}");
    assert!(detail.contains("nobody"), "{detail}");
    for id in ["0", "999999", "x", "-1"] {
        let answer = edge.call("GET", &format!("/api/v1/drains/{id}"), "");
        assert_eq!(answer.status(), 404, "{id}: {answer:?}");
    }
}

#[test]
fn pool_names_have_no_case_here_either() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let body = json!({"upstream": "APP", "server": a.address(), "rate": "1/h"});
    let (status, said) = edge.json("POST", "/api/v1/drains", &body);
    assert_eq!(status, 201, "{said}");
    assert_eq!(edge.get("app", "/").text(), "b");
    let again = Drain::begin(&edge, &a, &json!({}));
    assert_eq!(said["id"], again.id);
}

#[test]
fn a_pool_that_is_replaced_meanwhile_keeps_the_drain() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let mut clients = open_to(&edge, &a, 3);
    let drain = Drain::begin(&edge, &a, &json!({"rate": "1/h"}));
    edge.post("app", &format!("server {} weight=2; server {};", b.address(), a.address()));
    for _ in 0..10 {
        assert_eq!(edge.get("app", "/").text(), "b");
    }
    assert_eq!(drain.view()["remaining"], json!({"tunnels": 3, "requests": 0}));
    assert_eq!(edge.json("PATCH", &drain.path(), &json!({"rate": "500/s"})).0, 200);
    clients.iter_mut().for_each(|client| assert_eq!(client.leaves().0, 1012));
    drain.is_over();
}

#[test]
fn removing_the_server_ends_its_drain() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let mut clients = open_to(&edge, &a, 20);
    let drain = Drain::begin(&edge, &a, &json!({"rate": "1/h"}));
    edge.post("app", &format!("server {};", b.address()));
    assert_eq!(edge.call("GET", &drain.path(), "").status(), 404);
    assert_eq!(edge.json("GET", "/api/v1/drains", &Value::Null).1, json!({"drains": []}));
    clients.iter_mut().for_each(|client| client.chats("nobody is closed"));
    with_other(&edge, &a, &b);
    let names: Vec<String> = (0..8).map(|_| edge.get("app", "/").text()).collect();
    assert!(names.contains(&"a".into()), "who comes back is not drained: {names:?}");
}

#[test]
fn whoever_wants_to_know_is_told_when_it_is_drained() {
    let (a, b) = two();
    let hook = Origin::new(|conn| {
        if conn.receive().is_ok() {
            let status = if conn.number == 0 { "500 No" } else { "204 Thanks" };
            conn.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let edge = edge().pool("app", &[&a, &b]).start();
    let mut clients = open_to(&edge, &a, 2);
    let more = json!({"rate": "1/h", "notify": format!("http://{}/drained?x=1", hook.address())});
    let drain = Drain::begin(&edge, &a, &more);
    assert_eq!(hook.connections(), 0);
    assert_eq!(edge.json("PATCH", &drain.path(), &json!({"rate": "500/s"})).0, 200);
    clients.iter_mut().for_each(|client| drop(client.leaves()));
    // The first time it answers 500.
    hook.wait_for_requests(2);
    edge.wait_for_log("told that the server is drained");
    for request in hook.requests() {
        assert_eq!(request.head.start, "POST /drained?x=1 HTTP/1.1");
        assert_eq!(request.field("host"), Some(hook.address().as_str()));
        assert_eq!(request.field("content-type"), Some("application/json"));
        let told: Value = serde_json::from_slice(&request.body).unwrap();
        for (key, wanted) in [
            ("id", json!(drain.id)),
            ("upstream", json!("app")),
            ("server", json!(a.address())),
            ("state", json!("drained")),
            ("total", json!(2)),
            ("closed", json!(2)),
        ] {
            assert_eq!(told[key], wanted, "{key} in {told}");
        }
    }
    assert_eq!(hook.count(), 2);
}

#[test]
fn a_drain_survives_kill_9_and_goes_on() {
    let (a, b) = two();
    let mut edge = edge().durable().pool("app", &[&a, &b]).start();
    let _clients = open_to(&edge, &a, 3);
    let path = {
        let drain = Drain::begin(&edge, &a, &json!({"rate": "1/h", "reason": "a new kernel"}));
        assert_eq!(drain.view()["state"], "running");
        drain.path()
    };
    edge.kill9();
    edge.restart();
    let view = || edge.json("GET", &path, &Value::Null).1;
    assert_eq!((&view()["reason"], &view()["rate"]), (&json!("a new kernel"), &json!("1/h")));
    for _ in 0..10 {
        assert_eq!(edge.get("app", "/").text(), "b");
    }
    eventually("nothing runs on it any more", || view()["state"] == "drained");
    let finished = view()["finished"].clone();
    assert!(finished.is_u64(), "{}", view());
    edge.restart();
    let view = edge.json("GET", &path, &Value::Null).1;
    assert_eq!((&view["state"], &view["finished"]), (&json!("drained"), &finished), "{view}");
    assert_eq!(edge.get("app", "/").text(), "b");
    assert_eq!(edge.json("DELETE", &path, &Value::Null).0, 200);
    edge.restart();
    assert_eq!(edge.json("GET", "/api/v1/drains", &Value::Null).1, json!({"drains": []}));
    let names: Vec<String> = (0..8).map(|_| edge.get("app", "/").text()).collect();
    assert!(names.contains(&"a".into()), "{names:?}");
}

/// Swaps of the list, requests and tunnels go on around a drain; nobody new meets its server.
#[test]
fn nobody_meets_a_drained_server_however_much_is_changed_around_it() {
    let (a, b) = two();
    let edge = edge().pool("app", &[&a, &b]).start();
    let drain = Drain::begin(&edge, &a, &json!({}));
    drain.is_over();
    let before = a.connections();
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            for weight in 1..30 {
                let (a, b) = (a.address(), b.address());
                edge.post("app", &format!("server {a} weight={weight}; server {b};"));
            }
        });
        while !changing.is_finished() {
            assert_eq!(edge.get("app", "/").text(), "b");
            let mut client: Socket = open(&edge);
            assert!(id_of(&edge, &client) > 0);
            client.send(masked(CLOSE, 1000_u16.to_be_bytes()));
            assert_eq!(client.hear().goodbye().0, 1000);
        }
    });
    assert_eq!(a.connections(), before);
}
