//! Tunnels over TLS: bytes, drains, stops and ends as without it. And tcp listeners.

use std::{path::Path, process::Command, thread};

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::json;

use super::{Site, tls};
use crate::{
    drains::Drain,
    kit::{Authority, Broken, Chat, Edge, Origin, Socket, TlsClient, bytes, eventually, skip},
    stream_tcp::{self, echo, tcp},
    websocket::{self, ASK, echoes},
};

#[track_caller]
fn open(site: &Site) -> Socket {
    let mut client = site.connect();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status(), 101);
    client
}

#[test]
fn a_tunnel_carries_everything() {
    let origin = Origin::echo_tunnel();
    let site = Site::new(websocket::edge().pool("app", &[&origin]), "");
    let mut random = Rng::with_seed(1);
    // What is said in one breath with the request waits for the answer.
    let mut early = site.connect();
    early.send(format!("{ASK}early"));
    assert_eq!(early.head().unwrap().status(), 101);
    assert_eq!(early.exactly(5).unwrap(), b"early");
    for length in [1, 16_384, 100_000] {
        echoes(&mut early, &bytes(&mut random, length));
    }
    // A last word is carried on, and the way back stays open until the server has said its own.
    early.send("the rest");
    early.goodbye();
    assert_eq!(early.rest().unwrap(), b"the rest");
}

/// Browsers leave without a goodbye, but not within a record.
#[test]
fn a_cut_within_a_record_is_no_last_word() {
    let origin = Origin::echo_tunnel();
    let site = Site::new(websocket::edge().pool("app", &[&origin]), "");
    let client = open(&site);
    client.inner().send(b"\x17\x03\x03\x00\x50 a part of it").unwrap();
    client.finish();
    origin.wait_for_ended(1);
    let closes = |cause: &str| {
        let series =
            format!("tidegate_listener_tunnel_closes_total{{listener=\"edge\",cause=\"{cause}\"}}");
        site.edge.metric(&series).unwrap_or_default()
    };
    eventually("it is counted", || closes("error_client") + closes("client") > 0.0);
    assert_eq!(closes("error_client"), 1.0);
}

#[test]
fn a_drain_is_told_over_tls_too() {
    let chat = Chat::new();
    let site = Site::new(websocket::edge().pool("app", &[&chat]), "");
    let mut client = open(&site);
    client.chats("before");
    let drain = Drain::begin(&site.edge, &chat, &json!({ "rate": "100/s", "force": true }));
    assert_eq!(client.leaves().0, 1012);
    assert_eq!(chat.goodbye(0).0, 1012);
    let view = drain.is_over();
    assert_eq!((&view["closed"], &view["cut"]), (&json!(1), &json!(0)), "{view}");
}

#[test]
fn a_stop_says_goodbye_to_everybody() {
    let (chat, plain) = (Chat::new(), Origin::named("up"));
    let edge = websocket::edge().pool("app", &[&chat]).pool("up", &[&plain]);
    let mut site = Site::new(edge.toml("[upstream_defaults.tunnel]\ndrain_over = \"100ms\""), "");
    let mut tunnel = open(&site);
    tunnel.chats("before");
    let mut idle = site.connect();
    assert_eq!(idle.ask("GET / HTTP/1.1\r\nHost: up\r\n\r\n").text(), "up");
    site.edge.signal(Signal::TERM);
    let idling = thread::spawn(move || matches!(idle.some(), Err(Broken::Closed)));
    let heard = tunnel.hear();
    assert_eq!(heard.goodbye().0, 1001);
    tunnel.send(crate::kit::frames::masked(crate::kit::frames::CLOSE, &heard.payload));
    assert!(matches!(tunnel.some(), Err(Broken::Closed)), "the tunnel ends in good order");
    assert!(idling.join().unwrap(), "so does who waits");
    assert_eq!(site.edge.wait_for_exit().code(), Some(0));
}

/// Python's websockets by wss.
#[test]
fn python_talks_and_is_drained() {
    for (script, count) in [("echo.py", 20), ("drain.py", 20)] {
        let edge = Edge::new().route("upstream = \"app\"\nupgrade = [\"websocket\"]");
        let site = Site::new(edge, "");
        play(&site, script, count);
    }
}

fn play(site: &Site, name: &str, connections: usize) {
    let python = std::env::var("TIDEGATE_PYTHON").unwrap_or_else(|_| "python3".into());
    let able = Command::new(&python).args(["-c", "import websockets.asyncio.client"]).output();
    if !able.is_ok_and(|output| output.status.success()) {
        return skip("python_talks_and_is_drained", &format!("{python} has no websockets"));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name);
    let (proxy, admin) = (site.edge.port("edge").to_string(), site.edge.admin().to_string());
    let mut command = Command::new(python);
    command.arg(script).args([proxy, admin, connections.to_string()]);
    command.arg(site.edge.directory().join("ca.pem")).arg("a.test");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_tcp_listener_speaks_tls() {
    let origin = echo();
    let authority = Authority::new("tests");
    let edge = tcp(&format!("upstream = \"app\"\ntls = {}", tls(&["a"], "")));
    authority.pair(&["a.test"]).write(edge.directory(), "a");
    let edge = edge.pool("app", &[&origin]).logging().start();
    // Whatever protocol it says that it is going to speak.
    let trusting = TlsClient::trusting(&authority).offering(&["mqtt"]);
    let mut client = trusting.connect(edge.port("tcp"), "a.test");
    for length in [1, 120_000] {
        echoes(&mut client, &bytes(&mut Rng::with_seed(2), length));
    }
    client.send("the last word");
    client.goodbye();
    assert_eq!(client.rest().unwrap(), b"the last word");
    let record = edge.records(1).remove(0);
    assert_eq!((&record["status"], &record["protocol"]), (&json!(200), &json!("TCP")));
    assert_eq!(record["tls"]["server_name"], "a.test");
    // Nobody is told anything in plain text, and no server hears of who cannot shake hands.
    let mut plain = stream_tcp::client(&edge);
    plain.send("GET / HTTP/1.1\r\n\r\n");
    assert!(plain.rest().unwrap_or_default().is_empty());
    assert_eq!(origin.connections(), 1);
    let shaken = |outcome: &str| {
        let series =
            format!("tidegate_tls_handshakes_total{{listener=\"tcp\",outcome=\"{outcome}\"}}");
        edge.metric(&series)
    };
    assert_eq!((shaken("full"), shaken("failed")), (Some(1.0), Some(1.0)));
}
