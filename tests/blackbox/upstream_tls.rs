//! TLS to servers: who is believed and who is not, what a server is asked for and shown, and what
//! follows when there is no handshake.

mod changes;
mod checks;
mod sessions;

use fastrand::Rng;

use crate::{
    kit::{Authority, Edge, Guarded, Origin, Pair, Socket, bytes, named_reply},
    stream_tcp::{client, echo, tcp},
    websocket::{echoes, open},
};

/// What every server here is reached by.
const HERE: &str = "127.0.0.1";

/// A pool "app" of these servers, whose certificates are to be by that authority.
fn believing(authority: &Authority, origins: &[&Origin], keys: &str) -> Edge {
    let edge = Edge::to(origins);
    authority.write(edge.directory().join("ca.pem"));
    edge.toml(&format!("[upstream.app.tls]\nca = \"ca.pem\"\n{keys}"))
}

/// Answers every request with that name.
fn named(pair: &Pair, name: &'static str) -> Guarded {
    pair.guard().origin(move |conn| conn.answer_all(&named_reply(name)))
}

#[track_caller]
fn failed_handshakes(edge: &Edge) -> Option<f64> {
    edge.metric("tidegate_upstream_tls_handshakes_total{upstream=\"app\",outcome=\"failed\"}")
}

#[test]
fn a_server_that_proves_its_name_is_spoken_to() {
    let authority = Authority::new("one");
    let origin = authority.pair(&["im.internal"]).guard().origin(|conn| {
        while let Ok(request) = conn.receive() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            conn.send([head.as_bytes(), &request.body].concat());
        }
    });
    let edge = believing(&authority, &[&origin], "server_name = \"im.internal\"").start();
    let body = bytes(&mut Rng::with_seed(5), 300_000);
    let mut client = edge.client();
    for _ in 0..3 {
        client
            .send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        let answer = client.response().unwrap();
        assert!(answer.status() == 200 && answer.body == body);
    }
    assert_eq!(origin.last().name.as_deref(), Some("im.internal"));
    assert_eq!(origin.last_request().field("host"), Some("a"));
}

#[test]
fn who_cannot_prove_it_sees_no_request() {
    let (authority, stranger) = (Authority::new("one"), Authority::new("another"));
    for (pair, reason) in [
        (authority.pair(&["other.internal"]), "other.internal"),
        (stranger.pair(&[HERE]), "UnknownIssuer"),
        (authority.pair_until(HERE, (2020, 1, 1)), "xpired"),
        (Pair::self_signed(&[HERE]), "UnknownIssuer"),
    ] {
        let origin = named(&pair, "somebody");
        let edge = believing(&authority, &[&origin], "").logging().start();
        assert_eq!(edge.get("a", "/").status(), 502, "{reason}");
        origin.wait_for_failures(1);
        assert_eq!(origin.count(), 0, "{reason}");
        let line = edge.wait_for_log("server failed");
        assert!(line.contains("tls_failed") && line.contains("no TLS: "), "{line}");
        assert!(line.contains(reason), "{reason}: {line}");
        assert_eq!(edge.records(1)[0]["attempts"][0]["outcome"], "tls_failed");
        assert_eq!(failed_handshakes(&edge), Some(1.0));
    }
}

#[test]
fn whoever_answers_is_believed_when_nobody_is_verified() {
    let origin = named(&Pair::self_signed(&["nobody.internal"]), "somebody");
    let edge = Edge::to(&[&origin]).toml("tls = { verify = false }").start();
    assert_eq!(edge.get("a", "/").text(), "somebody");
    assert_eq!(origin.last().name, None, "an address is no name to be sent");
}

/// `server_name`, else the host of a fixed `host_header`, else the server's own.
#[test]
fn the_name_asked_for_is_the_first_that_is_said() {
    let authority = Authority::new("one");
    let pair = authority.pair(&["a.internal", "b.internal", "localhost"]);
    let origin = named(&pair, "somebody");
    let port = origin.address().split_once(':').unwrap().1.to_owned();
    for (keys, tls, name) in [
        ("host_header = \"b.internal\"", "server_name = \"a.internal\"", "a.internal"),
        ("host_header = \"b.internal:8443\"", "", "b.internal"),
        ("host_header = \"${host}\"", "", "localhost"),
    ] {
        let edge = Edge::new().route("upstream = \"app\"");
        authority.write(edge.directory().join("ca.pem"));
        let pool = format!("[upstream.app]\nservers = [\"localhost:{port}\"]\n{keys}");
        let edge =
            edge.toml(&format!("{pool}\n[upstream.app.tls]\nca = \"ca.pem\"\n{tls}")).start();
        assert_eq!(edge.get("c.internal", "/").text(), "somebody", "{name}");
        assert_eq!(origin.last().name.as_deref(), Some(name));
    }
}

#[test]
fn a_certificate_is_shown_to_who_asks_for_one() {
    let (authority, ours) = (Authority::new("one"), Authority::new("ours"));
    let pair = authority.pair(&[HERE]);
    let origin =
        pair.guard().asking_for(&ours).origin(|conn| conn.answer_all(&named_reply("somebody")));
    let edge = believing(&authority, &[&origin], "cert = \"us.pem\"\nkey = \"us.key\"");
    ours.pair(&["us"]).write(edge.directory(), "us");
    let edge = edge.start();
    assert_eq!(edge.get("a", "/").text(), "somebody");
    assert!(origin.last().known);
    let edge = believing(&authority, &[&origin], "").start();
    assert_eq!(edge.get("a", "/").status(), 502, "nothing was shown");
}

/// A failed handshake is an `error` of next.on, and nothing has been asked of anybody: any method
/// goes on.
#[test]
fn the_next_server_is_asked_when_there_is_no_handshake() {
    let authority = Authority::new("one");
    let good = named(&authority.pair(&[HERE]), "good");
    let plain = Origin::new(|conn| {
        let _ = conn.some();
        let _ = conn.try_send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let closing = Origin::new(|conn| drop(conn.some()));
    let resetting = Origin::new(|conn| {
        let _ = conn.some();
        conn.reset();
    });
    // The head of a record that would be a ServerHello, and no more.
    let half = Origin::new(|conn| {
        let _ = conn.some();
        let _ = conn.try_send([22, 3, 3, 0, 90, 2, 0]);
    });
    for bad in [&plain, &closing, &resetting, &half] {
        let edge = believing(&authority, &[bad, &good], "").start();
        for request in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            for _ in 0..2 {
                assert_eq!(edge.client().ask(request).text(), "good");
            }
        }
        assert!(bad.connections() > 0, "it was not even tried");
        assert!(failed_handshakes(&edge) >= Some(1.0));
    }
}

/// The time to connect is that for the handshake too.
#[test]
fn a_handshake_that_stalls_is_a_connect_that_times_out() {
    let authority = Authority::new("one");
    let silent = Origin::new(|conn| while conn.some().is_ok() {});
    let keys = "[upstream.app.timeouts]\nconnect = \"300ms\"";
    let edge = believing(&authority, &[&silent], keys).start();
    assert_eq!(edge.get("a", "/").status(), 504);
    let line = edge.wait_for_log("server failed");
    assert!(line.contains("connect_timeout") && line.contains("no TLS handshake"), "{line}");
    let good = named(&authority.pair(&[HERE]), "good");
    let edge = believing(&authority, &[&silent, &good], keys).start();
    for _ in 0..4 {
        assert_eq!(edge.get("a", "/").text(), "good");
    }
}

#[test]
fn a_websocket_goes_over_tls() {
    let authority = Authority::new("one");
    let origin = authority.pair(&[HERE]).guard().origin(|conn| {
        if conn.receive().is_ok() {
            conn.send(crate::kit::SWITCHING);
            while let Ok(bytes) = conn.some() {
                if conn.try_send(bytes).is_err() {
                    return;
                }
            }
        }
    });
    let edge =
        Edge::new().route("upstream = \"app\"\nupgrade = [\"websocket\"]").pool("app", &[&origin]);
    authority.write(edge.directory().join("ca.pem"));
    let edge = edge.toml("tls = { ca = \"ca.pem\" }").start();
    let mut tunnel = open(&edge);
    echoes(&mut tunnel, b"hello");
    echoes(&mut tunnel, &bytes(&mut Rng::with_seed(3), 100_000));
    edge.post("app", "server 127.0.0.1:1;");
    echoes(&mut tunnel, b"still there");
    drop(tunnel);
    origin.wait_for_ended(1);
}

#[test]
fn a_tcp_listener_carries_over_tls() {
    let authority = Authority::new("one");
    let pair = authority.pair(&[HERE]);
    let origin = pair.guard().origin(|conn| {
        conn.send("hello ");
        while let Ok(bytes) = conn.some() {
            if conn.try_send(bytes).is_err() {
                return;
            }
        }
        conn.finish();
    });
    let plain = echo();
    let edge = tcp("upstream = \"app\"").pool("app", &[&plain, &origin]);
    authority.write(edge.directory().join("ca.pem"));
    let keys = "tls = { ca = \"ca.pem\" }\ntimeouts = { connect = \"500ms\" }";
    let edge = edge.toml(keys).start();
    for _ in 0..2 {
        let mut client: Socket = client(&edge);
        client.send("world");
        client.finish();
        assert_eq!(client.rest().unwrap(), b"hello world");
    }
    assert!(failed_handshakes(&edge) >= Some(1.0), "the plain one was tried");
}

#[test]
fn a_proxy_header_comes_before_the_handshake() {
    let authority = Authority::new("one");
    let pair = authority.pair(&[HERE]);
    let origin = pair.guard().introduced().origin(|conn| conn.answer_all(&named_reply("somebody")));
    let edge = Edge::to(&[&origin]).toml("send_proxy = \"v1\"\ntls = { ca = \"ca.pem\" }");
    authority.write(edge.directory().join("ca.pem"));
    let edge = edge.start();
    assert_eq!(edge.get("a", "/").text(), "somebody");
    assert!(origin.last().introduction.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "));
}

#[test]
fn datagrams_have_no_tls() {
    let edge = Edge::new()
        .toml("[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"udp\"\nupstream = \"app\"")
        .toml("[upstream.app]\nservers = [\"127.0.0.1:1\"]\ntls = { verify = false }");
    let output = edge.command(&["check"]);
    assert_eq!(output.status.code(), Some(64), "{}", output.said());
    assert!(output.said().contains("wants TLS, which datagrams cannot have"), "{}", output.said());
}
