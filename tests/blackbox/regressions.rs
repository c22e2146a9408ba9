//! What was once wrong and must not come back. Each test says what went wrong then.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::{Broken, Edge, Origin, Socket, named_reply};

const LOST: &str = "GET /no HTTP/1.1\r\nHost: a\r\n\r\n";
const FOUND: &str = "GET /ok HTTP/1.1\r\nHost: a\r\n\r\n";

/// An edge with a route for `/ok` alone.
fn edge(origin: &Origin) -> Edge {
    Edge::new().pool("app", &[origin]).route("path = \"/ok\"\nupstream = \"app\"").start()
}

/// The request behind a refused one in the same segment was lost.
#[test]
fn a_refusal_keeps_what_follows_it() {
    let origin = Origin::named("up");
    let edge = edge(&origin);
    let mut client = edge.client();
    client.send(format!("{LOST}{FOUND}{LOST}{FOUND}"));
    let seen: Vec<u16> = (0..4).map(|_| client.response().unwrap().status()).collect();
    assert_eq!(seen, [404, 200, 404, 200]);
}

/// A refused head that came in two pieces was glued in front of the next request.
#[test]
fn a_refused_head_in_pieces_leaves_nothing_behind() {
    let origin = Origin::named("up");
    let edge = edge(&origin);
    let mut client = edge.client();
    client.send("GET /no HTTP/1.1\r\nHost: a\r\nX-A: ");
    assert!(client.is_quiet_for(Duration::from_millis(50)));
    client.send("b\r\n\r\n");
    assert_eq!(client.response().unwrap().status(), 404);
    assert_eq!(client.ask(FOUND).text(), "up");
}

/// The body of a request behind a refused one was served as a request.
#[test]
fn a_body_behind_a_refusal_is_never_a_request() {
    let origin = Origin::echo();
    let edge = edge(&origin);
    let mut client = edge.client();
    let body = "GET /ok?smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!(
        "{LOST}POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    assert_eq!(client.response().unwrap().status(), 404);
    client.send(body);
    assert_eq!(client.response().unwrap().text(), body);
    assert_eq!(origin.count(), 1);
}

/// An HTTP/1.0 client took the cut answer of a chunked server for a whole one.
#[test]
fn a_stop_cuts_an_unframed_answer_visibly() {
    let origin = Origin::new(|conn| {
        conn.receive().unwrap();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        let _ = conn.rest();
    });
    let mut edge = Edge::to(&[&origin]).process("graceful_timeout = \"50ms\"").start();
    let mut client = edge.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    edge.signal(Signal::TERM);
    edge.wait_for_exit();
    assert!(matches!(client.rest(), Err(Broken::Reset)), "a clean end");
}

/// An early answer to a large upload was lost in a reset after one megabyte.
#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let origin = Origin::named("up");
    let edge = Edge::new()
        .pool("app", &[&origin])
        .route("path = \"/\"\nupstream = \"app\"\nmax_body = \"1m\"")
        .start();
    let mut client = edge.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 16 << 20));
    client.send(vec![b'x'; 16 << 20]);
    assert_eq!(client.response().unwrap().status(), 413);
}

/// An idle client that had sent a lone CRLF was answered 408.
#[test]
fn a_blank_line_is_no_request_to_answer() {
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin])
        .listener("[listener.timeouts]\nheader = \"200ms\"\nkeepalive = \"300ms\"")
        .start();
    let mut client = edge.client();
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "up");
    client.send("\r\n");
    assert_eq!(client.rest().unwrap(), b"");
}

/// A 101 in the middle of a body opened a tunnel that began with the rest of it.
#[test]
fn no_tunnel_opens_before_the_request_is_complete() {
    let origin = Origin::new(|conn| {
        conn.receive_head().unwrap();
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        let _ = conn.rest();
    });
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    );
    assert_eq!(client.response().unwrap().status(), 502);
}

/// Lines about failing servers were silenced by anybody who asked for what is not there.
#[test]
fn refusals_do_not_silence_failures() {
    let refusing = Origin::refusing();
    let edge = edge(&refusing);
    let mut client = edge.client();
    for _ in 0..100 {
        assert_eq!(client.ask(LOST).status(), 404);
    }
    assert_eq!(client.ask(FOUND).status(), 502);
    edge.wait_for_log("server failed");
}

/// A kept connection that says something before it is asked was believed.
#[test]
fn what_a_kept_connection_said_unasked_is_no_answer() {
    let origin = Origin::new(|conn| {
        conn.receive().unwrap();
        let mut reply = named_reply("first");
        reply.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale");
        conn.send(reply);
        while conn.receive().is_ok() {
            conn.send(named_reply("next"));
        }
    });
    let edge = Edge::to(&[&origin]).workers(1).start();
    let mut client: Socket = edge.client();
    for _ in 0..3 {
        assert_ne!(client.ask(FOUND).text(), "stale");
    }
}

/// Lines waited for 64 KiB of their like while requests kept coming.
#[test]
fn the_access_log_is_written_while_requests_keep_coming() {
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin]).toml("[access_log]\npath = \"access.log\"").start();
    let mut client = edge.client();
    let log = edge.directory().join("access.log");
    let end = Instant::now() + crate::kit::DEADLINE;
    while std::fs::metadata(&log).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < end, "no line came");
        assert_eq!(client.ask(FOUND).text(), "up");
        std::thread::sleep(Duration::from_millis(20));
    }
}
