//! Handshakes that come to nothing: slow ones, broken ones, none at all, and too many; what else may
//! stand in front of one.

use std::{fs, thread, time::Duration};

use fastrand::Rng;

use super::{GET, LAST, Site};
use crate::kit::{DEADLINE, Edge, Origin, Socket, bytes, env_number, eventually};

/// The first bytes that a client says.
fn hello(site: &Site) -> Vec<u8> {
    let mut bytes = Vec::new();
    site.client().connection("a.test").write_tls(&mut bytes).unwrap();
    bytes
}

fn open_files(edge: &Edge) -> usize {
    fs::read_dir(format!("/proc/{}/fd", edge.pid())).unwrap().count()
}

/// Whatever it was told, the connection has ended.
#[track_caller]
fn ends(mut client: Socket) {
    let _ = client.inner().set_read_timeout(Some(DEADLINE));
    while client.some().is_ok_and(|said| !said.is_empty()) {}
}

#[test]
fn a_slow_handshake_is_cut_and_nobody_else_waits_for_it() {
    let origin = Origin::named("up");
    let site =
        Site::listening(Edge::to(&[&origin]).workers(1), "timeouts = { header = \"400ms\" }", "");
    let hello = hello(&site);
    // Nothing, a part, and all of the first message, with nothing to follow it.
    let slow: Vec<Socket> = (0..60)
        .map(|number| {
            let mut client = site.edge.client();
            client.send(&hello[..[0, 7, hello.len() / 2, hello.len()][number % 4]]);
            client
        })
        .collect();
    // One that says a byte now and then is no better: the time is one for all of it.
    let mut dripping = site.edge.client();
    let drip = thread::spawn(move || {
        for byte in hello {
            if dripping.try_send([byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("it was let go on to the end");
    });
    for _ in 0..20 {
        assert_eq!(site.connect().ask(GET).text(), "up");
    }
    slow.into_iter().for_each(ends);
    drip.join().unwrap();
    eventually("all are counted", || site.handshakes("timeout") >= 61.0);
    assert_eq!((site.handshakes("timeout"), site.handshakes("full")), (61.0, 20.0));
    site.edge.wait_for_log("TLS handshake not completed");
}

#[test]
fn garbage_is_turned_away() {
    let origin = Origin::named("up");
    let site = Site::new(Edge::to(&[&origin]), "");
    let mut random = Rng::with_seed(7);
    let mut count = 0.0;
    for length in [1, 5, 6, 100, 20_000] {
        let mut said = bytes(&mut random, length);
        // A letter would be taken for HTTP.
        said[0] = 0x80;
        let mut client = site.edge.client();
        let _ = client.try_send(&said);
        client.finish();
        ends(client);
        count += 1.0;
    }
    // A record that is one by its first bytes alone, and alerts of a client that gives up.
    for said in [&b"\x16\x03\x01\x40\x00"[..], b"\x15\x03\x03\x00\x02\x02\x28", b"\x17\x03\x03\0\0"]
    {
        let mut client = site.edge.client();
        client.send(said);
        client.finish();
        ends(client);
        count += 1.0;
    }
    eventually("all are counted", || site.handshakes("failed") + site.handshakes("gone") >= count);
    assert_eq!(site.connect().ask(GET).text(), "up");
    assert_eq!(site.edge.metric("tidegate_panics_total"), Some(0.0));
}

/// A thousand of them, at every stage.
#[test]
fn who_breaks_off_gives_everything_back() {
    let origin = Origin::named("up");
    let site = Site::new(Edge::to(&[&origin]), "");
    let hello = hello(&site);
    assert_eq!(site.connect().ask(LAST).text(), "up");
    let before = open_files(&site.edge);
    let count = env_number("TIDEGATE_BROKEN", 1_000);
    for number in 0..count {
        let mut client = site.edge.client();
        client.send(&hello[..hello.len() * (number % 5) / 4]);
        if number % 5 == 4 && number % 2 == 0 {
            // Until the server's part has come.
            client.some().unwrap();
        }
        client.reset();
    }
    // An idle connection to the server may come or go meanwhile.
    eventually("descriptors come back", || open_files(&site.edge) <= before + 2);
    eventually("all are counted", || site.handshakes("gone") >= count as f64);
    assert_eq!(site.connect().ask(GET).text(), "up");
}

#[test]
fn plain_http_is_told_so() {
    let origin = Origin::named("up");
    let site = Site::new(Edge::to(&[&origin]).logging(), "");
    let mut client = site.edge.client();
    let answer = client.ask(GET);
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("The plain HTTP request was sent to HTTPS port"), "{answer:?}");
    client.expect_end();
    let mut head = site.edge.client();
    head.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let answer = head.response_to("HEAD").unwrap();
    assert_eq!((answer.status(), answer.head.closes()), (400, true));
    head.expect_end();
    let records = site.edge.records(2);
    assert!(records.iter().all(|one| one["status"] == 400 && one.get("tls").is_none()));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_full_listener_shakes_no_hands() {
    let origin = Origin::named("up");
    let site = Site::listening(Edge::to(&[&origin]), "max_connections = 1", "");
    let mut inside = site.connect();
    assert_eq!(inside.ask(GET).text(), "up");
    assert!(site.client().try_connect(site.edge.port("edge"), "a.test").is_err());
    assert_eq!(site.handshakes("full"), 1.0);
    assert_eq!(inside.ask(GET).text(), "up");
    inside.goodbye();
    drop(inside);
    eventually("there is room again", || {
        site.client().try_connect(site.edge.port("edge"), "a.test").is_ok()
    });
}

/// The header comes first, in plain text, in one piece with the hello or not.
#[test]
fn a_proxy_header_stands_in_front() {
    let origin = Origin::named("up");
    let accepts = "accept_proxy = true\ntrusted_proxies = [\"127.0.0.1/32\"]";
    let site = Site::listening(Edge::to(&[&origin]).logging(), accepts, "");
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4321 443\r\n";
    for together in [true, false] {
        let mut client = site.edge.client();
        let mut tls = site.client().connection("a.test");
        if together {
            let mut said = header.to_vec();
            tls.write_tls(&mut said).unwrap();
            client.send(said);
        } else {
            client.send(header);
            assert!(client.is_quiet_for(Duration::from_millis(50)));
        }
        let mut client = client.secure(tls.into()).unwrap();
        assert_eq!(client.ask(GET).text(), "up");
        assert_eq!(origin.last_request().field("x-forwarded-for"), Some("192.0.2.7"));
    }
    // Without it nobody is spoken to.
    assert!(site.client().try_connect(site.edge.port("edge"), "a.test").is_err());
    let records = site.edge.records(3);
    let (refused, served): (Vec<_>, Vec<_>) = records.iter().partition(|one| one["status"] == 400);
    assert_eq!((refused.len(), served.len()), (1, 2));
    assert!(served.iter().all(|one| one["client"] == "192.0.2.7"));
}
