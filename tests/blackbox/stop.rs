//! Ends: a graceful one finishes what it has begun, a second signal does not wait.

use std::net::TcpStream;

use rustix::process::Signal;

use crate::kit::{Edge, Gate, Origin, Socket, eventually, named_reply};

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

#[test]
fn tunnels_are_cut_at_the_graceful_timeout() {
    let origin = Origin::echo_tunnel();
    let mut edge =
        Edge::new().process("graceful_timeout = \"500ms\"").pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    edge.signal(Signal::TERM);
    no_longer_listens(&edge);
    client.send("still here");
    assert_eq!(client.exactly(10).unwrap(), b"still here", "until then it works");
    assert_eq!(edge.wait_for_exit().code(), Some(0));
    client.expect_end();
    origin.wait_for_ended(1);
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
