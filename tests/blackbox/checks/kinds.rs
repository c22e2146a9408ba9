//! Checks of the configuration file, kind by kind, against servers that are not ours: what is asked,
//! and what passes. (`grpc` is tried against hyper in the crate of the checks.)

use std::{fs, net::Ipv4Addr, path::Path};

use tokio_tungstenite::tungstenite;

use super::{
    Answers, Patient, ask, checked, posted, row, rows, wait_for_row, wait_until_down, wait_until_up,
};
use crate::kit::{Edge, Origin, Script, Socket, eventually, named_reply};

/// Fast enough to wait for.
const PACE: &str =
    "interval = \"100ms\"\nfast_interval = \"50ms\"\ntimeout = \"1s\"\nrise = 1\nfall = 1";

/// A pool "app" of this address, with a check that has to pass before it serves.
fn pessimist(address: &str, check: &str) -> Edge {
    Edge::new()
        .route("upstream = \"app\"")
        .toml(&format!(
            "[upstream.app]\nservers = [\"{address}\"]\nwhen_all_down = \"fail\"\n\
             [upstream.app.check]\n{PACE}\nstart = \"down\"\n{check}"
        ))
        .start()
}

/// Waits until the only server there is has passed.
#[track_caller]
fn expect_pass(edge: &Edge) {
    eventually("a probe passes", || rows(edge)[0].is_up);
}

/// Waits until it has not.
#[track_caller]
fn expect_failure(edge: &Edge) {
    eventually("a probe fails", || rows(edge)[0].falls > 0);
    assert!(!rows(edge)[0].is_up);
}

/// What the log says of a server that fell.
#[track_caller]
fn reason(edge: &Edge) -> String {
    edge.wait_for_log("server is unhealthy")
}

#[test]
fn http_asks_what_it_was_told_to() {
    let patient = Patient::new("good");
    let edge = pessimist(
        &patient.origin.address(),
        "path = \"/ping?deep=1\"\nmethod = \"HEAD\"\nheaders = { host = \"im.example\", x-token = \"t\" }",
    );
    wait_until_up(&edge, &patient.origin);
    let probe = patient.origin.requests().remove(0);
    assert_eq!(probe.head.start, "HEAD /ping?deep=1 HTTP/1.1");
    assert_eq!((probe.head.all("host"), probe.field("x-token")), (vec!["im.example"], Some("t")));
    assert!(probe.head.closes(), "one probe, one connection: {probe:?}");
    assert!(probe.field("user-agent").is_some_and(|agent| agent.starts_with("tidegate-check/")));
    assert_eq!(ask(&edge).text(), "good");
}

#[test]
fn http_expects_the_statuses_it_is_given() {
    let patient = Patient::new("good");
    patient.ping(Answers::Status(204));
    let edge = pessimist(
        &patient.origin.address(),
        "path = \"/ping\"\nexpect_status = [\"204\", \"4xx\"]",
    );
    for (status, is_up) in [(204, true), (200, false), (404, true), (501, false), (204, true)] {
        patient.ping(Answers::Status(status));
        wait_for_row(&edge, &patient.origin, &format!("{status}"), |row| row.is_up == is_up);
        assert_eq!(ask(&edge).status(), if is_up { 200 } else { 502 }, "{status}");
    }
}

#[test]
fn http_expects_a_text_in_the_body() {
    for (expected, body, is_up) in [
        ("ready", "{\"state\": \"ready\"}", true),
        ("ready", "{\"state\": \"starting\"}", false),
        ("ready", "", false),
        ("~ ^ok( v[0-9]+)?$", "ok v12", true),
        ("~ ^ok( v[0-9]+)?$", "not ok", false),
    ] {
        let origin = Origin::answering(200, body);
        let edge = pessimist(&origin.address(), &format!("expect_body = {expected:?}"));
        let expect = if is_up { expect_pass } else { expect_failure };
        expect(&edge);
    }
}

#[test]
fn http_reads_chunked_bodies_and_such_that_end_with_the_connection() {
    for reply in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nre\r\n3\r\nady\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nnearly ready",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready",
    ] {
        let origin = Origin::raw(reply);
        let edge = pessimist(&origin.address(), "expect_body = \"ready\"");
        expect_pass(&edge);
    }
}

#[test]
fn http_does_not_pass_what_is_no_answer() {
    for (reply, why) in [
        ("", "closed without an answer"),
        ("220 smtp.example ready\r\n", "not HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "before the head"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nready", "before the body"),
        ("HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nready", "status 503"),
    ] {
        let origin = Origin::raw(reply);
        let edge = pessimist(&origin.address(), "expect_body = \"ready\"");
        expect_failure(&edge);
        let line = reason(&edge);
        assert!(line.contains(why), "{reply:?}: {line}");
        assert_eq!(ask(&edge).status(), 502, "{reply:?}");
    }
}

/// Whatever a server says to a probe, it gets no more than its time, and little memory.
#[test]
fn an_endless_answer_ends_with_its_probe() {
    let origin = Origin::new(|conn| {
        let _ = conn.receive();
        let _ = conn.try_send("HTTP/1.1 200 OK\r\nX-Filling: ");
        while conn.try_send([b'x'; 65_536]).is_ok() {}
    });
    let edge = pessimist(&origin.address(), "");
    expect_failure(&edge);
    let before = edge.resident();
    origin.wait_for_connections(20);
    let grown = edge.resident().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes");
}

#[test]
fn a_port_of_its_own_is_the_only_one_asked() {
    let (server, asked) = (Origin::named("good"), Patient::new("asked"));
    let port = asked.origin.address().rsplit(':').next().unwrap().to_owned();
    let edge = pessimist(&server.address(), &format!("path = \"/ping\"\nport = {port}"));
    wait_until_up(&edge, &server);
    assert_eq!((server.connections(), ask(&edge).text().as_str()), (0, "good"));
    assert!(row(&edge, &server).is_some_and(|row| row.port.to_string() == port));
    asked.ping(Answers::Status(500));
    wait_until_down(&edge, &server);
    assert_eq!(ask(&edge).status(), 502);
}

#[test]
fn tcp_passes_whoever_listens_and_not_who_hangs_up() {
    let silent = Origin::silent();
    expect_pass(&pessimist(&silent.address(), "type = \"tcp\""));
    let dead = Origin::refusing();
    let edge = pessimist(&dead.address(), "type = \"tcp\"");
    expect_failure(&edge);
    assert!(reason(&edge).to_lowercase().contains("refused"));
}

/// A certificate that nobody has signed, and its key.
fn write_certificate(directory: &Path) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["im.example".to_owned()]).unwrap();
    let (cert, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
    [("cert.der", cert), ("key.der", key)].map(|(name, bytes)| {
        let path = directory.join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    })
}

fn tls_server(test: &str, directory: &Path) -> Option<Script> {
    let [cert, key] = write_certificate(directory);
    Script::start(test, "tls.py", Ipv4Addr::LOCALHOST.into(), &[&cert, &key])
}

#[test]
fn tls_passes_a_handshake_of_openssl_and_nothing_else() {
    let directory = tempfile::TempDir::new().unwrap();
    let test = "tls_passes_a_handshake_of_openssl_and_nothing_else";
    let Some(server) = tls_server(test, directory.path()) else { return };
    let edge = pessimist(&server.address.to_string(), "type = \"tls\"");
    expect_pass(&edge);
    assert_eq!(rows(&edge)[0].kind, "ssl_hello", "Tengine's word");
    let plain = Origin::new(|conn| {
        conn.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        let _ = conn.rest();
    });
    let silent = Origin::new(|conn| drop(conn.rest()));
    let hanging_up = Origin::new(|_| {});
    for (origin, why) in [
        (&plain, "no TLS handshake"),
        (&silent, "within 1s"),
        (&hanging_up, "no TLS handshake"),
        (&Origin::refusing(), "cannot connect"),
    ] {
        let edge = pessimist(&origin.address(), "type = \"tls\"");
        expect_failure(&edge);
        let line = reason(&edge);
        assert!(line.contains(why), "{why}: {line}");
    }
}

/// Tengine's `ssl_hello` speaks SSLv3 and is always down by now; ours finds what serves.
#[test]
fn ssl_hello_in_a_body_is_a_tls_handshake() {
    let directory = tempfile::TempDir::new().unwrap();
    let test = "ssl_hello_in_a_body_is_a_tls_handshake";
    let Some(server) = tls_server(test, directory.path()) else { return };
    let plain = Origin::named("plain");
    let edge = posted(&format!(
        "server {}; server {}; check interval=200 rise=1 fall=1 timeout=1000 type=ssl_hello;",
        server.address,
        plain.address()
    ));
    wait_until_down(&edge, &plain);
    eventually("the TLS server is up", || rows(&edge)[0].is_up);
    assert!(rows(&edge).iter().all(|row| row.kind == "ssl_hello"));
}

const WEBSOCKET: &str =
    "type = \"websocket\"\npath = \"/ws?probe=1\"\nheaders = { x-token = \"t\" }";

#[test]
fn websocket_passes_a_pong_of_pythons_websockets() {
    let test = "websocket_passes_a_pong_of_pythons_websockets";
    let arguments = ["/ws?probe=1", "t"];
    let ip = Ipv4Addr::LOCALHOST.into();
    let Some(server) = Script::start(test, "pong.py", ip, &arguments) else { return };
    let edge = pessimist(&server.address.to_string(), WEBSOCKET);
    expect_pass(&edge);
    let edge =
        pessimist(&server.address.to_string(), "type = \"websocket\"\npath = \"/ws?probe=1\"");
    expect_failure(&edge);
    assert!(reason(&edge).contains("status 403 instead of 101"));
}

#[test]
fn websocket_does_not_pass_who_does_not_upgrade() {
    let plain = Origin::named("plain");
    let edge = pessimist(&plain.address(), WEBSOCKET);
    expect_failure(&edge);
    assert!(reason(&edge).contains("status 200 instead of 101"));
}

/// The listener of a gateway whose event loop is stuck still answers the handshake.
#[test]
fn websocket_does_not_pass_who_shakes_hands_and_never_answers_a_ping() {
    let stuck = Origin::new(|conn| {
        let stream: std::net::TcpStream = conn.inner().try_clone().unwrap().into();
        let shaken = tungstenite::accept(stream);
        if shaken.is_ok() {
            let _ = Socket::over(conn.inner().try_clone().unwrap()).rest();
        }
    });
    let check = WEBSOCKET.replace("x-token", "x-other");
    let edge = checked(
        &[(&stuck, "")],
        "when_all_down = \"fail\"",
        &format!("interval = \"100ms\"\ntimeout = \"500ms\"\nfall = 1\n{check}"),
    );
    wait_until_down(&edge, &stuck);
    assert!(reason(&edge).contains("within 500ms"), "{}", edge.log());
    assert_eq!(ask(&edge).status(), 502);
}

#[test]
fn a_unix_socket_is_asked_by_every_kind_that_it_can_speak() {
    let edge = Edge::new().route("upstream = \"app\"");
    let path = edge.directory().join("app.sock");
    let unix = Origin::unix(&path, |conn| conn.answer_all(&named_reply("unix")));
    let edge = edge
        .toml(&format!(
            "[upstream.app]\nservers = [{:?}]\nwhen_all_down = \"fail\"\n\
             [upstream.app.check]\n{PACE}\nstart = \"down\"\nport = 1",
            unix.address()
        ))
        .start();
    wait_until_up(&edge, &unix);
    assert_eq!(unix.last_request().head.all("host"), ["localhost"]);
    assert_eq!(ask(&edge).text(), "unix");
}
