//! Probes of a pool with TLS are sent over TLS, by the same rules.

use crate::{
    kit::{Authority, Edge, Origin, Pair, eventually},
    upstream_tls::{HERE, believing, named},
};

const PACE: &str =
    "interval = \"100ms\"\nfast_interval = \"50ms\"\ntimeout = \"2s\"\nrise = 1\nfall = 1";

fn checked(edge: Edge, check: &str) -> Edge {
    edge.toml(&format!("[upstream.app.check]\n{PACE}\nstart = \"down\"\n{check}")).start()
}

fn state(edge: &Edge) -> String {
    let (_, pool) = edge.json("GET", "/api/v1/upstreams/app", &serde_json::Value::Null);
    pool["servers"][0]["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_passes_over_tls() {
    let authority = Authority::new("one");
    let origin = named(&authority.pair(&[HERE]), "somebody");
    let edge = checked(believing(&authority, &[&origin], ""), "path = \"/ping\"");
    eventually("it passes", || state(&edge) == "up");
    assert_eq!(origin.requests()[0].head.start, "GET /ping HTTP/1.1");
    assert_eq!(edge.get("a", "/").text(), "somebody");
}

#[test]
fn a_server_of_another_name_does_not() {
    let authority = Authority::new("one");
    let origin = named(&authority.pair(&["other.internal"]), "somebody");
    let edge = checked(believing(&authority, &[&origin], ""), "path = \"/ping\"");
    let line = edge.wait_for_log("server is unhealthy");
    assert!(line.contains("no TLS handshake") && line.contains("other.internal"), "{line}");
    assert_eq!(origin.count(), 0);
}

/// `tcp` only connects, and `tls` shakes hands with anybody.
#[test]
fn kinds_that_ask_for_no_answer_are_as_they_were() {
    let authority = Authority::new("one");
    let stranger = Pair::self_signed(&["nobody.internal"]);
    let plain = Origin::named("plain");
    let edge = checked(believing(&authority, &[&plain], ""), "type = \"tcp\"");
    eventually("it passes", || state(&edge) == "up");
    let origin = named(&stranger, "somebody");
    let edge = checked(believing(&authority, &[&origin], ""), "type = \"tls\"");
    eventually("it passes", || state(&edge) == "up");
}

/// As with a PROXY header: a port of its own is another service.
#[test]
fn a_port_of_its_own_is_asked_in_the_clear() {
    let authority = Authority::new("one");
    let (origin, aside) = (named(&authority.pair(&[HERE]), "somebody"), Origin::named("aside"));
    let port = aside.address().split_once(':').unwrap().1.to_owned();
    let edge = checked(believing(&authority, &[&origin], ""), &format!("port = {port}"));
    eventually("it passes", || state(&edge) == "up");
    assert!(aside.count() > 0 && origin.count() == 0);
}

#[test]
fn a_websocket_check_goes_over_tls() {
    let authority = Authority::new("one");
    let pair = authority.pair(&[HERE]);
    let origin = pair.guard().origin(|conn| {
        // What it is not told: the key is not looked at by a server that says no.
        if conn.receive().is_ok() {
            conn.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let edge =
        checked(believing(&authority, &[&origin], ""), "type = \"websocket\"\npath = \"/ws\"");
    let line = edge.wait_for_log("server is unhealthy");
    assert!(line.contains("status 503 instead of 101"), "{line}");
    assert_eq!(origin.requests()[0].head.start, "GET /ws HTTP/1.1");
}

/// HTTP/2 is agreed on in the handshake: a server that only speaks that sees what it wants.
#[test]
fn a_grpc_check_asks_for_http2() {
    let authority = Authority::new("one");
    let pair = authority.pair(&[HERE]);
    let origin = pair.guard().speaking(&["h2"]).origin(|conn| {
        // The preface of HTTP/2 (RFC 9113 §3.4), and then nothing that it would understand.
        if conn.exactly(24).is_ok_and(|preface| preface.starts_with(b"PRI * HTTP/2.0")) {
            let _ = conn.try_send("no frames");
        }
    });
    let edge = checked(believing(&authority, &[&origin], ""), "type = \"grpc\"");
    edge.wait_for_log("server is unhealthy");
    assert!(!origin.shaken().is_empty());
}
