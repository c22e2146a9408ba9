//! Pools with `protocol = "http2"`: requests of HTTP/1 to servers of HTTP/2, and what follows from it that
//! they share connections.

mod failures;
mod grpc;
mod shared;
mod tunnels;

use fastrand::Rng;
use http::Response;

use crate::kit::{Authority, Call, Edge, Multiplexed, Origin, Pair, bytes, named_reply};

/// An edge with one worker, whose every request goes to these servers.
fn edge(origins: &[&Multiplexed], keys: &str) -> Edge {
    let servers: Vec<String> = origins.iter().map(|one| format!("{:?}", one.address())).collect();
    let pool = format!("protocol = \"http2\"\nservers = [{}]\n{keys}", servers.join(", "));
    Edge::new()
        .workers(1)
        .route("upstream = \"app\"\nupgrade = [\"websocket\"]")
        .toml(&format!("[upstream.app]\n{pool}"))
}

#[test]
fn a_request_is_asked_in_http2() {
    let origin = Multiplexed::named("somebody");
    let edge = edge(&[&origin], "").logging().start();
    let mut client = edge.client();
    for _ in 0..3 {
        let answer = client.ask(
            "GET /a?b=c HTTP/1.1\r\nHost: app.example\r\nX-A: 1\r\nConnection: keep-alive, x-b\r\n\
             X-B: 2\r\nTE: trailers\r\n\r\n",
        );
        assert_eq!((answer.status(), answer.text().as_str()), (200, "somebody"));
    }
    let asked = origin.asked().pop().unwrap();
    assert_eq!((asked.method.as_str(), asked.uri.path()), ("GET", "/a"));
    assert_eq!(asked.uri, "http://app.example/a?b=c");
    assert_eq!(asked.fields["x-a"], "1");
    for name in ["host", "connection", "te", "x-b", "keep-alive"] {
        assert!(!asked.fields.contains_key(name), "{name} is of a connection of HTTP/1");
    }
    assert!(asked.fields.contains_key("x-request-id"));
    assert_eq!(origin.connections(), 1);
    assert_eq!(edge.records(3)[2]["status"], 200);
}

#[test]
fn bodies_go_both_ways_however_they_are_framed() {
    let origin = Multiplexed::echo();
    let edge = edge(&[&origin], "").start();
    let body = bytes(&mut Rng::with_seed(11), 1_000_000);
    for _ in 0..3 {
        // An answer that begins before its request has ended may be the last of a connection.
        let mut client = edge.client();
        client
            .send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        let answer = client.response().unwrap();
        assert!(answer.status() == 200 && answer.body == body);
        let mut client = edge.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in body[..100_000].chunks(7_000) {
            client.send_chunk(piece);
        }
        client.send("0\r\n\r\n");
        let answer = client.response().unwrap();
        assert!(answer.status() == 200 && answer.body == body[..100_000]);
    }
    let mut client = edge.client();
    assert_eq!(client.ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").body, b"");
}

/// Whatever has no body, the next answer on the client's connection is where it should be.
#[test]
fn answers_without_a_body_are_told_as_such() {
    let origin = Multiplexed::new(|mut call: Call| async move {
        let status = call.request.uri().path()[1..].parse::<u16>().unwrap();
        let mut response = Response::builder().status(status);
        if call.request.method() == "HEAD" {
            response = response.header("content-length", "5");
        }
        call.respond.send_response(response.body(()).unwrap(), true).unwrap();
    });
    let edge = edge(&[&origin], "").start();
    let mut client = edge.client();
    for (method, path, status, length) in [
        ("GET", "/200", 200, Some("0")),
        ("HEAD", "/200", 200, Some("5")),
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, None),
        ("DELETE", "/205", 205, Some("0")),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.response_to(method).unwrap();
        assert_eq!((answer.status(), answer.field("content-length")), (status, length), "{path}");
        assert!(answer.body.is_empty(), "{method} {path}");
    }
    assert_eq!((origin.asked().len(), origin.connections()), (5, 1));
}

#[test]
fn a_length_that_is_known_is_told() {
    let origin = Multiplexed::new(|mut call: Call| async move {
        let response = Response::builder().header("content-length", "5").body(()).unwrap();
        let mut out = call.respond.send_response(response, false).unwrap();
        out.send_data("hel".into(), false).unwrap();
        out.send_data("lo".into(), false).unwrap();
        out.send_data("".into(), true).unwrap();
    });
    let edge = edge(&[&origin], "").start();
    let mut client = edge.client();
    for _ in 0..5 {
        let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((answer.field("content-length"), answer.text().as_str()), (Some("5"), "hello"));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn trailers_and_interim_answers_reach_a_client_of_http1() {
    let origin = Multiplexed::new(|mut call: Call| async move {
        let early = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
        call.respond.send_informational(early).unwrap();
        call.echo().await;
    });
    let edge = edge(&[&origin], "").start();
    let answer = edge.client().ask(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    assert_eq!((answer.status(), answer.text().as_str()), (200, "abc"));
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(answer.interim.len(), 1);
    assert_eq!(answer.interim[0].field("link"), Some("</a>"));
}

/// An edge whose one server has to be known to that authority.
fn believing(authority: &Authority, address: &str) -> Edge {
    let edge = Edge::new().workers(1).route("upstream = \"app\"");
    authority.write(edge.directory().join("ca.pem"));
    edge.toml(&format!(
        "[upstream.app]\nprotocol = \"http2\"\nservers = [{address:?}]\n[upstream.app.tls]\nca = \"ca.pem\""
    ))
}

fn pair(authority: &Authority) -> Pair {
    authority.pair(&["127.0.0.1"])
}

#[test]
fn over_tls_it_is_agreed_on_by_alpn() {
    let authority = Authority::new("one");
    let pair = pair(&authority);
    let origin = Multiplexed::guarded(&pair.guard().speaking(&["h2"]), |call: Call| async move {
        call.answer(200, "secure");
    });
    let edge = believing(&authority, &origin.address()).start();
    let mut client = edge.client();
    for _ in 0..3 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "secure");
    }
    assert_eq!(origin.asked()[0].uri, "https://a/");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn nothing_falls_back_to_http1() {
    let authority = Authority::new("one");
    let pair = pair(&authority);
    let old = pair
        .guard()
        .speaking(&["http/1.1"])
        .origin(|conn| conn.answer_all(&named_reply("somebody")));
    let edge = believing(&authority, &old.address()).start();
    assert_eq!(edge.get("a", "/").status(), 502);
    let line = edge.wait_for_log("server failed");
    assert!(line.contains("tls_failed") && line.contains("does not speak HTTP/2"), "{line}");
    assert_eq!(old.count(), 0);
}

#[test]
fn a_server_of_http1_is_found_out() {
    let old = Origin::new(|conn| {
        let _ = conn.some();
        let _ = conn.try_send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = conn.rest();
    });
    let edge = Edge::new()
        .route("upstream = \"app\"")
        .pool_of("app", &[(&old, "")], "protocol = \"http2\"")
        .start();
    assert_eq!(edge.get("a", "/").status(), 502);
    let line = edge.wait_for_log("server failed");
    assert!(line.contains("no HTTP/2"), "{line}");
}
