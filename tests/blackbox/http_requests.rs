//! Requests on their way to the server: bodies of all kinds, pipelining, old clients, Expect, the
//! fields that stay on a hop and those the proxy adds, and what is refused at the door.

use std::{net::SocketAddr, thread, time::Duration};

use fastrand::Rng;

use crate::kit::{Broken, Edge, Gate, Origin, Socket, bytes, checksum, named_reply};

/// A plain GET for `path`, keep-alive.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn both_sides_keep_their_connections() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).workers(1).start();
    let mut client = edge.client();
    for _ in 0..10 {
        assert_eq!(client.ask(get("/")).text(), "one");
    }
    assert_eq!(edge.client().ask(get("/")).text(), "one");
    assert_eq!((origin.count(), origin.connections()), (11, 1));
}

/// Many servers hand `X_Real_IP` to an application under the same name as `X-Real-IP`.
#[test]
fn what_is_not_the_clients_to_say_has_no_other_spelling() {
    let origin = Origin::named("one");
    let set = "upstream = \"app\"\nrequest_headers = { set = { x-real-ip = \"${client_ip}\" } }";
    let edge = Edge::new().route(set).pool("app", &[&origin]).start();
    let doubles =
        ["X_Forwarded_For", "x_forwarded-proto", "X_Real_IP", "Content_Length", "X_Request-Id"];
    let lines: String = doubles.map(|name| format!("{name}: 6\r\n")).concat();
    let answer = edge.client().ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}X_Own: 1\r\n\r\n"));
    assert_eq!(answer.text(), "one");
    let head = origin.last_request().head;
    assert_eq!(head.field("x_own"), Some("1"));
    assert_eq!(head.field("x-real-ip"), Some("127.0.0.1"));
    for name in doubles {
        assert_eq!(head.field(name), None, "{name}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::echo();
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    let post = |n: usize| {
        let body = format!("number {n}");
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    client.send((0..50).map(post).collect::<String>());
    for n in 0..50 {
        assert_eq!(client.response().unwrap().text(), format!("number {n}"));
    }
}

#[test]
fn a_pipeline_may_mix_bodies_and_end_in_the_middle_of_a_head() {
    let origin = Origin::echo();
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n\
         POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
         POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nde\
         POST / HTTP/1.1\r\nHo",
    );
    let bodies: Vec<String> = (0..3).map(|_| client.response().unwrap().text()).collect();
    assert_eq!(bodies, ["", "abc", "de"]);
    client.send("st: a\r\nContent-Length: 1\r\n\r\nf");
    assert_eq!(client.response().unwrap().text(), "f");
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let origin = Origin::echo();
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    let request = "POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\nwiki\r\n5\r\npedia\r\n0\r\nX-Sum: 9\r\n\r\n";
    for byte in request.as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.response().unwrap().text(), "wikipedia");
    assert_eq!(origin.last_request().trailers, [("X-Sum".to_owned(), "9".to_owned())]);
}

#[test]
fn an_http_1_0_client_gets_a_close_and_no_chunks() {
    let reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let origin = Origin::new(move |conn| conn.answer_all(reply.as_bytes()));
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    let answer = client.ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(answer.text(), "abc");
    assert!(!answer.head.has("transfer-encoding"), "{:?}", answer.head);
    client.expect_end();
}

#[test]
fn an_http_1_0_client_may_ask_to_stay() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    for _ in 0..3 {
        let answer = client.ask("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.text(), "one");
        assert_eq!(
            answer.field("connection").map(str::to_ascii_lowercase).as_deref(),
            Some("keep-alive")
        );
    }
}

#[test]
fn http_1_0_without_a_host_is_served() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    assert_eq!(edge.client().ask("GET / HTTP/1.0\r\n\r\n").text(), "one");
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    edge.client().ask(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-one, X-Two\r\nX-One: 1\r\nx-two: 2\r\n\
         Connection: keep-alive,x-three\r\nX-Three: 3\r\nKeep-Alive: timeout=5\r\nTE: gzip\r\n\
         Proxy-Connection: keep-alive\r\nX-Stays: yes\r\nx-sTays: too\r\n\r\n",
    );
    let head = origin.last_request().head;
    for gone in ["x-one", "x-two", "x-three", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert!(!head.has(gone), "{gone} in {head:?}");
    }
    assert_eq!(head.all("x-stays"), ["yes", "too"]);
    assert!(head.fields.iter().any(|(name, _)| name == "x-sTays"), "case is kept: {head:?}");
}

/// RFC 9110 7.6.1: a sender must not name these in Connection; removing them would change what the
/// message means.
#[test]
fn connection_cannot_remove_what_the_message_needs() {
    let origin = Origin::echo();
    let edge = Edge::to(&[&origin]).start();
    let answer = edge.client().ask(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: host, content-length, x-forwarded-for\r\n\
         Content-Length: 2\r\n\r\nhi",
    );
    if answer.status() == 200 {
        let head = origin.last_request().head;
        assert_eq!((answer.text().as_str(), head.all("host").len()), ("hi", 1), "{head:?}");
        assert!(head.has("x-forwarded-for"), "{head:?}");
    } else {
        assert_eq!(answer.status(), 400);
    }
}

#[test]
fn the_server_learns_who_asked() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    edge.client().ask("GET / HTTP/1.1\r\nHost: Shop.example:8080\r\n\r\n");
    let head = origin.last_request().head;
    assert_eq!(head.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.field("x-forwarded-proto"), Some("http"));
    assert_eq!(head.field("x-forwarded-host"), Some("Shop.example:8080"));
    assert!(head.field("x-request-id").is_some_and(|id| id.len() >= 16), "{head:?}");
}

#[test]
fn a_stranger_cannot_say_who_asked() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    edge.client().ask(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.9.9.9\r\nx-forwarded-for: 10.8.8.8\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: bank\r\nX-Request-Id: forged\r\n\r\n",
    );
    let head = origin.last_request().head;
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["a"]);
    let ids = head.all("x-request-id");
    assert!(ids.len() == 1 && ids[0] != "forged", "{ids:?}");
}

#[test]
fn a_trusted_proxy_is_believed() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).listener("trusted_proxies = [\"127.0.0.0/8\"]").start();
    edge.client().ask(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\nX-Request-Id: from-the-edge\r\n\r\n",
    );
    let head = origin.last_request().head;
    assert_eq!(head.all("x-forwarded-for").join(", "), "203.0.113.7, 127.0.0.1");
    assert_eq!(head.all("x-forwarded-proto"), ["https"]);
    assert_eq!(head.all("x-forwarded-host"), ["shop"]);
    assert_eq!(head.all("x-request-id"), ["from-the-edge"]);
}

#[test]
fn every_request_has_an_id_of_its_own() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    (0..20).for_each(|_| drop(client.ask(get("/"))));
    let id = |request: crate::kit::Message| request.field("x-request-id").unwrap().to_owned();
    let mut ids: Vec<String> = origin.requests().into_iter().map(id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[test]
fn an_expectation_goes_to_the_server_and_its_answer_comes_back() {
    let origin = Origin::new(|conn| {
        while conn.receive_head().is_ok() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.exactly(5).unwrap();
            conn.send([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &body[..]].concat());
        }
    });
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 100, "before a byte of the body was sent");
    client.send("hello");
    assert_eq!(client.response().unwrap().text(), "hello");
    assert_eq!(origin.last_request().field("expect"), Some("100-continue"));
}

#[test]
fn a_refused_expectation_needs_no_body() {
    let origin = Origin::new(|conn| {
        if conn.receive_head().is_ok() {
            conn.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        }
    });
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.response().unwrap();
    assert_eq!((answer.status(), answer.interim.len(), answer.text().as_str()), (403, 0, "no"));
}

/// After a refusal the body that was announced may come or not: neither may be taken for a request.
#[test]
fn a_refused_expectation_leaves_no_doubt_about_what_comes_next() {
    let origin = Origin::new(|conn| {
        while conn.receive_head().is_ok() {
            conn.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.response().unwrap();
    assert_eq!(answer.status(), 403);
    // 40 bytes, as announced: either they are swallowed, or the connection is closed.
    let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: aaaaaa\r\n\r\n");
    let _ = client.try_send(get("/next"));
    match client.response() {
        Ok(next) => assert!(next.status() == 403 && !answer.head.closes(), "{next:?}"),
        Err(broken) => assert!(broken.is_cut(), "{broken:?}"),
    }
    let targets: Vec<String> =
        origin.requests().iter().map(|request| request.head.target().to_owned()).collect();
    assert!(!targets.contains(&"/smuggled".to_owned()), "{targets:?}");
}

#[test]
fn a_client_need_not_wait_for_the_100() {
    let origin = Origin::new(|conn| {
        while conn.receive_head().is_ok() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.exactly(5).unwrap();
            conn.send([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &body[..]].concat());
        }
    });
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    for _ in 0..3 {
        let answer = client.ask(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\nhello",
        );
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
        assert!(answer.interim.len() <= 1, "{answer:?}");
    }
}

#[test]
fn a_slow_answer_keeps_its_place_in_the_pipeline() {
    let gate = Gate::default();
    let origin = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            while let Ok(request) = conn.receive() {
                if request.head.target() == "/slow" {
                    gate.wait();
                }
                conn.send(named_reply(&request.head.target()[1..]));
            }
        })
    };
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(get("/slow") + &get("/fast"));
    origin.wait_for_requests(1);
    gate.open();
    let answers: Vec<String> = (0..2).map(|_| client.response().unwrap().text()).collect();
    assert_eq!(answers, ["slow", "fast"]);
}

#[test]
fn fifty_megabytes_go_up_unharmed() {
    const SIZE: usize = 50 << 20;
    let origin = Origin::new(|conn| {
        conn.receive_head().unwrap();
        let (mut sum, mut left) = (0, SIZE);
        while left > 0 {
            let part = conn.some().unwrap();
            sum = checksum(sum, &part);
            left -= part.len();
        }
        conn.send(named_reply(&format!("{sum:016x}")));
    });
    let edge =
        Edge::new().route("upstream = \"app\"\nmax_body = \"64m\"").pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    let (part, mut sum) = (bytes(&mut Rng::with_seed(1), 1 << 20), 0);
    for _ in 0..SIZE / part.len() {
        client.send(&part);
        sum = checksum(sum, &part);
    }
    assert_eq!(client.response().unwrap().text(), format!("{sum:016x}"));
}

#[test]
fn a_large_chunked_upload_is_unharmed() {
    let origin = Origin::echo();
    let edge =
        Edge::new().route("upstream = \"app\"\nmax_body = \"64m\"").pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (mut random, mut whole) = (Rng::with_seed(2), Vec::new());
    for size in [1, 7, 4_095, 4_096, 4_097, 65_535, 65_537, 1_000_003] {
        let part = bytes(&mut random, size);
        client.send_chunk(&part);
        whole.extend(part);
    }
    client.send("0\r\n\r\n");
    assert!(client.response().unwrap().body == whole, "the echo is not what was sent");
}

#[test]
fn trailers_of_a_request_arrive() {
    let origin = Origin::echo();
    let edge = Edge::to(&[&origin]).start();
    edge.client().ask(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 294\r\nX-Kind: letters\r\n\r\n",
    );
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(origin.last_request().trailers, [pair("X-Sum", "294"), pair("X-Kind", "letters")]);
}

#[test]
fn a_body_above_the_limit_is_413() {
    let origin = Origin::echo();
    let edge =
        Edge::new().route("upstream = \"app\"\nmax_body = \"1k\"").pool("app", &[&origin]).start();
    let post = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(length)
        )
    };
    assert_eq!(edge.client().ask(post(1024)).status(), 200);
    assert_eq!(edge.client().ask(post(1025)).status(), 413);
    let mut client = edge.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send_chunk("x".repeat(1025));
    assert_eq!(client.response().unwrap().status(), 413);
}

/// The server sees the head before the body is complete: nothing is held back.
#[test]
fn a_request_streams() {
    let half = Gate::default();
    let origin = {
        let half = half.clone();
        Origin::new(move |conn| {
            conn.receive_head().unwrap();
            assert_eq!(conn.exactly(4).unwrap(), b"half");
            half.open();
            assert_eq!(conn.exactly(4).unwrap(), b"done");
            conn.send(named_reply("ok"));
        })
    };
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf");
    half.wait();
    client.send("done");
    assert_eq!(client.response().unwrap().text(), "ok");
}

#[test]
fn a_slow_head_is_408() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).listener("[listener.timeouts]\nheader = \"300ms\"").start();
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    assert_eq!(client.response().unwrap().status(), 408);
    client.expect_end();
    assert_eq!(origin.count(), 0);
}

/// The limit is for the whole head: a byte now and then does not stretch it.
#[test]
fn a_dripping_head_is_cut_off() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).listener("[listener.timeouts]\nheader = \"300ms\"").start();
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    let dripped = (0..1_000).take_while(|_| {
        thread::sleep(Duration::from_millis(20));
        client.try_send("x").is_ok()
    });
    assert!(dripped.count() < 1_000, "the connection was never closed");
}

#[test]
fn a_slow_body_is_cut_off() {
    let origin = Origin::echo();
    let edge = Edge::to(&[&origin]).listener("[listener.timeouts]\nbody = \"300ms\"").start();
    let mut client = edge.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    match client.response() {
        Ok(answer) => assert_eq!(answer.status(), 408),
        Err(broken) => assert!(broken.is_cut(), "{broken:?}"),
    }
    client.expect_end();
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).listener("[listener.timeouts]\nkeepalive = \"300ms\"").start();
    let mut client = edge.client();
    client.ask(get("/"));
    assert!(matches!(client.response(), Err(Broken::Closed)));
}

#[test]
fn a_client_that_leaves_in_its_body_ends_the_request_at_the_server() {
    let origin = Origin::echo();
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    origin.wait_for_connections(1);
    client.reset();
    origin.wait_for_ended(1);
    assert_eq!(origin.count(), 0, "half a request is not a request");
}

#[test]
fn a_client_that_leaves_while_waiting_ends_the_request_at_the_server() {
    let origin = Origin::silent();
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(get("/"));
    origin.wait_for_requests(1);
    client.reset();
    origin.wait_for_ended(1);
}

/// A client that only connects, or sends garbage, costs nobody else anything.
#[test]
fn strangers_do_not_disturb_the_others() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    let address: SocketAddr = edge.port("edge");
    let _mute: Vec<Socket> = (0..50).map(|_| Socket::connect(address)).collect();
    let mut random = Rng::with_seed(3);
    for _ in 0..50 {
        let mut socket = Socket::connect(address);
        let _ = socket.try_send(bytes(&mut random, 2_000));
    }
    assert_eq!(edge.get("a", "/").text(), "one");
}
