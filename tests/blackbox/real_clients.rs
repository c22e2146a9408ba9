//! Real WebSocket libraries on both ends, so that the tunnel is judged by somebody else's idea of the
//! protocol too: tungstenite for Rust, websockets for Python.

use std::{net::TcpStream, path::PathBuf, process::Command, thread};

use fastrand::Rng;
use tokio_tungstenite::tungstenite::{Message, accept, client};

use crate::kit::{Edge, Origin, bytes, skip};

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

/// Fifty connections of Python's websockets, client and server, through the proxy. `scripts/test`
/// makes the interpreter that has it, and names it in `TIDEGATE_PYTHON`.
#[test]
fn python_talks_to_python() {
    let python = std::env::var("TIDEGATE_PYTHON").unwrap_or_else(|_| "python3".into());
    let able = Command::new(&python).args(["-c", "import websockets.asyncio.client"]).output();
    if !able.is_ok_and(|output| output.status.success()) {
        skip("python_talks_to_python", &format!("{python} has no websockets; run scripts/test"));
        return;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python/echo.py");
    let edge = edge().start();
    let output = Command::new(&python)
        .arg(script)
        .args([edge.port("edge").to_string(), edge.admin().to_string(), "50".into()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
