//! TCP listeners: every byte arrives, whoever speaks first; a server that cannot be reached is
//! passed over before anything was said; and once a connection stands, nothing that happens to its
//! pool ends it.

use std::{net::TcpListener, thread, time::Duration};

use fastrand::Rng;
use rustix::process::Signal;

use crate::kit::{Edge, Origin, Socket, bytes, eventually};

/// A listener "tcp" for the pool "app", with further lines about it.
pub fn tcp(lines: &str) -> Edge {
    Edge::new()
        .toml(&format!(
            "[[listener]]\nname = \"tcp\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n{lines}"
        ))
        .expect_listener("tcp")
}

/// The same, of these servers.
fn edge(origins: &[&Origin]) -> Edge {
    tcp("upstream = \"app\"").pool("app", origins)
}

pub fn client(edge: &Edge) -> Socket {
    Socket::connect(edge.port("tcp"))
}

/// Says back what it hears, half-close included.
pub fn echo() -> Origin {
    Origin::new(|conn| {
        while let Ok(bytes) = conn.some() {
            if conn.try_send(bytes).is_err() {
                return;
            }
        }
        conn.finish();
    })
}

/// Says who it is, and then what it hears.
pub fn greeting(name: &'static str) -> Origin {
    Origin::new(move |conn| {
        conn.send(name);
        while let Ok(bytes) = conn.some() {
            if conn.try_send(bytes).is_err() {
                return;
            }
        }
    })
}

#[track_caller]
fn echoes(client: &mut Socket, text: &[u8]) {
    client.send(text);
    assert_eq!(client.exactly(text.len()).unwrap(), text);
}

/// What a client gets before its connection ends, by a close or a reset.
fn until_end(client: &mut Socket) -> Vec<u8> {
    client.rest().unwrap_or_default()
}

#[test]
fn a_megabyte_goes_both_ways_and_so_does_the_half_close() {
    let origin = echo();
    let edge = edge(&[&origin]).start();
    let mut client = client(&edge);
    let sent = bytes(&mut Rng::with_seed(7), 1 << 20);
    let mut writer = Socket::over(client.inner().try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            sent.chunks(7_001).for_each(|piece| writer.send(piece));
            writer.finish();
        });
        assert!(client.rest().unwrap() == sent, "a byte was lost or altered");
    });
    origin.wait_for_ended(1);
}

#[test]
fn a_client_that_has_said_everything_at_once_is_answered() {
    let origin = Origin::new(|conn| {
        let all = conn.rest().unwrap();
        conn.send(format!("{} bytes", all.len()));
    });
    let edge = edge(&[&origin]).start();
    let mut client = client(&edge);
    client.send("12345");
    client.finish();
    assert_eq!(client.rest().unwrap(), b"5 bytes");
}

/// SMTP, MySQL and their like.
#[test]
fn a_server_may_speak_first() {
    let origin = greeting("220 ready");
    let edge = edge(&[&origin]).start();
    let mut client = client(&edge);
    assert_eq!(client.exactly(9).unwrap(), b"220 ready");
    echoes(&mut client, b"EHLO a");
}

#[test]
fn a_refused_connect_goes_to_the_next_server_and_counts_as_a_failure() {
    let (dead, alive) = (Origin::refusing(), echo());
    let edge = edge(&[&dead, &alive]).workers(1).logging().start();
    for text in [b"one", b"two", b"six"] {
        echoes(&mut client(&edge), text);
    }
    let state = format!(
        "tidegate_server_state{{upstream=\"app\",server=\"{}\",state=\"unhealthy\"}}",
        dead.address()
    );
    assert_eq!(edge.metric(&state), Some(1.0), "one failure takes it out");
    let retries = "tidegate_retries_total{upstream=\"app\",cause=\"connect_failed\"}";
    assert_eq!(edge.metric(retries), Some(1.0));
    let records = edge.records(3);
    let tried = |record: &serde_json::Value| {
        let attempts = record["attempts"].as_array().unwrap();
        attempts.iter().map(|try_| try_["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(records.iter().any(|record| tried(record) == ["connect_failed", "answered"]));
}

#[test]
fn a_connect_that_times_out_goes_to_the_next_server() {
    // A listener whose queue is full takes no more connections, and does not refuse them either.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&full).listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let _fill = Socket::connect(address);
    let alive = echo();
    let edge = tcp("upstream = \"app\"")
        .toml(&format!(
            "[upstream.app]\nservers = [\"{address}\", {:?}]\ntimeouts = {{ connect = \"200ms\" }}",
            alive.address()
        ))
        .start();
    for text in [b"one", b"two"] {
        echoes(&mut client(&edge), text);
    }
    edge.wait_for_log("connect_timeout");
}

#[test]
fn next_off_tries_and_when_all_are_dead() {
    for (keys, tried) in [("on = []", 1), ("tries = 2", 2), ("tries = 0", 3)] {
        let dead = [Origin::refusing(), Origin::refusing(), Origin::refusing()];
        let edge = tcp("upstream = \"app\"")
            .pool("app", &dead.iter().collect::<Vec<_>>())
            .toml(&format!("next = {{ {keys} }}"))
            .logging()
            .start();
        assert!(until_end(&mut client(&edge)).is_empty());
        let record = &edge.records(1)[0];
        assert_eq!(record["attempts"].as_array().unwrap().len(), tried, "{keys}");
        assert_eq!((&record["status"], &record["protocol"]), (&502.into(), &"TCP".into()));
    }
}

#[test]
fn a_pool_that_is_not_there_or_empty_closes_the_connection() {
    let edge = tcp("upstream = \"app\"").logging().start();
    assert!(until_end(&mut client(&edge)).is_empty());
    edge.post("app", "server 127.0.0.1:9 down;");
    assert!(until_end(&mut client(&edge)).is_empty());
    let records = edge.records(2);
    assert!(records.iter().all(|record| record["status"] == 502));
    let code = "tidegate_requests_total{listener=\"tcp\",route=\"\",upstream=\"app\",code=\"502\"}";
    assert_eq!(edge.metric(code), Some(1.0));
}

/// Everything that can happen to a pool happens, and the connection does not notice; the next one
/// goes where the pool says.
#[test]
fn a_connection_survives_every_change() {
    let (old, new) = (greeting("old"), greeting("new"));
    let edge = edge(&[&old]).start();
    let mut first = client(&edge);
    assert_eq!(first.exactly(3).unwrap(), b"old");
    edge.post("app", &format!("server {};", new.address()));
    assert_eq!(client(&edge).exactly(3).unwrap(), b"new");
    echoes(&mut first, b"after a POST without its server");
    assert_eq!(edge.call("DELETE", "/upstream/app", "").text(), "success");
    assert!(until_end(&mut client(&edge)).is_empty());
    echoes(&mut first, b"after the DELETE");
    edge.signal(Signal::HUP);
    echoes(&mut first, b"after a reload");
}

#[test]
fn a_full_listener_closes_without_a_word_until_somebody_leaves() {
    let origin = greeting("hello");
    let edge = tcp("upstream = \"app\"\nmax_connections = 2").pool("app", &[&origin]).logging();
    let edge = edge.start();
    let mut inside: Vec<Socket> = (0..2).map(|_| client(&edge)).collect();
    for one in &mut inside {
        assert_eq!(one.exactly(5).unwrap(), b"hello");
    }
    assert!(until_end(&mut client(&edge)).is_empty());
    assert_eq!(edge.records(1)[0]["status"], 503);
    echoes(&mut inside[0], b"those inside are not disturbed");
    inside.pop();
    eventually("there is room again", || client(&edge).exactly(5).is_ok());
}

#[test]
fn max_conns_holds_for_connections() {
    let (small, large) = (greeting("small"), greeting("large"));
    let servers = [(&small, ", max_conns = 1"), (&large, ", backup = true")];
    let edge = tcp("upstream = \"app\"").pool_of("app", &servers, "").start();
    let mut first = client(&edge);
    assert_eq!(first.exactly(5).unwrap(), b"small");
    assert_eq!(client(&edge).exactly(5).unwrap(), b"large");
    drop(first);
    eventually("the place is free again", || client(&edge).exactly(5).unwrap() == b"small");
}

#[test]
fn a_silent_connection_ends_when_its_pool_says() {
    let origin = echo();
    let edge = tcp("upstream = \"app\"")
        .toml(&format!(
            "[upstream.app]\nservers = [{:?}]\ntunnel = {{ idle_timeout = \"300ms\" }}",
            origin.address()
        ))
        .logging()
        .start();
    let mut client = client(&edge);
    echoes(&mut client, b"still here");
    client.expect_end();
    assert_eq!(edge.records(1)[0]["close"], "idle");
}

#[test]
fn what_was_carried_is_written_down() {
    let origin = echo();
    let edge = edge(&[&origin]).logging().start();
    let mut client = client(&edge);
    echoes(&mut client, b"12345");
    let server = origin.address();
    let active = format!("tidegate_server_tunnels_active{{upstream=\"app\",server=\"{server}\"}}");
    assert_eq!(edge.metric(&active), Some(1.0));
    client.finish();
    assert!(until_end(&mut client).is_empty());
    let record = &edge.records(1)[0];
    for (field, value) in [
        ("listener", "tcp"),
        ("client", "127.0.0.1"),
        ("protocol", "TCP"),
        ("method", ""),
        ("uri", ""),
        ("upstream", "app"),
        ("server", &server),
        ("close", "client"),
    ] {
        assert_eq!(record[field], value, "{field} in {record}");
    }
    for (field, value) in [("status", 200), ("bytes_received", 5), ("bytes_sent", 5)] {
        assert_eq!(record[field], value, "{field} in {record}");
    }
    assert_eq!(record["request_id"].as_str().unwrap().len(), 32);
    let code = "tidegate_requests_total{listener=\"tcp\",route=\"\",upstream=\"app\",code=\"200\"}";
    assert_eq!(edge.metric(code), Some(1.0));
    let status: serde_json::Value =
        serde_json::from_str(&edge.call("GET", "/api/v1/status", "").text()).unwrap();
    let protocols = status["listeners"].as_array().unwrap().iter().map(|one| &one["protocol"]);
    assert!(protocols.eq(["http", "tcp"]), "{status}");
}

/// A client that breaks off while a server is looked for is not waited for, and no server is blamed.
#[test]
fn a_client_that_breaks_off_ends_the_search() {
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&full).listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let _fill = Socket::connect(address);
    let edge = tcp("upstream = \"app\"")
        .toml(&format!(
            "[upstream.app]\nservers = [\"{address}\"]\ntimeouts = {{ connect = \"1h\" }}"
        ))
        .logging()
        .start();
    let mut client = client(&edge);
    client.send("something unread");
    thread::sleep(Duration::from_millis(100));
    client.reset();
    let record = &edge.records(1)[0];
    assert_eq!(record["status"], 499);
    assert_eq!(record["attempts"][0]["outcome"], "cancelled");
}

#[test]
fn a_stop_lets_connections_end_and_takes_no_new_ones() {
    let origin = echo();
    let mut edge = edge(&[&origin]).start();
    let mut first = client(&edge);
    echoes(&mut first, b"before");
    let port = edge.port("tcp");
    edge.signal(Signal::TERM);
    edge.wait_for_log("stopping");
    echoes(&mut first, b"during");
    eventually("nobody new", || std::net::TcpStream::connect(port).is_err());
    first.finish();
    assert!(until_end(&mut first).is_empty());
    assert!(edge.wait_for_exit().success());
}
