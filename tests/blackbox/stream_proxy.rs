//! The PROXY protocol: what trusted peers say in front of a connection is who the client is from then
//! on, and what servers are told in front of theirs is whom it is for. The headers here are written
//! out by hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{
    kit::{Edge, Origin, Socket, eventually, named_reply},
    stream_tcp::{client, echo, tcp},
};

const ACCEPTS: &str = "accept_proxy = true\ntrusted_proxies = [\"127.0.0.1/32\"]";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4321 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2 from 192.0.2.7:4321 to 198.51.100.1:443, with something nobody knows behind it.
fn v2() -> Vec<u8> {
    let ends = [192, 0, 2, 7, 198, 51, 100, 1, 16, 225, 1, 187];
    [SIGNATURE, &[0x21, 0x11, 0, 16], &ends, &[0xEE, 0, 1, 9]].concat()
}

/// Says what it was told in front of the connection, as far as CRLF, and then what it hears.
fn tells() -> Origin {
    Origin::new(|conn| {
        let Ok(line) = conn.line() else { return };
        conn.send(format!("<{line}>"));
        while let Ok(bytes) = conn.some() {
            if conn.try_send(bytes).is_err() {
                return;
            }
        }
    })
}

fn stranger() -> IpAddr {
    Ipv4Addr::new(127, 0, 0, 2).into()
}

fn turned_away(mut client: Socket) {
    assert!(client.rest().unwrap_or_default().is_empty());
}

#[test]
fn who_a_trusted_peer_names_is_the_client() {
    let origin = tells();
    let edge = tcp(&format!("upstream = \"app\"\n{ACCEPTS}"))
        .pool("app", &[&origin])
        .toml("send_proxy = \"v1\"")
        .logging()
        .start();
    let told = "<PROXY TCP4 192.0.2.7 198.51.100.1 4321 443>early";
    for header in [V1, &v2()] {
        let mut whole = client(&edge);
        whole.send([header, b"early"].concat());
        assert_eq!(whole.exactly(told.len()).unwrap(), told.as_bytes());
        let mut dripping = client(&edge);
        [header, b"early"].concat().chunks(1).for_each(|byte| dripping.send(byte));
        assert_eq!(dripping.exactly(told.len()).unwrap(), told.as_bytes());
    }
    let records = edge.records(4);
    assert!(records.iter().all(|record| record["client"] == "192.0.2.7"), "{records:?}");
    assert!(records.iter().all(|record| record["bytes_received"] == 5), "{records:?}");
}

/// A balancer that speaks for itself, such as to see whether anybody listens.
#[test]
fn a_header_about_nobody_leaves_the_peer() {
    let origin = tells();
    let edge = tcp(&format!("upstream = \"app\"\n{ACCEPTS}"))
        .pool("app", &[&origin])
        .toml("send_proxy = \"v1\"")
        .start();
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    for header in [&b"PROXY UNKNOWN\r\n"[..], &local] {
        let mut client = client(&edge);
        client.send(header);
        let own = client.inner().local_addr().unwrap().as_socket().unwrap().port();
        let expected =
            format!("<PROXY TCP4 127.0.0.1 127.0.0.1 {own} {}>", edge.port("tcp").port());
        assert_eq!(client.exactly(expected.len()).unwrap(), expected.as_bytes());
    }
}

#[test]
fn a_trusted_peer_without_a_header_in_time_is_turned_away() {
    let origin = echo();
    let edge = tcp(&format!("upstream = \"app\"\n{ACCEPTS}\ntimeouts = {{ header = \"300ms\" }}"))
        .pool("app", &[&origin])
        .logging()
        .start();
    for (at, (said, status)) in [
        (&b"HELO\r\n"[..], 400),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4321\r\n", 400),
        (b"PROXY TCP4 192.0.2.7 ", 408),
        (b"", 408),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = client(&edge);
        client.send(said);
        turned_away(client);
        assert_eq!(edge.records(at + 1)[at]["status"], status);
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_header_of_a_stranger_is_payload() {
    let origin = echo();
    let edge = tcp(&format!("upstream = \"app\"\n{ACCEPTS}")).pool("app", &[&origin]).logging();
    let edge = edge.start();
    let mut client = Socket::connect_from(stranger(), edge.port("tcp"));
    client.send(V1);
    assert_eq!(client.exactly(V1.len()).unwrap(), V1);
    client.finish();
    assert_eq!(edge.records(1)[0]["client"], "127.0.0.2");
}

#[test]
fn on_an_http_listener_it_is_who_the_request_is_from() {
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin]).listener(ACCEPTS).logging().start();
    for header in [V1, &v2()] {
        let mut client = edge.client();
        client.send(header);
        for _ in 0..2 {
            let ask = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
            assert_eq!(client.ask(ask).text(), "up");
            let seen = origin.last_request();
            assert_eq!(seen.head.field("x-forwarded-for"), Some("192.0.2.7"), "not who it says");
        }
    }
    let records = edge.records(4);
    assert!(records.iter().all(|record| record["client"] == "192.0.2.7"), "{records:?}");
}

#[test]
fn on_an_http_listener_nobody_else_gets_through() {
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin])
        .listener(&format!("{ACCEPTS}\ntimeouts = {{ header = \"300ms\" }}"))
        .logging()
        .start();
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (at, (said, status)) in [(get, 400), ("PROXY TCP4 1", 408)].into_iter().enumerate() {
        let mut client = edge.client();
        client.send(said);
        turned_away(client);
        assert_eq!(edge.records(at + 1)[at]["status"], status);
    }
    assert_eq!(origin.count(), 0);
    let mut stranger = Socket::connect_from(stranger(), edge.port("edge"));
    assert_eq!(stranger.ask(get).text(), "up");
    assert_eq!(stranger.ask([V1, get.as_bytes()].concat()).status(), 400);
}

#[test]
fn a_server_is_told_whom_a_connection_is_for() {
    let origin = tells();
    let edge =
        tcp("upstream = \"app\"").pool("app", &[&origin]).toml("send_proxy = \"v1\"").start();
    let mut client = Socket::connect_from(stranger(), edge.port("tcp"));
    let own = client.inner().local_addr().unwrap().as_socket().unwrap().port();
    let expected = format!("<PROXY TCP4 127.0.0.2 127.0.0.1 {own} {}>", edge.port("tcp").port());
    assert_eq!(client.exactly(expected.len()).unwrap(), expected.as_bytes());
}

#[test]
fn in_version_2_byte_by_byte() {
    let origin = Origin::new(|conn| {
        let header = conn.exactly(28).unwrap();
        conn.send(header);
        let _ = conn.rest();
    });
    let edge =
        tcp("upstream = \"app\"").pool("app", &[&origin]).toml("send_proxy = \"v2\"").start();
    let mut client = client(&edge);
    let own = client.inner().local_addr().unwrap().as_socket().unwrap();
    let ends = [127, 0, 0, 1, 127, 0, 0, 1];
    let ports = [own.port().to_be_bytes(), edge.port("tcp").port().to_be_bytes()].concat();
    let expected = [SIGNATURE, &[0x21, 0x11, 0, 12], &ends, &ports].concat();
    assert_eq!(client.exactly(28).unwrap(), expected);
}

/// A connection that was introduced as one client's is not used for another one's request.
#[test]
fn http_servers_are_told_too_on_a_connection_for_each_request() {
    let origin = Origin::new(|conn| {
        let line = conn.line().unwrap();
        conn.receive().unwrap();
        let _ = conn.try_send(named_reply(&line));
        // It would keep it.
        let _ = conn.rest();
    });
    let edge = Edge::to(&[&origin]).toml("send_proxy = \"v1\"").start();
    let (mut first, mut second) =
        (edge.client(), Socket::connect_from(stranger(), edge.port("edge")));
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..2 {
        assert!(first.ask(get).text().starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "));
        assert!(second.ask(get).text().starts_with("PROXY TCP4 127.0.0.2 127.0.0.1 "));
    }
    assert_eq!(origin.connections(), 4);
}

#[test]
fn servers_are_connected_to_from_the_pools_own_addresses_in_turn() {
    let peers = Origin::new(|conn| {
        let peer: SocketAddr = conn.inner().peer_addr().unwrap().as_socket().unwrap();
        conn.send(format!("{} ", peer.ip()));
        let _ = conn.rest();
    });
    let edge = tcp("upstream = \"app\"")
        .workers(1)
        .pool("app", &[&peers])
        .toml("source = [\"127.0.0.3\", \"::1\", \"127.0.0.4\"]")
        .start();
    let from = || {
        let mut client = client(&edge);
        client.exactly(10).unwrap();
        client
    };
    let seen: Vec<Vec<u8>> = (0..4).map(|_| client(&edge).exactly(10).unwrap()).collect();
    let [a, b] = [b"127.0.0.3 ".to_vec(), b"127.0.0.4 ".to_vec()];
    assert!(seen == [&a[..], &b, &a, &b] || seen == [&b[..], &a, &b, &a], "{seen:?}");
    // Both stay in use, however many connections there are.
    let many: Vec<Socket> = (0..50).map(|_| from()).collect();
    assert_eq!(many.len(), 50);
}

#[test]
fn an_address_that_is_not_ours_is_no_fault_of_the_server() {
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin]).toml("source = [\"192.0.2.1\"]").start();
    assert_eq!(edge.get("a", "/").status(), 502);
    let server = origin.address();
    let state =
        format!("tidegate_server_state{{upstream=\"app\",server=\"{server}\",state=\"up\"}}");
    assert_eq!(edge.metric(&state), Some(1.0));
    assert!(edge.metric("tidegate_local_errors_total{kind=\"connect\"}") > Some(0.0));
    edge.wait_for_log("no connection for want of local resources");
    eventually("nothing came", || origin.connections() == 0);
}
