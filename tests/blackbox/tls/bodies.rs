//! Requests over TLS: bodies of every size and framing, pipelining, and ends that can be told from cuts.

use fastrand::Rng;

use super::{GET, LAST, Site, talk};
use crate::kit::{Broken, Edge, Origin, bytes};

#[test]
fn bodies_go_both_ways_unharmed() {
    let origin = Origin::echo();
    let site = Site::new(Edge::to(&[&origin]), "");
    let mut random = Rng::with_seed(3);
    for old in [false, true] {
        let client = if old { site.client().old() } else { site.client() };
        let mut client = client.connect(site.edge.port("edge"), "a.test");
        for length in [0, 1, 16_384, 16_385, 300_000, 1_000_000] {
            let body = bytes(&mut random, length);
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            let answer = client.ask([head.as_bytes(), &body].concat());
            assert!(answer.body == body, "{length} bytes came back altered");
        }
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let body = bytes(&mut random, 200_000);
        body.chunks(7_001).for_each(|piece| client.send_chunk(piece));
        client.send("0\r\n\r\n");
        assert!(client.response().unwrap().body == body, "chunks came back altered");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::echo();
    let site = Site::new(Edge::to(&[&origin]), "");
    let mut client = site.connect();
    let request = |number: usize| {
        let body = number.to_string();
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    client.send((0..50).map(request).collect::<String>());
    for number in 0..50 {
        assert_eq!(client.response().unwrap().text(), number.to_string());
    }
}

#[test]
fn an_end_is_said_and_a_cut_is_not() {
    let unframed = "HTTP/1.1 200 OK\r\n\r\nall of it";
    let whole = Origin::raw(unframed);
    let cut = Origin::new(|conn| {
        if conn.receive().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na part");
        }
    });
    let chunks = Origin::new(|conn| {
        if conn.receive().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\na part\r\n");
        }
    });
    let origin = Origin::named("up");
    let edge = Edge::new()
        .pool("whole", &[&whole])
        .pool("cut", &[&cut])
        .pool("chunks", &[&chunks])
        .pool("up", &[&origin]);
    let site = Site::listening(edge, "timeouts = { keepalive = \"100ms\" }", "");
    let old = |host: &str| {
        let wanted =
            serde_json::json!({ "say": format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n") });
        talk(&site.edge, &wanted).remove(0)
    };
    let came = old("whole");
    assert!(came["heard"].as_str().unwrap().ends_with("all of it"), "{came}");
    assert_eq!(came["clean"], true, "{came}");
    // To a client of HTTP/1.0 the end of the connection is all there is to tell by.
    assert_eq!(old("chunks")["clean"], false, "a part is taken for the whole");
    let mut client = site.connect();
    client.send("GET / HTTP/1.1\r\nHost: cut\r\n\r\n");
    assert!(client.response().is_err_and(|broken| broken.is_cut()));
    // An idle connection, one that is asked to end, and one that the client ends.
    let mut idle = site.connect();
    assert_eq!(idle.ask(GET.replace("a.test", "up")).text(), "up");
    assert!(matches!(idle.some(), Err(Broken::Closed)), "no goodbye when its time is over");
    let mut last = site.connect();
    assert_eq!(last.ask(LAST.replace("a.test", "up")).text(), "up");
    assert!(matches!(last.some(), Err(Broken::Closed)), "no goodbye after the last answer");
    let mut leaving = site.connect();
    assert_eq!(leaving.ask(GET.replace("a.test", "up")).text(), "up");
    leaving.goodbye();
    assert!(matches!(leaving.some(), Err(Broken::Closed)), "no goodbye to who has said it");
}

#[test]
fn a_request_that_is_cut_is_none() {
    let origin = Origin::echo();
    let site = Site::new(Edge::to(&[&origin]).logging(), "");
    let mut client = site.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\na part");
    // FIN without a goodbye.
    client.finish();
    let status = &site.edge.records(1)[0]["status"];
    assert!(*status == 499 || *status == 400, "{status}");
    assert_eq!(origin.count(), 0);
}
