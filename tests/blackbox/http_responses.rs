//! Responses on their way to the client: streaming with back-pressure, HEAD, 1xx, trailers, fields
//! that stay on a hop, ends that are no ends, and servers that speak nonsense.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;

use crate::kit::{Broken, Edge, Gate, Origin, bytes, checksum, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An edge before a server that answers every request with these bytes and keeps the connection.
fn before(reply: &'static str) -> (Edge, Origin) {
    let origin = Origin::new(move |conn| conn.answer_all(reply.as_bytes()));
    (Edge::to(&[&origin]).start(), origin)
}

#[test]
fn a_response_streams() {
    let gate = Gate::default();
    let origin = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            conn.receive().unwrap();
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
            gate.wait();
            conn.send("3\r\ntwo\r\n0\r\n\r\n");
        })
    };
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(GET);
    assert_eq!(client.head().unwrap().field("transfer-encoding"), Some("chunked"));
    assert_eq!((client.line().unwrap(), client.line().unwrap()), ("3".into(), "one".into()));
    gate.open();
    assert_eq!(client.exactly(13).unwrap(), b"3\r\ntwo\r\n0\r\n\r\n");
}

/// A client that does not read stops the server, and the proxy holds next to nothing meanwhile.
#[test]
fn a_slow_reader_holds_back_the_server_not_the_proxy() {
    const SIZE: usize = 192 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let origin = {
        let sent = Arc::clone(&sent);
        Origin::new(move |conn| {
            conn.receive().unwrap();
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
            let part = bytes(&mut Rng::with_seed(4), 1 << 20);
            for _ in 0..SIZE / part.len() {
                conn.send(&part);
                sent.fetch_add(part.len(), Ordering::SeqCst);
            }
        })
    };
    let edge = Edge::to(&[&origin]).start();
    let before = edge.resident();
    let mut client = edge.client();
    client.send(GET);
    assert_eq!(client.head().unwrap().status(), 200);
    stands_still(&sent);
    assert!(sent.load(Ordering::SeqCst) < SIZE / 2, "the server was not held back");
    assert!(edge.resident() < before + (24 << 20), "the proxy swallowed what nobody reads");
    let (mut left, mut sum) = (SIZE, 0);
    while left > 0 {
        let part = client.some().unwrap();
        left -= part.len();
        sum = checksum(sum, &part);
    }
    let part = bytes(&mut Rng::with_seed(4), 1 << 20);
    assert_eq!(sum, (0..SIZE / part.len()).fold(0, |sum, _| checksum(sum, &part)));
}

/// What it did not read goes with it: the kernel would keep that, and go on offering it.
#[test]
fn a_client_that_does_not_read_in_time_is_reset() {
    const SIZE: usize = 32 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    let origin = Origin::raw(head + &"a".repeat(SIZE));
    let edge = Edge::to(&[&origin]).listener("[listener.timeouts]\nsend = \"300ms\"").start();
    let mut client = edge.client();
    client.send(GET);
    assert_eq!(client.head().unwrap().status(), 200);
    origin.wait_for_ended(1);
    let broken = loop {
        if let Err(broken) = client.some() {
            break broken;
        }
    };
    assert!(matches!(broken, Broken::Reset), "{broken:?}");
}

/// Waits until a counter has not moved for a while.
fn stands_still(counter: &AtomicUsize) {
    let mut last = counter.load(Ordering::SeqCst);
    eventually("the server is held back", || {
        thread::sleep(Duration::from_millis(300));
        let now = counter.load(Ordering::SeqCst);
        std::mem::replace(&mut last, now) == now
    });
}

#[test]
fn head_has_the_fields_and_no_body() {
    let (edge, _origin) = before("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n");
    let mut client = edge.client();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.response_to("HEAD").unwrap();
        assert_eq!(
            (answer.field("content-length"), answer.field("etag")),
            (Some("1234"), Some("\"x\""))
        );
    }
}

#[test]
fn answers_without_a_body_keep_the_connection() {
    for reply in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"x\"\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (edge, origin) = before(reply);
        let mut client = edge.client();
        let statuses: Vec<u16> = (0..3).map(|_| client.ask(GET).status()).collect();
        assert!(statuses.iter().all(|status| reply.contains(&status.to_string())), "{statuses:?}");
        assert_eq!(origin.connections(), 1, "{reply:?}");
    }
}

#[test]
fn early_hints_are_passed_on_before_the_answer() {
    let gate = Gate::default();
    let origin = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            conn.receive().unwrap();
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
            gate.wait();
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        })
    };
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(GET);
    let hints = client.head().unwrap();
    assert_eq!((hints.status(), hints.field("link")), (103, Some("</a.css>; rel=preload")));
    gate.open();
    assert_eq!(client.response().unwrap().text(), "ok");
}

#[test]
fn an_http_1_0_client_gets_no_interim_answers() {
    let (edge, _origin) = before(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = edge.client().ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!((answer.interim.len(), answer.text().as_str()), (0, "ok"));
}

#[test]
fn a_server_cannot_keep_us_with_interim_answers() {
    let origin = Origin::new(|conn| {
        conn.receive().unwrap();
        while conn.try_send("HTTP/1.1 102 Processing\r\n\r\n".repeat(100)).is_ok() {}
    });
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(GET);
    let answer = client.response();
    assert!(
        answer.as_ref().is_ok_and(|answer| answer.status() == 502)
            || answer.is_err_and(|broken| broken.is_cut())
    );
    origin.wait_for_ended(1);
}

#[test]
fn trailers_of_a_response_arrive() {
    let (edge, _origin) = before(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 294\r\n\r\n",
    );
    let request = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    let mut client = edge.client();
    for _ in 0..2 {
        let answer = client.ask(request);
        assert_eq!(answer.trailers, [("X-Sum".to_owned(), "294".to_owned())]);
    }
}

#[test]
fn a_body_that_ends_with_the_connection_is_chunked_to_a_new_client() {
    let origin = Origin::raw("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    for _ in 0..2 {
        assert_eq!(client.ask(GET).text(), "until the end");
    }
    let mut old = edge.client();
    assert_eq!(old.ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n").text(), "until the end");
}

#[test]
fn hop_by_hop_fields_of_a_server_stay_there() {
    let (edge, _origin) = before(
        "HTTP/1.1 200 OK\r\nConnection: X-One\r\nX-One: 1\r\nconnection: keep-alive, x-two\r\nX-Two: 2\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nX-Stays: y\r\n\
         Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    );
    let head = edge.client().ask(GET).head;
    for gone in ["x-one", "x-two", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!head.has(gone), "{gone} in {head:?}");
    }
    assert_eq!(head.all("set-cookie"), ["a=1", "b=2"]);
    assert!(head.has("x-stays"));
}

#[test]
fn a_close_by_the_server_does_not_close_the_client() {
    let origin = Origin::raw("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    for _ in 0..3 {
        let answer = client.ask(GET);
        assert!(!answer.head.closes(), "{:?}", answer.head);
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn the_status_line_is_ours_and_the_status_the_servers() {
    let (edge, _origin) = before("HTTP/1.0 299 Odd But Fine\r\nContent-Length: 1\r\n\r\nx");
    let answer = edge.client().ask(GET);
    assert!(answer.head.start.starts_with("HTTP/1.1 299"), "{:?}", answer.head);
    let (edge, _origin) = before("HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(edge.client().ask(GET).status(), 200, "the reason may be empty");
}

#[test]
fn a_length_body_cut_by_the_server_is_cut_for_the_client() {
    let origin = Origin::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(GET);
    assert!(client.response().unwrap_err().is_cut());
}

#[test]
fn a_chunked_body_cut_by_the_server_gets_no_last_chunk() {
    for reply in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n",
    ] {
        let origin = Origin::raw(reply);
        let edge = Edge::to(&[&origin]).start();
        let mut client = edge.client();
        client.send(GET);
        match client.response() {
            Ok(answer) => assert_eq!(answer.status(), 502, "{reply:?}: {answer:?}"),
            Err(broken) => assert!(broken.is_cut(), "{reply:?}: {broken:?}"),
        }
        // To an HTTP/1.0 client only a reset can tell a cut from an end.
        let mut old = edge.client();
        old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        match old.response() {
            Ok(answer) => assert_eq!(answer.status(), 502, "{reply:?}: {answer:?}"),
            Err(broken) => assert!(matches!(broken, Broken::Reset), "{reply:?}: {broken:?}"),
        }
    }
}

#[test]
fn a_reset_in_the_body_is_a_cut() {
    let origin = Origin::new(|conn| {
        conn.receive().unwrap();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        // The first part must be through before the reset overtakes it.
        let _ = conn.is_quiet_for(Duration::from_millis(100));
        conn.reset();
    });
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(GET);
    assert!(client.response().unwrap_err().is_cut());
}

#[test]
fn a_client_that_leaves_stops_the_server() {
    let origin = Origin::new(|conn| {
        conn.receive().unwrap();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while conn.try_send("1000\r\n".to_owned() + &"x".repeat(0x1000) + "\r\n").is_ok() {}
    });
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(GET);
    assert_eq!(client.head().unwrap().status(), 200);
    drop(client);
    origin.wait_for_ended(1);
}

#[test]
fn a_silent_server_is_504() {
    let origin = Origin::silent();
    let edge = Edge::new()
        .route("upstream = \"app\"")
        .toml(&format!(
            "[upstream.app]\nservers = [{:?}]\ntimeouts = {{ read = \"300ms\" }}",
            origin.address()
        ))
        .start();
    let answer = edge.client().ask(GET);
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.text().trim_end().lines().count(), 1, "one plain line: {:?}", answer.text());
}

/// A server that answers before it has the whole body, and closes: the answer must get through.
#[test]
fn an_early_answer_reaches_the_client() {
    let origin = Origin::new(|conn| {
        conn.receive_head().unwrap();
        conn.send("HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop");
    });
    let edge =
        Edge::new().route("upstream = \"app\"\nmax_body = \"64m\"").pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\npart");
    let answer = client.response().unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "stop"));
}

#[test]
fn errors_of_ours_are_one_plain_line_with_the_request_id() {
    let edge = Edge::new().start();
    let answer = edge.get("nowhere", "/");
    assert_eq!(answer.status(), 502);
    assert!(answer.request_id().is_some(), "{answer:?}");
    assert_eq!(answer.text().trim_end().lines().count(), 1);
    assert!(answer.field("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
}
