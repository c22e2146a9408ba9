//! Connections that requests share: how many there are, and what becomes of them.

use std::{thread, time::Duration};

use serde_json::Value;
use tokio::sync::watch;

use super::edge;
use crate::kit::{Call, Edge, Multiplexed, Socket, eventually};

/// A server that keeps requests for `/hold` waiting until the gate is opened.
fn holding(settings: fn(&mut h2::server::Builder)) -> (Multiplexed, watch::Sender<bool>) {
    let (gate, opened) = watch::channel(false);
    let origin = Multiplexed::with(settings, move |call: Call| {
        let mut opened = opened.clone();
        async move {
            if call.request.uri().path() == "/hold" {
                let _ = opened.wait_for(|open| *open).await;
            }
            call.answer(200, "held");
        }
    });
    (origin, gate)
}

/// A request that waits.
fn hold(edge: &Edge) -> Socket {
    let mut client = edge.client();
    client.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    client
}

#[track_caller]
fn are_answered(clients: &mut [Socket]) {
    for client in clients {
        assert_eq!(client.response().unwrap().text(), "held");
    }
}

#[test]
fn fifty_requests_at_once_share_one_connection() {
    let (origin, gate) = holding(|_| ());
    let edge = edge(&[&origin], "").start();
    assert_eq!(edge.get("a", "/").status(), 200);
    let mut clients: Vec<Socket> = (0..50).map(|_| hold(&edge)).collect();
    origin.wait_for_requests(51);
    assert_eq!(origin.connections(), 1);
    gate.send_replace(true);
    are_answered(&mut clients);
    assert_eq!(edge.get("a", "/").status(), 200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn there_are_no_more_streams_than_the_server_takes() {
    let (origin, gate) = holding(|settings| {
        settings.max_concurrent_streams(2);
    });
    let edge = edge(&[&origin], "").start();
    let mut clients = Vec::new();
    for count in 1..=5 {
        clients.push(hold(&edge));
        origin.wait_for_requests(count);
        assert_eq!(origin.connections(), count.div_ceil(2));
    }
    gate.send_replace(true);
    are_answered(&mut clients);
}

#[test]
fn keepalive_bounds_what_one_connection_serves_and_how_long_it_idles() {
    let origin = Multiplexed::named("somebody");
    let twice = edge(&[&origin], "keepalive_requests = 2").start();
    for count in 1..=6_usize {
        assert_eq!(twice.get("a", "/").status(), 200);
        assert_eq!(origin.connections(), count.div_ceil(2));
    }
    drop(twice);
    let origin = Multiplexed::named("somebody");
    let never = edge(&[&origin], "keepalive = 0").start();
    for count in 1..=3 {
        assert_eq!(never.get("a", "/").status(), 200);
        assert_eq!(origin.connections(), count);
    }
    drop(never);
    let origin = Multiplexed::named("somebody");
    let briefly = edge(&[&origin], "keepalive_timeout = \"50ms\"").start();
    assert_eq!(briefly.get("a", "/").status(), 200);
    eventually("an idle connection is not used again", || {
        thread::sleep(Duration::from_millis(100));
        assert_eq!(briefly.get("a", "/").status(), 200);
        origin.connections() > 1
    });
}

#[test]
fn streams_finish_when_their_connection_takes_no_more() {
    let (origin, gate) = holding(|_| ());
    let edge = edge(&[&origin], "").start();
    let mut clients = vec![hold(&edge), hold(&edge)];
    origin.wait_for_requests(2);
    let before = origin.connections();
    origin.retire();
    eventually("a new connection is made", || {
        assert_eq!(edge.get("a", "/").status(), 200);
        origin.connections() > before
    });
    gate.send_replace(true);
    are_answered(&mut clients);
}

#[test]
fn streams_finish_when_their_server_leaves() {
    let (origin, gate) = holding(|_| ());
    let other = Multiplexed::named("other");
    let edge = edge(&[&origin], "").start();
    let mut clients = vec![hold(&edge), hold(&edge)];
    origin.wait_for_requests(2);
    let servers = serde_json::json!({"servers": [other.address()], "protocol": "http2"});
    let (status, said) = edge.json("PUT", "/api/v1/upstreams/app", &servers);
    assert!((200..300).contains(&status), "{status} {said}");
    for _ in 0..10 {
        assert_eq!(edge.get("a", "/").text(), "other");
    }
    assert_eq!(origin.asked().len(), 2);
    gate.send_replace(true);
    are_answered(&mut clients);
    let (_, pool) = edge.json("GET", "/api/v1/upstreams/app", &Value::Null);
    assert!(pool.to_string().contains(&other.address()), "{pool}");
}

/// Who reads slowly keeps nobody waiting who shares the connection.
#[test]
fn a_slow_client_does_not_hold_up_the_others() {
    let origin = Multiplexed::new(|mut call: Call| async move {
        if call.request.uri().path() != "/large" {
            return call.answer(200, "small");
        }
        let response = http::Response::new(());
        let Ok(mut out) = call.respond.send_response(response, false) else { return };
        // Far more than is on its way at once; the rest waits here.
        let piece = bytes::Bytes::from(vec![b'x'; 1 << 20]);
        for _ in 0..64 {
            if out.send_data(piece.clone(), false).is_err() {
                return;
            }
        }
        let _ = out.send_data("".into(), true);
    });
    let edge = edge(&[&origin], "").start();
    let mut slow: Vec<Socket> = (0..16)
        .map(|_| {
            let mut client = edge.client();
            client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.head().unwrap().status(), 200);
            client
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    for _ in 0..20 {
        assert_eq!(edge.get("a", "/").text(), "small");
    }
    assert!(slow[0].some().is_ok());
}

#[test]
fn a_client_that_leaves_ends_its_stream_alone() {
    let (told, heard) = std::sync::mpsc::channel();
    let origin = Multiplexed::new(move |mut call: Call| {
        let told = told.clone();
        async move {
            if call.request.uri().path() != "/hold" {
                return call.answer(200, "somebody");
            }
            let reason = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
            told.send(reason.unwrap()).unwrap();
        }
    });
    let edge = edge(&[&origin], "").start();
    let client = hold(&edge);
    origin.wait_for_requests(1);
    drop(client);
    let reason = heard.recv_timeout(crate::kit::DEADLINE).unwrap();
    assert_eq!(reason, h2::Reason::CANCEL);
    assert_eq!(edge.get("a", "/").text(), "somebody");
    assert_eq!(origin.connections(), 1);
}
