//! Hostile and odd messages, each one row of a table: what a client may send and what must come of
//! it, and what a server may answer and what may be passed on. The tables are `framing/requests.rs`
//! and `framing/responses.rs`; this file judges them. Where the RFCs leave a choice, the row says
//! [`Sane`](Request::Sane): refused, or understood in the one safe way.

mod requests;
mod responses;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::kit::{Broken, Edge, Message, Origin, Socket, eventually, named_reply};

/// What must come of a request.
pub enum Request {
    /// One answer with one of these statuses, then the end; no whole request at the server.
    Refused(&'static [u16]),
    /// The server gets a request with this start line, these lines and this body, and `200`.
    Reaches(&'static str, &'static [&'static str], &'static str),
    /// Either of the two.
    Sane(&'static str, &'static [&'static str], &'static str),
    /// The server gets these requests, by their start lines, and nothing else.
    Each(&'static [&'static str]),
}

/// What the client may see of an answer.
pub enum Response {
    /// This status and body.
    Passed(u16, &'static str),
    /// 502 in its place.
    BadGateway,
    /// Either of the two.
    PassedOrBad(u16, &'static str),
    /// A head, and then an end that nobody takes for the end of the body.
    Cut,
    /// 502, or a cut when the head was already through.
    CutOrBad,
}

const BAD: &[u16] = &[400];

#[test]
fn requests_of_every_kind() {
    let origin = Origin::named("ok");
    let edge = Edge::to(&[&origin]).start();
    judge_all(requests::ROWS.iter().map(|(name, ..)| *name), |at| {
        let (_, bytes, wanted) = &requests::ROWS[at];
        judge_request(&edge, &origin, bytes, wanted);
    });
}

/// The same rows, a byte at a time: how the bytes are cut must not matter.
#[test]
fn requests_of_every_kind_byte_by_byte() {
    let origin = Origin::named("ok");
    let edge = Edge::to(&[&origin]).start();
    judge_all(requests::ROWS.iter().map(|(name, ..)| *name), |at| {
        let (_, bytes, wanted) = &requests::ROWS[at];
        let before = origin.count();
        let mut client = edge.client();
        let all_sent = bytes.iter().all(|byte| client.try_send([*byte]).is_ok());
        assert!(all_sent || matches!(wanted, Request::Refused(_) | Request::Sane(..)));
        judge_answer(&mut client, &origin, before, wanted);
    });
}

#[test]
fn responses_of_every_kind() {
    let reply = Arc::new(Mutex::new(Vec::new()));
    let origin = {
        let reply = Arc::clone(&reply);
        Origin::new(move |conn| {
            while let Ok(request) = conn.receive() {
                if request.head.target() != "/check" {
                    let _ = conn.try_send(reply.lock().unwrap().as_slice());
                    return;
                }
                conn.send(named_reply("fine"));
            }
        })
    };
    let edge = Edge::to(&[&origin]).start();
    judge_all(responses::ROWS.iter().map(|(name, ..)| *name), |at| {
        let (_, method, bytes, wanted) = &responses::ROWS[at];
        *reply.lock().unwrap() = bytes.to_vec();
        judge_response(&mut edge.client(), method, wanted);
        // Whatever that was, the next request gets its own answer.
        assert_eq!(edge.get("a", "/check").text(), "fine", "the answer after it");
    });
}

/// Runs every row, and reports all that failed at once.
fn judge_all<'a>(names: impl Iterator<Item = &'a str>, judge: impl Fn(usize)) {
    let failed: Vec<&str> = names
        .enumerate()
        .filter(|(at, _)| catch_unwind(AssertUnwindSafe(|| judge(*at))).is_err())
        .map(|(_, name)| name)
        .collect();
    assert!(failed.is_empty(), "{} rows failed: {failed:#?}", failed.len());
}

fn judge_request(edge: &Edge, origin: &Origin, bytes: &[u8], wanted: &Request) {
    let before = origin.count();
    let mut client = edge.client();
    client.send(bytes);
    judge_answer(&mut client, origin, before, wanted);
}

fn judge_answer(client: &mut Socket, origin: &Origin, before: usize, wanted: &Request) {
    let answers = match wanted {
        Request::Each(starts) => starts.len(),
        _ => 1,
    };
    let answers: Vec<Message> = (0..answers)
        .map(|n| client.response().unwrap_or_else(|broken| panic!("answer {n}: {broken:?}")))
        .collect();
    let arrived = &origin.requests()[before..];
    match wanted {
        Request::Sane(start, lines, body) if answers[0].status() == 200 => {
            judge_arrival(arrived, start, lines, body);
        }
        Request::Sane(..) => {
            judge_refusal(client, &answers[0], arrived, &[400, 405, 417, 501, 505]);
        }
        Request::Refused(statuses) => judge_refusal(client, &answers[0], arrived, statuses),
        Request::Reaches(start, lines, body) => {
            assert_eq!(answers[0].status(), 200, "{:?}", answers[0]);
            judge_arrival(arrived, start, lines, body);
        }
        Request::Each(starts) => {
            let got: Vec<&str> = arrived.iter().map(|request| &*request.head.start).collect();
            assert_eq!(got, *starts);
        }
    }
}

fn judge_refusal(client: &mut Socket, answer: &Message, arrived: &[Message], statuses: &[u16]) {
    assert!(statuses.contains(&answer.status()), "{statuses:?}, not {:?}", answer.head.start);
    assert!(answer.head.closes(), "a refusal says that it closes: {:?}", answer.head);
    client.expect_end();
    assert!(arrived.is_empty(), "the server got {arrived:?}");
}

fn judge_arrival(arrived: &[Message], start: &str, lines: &[&str], body: &str) {
    let [request] = arrived else { panic!("not one request arrived, but {arrived:?}") };
    assert_eq!(request.head.start, start);
    assert_eq!(request.text(), body);
    let framing = |(name, _): &(String, String)| name.eq_ignore_ascii_case("content-length");
    assert!(!request.trailers.iter().any(framing), "{:?}", request.trailers);
    let raw = String::from_utf8_lossy(&request.head.raw).into_owned();
    for line in lines {
        match line.strip_prefix('!') {
            Some(name) => assert!(!request.head.has(name), "{name} in {raw:?}"),
            None => assert!(raw.contains(&format!("\r\n{line}\r\n")), "no {line:?} in {raw:?}"),
        }
    }
}

fn judge_response(client: &mut Socket, method: &str, wanted: &Response) {
    client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
    let answer = client.response_to(method);
    let passed = |status: u16, body: &str| match &answer {
        Ok(answer) => answer.status() == status && answer.text() == body,
        Err(_) => false,
    };
    let bad = matches!(&answer, Ok(answer) if answer.status() == 502);
    let cut = matches!(&answer, Err(Broken::Cut(_) | Broken::Reset | Broken::Closed));
    let fits = match wanted {
        Response::Passed(status, body) => passed(*status, body),
        Response::BadGateway => bad,
        Response::PassedOrBad(status, body) => passed(*status, body) || bad,
        Response::Cut => cut,
        Response::CutOrBad => cut || bad,
    };
    assert!(fits, "the client saw {answer:?}");
    // What a head may not say, whatever the server said.
    for head in answer.iter().flat_map(|answer| &answer.interim) {
        assert!(
            !["content-length", "transfer-encoding", "x-a"].iter().any(|f| head.has(f)),
            "{head:?}"
        );
    }
    if let Ok(answer) = answer
        && answer.status() == 204
    {
        assert!(!answer.head.has("content-length") && !answer.head.has("transfer-encoding"));
    }
}

#[test]
fn a_target_above_8k_is_414() {
    let origin = Origin::named("ok");
    let edge = Edge::to(&[&origin]).start();
    let get =
        |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 1));
    assert_eq!(edge.client().ask(get(8 * 1024)).status(), 200);
    for length in [8 * 1024 + 1, 20_000, 100_000] {
        let mut client = edge.client();
        // It may be refused before it is all sent.
        let _ = client.try_send(get(length));
        assert_eq!(client.response().unwrap().status(), 414, "{length}");
    }
}

#[test]
fn a_head_above_32k_is_431() {
    let origin = Origin::named("ok");
    let edge = Edge::to(&[&origin]).start();
    let get =
        |length: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(length));
    assert_eq!(edge.client().ask(get(31 * 1024)).status(), 200);
    for length in [33 * 1024, 200_000] {
        let mut client = edge.client();
        let _ = client.try_send(get(length));
        assert_eq!(client.response().unwrap().status(), 431, "{length}");
    }
}

#[test]
fn more_than_a_hundred_fields_are_431() {
    let origin = Origin::named("ok");
    let edge = Edge::to(&[&origin]).start();
    let get = |fields: usize| {
        let rest: String = (1..fields).map(|n| format!("X-{n}: y\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}\r\n")
    };
    assert_eq!(edge.client().ask(get(100)).status(), 200);
    assert_eq!(edge.client().ask(get(101)).status(), 431);
    let mut client = edge.client();
    let _ = client.try_send(get(5_000));
    assert_eq!(client.response().unwrap().status(), 431);
}

#[test]
fn the_limits_are_the_listeners() {
    let origin = Origin::named("ok");
    let edge = Edge::to(&[&origin])
        .listener("[listener.limits]\ntarget = \"100\"\nhead = \"1k\"\nfields = 5")
        .start();
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100));
    assert_eq!(edge.client().ask(target).status(), 414);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1024));
    assert_eq!(edge.client().ask(head).status(), 431);
    let fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(5));
    assert_eq!(edge.client().ask(fields).status(), 431);
}

#[test]
fn trailers_and_chunk_extensions_have_limits_too() {
    let origin = Origin::named("ok");
    let edge = Edge::to(&[&origin]).start();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = format!("{head}3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(200_000));
    let trailers = format!("{head}0\r\n{}\r\n", "X-T: y\r\n".repeat(20_000));
    let many =
        format!("{head}{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(3_000)).repeat(100));
    for request in [extension, trailers, many] {
        let mut client = edge.client();
        let _ = client.try_send(request);
        let status = client.response().unwrap().status();
        assert!(matches!(status, 400 | 413 | 431), "{status}");
    }
    assert_eq!(origin.count(), 0);
}

/// The one good request before a bad one is answered; what follows the bad one is not looked at.
#[test]
fn a_bad_request_ends_its_pipeline() {
    let origin = Origin::named("ok");
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(client.response().unwrap().status(), 200);
    assert_eq!(client.response().unwrap().status(), 400);
    client.expect_end();
    let targets: Vec<String> =
        origin.requests().iter().map(|r| r.head.target().to_owned()).collect();
    assert_eq!(targets, ["/1"]);
}

#[test]
fn nothing_after_a_close_is_served() {
    let origin = Origin::named("ok");
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert!(client.response().unwrap().head.closes());
    client.expect_end();
    assert_eq!(origin.count(), 1);
}

/// A server that says more than its Content-Length poisons nobody: the connection is not used again.
#[test]
fn bytes_after_an_answer_reach_no_other_client() {
    let origin = Origin::new(|conn| {
        while conn.receive().is_ok() {
            conn.send(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            );
        }
    });
    let edge = Edge::to(&[&origin]).workers(1).start();
    for _ in 0..20 {
        assert_eq!(edge.get("a", "/").text(), "ok");
    }
}

/// The same when the extra answer comes later, onto an idle connection.
#[test]
fn an_answer_nobody_asked_for_reaches_no_client() {
    let poisoned = Arc::new(AtomicUsize::new(0));
    let origin = {
        let poisoned = Arc::clone(&poisoned);
        Origin::new(move |conn| {
            while conn.receive().is_ok() {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                let _ = conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
                poisoned.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let edge = Edge::to(&[&origin]).workers(1).start();
    for n in 1..=20 {
        assert_eq!(edge.get("a", "/").text(), "ok");
        eventually("the poison is out", || poisoned.load(Ordering::SeqCst) == n);
    }
}
