//! WebSockets of clients of HTTP/1 to servers that take them as streams (RFC 8441).

use super::edge;
use crate::{
    kit::{Call, Edge, Multiplexed, Socket},
    websocket::{ASK, echoes, open},
};

fn takes_tunnels(settings: &mut h2::server::Builder) {
    settings.enable_connect_protocol();
}

fn echoing() -> Multiplexed {
    Multiplexed::with(takes_tunnels, Call::echo)
}

fn answers(edge: &Edge) -> u16 {
    edge.get("app", "/").status()
}

#[test]
fn an_upgrade_is_an_extended_connect() {
    let origin = echoing();
    let edge = edge(&[&origin], "").start();
    let mut client = edge.client();
    client.send(ASK);
    let head = client.head().unwrap();
    assert_eq!(head.status(), 101);
    assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(head.field("upgrade"), Some("websocket"));
    for _ in 0..3 {
        echoes(&mut client, b"\x82\x85\x01\x02\x03\x04ab\x61\x62\x63");
    }
    let asked = origin.asked().pop().unwrap();
    assert_eq!((asked.method.as_str(), asked.uri.path()), ("CONNECT", "/ws"));
    assert_eq!(asked.fields["sec-websocket-version"], "13");
    assert!(!asked.fields.contains_key("sec-websocket-key"));
    assert_eq!(edge.metric("tidegate_tunnels_total"), Some(1.0));
    client.finish();
    assert!(client.rest().unwrap().is_empty(), "the half-close comes back");
}

#[test]
fn a_hundred_tunnels_share_one_connection() {
    let origin = echoing();
    let edge = edge(&[&origin], "").start();
    let mut tunnels: Vec<Socket> = (0..100).map(|_| open(&edge)).collect();
    for (number, tunnel) in tunnels.iter_mut().enumerate() {
        echoes(tunnel, format!("tunnel {number}").as_bytes());
    }
    assert_eq!(origin.connections(), 1);
    tunnels.truncate(50);
    for tunnel in &mut tunnels {
        echoes(tunnel, &[7; 100_000]);
    }
}

/// Whoever asks for a WebSocket must not get servers taken out that have none over HTTP/2.
#[test]
fn a_server_that_takes_none_is_not_to_blame() {
    let origin = Multiplexed::named("somebody");
    let edge = edge(&[&origin], "").start();
    for _ in 0..3 {
        assert_eq!(edge.client().ask(ASK).status(), 501);
    }
    assert_eq!(answers(&edge), 200);
    let line = edge.wait_for_log("no answer from a server");
    assert!(line.contains("RFC 8441"), "{line}");
    assert!(!edge.log().contains("server failed"));
}

#[test]
fn a_refusal_is_an_ordinary_answer() {
    let origin = Multiplexed::with(takes_tunnels, |call: Call| async move {
        call.answer(403, "not you");
    });
    let edge = edge(&[&origin], "").start();
    let mut client = edge.client();
    for _ in 0..2 {
        let answer = client.ask(ASK);
        assert_eq!((answer.status(), answer.text().as_str()), (403, "not you"));
    }
}
