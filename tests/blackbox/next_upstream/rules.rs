//! The ten rules behind nginx's cases (spec §9.1), one after the other.

use std::{net::TcpListener, thread, time::Duration};

use super::{GET, HOUR, POST, edge, on, outcomes, plain};
use crate::{
    kit::{Conn, Edge, Gate, Origin, Socket},
    pools::{counts, tally},
};

/// Says these bytes, which begin a good answer, and once they have arrived this happens.
fn begins(bytes: &'static str, arrived: &Gate, then: fn(&mut Conn)) -> Origin {
    let arrived = arrived.clone();
    Origin::new(move |conn| {
        if conn.receive().is_ok() {
            conn.send(bytes);
            arrived.wait();
            then(conn);
        }
    })
}

/// Rule 1, and the end of rule 8: nor does it count against the server.
#[test]
fn rule_1_an_answer_that_has_begun_is_cut_and_never_asked_for_again() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let keys = r#"next = { on = ["error", "timeout", "invalid_header", "http_500"] }
        timeouts = { read = "1s" }"#;
    let ends: [(_, _, fn(&mut Conn)); 5] = [
        ("a close", half, |_| ()),
        ("a close between chunks", chunk, |_| ()),
        ("a reset", half, |conn| conn.reset()),
        ("silence", chunk, |conn| drop(conn.rest())),
        ("a malformed chunk", chunk, |conn| conn.send("garbage\r\n")),
    ];
    for (what, beginning, end) in ends {
        let (arrived, good) = (Gate::default(), Origin::named("good"));
        let cut = begins(beginning, &arrived, end);
        let edge = plain(&[&cut, &good], keys);
        let mut client = edge.client();
        client.send(GET);
        assert_eq!(client.head().unwrap().status(), 200, "{what}");
        arrived.open();
        let rest = client.rest().unwrap_or_default();
        assert!(rest.len() < 10 && !rest.ends_with(b"0\r\n\r\n"), "{what}: {rest:?}");
        assert_eq!((cut.count(), good.count()), (1, 0), "{what}: no other is asked");
        assert_eq!(edge.client().ask(GET).text(), "good", "{what}: whose turn it is");
        let mut last = edge.client();
        last.send(GET);
        cut.wait_for_requests(2);
    }
}

#[test]
fn rule_2_post_locks_and_patches_are_not_repeated_put_and_delete_are() {
    for (method, goes_on) in
        [("POST", false), ("LOCK", false), ("PATCH", false), ("PUT", true), ("DELETE", true)]
    {
        let (closing, good) = (Origin::closing(), Origin::named("good"));
        let edge = plain(&[&closing, &good], "");
        let request = POST.replace("POST", method);
        let answer = edge.client().ask(request);
        assert_eq!(answer.status(), if goes_on { 200 } else { 502 }, "{method}");
        assert_eq!(good.count(), usize::from(goes_on), "{method}");
    }
}

/// A listener that takes no more connections, and does not refuse them either.
fn full() -> (TcpListener, Vec<Socket>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&listener).listen(0).unwrap();
    let fill = vec![Socket::connect(listener.local_addr().unwrap())];
    (listener, fill)
}

#[test]
fn rule_2_who_was_never_reached_has_nothing_to_repeat() {
    let (listener, _fill) = full();
    let address = listener.local_addr().unwrap();
    let (refusing, good) = (Origin::refusing(), Origin::echo());
    let edge = Edge::new()
        .route("upstream = \"app\"")
        .logging()
        .toml(&format!(
            "[upstream.app]\nservers = [{:?}, \"{address}\", {:?}]\n\
             timeouts = {{ connect = \"1s\" }}",
            refusing.address(),
            good.address()
        ))
        .start();
    let answer = edge.client().ask(POST);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "body"));
    let record = &edge.records(1)[0];
    assert_eq!(outcomes(record), ["connect_failed", "connect_timeout", "answered"], "{record}");
}

/// Who is out for earlier failures is a server that can still be tried.
#[test]
fn rule_4_failed_servers_are_tried_when_nobody_else_is_left() {
    let origins = [Origin::closing(), Origin::closing()];
    let edge = plain(&origins.each_ref(), "");
    for turn in 1..=3 {
        assert_eq!(edge.client().ask(GET).status(), 502);
        assert_eq!(origins.each_ref().map(Origin::count), [turn, turn]);
    }
}

/// Its own answer is better than that of a server which failed a moment ago.
#[test]
fn rule_4_the_last_server_that_is_well_does_not_yield_to_a_failed_one() {
    let origins = ["1", "2"].map(|name| Origin::answering(500, name));
    let edge = plain(&origins.each_ref(), &on(&["http_500"]));
    for turn in 1..=3 {
        let answer = edge.client().ask(GET);
        assert_eq!((answer.status(), answer.text().as_str()), (500, "2"));
        assert_eq!(origins.each_ref().map(Origin::count), [1, turn]);
    }
}

#[test]
fn rule_5_no_try_begins_once_the_time_is_over() {
    let silent = [(); 4].map(|()| Origin::silent());
    let keys = "next = { timeout = \"500ms\" }\ntimeouts = { read = \"400ms\" }";
    let edge = plain(&silent.each_ref(), keys);
    assert_eq!(edge.client().ask(GET).status(), 504);
    // Two, unless the first one's end came late.
    let tries: usize = silent.iter().map(Origin::count).sum();
    assert!((1..=2).contains(&tries), "{tries}");
}

#[test]
fn rule_5_the_timeout_never_interrupts_a_try() {
    let slow = Origin::new(|conn| {
        if conn.receive().is_ok() {
            thread::sleep(Duration::from_millis(400));
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
        }
    });
    let good = Origin::named("good");
    let keys = "next = { on = [\"error\", \"timeout\", \"http_500\"], timeout = \"50ms\" }";
    let edge = plain(&[&slow, &good], keys);
    assert_eq!(edge.client().ask(GET).text(), "slow");
    assert_eq!(good.count(), 0);
}

/// Servers that say 500 with a body of their own: whatever keeps a request from going on, the last
/// one's answer is what the client gets.
#[test]
fn rule_6_the_last_servers_own_answer_is_passed_on() {
    for (next, request, last) in [
        (r#"on = ["http_500"]"#, GET, "2"),
        (r#"on = ["http_500"], tries = 1"#, GET, "1"),
        (r#"on = ["http_500"]"#, POST, "1"),
        (r#"on = ["http_500"], timeout = "1ms""#, GET, "1"),
        (r#"on = []"#, GET, "1"),
    ] {
        let origin = |name: &'static str| {
            Origin::new(move |conn| {
                while conn.receive().is_ok() {
                    // So that a limit of a millisecond is over.
                    thread::sleep(Duration::from_millis(5));
                    let reply = format!("HTTP/1.1 500 My Own\r\nContent-Length: 1\r\n\r\n{name}");
                    conn.send(reply);
                }
            })
        };
        let (one, two) = (origin("1"), origin("2"));
        let edge = plain(&[&one, &two], &format!("next = {{ {next} }}"));
        let answer = edge.client().ask(request);
        assert_eq!((answer.status(), answer.text().as_str()), (500, last), "{next}");
    }
}

#[test]
fn rule_7_what_the_client_is_told_when_nobody_is_left() {
    let keys = r#"next = { on = ["error", "timeout", "invalid_header"] }
        timeouts = { read = "500ms" }"#;
    let garbage = || Origin::raw("no HTTP at all\r\n\r\n");
    for (what, servers, status) in [
        ("closed", [Origin::closing(), Origin::closing()], 502),
        ("refused", [Origin::refusing(), Origin::refusing()], 502),
        ("malformed", [garbage(), garbage()], 502),
        ("silent", [Origin::silent(), Origin::silent()], 504),
        ("the last was silent", [Origin::closing(), Origin::silent()], 504),
        ("the last closed", [Origin::silent(), Origin::closing()], 502),
    ] {
        let edge = plain(&servers.each_ref(), keys);
        assert_eq!(edge.client().ask(GET).status(), status, "{what}");
    }
    let out = Origin::named("out");
    let edge = edge(&[(&out, ", down = true")], keys);
    assert_eq!(edge.client().ask(GET).status(), 502, "nobody lives");
}

/// Which answers count as failures of their server when they are left for another's.
#[test]
fn rule_8_every_reason_to_go_on_but_403_and_404_counts() {
    for (status, counts) in [
        (403, false),
        (404, false),
        (429, true),
        (500, true),
        (502, true),
        (503, true),
        (504, true),
    ] {
        let (bad, good) = (Origin::answering(status, "bad"), Origin::named("good"));
        let edge = plain(&[&bad, &good], &on(&[&format!("http_{status}")]));
        for _ in 0..6 {
            assert_eq!(edge.client().ask(GET).text(), "good", "{status}");
        }
        let asked = bad.count();
        assert_eq!(asked, if counts { 1 } else { asked.max(2) }, "{status}");
    }
}

#[test]
fn rule_8_a_5xx_that_is_passed_on_does_not_count() {
    let (bad, good) = (Origin::answering(500, "bad"), Origin::named("good"));
    let unlisted = plain(&[&bad, &good], "");
    assert_eq!(tally(&unlisted, 10), counts(&[("500", 5), ("good", 5)]), "it is not listed");
    let origins = ["1", "2"].map(|name| Origin::answering(500, name));
    let keys = format!("{}\nwhen_all_down = \"fail\"", on(&["http_500"]));
    let last = plain(&origins.each_ref(), &keys);
    assert_eq!(tally(&last, 5), counts(&[("500", 5)]));
    assert_eq!(origins.each_ref().map(Origin::count), [1, 5], "the last try counts for nothing");
}

/// Rule 9 is about the very connection: a new one that fails is a failure like any other.
#[test]
fn rule_9_a_kept_connection_that_died_is_no_try() {
    let origin = Origin::new(|conn| {
        if conn.receive().is_ok() && conn.try_send("HTTP/1.1 204 No\r\n\r\n").is_ok() {
            let _ = conn.receive();
        }
    });
    let keys = "next = { tries = 1 }\nkeepalive_timeout = \"1h\"";
    let edge = Edge::new()
        .workers(1)
        .route("upstream = \"app\"")
        .logging()
        .pool_of("app", &[(&origin, "")], keys)
        .start();
    for _ in 0..2 {
        assert_eq!(edge.client().ask(GET).status(), 204);
    }
    assert_eq!(outcomes(&edge.records(2)[1]), ["stale", "answered"]);
    let failed = "tidegate_upstream_attempts_total{upstream=\"app\",server=";
    let failed = format!("{failed}\"{}\",outcome=\"failed\"}}", origin.address());
    assert_eq!(edge.metric(&failed), None, "nobody is blamed");
}

#[test]
fn rule_10_nobody_else_is_asked_once_the_client_has_left() {
    let gate = Gate::default();
    let closing = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            let _ = conn.receive();
            gate.wait();
        })
    };
    let good = Origin::named("good");
    let edge = edge(&[(&closing, HOUR), (&good, HOUR)], "");
    let mut client = edge.client();
    client.send(GET);
    closing.wait_for_requests(1);
    drop(client);
    let record = &edge.records(1)[0];
    gate.open();
    assert_eq!((record["status"].as_u64(), outcomes(record)), (Some(499), vec!["cancelled"]));
    closing.wait_for_ended(1);
    assert_eq!(tally(&edge, 1), counts(&[("good", 1)]), "its turn had come, and nothing else had");
    assert_eq!(good.count(), 1);
}
