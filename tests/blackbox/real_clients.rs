//! Real WebSocket libraries on both ends, so that the tunnel is judged by somebody else's idea of the
//! protocol too: tungstenite for Rust, websockets for Python.

use std::{net::TcpStream, path::PathBuf, process::Command, thread};

use fastrand::Rng;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message, accept, client};

use crate::{
    drains::Drain,
    kit::{Edge, Origin, bytes, skip},
};

/// The module that these scripts need.
const WEBSOCKETS: &str = "websockets.asyncio.client";

/// Sends back every message, with tungstenite.
fn tungstenite_echo() -> Origin {
    Origin::new(|conn| {
        let stream: TcpStream = conn.inner().try_clone().unwrap().into();
        let Ok(mut socket) = accept(stream) else { return };
        while let Ok(message) = socket.read() {
            if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                return;
            }
        }
    })
}

fn edge() -> Edge {
    Edge::new().route("upstream = \"app\"\nupgrade = [\"websocket\"]")
}

#[test]
fn tungstenite_talks_to_tungstenite() {
    let origin = tungstenite_echo();
    let edge = edge().pool("app", &[&origin]).start();
    thread::scope(|scope| {
        for n in 0..8 {
            let edge = &edge;
            scope.spawn(move || conversation(edge, n));
        }
    });
}

/// Messages of every size class of the framing, texts and bytes, then a close in good order.
fn conversation(edge: &Edge, seed: u64) {
    let stream = TcpStream::connect(edge.port("edge")).unwrap();
    let (mut socket, answer) = client(format!("ws://{}/chat", edge.port("edge")), stream).unwrap();
    assert_eq!(answer.status(), 101);
    let mut random = Rng::with_seed(seed);
    for size in [0, 1, 125, 126, 4_096, 65_535, 65_536, 300_000] {
        let message = Message::binary(bytes(&mut random, size));
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message, "{size} bytes came back altered");
    }
    socket.send(Message::text("grüße, 潮汐")).unwrap();
    assert_eq!(socket.read().unwrap().into_text().unwrap().as_str(), "grüße, 潮汐");
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
}

/// A drain is an end in good order to it, with a code and a reason.
#[test]
fn tungstenite_is_told_by_a_drain() {
    let origin = tungstenite_echo();
    let edge = edge().pool("app", &[&origin]).start();
    let stream = TcpStream::connect(edge.port("edge")).unwrap();
    let (mut socket, _) = client(format!("ws://{}/chat", edge.port("edge")), stream).unwrap();
    socket.send(Message::text("before")).unwrap();
    assert_eq!(socket.read().unwrap().into_text().unwrap().as_str(), "before");
    let drain = Drain::begin(
        &edge,
        &origin,
        &json!({"rate": "100/s", "reason": "moving house", "force": true}),
    );
    let Message::Close(Some(goodbye)) = socket.read().unwrap() else { panic!("no Close") };
    assert_eq!((u16::from(goodbye.code), goodbye.reason.as_str()), (1012, "moving house"));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)), "in good order");
    drop(socket);
    let view = drain.is_over();
    assert_eq!((&view["closed"], &view["cut"]), (&json!(1), &json!(0)), "{view}");
}

/// Fifty connections of Python's websockets, client and server, through the proxy.
#[test]
fn python_talks_to_python() {
    let edge = edge().start();
    play("python_talks_to_python", ("echo.py", WEBSOCKETS), &edge, 50);
}

/// Forty of them talk, compressed, while their server is drained: each sees an end in good order,
/// and every message has come.
#[test]
fn python_is_drained_in_the_middle_of_its_talk() {
    let edge = edge().start();
    if play("python_is_drained_in_the_middle_of_its_talk", ("drain.py", WEBSOCKETS), &edge, 40) {
        let drains = edge.json("GET", "/api/v1/drains", &json!(null)).1["drains"].clone();
        let view = &drains[0];
        let counts = ["total", "closed", "left", "cut"].map(|key| view[key].as_u64().unwrap());
        assert_eq!(counts, [40, 40, 0, 0], "{view}");
    }
}

/// Runs a script of `tests/python` to its end; `false`, told aloud, where it cannot run.
/// `scripts/test` makes the interpreter that can, and names it in `TIDEGATE_PYTHON`.
#[track_caller]
pub fn play(test: &str, (name, module): (&str, &str), edge: &Edge, connections: usize) -> bool {
    let python = std::env::var("TIDEGATE_PYTHON").unwrap_or_else(|_| "python3".into());
    let able = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if !able.is_ok_and(|output| output.status.success()) {
        skip(test, &format!("{python} has no {module}; run scripts/test"));
        return false;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name);
    let (proxy, admin) = (edge.port("edge").to_string(), edge.admin().to_string());
    let output = Command::new(&python)
        .arg(script)
        .args([proxy, admin, connections.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    true
}
