//! Listeners that come, change and go.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;

use super::{GET, about, add, assert_closed, listener, place, refused, reload};
use crate::{
    kit::{Edge, Gate, Origin, RaiseOnDrop, Socket, UdpClient, UdpOrigin, eventually, named_reply},
    stream_tcp::greeting,
    websocket::{self, ASK, echoes},
};

fn pool(name: &str, address: &str) -> String {
    format!("[upstream.{name}]\nservers = [{address:?}]\n")
}

fn tcp(upstream: &str) -> String {
    listener("tcp", &format!("protocol = \"tcp\"\nupstream = {upstream:?}"))
}

fn udp(settings: &str) -> String {
    let lines = format!("protocol = \"udp\"\nupstream = \"udp\"\nudp = {{ {settings} }}");
    listener("udp", &lines)
}

#[test]
fn new_listeners_of_every_kind_serve_at_once() {
    let (web, raw, answers) = (Origin::named("up"), greeting("hello"), UdpOrigin::named("u"));
    let edge = Edge::new().pool("app", &[&web]).start();
    let mut kept = edge.client();
    assert_eq!(kept.ask(GET).text(), "up");
    for text in [listener("web", ""), tcp("raw"), udp("")] {
        add(&edge, &text);
    }
    add(&edge, &pool("raw", &raw.address()));
    add(&edge, &pool("udp", &answers.address()));
    let said = reload(&edge);
    assert_eq!(said["listeners"]["added"], json!(["web", "tcp", "udp"]));
    // Every worker has its part of each: the kernel chooses one by the client's port.
    for _ in 0..20 {
        assert_eq!(Socket::connect(place(&edge, "web")).ask(GET).text(), "up");
        assert_eq!(Socket::connect(place(&edge, "tcp")).exactly(5).unwrap(), b"hello");
        assert_eq!(UdpClient::of(place(&edge, "udp")).ask("1"), "u 1");
    }
    assert_eq!(edge.metric("tidegate_connections_total{listener=\"web\"}"), Some(20.0));
    assert_eq!(edge.metric("tidegate_udp_sessions_total{listener=\"udp\"}"), Some(20.0));
    assert_eq!(kept.ask(GET).text(), "up", "nobody else was disturbed");
}

/// A stop takes what came later like the rest.
#[test]
fn a_graceful_stop_finishes_requests_of_a_listener_that_came_by_reload() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |conn| {
        while conn.receive().is_ok() {
            held.wait();
            conn.send(named_reply("done"));
        }
    });
    let mut edge = Edge::new().pool("app", &[&origin]).start();
    add(&edge, &listener("more", ""));
    reload(&edge);
    let address = place(&edge, "more");
    let mut client = Socket::connect(address);
    client.send(GET);
    origin.wait_for_requests(1);
    edge.signal(Signal::TERM);
    eventually("it listens no more", || std::net::TcpStream::connect(address).is_err());
    gate.open();
    let answer = client.response().unwrap();
    assert_eq!(answer.text(), "done");
    assert!(answer.head.closes());
    assert_eq!(edge.wait_for_exit().code(), Some(0));
}

#[test]
fn what_runs_on_a_removed_listener_comes_to_its_end() {
    let gate = Gate::default();
    let held = gate.clone();
    let slow = Origin::new(move |conn| {
        while conn.receive().is_ok() {
            held.wait();
            conn.send(named_reply("done"));
        }
    });
    let (echo, web) = (Origin::echo_tunnel(), Origin::named("up"));
    let more = listener("more", "");
    let edge = websocket::edge()
        .pool("slow", &[&slow])
        .pool("app", &[&echo])
        .pool("web", &[&web])
        .toml(&more)
        .expect_listener("more")
        .start();
    let address = edge.port("more");
    let mut tunnel = Socket::connect(address);
    tunnel.send(ASK);
    assert_eq!(tunnel.head().unwrap().status(), 101);
    let mut waiting = Socket::connect(address);
    waiting.send(GET.replace("app", "slow"));
    slow.wait_for_requests(1);
    let mut idle = Socket::connect(address);
    assert_eq!(idle.ask(GET.replace("app", "web")).text(), "up");
    let mut other = edge.client();
    assert_eq!(other.ask(GET.replace("app", "web")).text(), "up");

    edge.rewrite(|text| text.replace(&more, ""));
    assert_eq!(reload(&edge)["listeners"]["removed"], json!(["more"]));
    assert_closed(address);
    idle.expect_end();
    echoes(&mut tunnel, b"a tunnel goes on");
    gate.open();
    let answer = waiting.response().unwrap();
    assert_eq!(answer.text(), "done");
    assert!(answer.head.closes(), "{:?}", answer.head);
    waiting.expect_end();
    assert_eq!(other.ask(GET.replace("app", "web")).text(), "up");
    assert_eq!(about(&edge, "more")["is_closed"], true);
    eventually("only the tunnel is left", || {
        edge.metric("tidegate_connections_active{listener=\"more\"}") == Some(1.0)
    });
    drop(tunnel);
    eventually("nothing is left of it", || !edge.metrics().contains("listener=\"more\""));
    assert!(about(&edge, "more").is_null());
}

#[test]
fn sessions_of_a_removed_udp_listener_end() {
    let answers = UdpOrigin::named("u");
    let edge = Edge::new().toml(&udp("")).toml(&pool("udp", &answers.address()));
    let edge = edge.logging().expect_listener("udp").start();
    let client = UdpClient::of(edge.port("udp"));
    assert_eq!(client.ask("1"), "u 1");
    edge.rewrite(|text| text.replace(&udp(""), ""));
    assert_eq!(reload(&edge)["listeners"]["removed"], json!(["udp"]));
    let record = &edge.records(1)[0];
    assert_eq!((&record["close"], &record["listener"]), (&json!("stop"), &json!("udp")));
    eventually("nothing is left of it", || !edge.metrics().contains("listener=\"udp\""));
    // Its port is free again.
    std::net::UdpSocket::bind(edge.port("udp")).unwrap();
}

#[test]
fn new_settings_are_those_of_new_connections() {
    let origin = Origin::named("up");
    let edge = Edge::new().pool("app", &[&origin]).start();
    let long = GET.replace("/ ", &format!("/{} ", "x".repeat(2_000)));
    let mut before = edge.client();
    assert_eq!(before.ask(&long).status(), 200);
    let counted = edge.metric("tidegate_connections_total{listener=\"edge\"}").unwrap();
    edge.rewrite(|text| {
        text.replacen("name = \"edge\"\n", "name = \"edge\"\nlimits = { target = \"1k\" }\n", 1)
    });
    assert_eq!(reload(&edge)["listeners"]["changed"], json!(["edge"]));
    assert_eq!(edge.client().ask(&long).status(), 414);
    assert_eq!(before.ask(&long).status(), 200, "it came before");
    assert!(!before.ask(GET).head.closes());
    let now = edge.metric("tidegate_connections_total{listener=\"edge\"}").unwrap();
    assert!(now > counted, "its counters go on: {counted}, {now}");
}

/// A listener whose settings change all the time turns nobody away.
#[test]
fn nobody_is_refused_while_settings_change() {
    let origin = Origin::named("up");
    let edge = Edge::new().pool("app", &[&origin]).start();
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = RaiseOnDrop(&stopped);
        for _ in 0..4 {
            scope.spawn(|| {
                while !stopped.load(Ordering::SeqCst) {
                    assert_eq!(edge.client().ask(GET).text(), "up");
                }
            });
        }
        for limit in 1_000..1_020 {
            edge.rewrite(|text| {
                let (head, rest) = text.split_once("name = \"edge\"\n").unwrap();
                let rest = rest.split_once("address").unwrap().1;
                format!("{head}name = \"edge\"\nmax_connections = {limit}\naddress{rest}")
            });
            assert_eq!(reload(&edge)["listeners"]["changed"], json!(["edge"]));
        }
    });
}

#[test]
fn a_tcp_listener_leads_new_connections_elsewhere() {
    let (one, two) = (greeting("one"), greeting("two"));
    let edge = Edge::new().toml(&tcp("one")).pool("one", &[&one]).pool("two", &[&two]);
    let edge = edge.expect_listener("tcp").start();
    let mut before = Socket::connect(edge.port("tcp"));
    assert_eq!(before.exactly(3).unwrap(), b"one");
    edge.rewrite(|text| text.replace(&tcp("one"), &tcp("two")));
    reload(&edge);
    assert_eq!(Socket::connect(edge.port("tcp")).exactly(3).unwrap(), b"two");
    before.send("still");
    assert_eq!(before.exactly(5).unwrap(), b"still");
}

#[test]
fn a_udp_listener_keeps_open_sessions_as_they_were() {
    let answers = UdpOrigin::named("u");
    let edge = Edge::new().toml(&udp("")).toml(&pool("udp", &answers.address()));
    let edge = edge.expect_listener("udp").start();
    let sessions = || edge.metric("tidegate_udp_sessions_active{listener=\"udp\"}");
    let before: Vec<UdpClient> = (0..4).map(|_| UdpClient::of(edge.port("udp"))).collect();
    before.iter().for_each(|client| assert_eq!(client.ask("1"), "u 1"));
    edge.rewrite(|text| text.replace(&udp(""), &udp("responses = 1")));
    reload(&edge);
    let after = UdpClient::of(edge.port("udp"));
    assert_eq!(after.ask("2"), "u 2");
    eventually("the new one ends with its answer", || sessions() == Some(4.0));
    before.iter().for_each(|client| assert_eq!(client.ask("3"), "u 3"));
    assert_eq!(sessions(), Some(4.0), "the old ones do not");
    assert_eq!(edge.metric("tidegate_udp_sessions_total{listener=\"udp\"}"), Some(5.0));
}

#[test]
fn socket_options_are_those_of_new_connections() {
    let origin = Origin::silent();
    let edge = Edge::new().pool("app", &[&origin]).start();
    edge.rewrite(|text| {
        text.replacen("name = \"edge\"\n", "name = \"edge\"\ntcp_keepalive = \"7s\"\n", 1)
    });
    reload(&edge);
    let mut client = edge.client();
    client.send(GET);
    origin.wait_for_requests(1);
    let local = client.inner().local_addr().unwrap().as_socket().unwrap();
    // The kernel's table of sockets: of the proxy's end, a keep-alive timer within seven seconds.
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = [edge.port("edge"), local].map(|end| format!("0100007F:{:04X}", end.port()));
    let is_it =
        |row: &&str| row.split_whitespace().skip(1).take(2).eq(ends.iter().map(String::as_str));
    let row = text.lines().find(is_it).unwrap();
    let timer = row.split_whitespace().nth(5).unwrap();
    let (kind, left) = timer.split_once(':').unwrap();
    let left = u64::from_str_radix(left, 16).unwrap();
    assert!(kind == "02" && Duration::from_millis(left * 10) <= Duration::from_secs(7), "{row}");
}

#[test]
fn an_address_that_cannot_be_had_refuses_everything() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let leaving = listener("leaving", "");
    let edge = Edge::new().pool("app", &[&old]).toml(&leaving).expect_listener("leaving").start();
    let more = listener("more", "") + &listener("wrong", "").replace("127.0.0.1:0", &taken);
    edge.rewrite(|text| {
        text.replace(&leaving, &more)
            .replace(&old.address(), &new.address())
            .replace("name = \"edge\"\n", "name = \"edge\"\nmax_connections = 1\n")
    });
    let said = refused(&edge);
    assert_eq!(said["errors"][0]["field"], "listener \"wrong\"");
    let reason = said["errors"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(&taken), "{reason}");
    assert_eq!(edge.get("app", "/").text(), "old");
    assert_eq!(Socket::connect(edge.port("leaving")).ask(GET).text(), "old");
    let (mut one, mut two) = (edge.client(), edge.client());
    assert_eq!((one.ask(GET).status(), two.ask(GET).status()), (200, 200), "no limit is set");
    assert!(about(&edge, "more").is_null());
    drop(holder);
    assert_eq!(reload(&edge)["listeners"]["removed"], json!(["leaving"]), "it can be had now");
}
