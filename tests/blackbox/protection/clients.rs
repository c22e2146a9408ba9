//! `max_connections_per_client`, of listeners for http and tcp.

use std::net::IpAddr;

use super::reload;
use crate::{
    kit::{Edge, Origin, Socket, eventually},
    stream_tcp::{client, echo, tcp},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const TWO: &str = "max_connections_per_client = 2";
const PROXIED: &str = "max_connections_per_client = 2\naccept_proxy = true\n\
                       trusted_proxies = [\"127.0.0.1/32\"]";

fn proxy_line(client: &str) -> String {
    format!("PROXY TCP4 {client} 198.51.100.1 4321 443\r\n")
}

/// What a connection is told that is one too many.
#[track_caller]
fn turned_away(mut client: Socket, sent: &str) {
    let _ = client.try_send(sent);
    match client.response() {
        Ok(answer) => assert_eq!(answer.status(), 503),
        Err(broken) => assert!(broken.is_cut(), "{broken:?}"),
    }
    client.expect_end();
}

fn other() -> IpAddr {
    [127, 0, 0, 2].into()
}

#[test]
fn one_client_cannot_have_all_connections() {
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin]).listener(TWO).start();
    let mut inside: Vec<Socket> = (0..2).map(|_| edge.client()).collect();
    assert!(inside.iter_mut().all(|client| client.ask(GET).text() == "up"));
    turned_away(edge.client(), GET);
    edge.wait_for_log("as many connections as it may have");
    let mut stranger = Socket::connect_from(other(), edge.port("edge"));
    assert_eq!(stranger.ask(GET).text(), "up", "others have their own");
    let refused = "tidegate_connections_refused_total{listener=\"edge\",reason=\"client\"}";
    assert_eq!(edge.metric(refused), Some(1.0));
    edge.rewrite(|text| format!("{text}\n# anything\n"));
    reload(&edge);
    turned_away(edge.client(), GET);
    edge.rewrite(|text| text.replace(TWO, "max_connections_per_client = 3"));
    reload(&edge);
    inside.push(edge.client());
    assert!(inside.iter_mut().all(|client| client.ask(GET).text() == "up"));
    turned_away(edge.client(), GET);
    inside.clear();
    eventually("there is room again", || {
        let mut client = edge.client();
        client.try_send(GET).is_ok() && client.response().is_ok_and(|answer| answer.text() == "up")
    });
}

#[test]
fn behind_a_proxy_its_header_tells_the_client() {
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin]).listener(PROXIED).start();
    let connect = |client: &str| {
        let mut socket = edge.client();
        socket.send(proxy_line(client));
        socket
    };
    let mut inside = [connect("192.0.2.1"), connect("192.0.2.1"), connect("192.0.2.2")];
    assert!(inside.iter_mut().all(|client| client.ask(GET).text() == "up"));
    turned_away(connect("192.0.2.1"), GET);
    assert_eq!(connect("192.0.2.2").ask(GET).text(), "up");
    drop(inside);
    eventually("there is room again", || {
        let mut client = connect("192.0.2.1");
        client.try_send(GET).is_ok() && client.response().is_ok_and(|answer| answer.text() == "up")
    });
}

#[test]
fn a_tcp_listener_closes_what_is_too_many() {
    let origin = echo();
    let edge = tcp(&format!("upstream = \"app\"\n{TWO}")).pool("app", &[&origin]).start();
    let mut inside = [client(&edge), client(&edge)];
    for tunnel in &mut inside {
        tunnel.send(b"hello");
        assert_eq!(tunnel.exactly(5).unwrap(), b"hello");
    }
    client(&edge).expect_end();
    let [first, mut second] = inside;
    drop(first);
    eventually("there is room again", || {
        let mut client = client(&edge);
        client.try_send(b"hello").is_ok() && client.exactly(5).is_ok()
    });
    second.send(b"hello");
    assert_eq!(second.exactly(5).unwrap(), b"hello");
    let proxied = tcp(&format!("upstream = \"app\"\n{PROXIED}")).pool("app", &[&origin]).start();
    let connect = |from: &str| {
        let mut socket = client(&proxied);
        socket.send(format!("{}hello", proxy_line(from)));
        socket
    };
    let mut inside = [connect("192.0.2.1"), connect("192.0.2.1")];
    assert!(inside.iter_mut().all(|client| client.exactly(5).is_ok()));
    assert!(connect("192.0.2.1").rest().unwrap_or_default().is_empty());
    assert!(connect("192.0.2.2").exactly(5).is_ok());
}
