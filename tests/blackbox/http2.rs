//! HTTP/2 with clients: what they see of it, and what they may not do.

mod conformance;

use crate::kit::{
    Edge, Origin, eventually,
    http2::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, Http2, PING,
        RST_STREAM, WINDOW_UPDATE, block, frame, get, request,
    },
};

/// A proxy that speaks HTTP/2 in the clear.
fn edge(origin: &Origin) -> Edge {
    Edge::to(&[origin]).listener("h2c = true")
}

#[test]
fn a_request_reaches_its_server_in_the_words_of_http1() {
    let origin = Origin::named("one");
    let edge = edge(&origin).logging().start();
    let mut client = Http2::connect(edge.port("edge"));
    client.ask(1, &request("GET", "/a?b", &[("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2")]));
    let answer = client.answer(1);
    assert_eq!((answer.status, answer.text()), (200, "one".to_owned()));
    assert!(answer.field("connection").is_none() && answer.field("date").is_some());
    let head = origin.last_request().head;
    assert_eq!(head.start, "GET /a?b HTTP/1.1");
    assert_eq!(head.field("host"), Some("a.example"));
    assert_eq!(head.field("cookie"), Some("a=1; b=2"));
    assert_eq!(head.field("x-y"), Some("z"));
    assert_eq!(head.field("x-forwarded-proto"), Some("http"));
    assert_eq!(edge.records(1)[0]["protocol"], "HTTP/2.0");
}

#[test]
fn http1_is_spoken_beside_it() {
    let origin = Origin::named("one");
    let edge = edge(&origin).start();
    assert_eq!(edge.get("a", "/").text(), "one");
    let mut slow = edge.client();
    for byte in b"PRINT / HTTP/1.1\r\nHost: a\r\n\r\n" {
        slow.send([*byte]);
    }
    assert_eq!(slow.response().unwrap().text(), "one");
}

#[test]
fn without_h2c_the_preface_is_an_odd_request() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(matches!(client.response().unwrap().status(), 400 | 505));
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    let origin = Origin::new(|conn| {
        while let Ok(request) = conn.receive() {
            let sum = request.trailers.first().map_or("none", |(_, value)| value.as_str());
            let text = request.text();
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\nX-Sum: {sum}\r\n\r\n",
                text.len()
            ));
        }
    });
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    client.frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[]));
    client.frame(DATA, 0, 1, b"wiki");
    client.frame(DATA, 0, 1, b"");
    client.frame(DATA, 0, 1, b"pedia");
    client.frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "9")]));
    let answer = client.answer(1);
    assert_eq!(answer.text(), "wikipedia");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "9".to_owned())]);
}

#[test]
fn large_bodies_keep_to_the_windows_of_both_sides() {
    let origin = Origin::echo();
    let edge = edge(&origin).start();
    let mut client = Http2::with(edge.port("edge"), &[(4, 1 << 20)]);
    client.frame(8, 0, 0, &(1_u32 << 20).to_be_bytes());
    let body: Vec<u8> = (0..500_000_u32).map(|n| (n % 251) as u8).collect();
    client.frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[]));
    // 64 KiB may be sent ahead, and more whenever the proxy says so.
    let (mut window, mut sent, mut connection) = (65_536_usize, 0, 65_535_usize);
    let mut echoed = Vec::new();
    while echoed.len() < body.len() {
        let size = 16_384.min(window).min(connection).min(body.len() - sent);
        if size > 0 {
            let last = if sent + size == body.len() { END_STREAM } else { 0 };
            client.frame(DATA, last, 1, &body[sent..sent + size]);
            (window, connection, sent) = (window - size, connection - size, sent + size);
            continue;
        }
        let frame = client.next().unwrap();
        match (frame.kind, frame.stream) {
            (8, stream) => {
                let more = u32::from_be_bytes(frame.payload.try_into().unwrap()) as usize;
                *(if stream == 0 { &mut connection } else { &mut window }) += more;
            }
            (DATA, 1) => echoed.extend_from_slice(&frame.payload),
            (RST_STREAM, _) => panic!("reset"),
            _ => (),
        }
    }
    assert!(echoed == body);
}

#[test]
fn many_streams_at_once_are_answered_each_by_its_own() {
    let origin = Origin::echo();
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    for n in 0..100_u32 {
        client.frame(HEADERS, END_HEADERS, 2 * n + 1, &request("POST", "/", &[]));
    }
    for n in (0..100_u32).rev() {
        client.frame(DATA, END_STREAM, 2 * n + 1, format!("number {n}").as_bytes());
    }
    let mut bodies = std::collections::HashMap::<u32, Vec<u8>>::new();
    let mut ended = 0;
    while ended < 100 {
        let frame = client.next().unwrap();
        if frame.kind == DATA {
            bodies.entry(frame.stream).or_default().extend_from_slice(&frame.payload);
            ended += usize::from(frame.flags & END_STREAM != 0);
        }
    }
    let right = |n: u32| bodies[&(2 * n + 1)] == format!("number {n}").as_bytes();
    assert!((0..100).all(right));
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let origin = Origin::new(|conn| {
        while let Ok(request) = conn.receive() {
            let reply = match request.head.target() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
                "/0" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            };
            conn.send(reply);
        }
    });
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    for (stream, method, path, status) in [
        (1, "GET", "/204", 204),
        (3, "GET", "/304", 304),
        (5, "GET", "/0", 200),
        (7, "HEAD", "/", 200),
    ] {
        client.ask(stream, &request(method, path, &[]));
        let answer = client.answer(stream);
        assert_eq!((answer.status, answer.body.len(), answer.reset), (status, 0, None), "{path}");
        if method == "HEAD" {
            assert_eq!(answer.field("content-length"), Some("5"));
        }
    }
}

#[test]
fn interim_answers_are_passed_on() {
    let origin = Origin::new(|conn| {
        while conn.receive().is_ok() {
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    client.ask(1, &get(&[]));
    let answer = client.answer(1);
    assert_eq!((answer.interim, answer.status, &*answer.body), (vec![103], 200, &b"ok"[..]));
}

#[test]
fn an_answer_that_is_cut_is_not_taken_for_whole() {
    let origin = Origin::new(|conn| {
        if conn.receive().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
    });
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    client.ask(1, &get(&[]));
    let answer = client.answer(1);
    assert_eq!((answer.status, &*answer.body), (200, &b"half"[..]));
    assert!(answer.reset.is_some_and(|code| code != 0), "{answer:?}");
    client.ask(3, &get(&[]));
    assert!(client.answer(3).reset.is_some(), "and the connection goes on");
}

#[test]
fn a_dead_server_is_passed_over() {
    let origin = Origin::named("alive");
    let dead = Origin::refusing();
    let edge = Edge::to(&[&dead, &origin]).listener("h2c = true").start();
    let mut client = Http2::connect(edge.port("edge"));
    for n in 0..10 {
        client.ask(2 * n + 1, &get(&[]));
        assert_eq!(client.answer(2 * n + 1).text(), "alive");
    }
}

#[test]
fn a_client_that_gives_up_takes_its_request_with_it() {
    let origin = Origin::new(|conn| {
        // It never answers, and sees the proxy go.
        let _ = conn.receive();
        let _ = conn.receive();
    });
    let edge = edge(&origin).logging().start();
    let mut client = Http2::connect(edge.port("edge"));
    client.ask(1, &get(&[]));
    origin.wait_for_requests(1);
    client.frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    assert_eq!(edge.records(1)[0]["status"], 499);
    assert!(client.is_alive());
}

#[test]
fn a_head_that_is_too_large_is_refused_and_others_are_not() {
    let origin = Origin::named("one");
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    let value = "v".repeat(10_000);
    let block = get(&[("a", &value), ("b", &value), ("c", &value), ("d", &value)]);
    client.frame(HEADERS, END_STREAM, 1, &block[..16_000]);
    client.frame(CONTINUATION, 0, 1, &block[16_000..32_000]);
    client.frame(CONTINUATION, END_HEADERS, 1, &block[32_000..]);
    assert_eq!(client.answer(1).status, 431);
    client.ask(3, &get(&[]));
    assert_eq!(client.answer(3).text(), "one");
}

#[test]
fn references_to_one_large_field_do_not_add_up() {
    let origin = Origin::named("one");
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    // One field of 4,000 bytes goes into the table; each byte of the block that follows is all of it.
    let field = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4_000]].concat();
    let bomb = [&get(&[])[..], &field, &[0xbe; 10_000]].concat();
    client.ask(1, &bomb);
    assert_eq!(client.end(), End::Goaway(11));
    let mut other = Http2::connect(edge.port("edge"));
    other.ask(1, &get(&[]));
    assert_eq!(other.answer(1).text(), "one");
}

#[test]
fn a_websocket_within_a_stream_is_a_tunnel() {
    let origin = Origin::new(|conn| {
        let request = conn.receive().unwrap();
        assert_eq!(request.head.field("upgrade"), Some("websocket"));
        assert_eq!(request.head.field("sec-websocket-version"), Some("13"));
        assert_eq!(request.head.field("sec-websocket-key").map(str::len), Some(24));
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        );
        while let Ok(bytes) = conn.some() {
            if conn.try_send(bytes).is_err() {
                return;
            }
        }
        conn.finish();
    });
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a.example"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
    ];
    client.frame(HEADERS, END_HEADERS, 1, &block(&connect));
    let head = client.head(1);
    assert_eq!((head.status, head.field("sec-websocket-protocol")), (200, Some("chat")));
    assert!(head.field("sec-websocket-accept").is_none() && !head.ended);
    let hello = crate::kit::frames::masked(0x81, "hello");
    client.frame(DATA, 0, 1, &hello);
    assert_eq!(client.data(1).0, hello);
    let tunnels = edge.json("GET", "/api/v1/tunnels", &serde_json::Value::Null).1;
    assert_eq!(tunnels["tunnels"].as_array().map(Vec::len), Some(1), "{tunnels}");
    client.frame(DATA, END_STREAM, 1, &hello);
    let (mut echoed, mut last) = client.data(1);
    while !last {
        let (more, is_last) = client.data(1);
        echoed.extend(more);
        last = is_last;
    }
    assert_eq!(echoed, hello);
    client.ask(3, &get(&[]));
}

#[test]
fn a_success_is_no_tunnel_when_one_was_asked_for() {
    let origin = Origin::named("no tunnel");
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a.example"),
    ];
    client.frame(HEADERS, END_HEADERS, 1, &block(&connect));
    assert_eq!(client.answer(1).status, 502);
}

#[test]
fn a_burst_of_small_frames_is_no_flood() {
    let origin = Origin::echo();
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    client.frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[]));
    let burst: Vec<u8> = (0..6_000).flat_map(|_| frame(DATA, 0, 1, b"a message.")).collect();
    client.raw(&burst);
    client.frame(DATA, END_STREAM, 1, b"");
    let answer = client.answer(1);
    assert_eq!((answer.status, answer.text().len()), (200, 60_000));
}

#[test]
fn who_is_answered_early_is_heard_out() {
    let origin = Origin::echo();
    let route = "upstream = \"app\"\nmax_body = \"10\"";
    let edge = Edge::new().route(route).pool("app", &[&origin]).listener("h2c = true").start();
    let mut client = Http2::connect(edge.port("edge"));
    client.frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[]));
    client.frame(DATA, 0, 1, b"more than ten bytes");
    let answer = client.answer(1);
    assert_eq!((answer.status, answer.ended), (413, true));
    client.frame(DATA, END_STREAM, 1, b"and more");
    client.ask(3, &get(&[]));
    // The stream it goes on with is not reset meanwhile.
    while let Some(frame) = client.next() {
        assert_ne!((frame.kind, frame.stream), (RST_STREAM, 1));
        if frame.stream == 3 {
            break;
        }
    }
}

#[test]
fn a_connection_that_idles_is_told_to_leave() {
    let origin = Origin::named("one");
    let edge = edge(&origin).listener("[listener.timeouts]\nkeepalive = \"300ms\"").start();
    let mut client = Http2::connect(edge.port("edge"));
    client.ask(1, &get(&[]));
    assert_eq!(client.answer(1).status, 200);
    assert_eq!(client.end(), End::Goaway(0));
}

#[test]
fn no_frame_makes_a_line_of_the_log() {
    let origin = Origin::named("one");
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    // A ping that nobody sent is answered; the h2 crate warns of each.
    (0..100).for_each(|_| client.frame(PING, ACK, 0, &[7; 8]));
    client.ask(1, &get(&[]));
    assert_eq!(client.answer(1).status, 200);
    let log = edge.log();
    assert!(!log.to_lowercase().contains("ping"), "{log}");
}

#[test]
fn what_is_counted() {
    let origin = Origin::named("one");
    let edge = edge(&origin).start();
    let mut client = Http2::connect(edge.port("edge"));
    for stream in [1, 3, 5] {
        client.ask(stream, &get(&[]));
        assert_eq!(client.answer(stream).status, 200);
    }
    let value = |series: &str| edge.metric(series);
    assert_eq!(value("tidegate_http2_connections_total{listener=\"edge\"}"), Some(1.0));
    assert_eq!(value("tidegate_http2_streams_total{listener=\"edge\"}"), Some(3.0));
}

#[test]
fn what_clients_do_wrong_is_counted_by_its_reason() {
    let origin = Origin::named("one");
    let edge = edge(&origin).start();
    type Fault = (&'static str, fn(&mut Http2));
    let faults: [Fault; 4] = [
        ("unruly", |c| {
            c.frame(HEADERS, END_STREAM, 1, &get(&[]));
            (0..1_000).for_each(|_| c.frame(CONTINUATION, 0, 1, &block(&[("x", "y")])));
        }),
        ("frames", |c| (0..2_000).for_each(|_| c.frame(PING, 0, 0, &[0; 8]))),
        ("flow_control", |c| c.frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        // A stream of theirs has an odd number.
        ("protocol", |c| c.ask(2, &get(&[]))),
    ];
    for (reason, run) in faults {
        let mut client = Http2::connect(edge.port("edge"));
        run(&mut client);
        client.end();
        let series =
            format!("tidegate_http2_faults_total{{listener=\"edge\",reason=\"{reason}\"}}");
        eventually(reason, || edge.metric(&series) == Some(1.0));
        let log = edge.wait_for_log(reason);
        assert!(log.contains("HTTP/2 connection closed for what its client did"), "{log}");
    }
    // One that leaves as it should has done nothing.
    drop(Http2::connect(edge.port("edge")));
    let mut client = Http2::connect(edge.port("edge"));
    client.frame(GOAWAY, 0, 0, &[0; 8]);
    drop(client);
    let page = edge.metrics();
    let faults = page.lines().filter(|line| line.starts_with("tidegate_http2_faults_total"));
    assert_eq!(faults.filter(|line| line.ends_with(" 1")).count(), 4, "{page}");
}
