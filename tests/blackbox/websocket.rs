//! Upgrades: only a real 101 with the asked-for token opens a tunnel, what either side sent early
//! waits for it, and every other answer is an ordinary one. What follows is in `tunnels.rs`.

use std::{thread, time::Duration};

use crate::kit::{Edge, Gate, Origin, SWITCHING, Socket};

pub const ASK: &str = "GET /ws HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const PLAIN: &str = "GET /ws HTTP/1.1\r\nHost: app\r\n\r\n";

/// An edge whose one route lets WebSockets through to the pool that the Host names.
pub fn edge() -> Edge {
    Edge::new().route("upstream = \"${host}\"\nupgrade = [\"websocket\"]")
}

/// A tunnel to the pool "app".
#[track_caller]
pub fn open(edge: &Edge) -> Socket {
    let mut client = edge.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status(), 101);
    client
}

#[track_caller]
pub fn echoes(tunnel: &mut Socket, bytes: &[u8]) {
    tunnel.send(bytes);
    assert!(tunnel.exactly(bytes.len()).unwrap() == bytes, "the echo is not what was sent");
}

#[test]
fn a_101_opens_a_tunnel() {
    let origin = Origin::echo_tunnel();
    let edge = edge().pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send(ASK);
    let head = client.head().unwrap();
    assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(head.field("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert_eq!(head.field("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    echoes(&mut client, b"hello");
    let request = origin.last_request().head;
    assert_eq!(request.field("upgrade"), Some("websocket"));
    assert_eq!(
        request.field("connection").map(str::to_ascii_lowercase).as_deref(),
        Some("upgrade")
    );
    assert_eq!(request.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
}

#[test]
fn early_bytes_of_the_client_wait_for_the_101() {
    let gate = Gate::default();
    let origin = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            conn.receive().unwrap();
            let early = !conn.is_quiet_for(Duration::from_millis(200));
            gate.wait();
            conn.send(SWITCHING);
            let bytes = conn.exactly(5).unwrap();
            conn.send(if early { b"EARLY" } else { bytes.as_slice() });
        })
    };
    let edge = edge().pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send(format!("{ASK}early"));
    origin.wait_for_requests(1);
    gate.open();
    assert_eq!(client.head().unwrap().status(), 101);
    assert_eq!(client.exactly(5).unwrap(), b"early", "they came after the 101, and only then");
}

#[test]
fn early_bytes_of_the_server_come_right_after_the_101() {
    let origin = Origin::new(|conn| {
        conn.receive().unwrap();
        conn.send(format!("{SWITCHING}welcome"));
        let _ = conn.rest();
    });
    let edge = edge().pool("app", &[&origin]).start();
    let mut client = open(&edge);
    assert_eq!(client.exactly(7).unwrap(), b"welcome");
}

/// The early bytes of a refused upgrade are the next request, not something for the server.
#[test]
fn a_refusal_is_an_ordinary_answer() {
    let origin = Origin::named("no");
    let edge = edge().pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send(format!("{ASK}{PLAIN}"));
    for _ in 0..2 {
        assert_eq!(client.response().unwrap().text(), "no");
    }
    assert_eq!(origin.requests()[1].head.target(), "/ws");
}

#[test]
fn a_refusal_with_a_body_is_whole() {
    let reply = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
    let origin = Origin::new(move |conn| conn.answer_all(reply.as_bytes()));
    let edge = edge().pool("app", &[&origin]).start();
    let mut client = edge.client();
    for _ in 0..2 {
        let answer = client.ask(ASK);
        assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    }
}

#[test]
fn a_101_that_is_not_what_was_asked_for_is_502() {
    for reply in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket, other\r\n\r\n",
    ] {
        let origin = Origin::raw(reply);
        let edge = edge().pool("app", &[&origin]).start();
        assert_eq!(edge.client().ask(ASK).status(), 502, "{reply:?}");
    }
}

#[test]
fn a_101_nobody_asked_for_is_502() {
    let origin = Origin::raw(SWITCHING);
    let edge = edge().pool("app", &[&origin]).start();
    assert_eq!(edge.client().ask(PLAIN).status(), 502);
}

#[test]
fn tokens_that_the_route_does_not_list_are_removed() {
    let origin = Origin::named("plain");
    let edge = edge().pool("app", &[&origin]).start();
    for token in ["h2c", "tcp", "websocket2", "TLS/1.0"] {
        let answer = edge.client().ask(format!(
            "GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {token}\r\n\
             HTTP2-Settings: AAMAAABk\r\n\r\n"
        ));
        assert_eq!(answer.text(), "plain", "{token}");
        let head = origin.last_request().head;
        assert!(!head.has("upgrade") && !head.has("http2-settings"), "{token}: {head:?}");
    }
}

#[test]
fn of_a_list_of_tokens_only_the_allowed_one_goes_on() {
    let origin = Origin::echo_tunnel();
    let edge = edge().pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c, WebSocket\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    );
    assert_eq!(client.head().unwrap().status(), 101);
    let head = origin.last_request().head;
    assert_eq!(head.field("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert!(!head.has("http2-settings"), "{head:?}");
}

#[test]
fn upgrade_without_connection_or_from_http_1_0_is_a_plain_request() {
    let origin = Origin::named("plain");
    let edge = edge().pool("app", &[&origin]).start();
    for request in [
        "GET / HTTP/1.1\r\nHost: app\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        assert_eq!(edge.client().ask(request).text(), "plain");
        assert!(!origin.last_request().head.has("upgrade"), "{request:?}");
    }
}

#[test]
fn another_protocol_of_the_routes_own_works_too() {
    let reply =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n\r\n";
    let origin = Origin::new(move |conn| {
        conn.receive().unwrap();
        conn.send(reply);
        let bytes = conn.exactly(4).unwrap();
        conn.send(bytes);
    });
    let edge = Edge::new()
        .route("upstream = \"app\"\nupgrade = [\"chat/2\"]")
        .pool("app", &[&origin])
        .start();
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat/2\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    echoes(&mut client, b"talk");
}

#[test]
fn an_upgrade_goes_past_a_dead_server() {
    let (dead, alive) = (Origin::refusing(), Origin::echo_tunnel());
    let edge = edge().pool("app", &[&dead, &alive]).start();
    for _ in 0..4 {
        echoes(&mut open(&edge), b"alive");
    }
}

#[test]
fn an_early_answer_of_many_tunnels_mixes_nothing_up() {
    let origin = Origin::new(|conn| {
        let Ok(request) = conn.receive() else { return };
        let who = request.field("x-who").unwrap_or_default().to_owned();
        conn.send(format!("{SWITCHING}{who}"));
        while let Ok(bytes) = conn.some() {
            conn.send(bytes);
        }
    });
    let edge = edge().pool("app", &[&origin, &origin]).start();
    thread::scope(|scope| {
        for n in 0..32 {
            let edge = &edge;
            scope.spawn(move || {
                let who = format!("client {n:02}");
                let mut client = edge.client();
                client.send(ASK.replace("Host: app", &format!("X-Who: {who}\r\nHost: app")));
                assert_eq!(client.head().unwrap().status(), 101);
                assert_eq!(client.exactly(who.len()).unwrap(), who.as_bytes());
                (0..50).for_each(|_| echoes(&mut client, who.as_bytes()));
            });
        }
    });
}
