//! Ends: a graceful one finishes what it has begun and empties its tunnels at a pace, a second signal
//! does not wait.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    drains::leaving,
    kit::{
        Chat, Edge, Gate, Origin, Socket, eventually,
        frames::{BINARY, header},
        named_reply,
    },
    websocket::{self, open},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";

/// An origin that answers when the gate opens.
fn waiting(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::new(move |conn| {
        while conn.receive().is_ok() {
            gate.wait();
            if conn.try_send(named_reply("done")).is_err() {
                return;
            }
        }
    })
}

fn no_longer_listens(edge: &Edge) {
    let address = edge.port("edge");
    eventually("the listener is closed", || TcpStream::connect(address).is_err());
}

#[test]
fn sigterm_finishes_what_it_has_begun() {
    for signal in [Signal::TERM, Signal::INT] {
        let gate = Gate::default();
        let origin = waiting(&gate);
        let mut edge = Edge::new().pool("app", &[&origin]).start();
        let mut client = edge.client();
        client.send(GET);
        origin.wait_for_requests(1);
        edge.signal(signal);
        no_longer_listens(&edge);
        gate.open();
        let answer = client.response().unwrap();
        assert_eq!(answer.text(), "done");
        assert!(answer.head.closes(), "{:?}", answer.head);
        client.expect_end();
        assert_eq!(edge.wait_for_exit().code(), Some(0));
    }
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let origin = Origin::named("up");
    let mut edge = Edge::new().process("graceful_timeout = \"1h\"").pool("app", &[&origin]).start();
    let mut clients: Vec<Socket> = (0..10).map(|_| edge.client()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(GET).text(), "up");
    }
    let _mute = edge.client();
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_for_exit().code(), Some(0));
    clients.iter_mut().for_each(Socket::expect_end);
}

#[test]
fn graceful_timeout_ends_the_waiting() {
    let origin = Origin::silent();
    let mut edge =
        Edge::new().process("graceful_timeout = \"300ms\"").pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send(GET);
    origin.wait_for_requests(1);
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_for_exit().code(), Some(0));
    client.expect_end();
}

/// An edge whose pool is emptied over that time.
fn emptied_over(chat: &Chat, time: &str) -> Edge {
    let keys = format!("tunnel = {{ drain_over = {time:?} }}");
    websocket::edge().logging().pool_of("app", &[(chat, "")], &keys)
}

#[test]
fn tunnels_are_closed_one_by_one() {
    let chat = Chat::new();
    let mut edge = emptied_over(&chat, "1s").start();
    let clients: Vec<Socket> = (0..20).map(|_| open(&edge)).collect();
    let began = Instant::now();
    edge.signal(Signal::TERM);
    no_longer_listens(&edge);
    let ended: Vec<_> = leaving(clients).into_iter().map(|one| one.join().unwrap()).collect();
    let last = ended.iter().map(|one| one.0).max().unwrap();
    assert!(last - began >= Duration::from_millis(700), "{:?} for twenty", last - began);
    assert!(ended.iter().all(|one| one.1 == (1001, "shutting down".into())), "{ended:?}");
    assert_eq!(edge.wait_for_exit().code(), Some(0));
    let said = edge.wait_for_log("every connection has ended");
    for word in ["tunnels_closed=20", "tunnels_left=0", "tunnels_cut=0", "cut=0"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let begun = edge.wait_for_log("stopping");
    assert!(begun.contains("tunnels=20"), "{begun}");
    assert!(edge.records(20).iter().all(|record| record["close"] == "stop"));
    assert_eq!(chat.goodbye(0), (1001, "shutting down".into()));
}

/// Longer than `graceful_timeout`, if a pool says so.
#[test]
fn tunnels_have_all_of_their_pools_time() {
    let chat = Chat::new();
    let mut edge = emptied_over(&chat, "2s").process("graceful_timeout = \"100ms\"").start();
    let clients: Vec<Socket> = (0..4).map(|_| open(&edge)).collect();
    edge.signal(Signal::TERM);
    for ended in leaving(clients) {
        assert_eq!(ended.join().unwrap().1.0, 1001);
    }
    assert_eq!(edge.wait_for_exit().code(), Some(0));
}

#[test]
fn tunnels_that_carry_no_frames_get_fin() {
    let origin = Origin::new(|conn| {
        conn.receive().unwrap();
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n\r\n",
        );
        assert_eq!(conn.rest().unwrap(), b"the last word");
    });
    let mut edge = Edge::new()
        .route("upstream = \"app\"\nupgrade = [\"chat/2\"]")
        .pool_of("app", &[(&origin, "")], "tunnel = { drain_over = \"100ms\" }")
        .start();
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    edge.signal(Signal::TERM);
    assert!(client.rest().unwrap().is_empty());
    client.send("the last word");
    client.finish();
    origin.wait_for_ended(1);
    assert_eq!(edge.wait_for_exit().code(), Some(0));
}

/// In the middle of a frame there is no place for a Close.
#[test]
fn a_tunnel_that_cannot_be_told_is_cut_when_the_time_is_over() {
    let begun = [header(BINARY, 100_000, 0), vec![1; 1_000]].concat();
    let chat = {
        let begun = begun.clone();
        Chat::with(move |conn, _| {
            conn.send(&begun);
            let _ = conn.rest();
        })
    };
    let mut edge = emptied_over(&chat, "200ms").process("graceful_timeout = \"500ms\"").start();
    let mut client = open(&edge);
    assert!(client.exactly(begun.len()).unwrap() == begun);
    edge.signal(Signal::TERM);
    no_longer_listens(&edge);
    assert_eq!(edge.wait_for_exit().code(), Some(0), "half a second, and five at most");
    client.expect_end();
    chat.wait_for_ended(1);
    let said = edge.wait_for_log("the time is over");
    assert!(said.contains("tunnels_cut=1"), "{said}");
}

#[test]
fn a_second_signal_does_not_wait_for_tunnels() {
    let chat = Chat::new();
    let mut edge = emptied_over(&chat, "1h").start();
    let mut clients: Vec<Socket> = (0..5).map(|_| open(&edge)).collect();
    edge.signal(Signal::TERM);
    no_longer_listens(&edge);
    clients.iter_mut().for_each(|client| client.chats("until then it works"));
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_for_exit().code(), Some(0));
    clients.iter_mut().for_each(Socket::expect_end);
    let said = edge.wait_for_log("told twice");
    assert!(said.contains("tunnels_cut=5"), "{said}");
}

/// Whoever was promised a tunnel right before gets one, and is told like the others.
#[test]
fn a_tunnel_that_opens_while_it_stops_is_told_too() {
    let gate = Gate::default();
    let origin = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            conn.receive().unwrap();
            gate.wait();
            conn.send(crate::kit::SWITCHING);
            let _ = conn.frame();
        })
    };
    let mut edge = websocket::edge()
        .pool_of("app", &[(&origin, "")], "tunnel = { drain_over = \"200ms\" }")
        .start();
    let mut client = edge.client();
    client.send(websocket::ASK);
    origin.wait_for_requests(1);
    edge.signal(Signal::TERM);
    no_longer_listens(&edge);
    gate.open();
    assert_eq!(client.head().unwrap().status(), 101);
    assert_eq!(client.leaves(), (1001, "shutting down".into()));
    assert_eq!(edge.wait_for_exit().code(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let origin = Origin::silent();
    let mut edge = Edge::new().process("graceful_timeout = \"1h\"").pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send(GET);
    origin.wait_for_requests(1);
    edge.signal(Signal::TERM);
    no_longer_listens(&edge);
    edge.signal(Signal::TERM);
    edge.wait_for_exit();
    client.expect_end();
}

#[test]
fn readyz_fails_while_it_stops() {
    let gate = Gate::default();
    let origin = waiting(&gate);
    let edge = Edge::new().pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send(GET);
    origin.wait_for_requests(1);
    assert_eq!(edge.call("GET", "/readyz", "").status(), 200);
    edge.signal(Signal::TERM);
    no_longer_listens(&edge);
    // The admin listener may be closed by now, which a load balancer takes the same way.
    if let Ok(stream) = TcpStream::connect(edge.admin()) {
        let mut socket = Socket::over(stream);
        let asked = socket.try_send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = asked.ok().and_then(|()| socket.response().ok());
        assert!(answer.is_none_or(|answer| answer.status() == 503));
    }
    gate.open();
    assert_eq!(client.response().unwrap().text(), "done");
}

/// What was already in the accept queue is served before the listener goes.
#[test]
fn a_stop_under_load_refuses_or_serves_but_never_cuts() {
    let origin = Origin::named("up");
    let mut edge = Edge::new().pool("app", &[&origin]).start();
    let address = edge.port("edge");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut served = 0;
                while let Ok(stream) = TcpStream::connect(address) {
                    let mut socket = Socket::over(stream);
                    let request = "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
                    if socket.try_send(request).is_err() {
                        break;
                    }
                    match socket.response() {
                        Ok(answer) => assert_eq!(answer.text(), "up"),
                        Err(_) => break,
                    }
                    served += 1;
                }
                served
            })
        })
        .collect();
    origin.wait_for_requests(100);
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_for_exit().code(), Some(0));
    let served: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(served, origin.count(), "every request that was taken on was answered");
}
