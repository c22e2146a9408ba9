//! Requests with bodies: on the next server they are whole to the byte, or they are not there at all.
//! What is kept for that is bounded, by request and for all of them together.

use fastrand::Rng;

use super::{GET, POST, edge, on, outcomes, plain};
use crate::kit::{Edge, Message, Origin, Socket, bytes};

const KIB: usize = 1024;

/// What the first server does with a request.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Resets after so many bytes of the body.
    ResetsWithin(usize),
    /// Resets once it has read everything.
    ResetsAfter,
    /// Closes, without an answer, once it has read everything.
    ClosesAfter,
    /// Says 502 when it has the head.
    RefusesEarly,
}

const FAULTS: [Fault; 4] =
    [Fault::ResetsWithin(3_000), Fault::ResetsAfter, Fault::ClosesAfter, Fault::RefusesEarly];

fn faulty(fault: Fault) -> Origin {
    Origin::new(move |conn| match fault {
        Fault::ResetsWithin(length) => {
            let _ = conn.receive_head();
            let _ = conn.exactly(length);
            conn.reset();
        }
        Fault::ResetsAfter => {
            let _ = conn.receive();
            conn.reset();
        }
        Fault::ClosesAfter => drop(conn.receive()),
        Fault::RefusesEarly => {
            let _ = conn.receive_head();
            conn.send("HTTP/1.1 502 Early\r\nContent-Length: 5\r\n\r\nearly");
            let _ = conn.rest();
        }
    })
}

/// How the body's length is told.
#[derive(Clone, Copy, Debug)]
enum Coding {
    Length,
    Chunked,
}

/// A body that no other request has.
fn body(length: usize) -> Vec<u8> {
    bytes(&mut Rng::with_seed(length as u64), length)
}

/// How one piece of a body goes over the wire.
type Framing = fn(&[u8]) -> Vec<u8>;

/// A whole request in the pieces in which it is sent.
fn pieces(method: &str, coding: Coding, body: &[u8]) -> Vec<Vec<u8>> {
    let (framing, piece): (_, Framing) = match coding {
        Coding::Length => (format!("Content-Length: {}", body.len()), <[u8]>::to_vec),
        Coding::Chunked => ("Transfer-Encoding: chunked".to_owned(), |part| {
            [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()
        }),
    };
    let head = format!("{method} / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").into_bytes();
    let last = match coding {
        Coding::Length => Vec::new(),
        Coding::Chunked => b"0\r\n\r\n".to_vec(),
    };
    let parts = body.chunks(7_001).map(piece);
    std::iter::once(head).chain(parts).chain([last]).collect()
}

/// Sends it, as far as the other side takes it, and reads the answer.
#[track_caller]
fn ask(client: &mut Socket, method: &str, coding: Coding, body: &[u8]) -> Message {
    for piece in pieces(method, coding, body) {
        if client.try_send(piece).is_err() {
            break;
        }
    }
    client.response().unwrap()
}

fn every_fault() -> String {
    on(&["error", "http_502"])
}

#[test]
fn a_put_is_whole_on_the_next_server() {
    for fault in FAULTS {
        for coding in [Coding::Length, Coding::Chunked] {
            for length in [8 * KIB, 60 * KIB] {
                let (bad, echo) = (faulty(fault), Origin::echo());
                let edge = plain(&[&bad, &echo], &every_fault());
                let body = body(length);
                let answer = ask(&mut edge.client(), "PUT", coding, &body);
                let what = format!("{fault:?}, {coding:?}, {length} bytes");
                assert_eq!(answer.status(), 200, "{what}");
                assert!(answer.body == body, "{what}: the body is not what was sent");
                assert_eq!((bad.count(), echo.count()), (1, 1), "{what}");
            }
        }
    }
}

/// One server after the other spoils it; the last one gets it as the client sent it.
#[test]
fn a_put_survives_every_fault_in_a_row() {
    let bad = FAULTS.map(faulty);
    let echo = Origin::echo();
    let origins: Vec<&Origin> = bad.iter().chain([&echo]).collect();
    let edge = plain(&origins, &every_fault());
    let body = body(60 * KIB);
    for coding in [Coding::Chunked, Coding::Length] {
        let answer = ask(&mut edge.client(), "PUT", coding, &body);
        assert!(answer.status() == 200 && answer.body == body, "{coding:?}: {}", answer.status());
    }
    assert!(bad.iter().all(|origin| origin.count() == 1), "{:?}", edge.records(2));
}

#[test]
fn a_post_is_replayed_with_non_idempotent_alone() {
    for fault in FAULTS {
        let body = body(20 * KIB);
        let (bad, echo) = (faulty(fault), Origin::echo());
        let edge = plain(&[&bad, &echo], &every_fault());
        assert_eq!(ask(&mut edge.client(), "POST", Coding::Length, &body).status(), 502);
        assert_eq!((bad.count(), echo.count()), (1, 0), "{fault:?}");
        let (bad, echo) = (faulty(fault), Origin::echo());
        let edge = plain(&[&bad, &echo], &on(&["error", "http_502", "non_idempotent"]));
        let answer = ask(&mut edge.client(), "POST", Coding::Chunked, &body);
        assert!(answer.status() == 200 && answer.body == body, "{fault:?}");
    }
}

/// Nothing of it has gone anywhere, however long it is: there is nothing to replay.
#[test]
fn any_body_goes_on_whole_after_a_refused_connect() {
    for (coding, method) in [(Coding::Length, "POST"), (Coding::Chunked, "PUT")] {
        let (dead, echo) = (Origin::refusing(), Origin::echo());
        let edge = plain(&[&dead, &echo], "next = { replay_buffer = \"1k\" }");
        let body = body(300 * KIB);
        let answer = ask(&mut edge.client(), method, coding, &body);
        assert!(answer.status() == 200 && answer.body == body, "{coding:?}: {}", answer.status());
        assert_eq!(outcomes(&edge.records(1)[0]), ["connect_failed", "answered"]);
    }
}

#[test]
fn a_body_over_the_replay_buffer_streams_and_is_sent_once() {
    for (coding, keys, length) in [
        (Coding::Length, "next = {}", 100 * KIB),
        (Coding::Chunked, "next = {}", 200 * KIB),
        (Coding::Length, "next = { replay_buffer = \"1k\" }", 4 * KIB),
        (Coding::Chunked, "next = { replay_buffer = \"1k\" }", 4 * KIB),
    ] {
        // With chunks the size shows only when they have come.
        let bad = faulty(Fault::ResetsWithin(length * 3 / 4));
        let echo = Origin::echo();
        let edge = plain(&[&bad, &echo], keys);
        let answer = ask(&mut edge.client(), "PUT", coding, &body(length));
        assert_eq!(answer.status(), 502, "{coding:?}, {keys}");
        assert_eq!((bad.count(), echo.count()), (1, 0), "{coding:?}, {keys}");
    }
}

#[test]
fn a_long_body_that_meets_no_fault_arrives() {
    let echo = Origin::echo();
    let edge = plain(&[&echo], "next = { replay_buffer = \"1k\" }");
    for coding in [Coding::Length, Coding::Chunked] {
        let body = body(300 * KIB);
        assert!(ask(&mut edge.client(), "PUT", coding, &body).body == body, "{coding:?}");
    }
}

/// An edge with little memory for bodies.
fn frugal(origins: &[&Origin]) -> Edge {
    let servers: Vec<_> = origins.iter().map(|origin| (*origin, ", max_fails = 0")).collect();
    let edge = Edge::new().process("replay_memory = \"8k\"").route("upstream = \"app\"");
    edge.pool_of("app", &servers, "").start()
}

#[test]
fn a_body_that_finds_no_memory_is_sent_once_and_counted() {
    let (bad, echo) = (faulty(Fault::ResetsWithin(30 * KIB)), Origin::echo());
    let edge = frugal(&[&bad, &echo]);
    for coding in [Coding::Length, Coding::Chunked] {
        let before = bad.count();
        while bad.count() == before {
            let answer = ask(&mut edge.client(), "PUT", coding, &body(60 * KIB));
            let wanted = if bad.count() == before { 200 } else { 502 };
            assert_eq!(answer.status(), wanted, "{coding:?}");
        }
    }
    let refused = edge.metric("tidegate_replay_refused_total{upstream=\"app\"}");
    assert_eq!(refused, Some(2.0));
}

/// Memory that is not given back would be gone after the second of them.
#[test]
fn memory_for_bodies_is_given_back() {
    let (bad, echo) = (faulty(Fault::ResetsAfter), Origin::echo());
    let edge = frugal(&[&bad, &echo]);
    let mut client = edge.client();
    for turn in 0..50 {
        let body = body(3 * KIB + turn);
        let answer = ask(&mut client, "PUT", Coding::Chunked, &body);
        assert!(answer.status() == 200 && answer.body == body, "{turn}: {}", answer.status());
    }
    assert!(bad.count() >= 20, "it was in the way {} times", bad.count());
    assert_eq!(edge.metric("tidegate_replay_refused_total"), None);
}

#[test]
fn a_body_that_is_waited_for_comes_after_the_second_servers_100() {
    let (closing, echo) = (
        Origin::new(|conn| drop(conn.receive_head())),
        Origin::new(|conn| {
            let head = conn.head().unwrap();
            assert_eq!(head.field("expect"), Some("100-continue"));
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.exactly(8 * KIB).unwrap();
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n");
            conn.send(body);
        }),
    );
    let edge = plain(&[&closing, &echo], "");
    let mut client = edge.client();
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8192\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 100);
    let body = body(8 * KIB);
    client.send(&body);
    let answer = client.response().unwrap();
    assert!(answer.status() == 200 && answer.body == body, "{}", answer.status());
    assert_eq!(closing.count(), 1);
}

/// The client sends its body once, however many servers ask for it.
#[test]
fn a_body_that_was_asked_for_is_replayed() {
    let continues = |answers: bool| {
        Origin::new(move |conn| {
            let Ok(head) = conn.head() else { return };
            assert_eq!(head.field("expect"), Some("100-continue"));
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.exactly(8 * KIB).unwrap();
            if answers {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n");
                conn.send(body);
            } else {
                conn.reset();
            }
        })
    };
    let (bad, good) = (continues(false), continues(true));
    let edge = plain(&[&bad, &good], "");
    let mut client = edge.client();
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8192\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 100);
    let body = body(8 * KIB);
    client.send(&body);
    let answer = client.response().unwrap();
    assert!(answer.status() == 200 && answer.body == body, "{}", answer.status());
    assert_eq!((bad.connections(), good.connections()), (1, 1));
}

/// What follows a replayed body on the client's connection is neither lost nor taken for its part.
#[test]
fn the_next_request_behind_a_replayed_body_is_answered() {
    for fault in FAULTS {
        for coding in [Coding::Length, Coding::Chunked] {
            let (bad, echo) = (faulty(fault), Origin::echo());
            let edge = plain(&[&bad, &echo], &every_fault());
            let body = body(8 * KIB);
            let put = pieces("PUT", coding, &body).concat();
            let mut client = edge.client();
            client.send([put.as_slice(), GET.as_bytes(), POST.as_bytes(), &put].concat());
            let answers: Vec<Vec<u8>> = (0..4).map(|_| client.response().unwrap().body).collect();
            let wanted = [body.as_slice(), b"", b"body", &body];
            assert!(answers == wanted, "{fault:?}, {coding:?}: mixed up");
            assert!(bad.count() == 1 && echo.count() == 4, "{fault:?}, {coding:?}");
        }
    }
}

/// A server that answers before it has read the body says what it wants said; only a listed status is
/// left for another's.
#[test]
fn an_early_answer_that_is_not_listed_is_the_answer() {
    let early = Origin::new(|conn| {
        let _ = conn.receive_head();
        conn.send("HTTP/1.1 413 Enough\r\nConnection: close\r\nContent-Length: 5\r\n\r\nearly");
        let _ = conn.rest();
    });
    let echo = Origin::echo();
    let edge = edge(&[(&early, ""), (&echo, "")], &every_fault());
    let answer = ask(&mut edge.client(), "PUT", Coding::Length, &body(60 * KIB));
    assert_eq!((answer.status(), answer.text().as_str()), (413, "early"));
    assert_eq!(echo.count(), 0);
}

/// A client that is refused in mid-body is not a server's failure, and nobody else is asked.
#[test]
fn a_malformed_body_is_the_clients_fault_and_goes_nowhere_else() {
    let (reading, echo) = (Origin::new(|conn| drop(conn.receive())), Origin::echo());
    let edge = plain(&[&reading, &echo], "");
    let mut client = edge.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    reading.wait_for_connections(1);
    client.send("nonsense\r\n");
    assert_eq!(client.response().unwrap().status(), 400);
    assert_eq!((reading.connections(), echo.connections()), (1, 0));
}
