//! Answers that are made smaller on their way to a client that wants it: what arrives is what was sent,
//! at once where it matters, and what is not to be touched is not.

use std::io::{Read as _, Write as _};

use crate::kit::{Edge, Gate, Message, Origin, Socket};

const ALL: &str = "upstream = \"app\"\ncompress = [\"zstd\", \"br\", \"gzip\"]";

/// Some text, and a lot of it.
fn text(size: usize) -> String {
    (0..).map(|n: usize| format!("line {} of {n}\n", n * n % 977)).take(size / 12).collect()
}

fn answer(fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn replying(reply: Vec<u8>) -> Origin {
    Origin::new(move |conn| conn.answer_all(&reply))
}

fn asking(accepts: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accepts}\r\n\r\n")
}

fn decoded(answer: &Message) -> String {
    let (body, mut out) = (answer.body.as_slice(), String::new());
    match answer.field("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut out).unwrap(),
        Some("br") => brotli::Decompressor::new(body, 4_096).read_to_string(&mut out).unwrap(),
        Some("zstd") => {
            zstd::stream::read::Decoder::new(body).unwrap().read_to_string(&mut out).unwrap()
        }
        other => panic!("{other:?}"),
    };
    out
}

#[test]
fn every_coding_brings_what_was_sent() {
    let whole = text(300_000);
    let fields =
        "Content-Type: text/html\r\nETag: \"1\"\r\nAccept-Ranges: bytes\r\nVary: Origin\r\n";
    let origin = replying(answer(fields, &whole));
    let edge = Edge::new().route(ALL).pool("app", &[&origin]).logging().start();
    let mut client = edge.client();
    for (accepts, coding) in [("gzip", "gzip"), ("br", "br"), ("gzip;q=0.5, zstd", "zstd")] {
        let answer = client.ask(asking(accepts));
        assert_eq!(answer.field("content-encoding"), Some(coding));
        assert!(decoded(&answer) == whole, "{coding}: it is not what was sent");
        assert!(answer.body.len() < whole.len() / 2, "{coding}: {} bytes", answer.body.len());
        assert_eq!(answer.field("etag"), Some("W/\"1\""));
        assert_eq!(answer.field("vary"), Some("Origin, Accept-Encoding"));
        assert!(!answer.head.has("content-length") && !answer.head.has("accept-ranges"));
    }
    let plain = client.ask(asking("identity"));
    assert!(plain.text() == whole && plain.field("etag") == Some("\"1\""));
    assert_eq!(plain.field("vary"), Some("Origin, Accept-Encoding"));
    let records = edge.records(4);
    let sent: Vec<u64> = records.iter().map(|r| r["bytes_sent"].as_u64().unwrap()).collect();
    assert!(sent[0] < sent[3] / 2 && sent[3] == whole.len() as u64, "{sent:?}");
}

#[test]
fn framings_of_every_kind_are_read() {
    let whole = text(200_000);
    let chunked = {
        let chunk = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
        let (one, two) = whole.split_at(70_001);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n";
        format!("{head}{}{}0\r\nX: y\r\n\r\n", chunk(one), chunk(two))
    };
    let until_close = format!("HTTP/1.1 200 OK\r\nContent-Type: text/css\r\n\r\n{whole}");
    for reply in [chunked, until_close] {
        let origin = Origin::raw(reply);
        let edge = Edge::new().route(ALL).pool("app", &[&origin]).start();
        let answer = edge.client().ask(asking("gzip"));
        assert!(decoded(&answer) == whole, "it is not what was sent");
    }
}

#[test]
fn what_is_not_to_be_touched_is_not() {
    let whole = text(2_000);
    for (fields, accepts) in [
        ("Content-Type: image/png\r\n", "gzip"),
        ("", "gzip"),
        ("Content-Type: text/html\r\nContent-Encoding: x\r\n", "gzip"),
        ("Content-Type: text/html\r\nCache-Control: private, no-transform\r\n", "gzip"),
        ("Content-Type: text/html\r\n", "gzip;q=0"),
        ("Content-Type: text/html\r\n", "deflate"),
    ] {
        let origin = replying(answer(fields, &whole));
        let edge = Edge::new().route(ALL).pool("app", &[&origin]).start();
        let answer = edge.client().ask(asking(accepts));
        assert!(answer.text() == whole, "{fields:?} {accepts}: {answer:?}");
        assert_eq!(answer.field("content-length"), Some(&*whole.len().to_string()));
    }
    let origin = replying(answer("Content-Type: text/html\r\n", &whole));
    let edge = Edge::new().route(ALL).pool("app", &[&origin]).start();
    let mut old = edge.client();
    let old = old.ask("GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    assert!(old.text() == whole, "HTTP/1.0 cannot tell where it ends: {old:?}");
    let elsewhere = Edge::to(&[&origin]).start();
    assert!(elsewhere.client().ask(asking("gzip")).text() == whole, "the route does not say so");
}

/// RFC 9110 §9.3.2
#[test]
fn an_answer_to_head_says_what_one_to_get_would() {
    let whole = text(2_000);
    let length = whole.len().to_string();
    let with = |fields: &str| {
        let reply = answer(&format!("{fields}ETag: \"1\"\r\n"), &whole);
        let head = reply.len() - whole.len();
        Origin::new(move |conn| {
            while let Ok(request) = conn.receive() {
                let is_head = request.head.start.starts_with("HEAD");
                conn.send(if is_head { &reply[..head] } else { &reply });
            }
        })
    };
    let said = |fields: &str, accepts: &str| {
        let origin = with(fields);
        let edge = Edge::new().route(ALL).pool("app", &[&origin]).start();
        let mut client = edge.client();
        let [head, get] = ["HEAD", "GET"].map(|method| {
            client.send(asking(accepts).replace("GET", method));
            let answer = client.response_to(method).unwrap();
            ["vary", "etag", "content-encoding", "content-length"]
                .map(|name| answer.field(name).map(str::to_owned))
        });
        assert_eq!(head, get, "{fields} {accepts}");
        head.map(Option::unwrap_or_default)
    };
    let coded = ["Accept-Encoding", "W/\"1\"", "gzip", ""];
    assert_eq!(said("Content-Type: text/html\r\n", "gzip"), coded);
    let plain = ["Accept-Encoding", "\"1\"", "", &length];
    assert_eq!(said("Content-Type: text/html\r\n", "identity"), plain);
    assert_eq!(said("Content-Type: image/png\r\n", "gzip"), ["", "\"1\"", "", &length]);
}

/// An event arrives before the next one is sent.
#[test]
fn events_arrive_as_they_are_sent() {
    let gate = Gate::default();
    let origin = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            conn.receive().unwrap();
            conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n");
            gate.wait();
            conn.send("data: two\n\n");
        })
    };
    let edge = Edge::new().route(ALL).pool("app", &[&origin]).start();
    let mut client = edge.client();
    client.send(asking("gzip"));
    assert_eq!(client.head().unwrap().field("content-encoding"), Some("gzip"));
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    while decoder.get_ref().len() < 11 {
        let chunk = chunk(&mut client).expect("more of it");
        decoder.write_all(&chunk).unwrap();
        decoder.flush().unwrap();
    }
    assert_eq!(decoder.get_ref(), b"data: one\n\n");
    gate.open();
    while let Some(chunk) = chunk(&mut client) {
        decoder.write_all(&chunk).unwrap();
    }
    assert_eq!(decoder.finish().unwrap(), b"data: one\n\ndata: two\n\n");
}

/// The next chunk of a body; `None` for the last.
fn chunk(client: &mut Socket) -> Option<Vec<u8>> {
    let size = usize::from_str_radix(&client.line().unwrap(), 16).unwrap();
    let data = client.exactly(size + 2).unwrap();
    (size > 0).then(|| data[..size].to_vec())
}

/// A client must not take half an answer for a whole one.
#[test]
fn what_was_cut_arrives_cut() {
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 999999\r\n\r\n{}",
        text(100_000)
    );
    let origin = Origin::raw(reply);
    let edge = Edge::new().route(ALL).pool("app", &[&origin]).start();
    for coding in ["gzip", "br", "zstd"] {
        let mut client = edge.client();
        client.send(asking(coding));
        let broken = client.response().expect_err("it was cut");
        assert!(broken.is_cut(), "{coding}: {broken:?}");
    }
}

#[test]
fn more_at_once_than_there_may_be_go_out_as_they_are() {
    let gate = Gate::default();
    let origin = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            conn.receive().unwrap();
            conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\none ");
            gate.wait();
            conn.send("two");
        })
    };
    let edge = Edge::new().route(ALL).pool("app", &[&origin]).start();
    let mut clients: Vec<Socket> = (0..270).map(|_| edge.client()).collect();
    clients.iter_mut().for_each(|client| client.send(asking("gzip")));
    origin.wait_for_requests(clients.len());
    // Each has begun to be passed on before any can end.
    for client in &clients {
        let has_come = client.inner().peek(&mut [std::mem::MaybeUninit::uninit()]);
        assert_eq!(has_come.unwrap(), 1);
    }
    gate.open();
    let answers: Vec<Message> =
        clients.iter_mut().map(|client| client.response().unwrap()).collect();
    let (coded, plain): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.head.has("content-encoding"));
    assert_eq!((coded.len(), plain.len()), (256, 14));
    assert!(coded.iter().all(|answer| decoded(answer) == "one two"));
    assert!(plain.iter().all(|answer| answer.text() == "one two"));
    assert!(plain.iter().all(|answer| answer.field("vary") == Some("Accept-Encoding")));
}
