//! Addresses that go from one listener to another, and listeners that go to another address.

use std::net::SocketAddr;

use serde_json::json;

use super::{GET, add, assert_closed, place, reload};
use crate::{
    kit::{Edge, Origin, Socket, UdpClient, UdpOrigin},
    stream_tcp::greeting,
};

fn at(name: &str, address: &str, lines: &str) -> String {
    format!("[[listener]]\nname = {name:?}\naddress = {address:?}\n{lines}\n")
}

#[test]
fn a_listener_goes_to_another_address() {
    let (web, raw, answers) = (Origin::named("up"), greeting("hello"), UdpOrigin::named("u"));
    let lines = |protocol| format!("protocol = {protocol:?}\nupstream = {protocol:?}");
    let listeners = |ip: &str| {
        at("web", ip, "") + &at("tcp", ip, &lines("tcp")) + &at("udp", ip, &lines("udp"))
    };
    let edge = Edge::new()
        .pool("app", &[&web])
        .pool("tcp", &[&raw])
        .toml(&format!("[upstream.udp]\nservers = [{:?}]", answers.address()))
        .toml(&listeners("127.0.0.1:0"));
    let edge = edge.expect_listener("web").expect_listener("tcp").expect_listener("udp").start();
    let mut kept = Socket::connect(edge.port("web"));
    assert_eq!(kept.ask(GET).text(), "up");
    let mut carried = Socket::connect(edge.port("tcp"));
    assert_eq!(carried.exactly(5).unwrap(), b"hello");
    edge.rewrite(|text| text.replace(&listeners("127.0.0.1:0"), &listeners("127.0.0.2:0")));
    assert_eq!(reload(&edge)["listeners"]["changed"], json!(["web", "tcp", "udp"]));
    assert_closed(edge.port("web"));
    assert_closed(edge.port("tcp"));
    std::net::UdpSocket::bind(edge.port("udp")).unwrap();
    for name in ["web", "tcp", "udp"] {
        assert_eq!(place(&edge, name).ip().to_string(), "127.0.0.2");
    }
    assert_eq!(Socket::connect(place(&edge, "web")).ask(GET).text(), "up");
    assert_eq!(Socket::connect(place(&edge, "tcp")).exactly(5).unwrap(), b"hello");
    assert_eq!(UdpClient::of(place(&edge, "udp")).ask("1"), "u 1");
    kept.expect_end();
    carried.send("still");
    assert_eq!(carried.exactly(5).unwrap(), b"still");
    let counted = edge.metric("tidegate_connections_total{listener=\"web\"}");
    assert_eq!(counted, Some(2.0), "it is the same listener");
}

/// The sockets are handed over, whatever is spoken on them.
#[test]
fn a_port_goes_to_a_listener_of_another_name_and_protocol() {
    let (web, raw) = (Origin::named("up"), greeting("hello"));
    let old = at("old", "127.0.0.1:0", "");
    let edge = Edge::new().pool("app", &[&web]).pool("raw", &[&raw]).toml(&old);
    let edge = edge.expect_listener("old").start();
    let address = edge.port("old");
    let mut kept = Socket::connect(address);
    assert_eq!(kept.ask(GET).text(), "up");
    let new = at("new", &address.to_string(), "protocol = \"tcp\"\nupstream = \"raw\"");
    edge.rewrite(|text| text.replace(&old, &new));
    let said = reload(&edge);
    assert_eq!(said["listeners"]["added"], json!(["new"]));
    assert_eq!(said["listeners"]["removed"], json!(["old"]));
    for _ in 0..8 {
        assert_eq!(Socket::connect(address).exactly(5).unwrap(), b"hello");
    }
    kept.expect_end();
}

#[test]
fn two_listeners_exchange_their_addresses() {
    let (one, two) = (greeting("one"), greeting("two"));
    let lines = |pool| format!("protocol = \"tcp\"\nupstream = {pool:?}");
    let both = |a: &str, b: &str| at("a", a, &lines("one")) + &at("b", b, &lines("two"));
    let before = both("127.0.0.1:0", "127.0.0.1:0");
    let edge = Edge::new().pool("one", &[&one]).pool("two", &[&two]).toml(&before);
    let edge = edge.expect_listener("a").expect_listener("b").start();
    let (a, b) = (edge.port("a"), edge.port("b"));
    edge.rewrite(|text| text.replace(&before, &both(&b.to_string(), &a.to_string())));
    assert_eq!(reload(&edge)["listeners"]["changed"], json!(["a", "b"]));
    assert_eq!((place(&edge, "a"), place(&edge, "b")), (b, a));
    for _ in 0..8 {
        assert_eq!(Socket::connect(b).exactly(3).unwrap(), b"one");
        assert_eq!(Socket::connect(a).exactly(3).unwrap(), b"two");
    }
}

#[test]
fn a_unix_socket_goes_to_another_listener() {
    let origin = Origin::named("up");
    let edge = Edge::new().pool("app", &[&origin]).start();
    let path = edge.directory().join("s");
    let address = format!("unix:{}", path.display());
    let ask = || Socket::over(std::os::unix::net::UnixStream::connect(&path).unwrap()).ask(GET);
    add(&edge, &at("one", &address, ""));
    reload(&edge);
    assert_eq!(ask().text(), "up");
    edge.rewrite(|text| text.replace("name = \"one\"", "name = \"two\""));
    assert_eq!(reload(&edge)["listeners"]["added"], json!(["two"]));
    assert_eq!(ask().text(), "up");
    edge.rewrite(|text| text.replace(&at("two", &address, ""), ""));
    reload(&edge);
    assert!(std::os::unix::net::UnixStream::connect(&path).is_err(), "nobody listens");
    add(&edge, &at("three", &address, ""));
    reload(&edge);
    assert_eq!(ask().text(), "up", "what is left of the last one is not in the way");
}

/// From one address of a port to all of them: both are there for a moment, and that is no conflict.
#[test]
fn an_address_may_give_way_to_one_that_includes_it() {
    let origin = Origin::named("up");
    let edge = Edge::new().pool("app", &[&origin]).toml(&at("wide", "127.0.0.1:0", ""));
    let edge = edge.expect_listener("wide").start();
    let address = edge.port("wide");
    let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port())).to_string();
    edge.rewrite(|text| text.replace(&at("wide", "127.0.0.1:0", ""), &at("wide", &everywhere, "")));
    reload(&edge);
    for ip in ["127.0.0.1", "127.0.0.9"] {
        let address = SocketAddr::new(ip.parse().unwrap(), address.port());
        assert_eq!(Socket::connect(address).ask(GET).text(), "up");
    }
}
