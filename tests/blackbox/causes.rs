//! Why tunnels end: one word each, the same in the metrics of the server, of the listener, and in the
//! access log; and the books, which are in order whenever anybody looks.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    drains::Drain,
    kit::{
        Chat, Edge, RaiseOnDrop, Socket, bytes, eventually,
        frames::{BINARY, CLOSE, PING, close as goodbye, frame, header, masked},
    },
    register::close,
    websocket::{ASK, edge, open},
};

/// Counts of that cause: of the server, and of the listener.
#[track_caller]
fn counted(edge: &Edge, server: &Chat, cause: &str) -> (Option<f64>, Option<f64>) {
    let address = server.address();
    (
        edge.metric(&format!(
            "tidegate_tunnel_closes_total{{upstream=\"app\",server=\"{address}\",cause=\"{cause}\"}}"
        )),
        edge.metric(&format!(
            "tidegate_listener_tunnel_closes_total{{listener=\"edge\",cause=\"{cause}\"}}"
        )),
    )
}

/// A server that does as the first word of a client says.
fn obedient() -> Chat {
    Chat::with(|conn, heard| {
        let Ok(word) = heard.frame(conn) else { return };
        match word.payload.as_slice() {
            _ if word.first == CLOSE => conn.send(frame(CLOSE, word.payload)),
            b"leave" => {}
            b"reset" => conn.reset(),
            b"stick" => {
                conn.send([header(BINARY, 1_000, 0), vec![1; 10]].concat());
                let _ = conn.rest();
            }
            _ => heard.chat(conn),
        }
    })
}

fn say(edge: &Edge, word: &str) -> Socket {
    let mut client = open(edge);
    client.send(masked(BINARY, word));
    client
}

#[test]
fn every_end_has_its_cause_everywhere() {
    let server = obedient();
    let tunnel = "idle_timeout = \"2s\", ping_interval = \"0s\"";
    let edge = edge()
        .logging()
        .pool_of("app", &[(&server, "")], &format!("tunnel = {{ {tunnel} }}"))
        .start();
    let mut ended = 0;
    let mut expect = |cause: &str, end: &dyn Fn(&Edge)| {
        end(&edge);
        ended += 1;
        let record = edge.records(ended).pop().unwrap();
        assert_eq!(record["close"], cause, "{record}");
        assert_eq!(counted(&edge, &server, cause), (Some(1.0), Some(1.0)), "{cause}");
    };
    expect("client", &|edge| drop(open(edge)));
    expect("server", &|edge| say(edge, "leave").expect_end());
    expect("error_client", &|edge| say(edge, "stay").reset());
    expect("error_server", &|edge| say(edge, "reset").expect_end());
    expect("idle", &|edge| open(edge).expect_end());
    expect("admin", &|edge| {
        let mut client = open(edge);
        close(edge, &client);
        client.leaves();
    });
    expect("drain", &|edge| {
        let mut client = open(edge);
        let drain = Drain::begin(edge, &server, &json!({"rate": "100/s", "force": true}));
        client.leaves();
        drain.is_over();
        drain.cancel();
    });
    let total: f64 = ["client", "server", "error_client", "error_server", "idle", "admin", "drain"]
        .iter()
        .filter_map(|cause| counted(&edge, &server, cause).1)
        .sum();
    assert_eq!(total, 7.0, "and none was counted as anything else");
}

/// A server that has left keeps its series for as long as a tunnel holds it.
#[test]
fn removal_is_counted_while_anything_is_left_of_the_server() {
    let (server, other) = (obedient(), Chat::named("b"));
    let edge = edge().logging().pool("app", &[&server]).start();
    let mut stuck = say(&edge, "stick");
    stuck.exactly(14).unwrap();
    let mut polite = open(&edge);
    let path = "/upstream/app?existing=close";
    assert_eq!(edge.call("POST", path, &format!("server {};", other.address())).text(), "success");
    polite.leaves();
    assert_eq!(edge.records(1)[0]["close"], "removal");
    assert_eq!(counted(&edge, &server, "removal"), (Some(1.0), Some(1.0)));
    let state = format!(
        "tidegate_server_state{{upstream=\"app\",server=\"{}\",state=\"removed\"}}",
        server.address()
    );
    assert_eq!(edge.metric(&state), Some(1.0));
    drop(stuck);
    eventually("its series have left", || edge.metric(&state).is_none());
    assert_eq!(counted(&edge, &server, "removal").0, None);
}

#[test]
fn stop_is_counted_while_it_goes_on() {
    let server = obedient();
    let keys = "tunnel = { drain_over = \"100ms\" }";
    let mut edge = edge()
        .logging()
        .process("graceful_timeout = \"1s\"")
        .pool_of("app", &[(&server, "")], keys)
        .start();
    // Holds the process for a while: it cannot be told.
    let mut stuck = say(&edge, "stick");
    stuck.exactly(14).unwrap();
    let mut polite = open(&edge);
    edge.signal(Signal::TERM);
    assert_eq!(polite.leaves(), (1001, "shutting down".into()));
    assert_eq!(edge.records(1)[0]["close"], "stop");
    assert_eq!(counted(&edge, &server, "stop"), (Some(1.0), Some(1.0)));
    assert_eq!(edge.wait_for_exit().code(), Some(0));
    let causes: Vec<Value> = edge.records(2).iter().map(|one| one["close"].clone()).collect();
    assert_eq!(causes, ["stop", "stop"]);
    stuck.expect_end();
}

/// `Edge::metrics` holds every page to it: opened is active and closed together, and received and
/// injected are sent, swallowed and discarded together.
#[test]
fn the_books_are_in_order_while_tunnels_come_and_go() {
    let server = obedient();
    let edge =
        edge().pool_of("app", &[(&server, "")], "tunnel = { ping_interval = \"1s\" }").start();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..4 {
            let (edge, done) = (&edge, &done);
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed);
                while !done.load(Ordering::SeqCst) {
                    come_and_go(edge, &mut random);
                }
            });
        }
        let _done = RaiseOnDrop(&done);
        let opened = "tidegate_listener_tunnels_total{listener=\"edge\"}";
        while edge.metric(opened).unwrap_or_default() < 400.0 {}
    });
    let active = "tidegate_listener_tunnels_active{listener=\"edge\"}";
    eventually("all have ended", || edge.metric(active) == Some(0.0));
}

/// One tunnel, and one of the ways it may end.
fn come_and_go(edge: &Edge, random: &mut Rng) {
    let mut client = edge.client();
    let early = masked(BINARY, bytes(random, 10));
    let asks = [ASK.as_bytes(), if random.bool() { &early } else { b"" }].concat();
    client.send(asks);
    assert_eq!(client.head().unwrap().status(), 101);
    let size = random.usize(..20_000);
    client.send(masked(BINARY, bytes(random, size)));
    match random.u8(..6) {
        0 => client.reset(),
        1 => drop(client),
        2 => {
            client.send(masked(BINARY, "leave"));
            client.send(masked(PING, "x"));
        }
        3 => {
            client.send(masked(CLOSE, goodbye(1000, "")));
            while client.frame().is_ok() {}
        }
        4 => {
            // It may be over before it is asked.
            let port = client.inner().local_addr().unwrap().as_socket().unwrap().to_string();
            let page = edge.json("GET", "/api/v1/tunnels?limit=1000", &Value::Null).1;
            let its = page["tunnels"].as_array().unwrap().iter().find(|one| one["client"] == port);
            if let Some(its) = its {
                edge.call("DELETE", &format!("/api/v1/tunnels/{}", its["id"]), "");
            }
            while let Ok(frame) = client.frame() {
                if frame.first == CLOSE && random.bool() {
                    let _ = client.try_send(masked(CLOSE, &frame.payload));
                }
                if frame.first == CLOSE {
                    break;
                }
            }
        }
        _ => client.finish(),
    }
}
