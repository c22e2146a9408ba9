//! UDP listeners: a client's datagrams go to one server and the answers come back, for as long as the
//! session lasts; who is not there is passed over, and nobody can take more than the limits allow.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    time::Duration,
};

use rustix::process::Signal;

use crate::kit::{Edge, LARGEST, Origin, Socket, UdpClient, UdpOrigin, eventually, refusing};

/// A listener "udp" for the pool "app", with these settings of `[listener.udp]`.
fn udp(settings: &str) -> Edge {
    Edge::new()
        .toml(&format!(
            "[[listener]]\nname = \"udp\"\naddress = \"127.0.0.1:0\"\nprotocol = \"udp\"\n\
             upstream = \"app\"\nudp = {{ {settings} }}"
        ))
        .expect_listener("udp")
}

fn pool(servers: &[String], keys: &str) -> String {
    format!("[upstream.app]\nservers = {servers:?}\n{keys}")
}

fn of(origins: &[&UdpOrigin]) -> String {
    let servers: Vec<String> = origins.iter().map(|origin| origin.address()).collect();
    pool(&servers, "")
}

fn client(edge: &Edge) -> UdpClient {
    UdpClient::of(edge.port("udp"))
}

#[track_caller]
fn wait_for_sessions(edge: &Edge, count: u32) {
    eventually(&format!("{count} sessions"), || {
        edge.metric("tidegate_udp_sessions_active{listener=\"udp\"}") == Some(count.into())
    });
}

#[test]
fn a_client_keeps_its_server_and_gets_its_answers() {
    let (a, b) = (UdpOrigin::named("a"), UdpOrigin::named("b"));
    let edge = udp("").toml(&of(&[&a, &b])).start();
    let clients: Vec<UdpClient> = (0..4).map(|_| client(&edge)).collect();
    let first: Vec<String> = clients.iter().map(|client| client.ask("1")).collect();
    assert_eq!(first.iter().filter(|answer| *answer == "a 1").count(), 2, "{first:?}");
    for round in 2..5 {
        for (client, first) in clients.iter().zip(&first) {
            let expected = first.replace('1', &round.to_string());
            assert_eq!(client.ask(round.to_string()), expected);
        }
    }
    wait_for_sessions(&edge, 4);
    let metric = |series: &str| edge.metric(&format!("tidegate_udp_{series}"));
    assert_eq!(metric("sessions_total{listener=\"udp\"}"), Some(4.0));
    let datagrams = |direction: &str| {
        metric(&format!("datagrams_total{{listener=\"udp\",direction=\"{direction}\"}}"))
    };
    assert_eq!((datagrams("to_server"), datagrams("to_client")), (Some(16.0), Some(16.0)));
    assert_eq!(metric("datagrams_dropped_total{listener=\"udp\"}"), Some(0.0));
    assert_eq!(edge.metric("tidegate_connections_active{listener=\"udp\"}"), None);
    let active =
        format!("tidegate_server_requests_active{{upstream=\"app\",server=\"{}\"}}", a.address());
    assert_eq!(edge.metric(&active), Some(2.0), "a session is load of its server");
}

#[test]
fn datagrams_of_every_size_pass_whole() {
    let echo = UdpOrigin::new(|asked| vec![asked.to_vec()]);
    let edge = udp("").toml(&of(&[&echo])).start();
    let client = client(&edge);
    for length in [0, 1, 512, 1_472, 4_097, 20_000, LARGEST] {
        let datagram = vec![7; length];
        client.send(&datagram);
        assert!(client.receive() == datagram, "{length} bytes");
    }
}

#[test]
fn a_session_ends_with_its_answers() {
    let (a, b) = (UdpOrigin::named("a"), UdpOrigin::named("b"));
    let edge = udp("responses = 1").workers(1).toml(&of(&[&a, &b])).logging().start();
    let client = client(&edge);
    let answers = [1, 2, 3, 4].map(|_| client.ask("q"));
    assert_eq!(answers, ["a q", "b q", "a q", "b q"], "each question is a session of its own");
    wait_for_sessions(&edge, 0);
    let records = edge.records(4);
    assert!(records.iter().all(|record| record["close"] == "answered" && record["status"] == 200));
}

/// glibc asks for A and AAAA at once, from the same port.
#[test]
fn two_questions_at_once_wait_for_two_answers() {
    let origin = UdpOrigin::named("a");
    let edge = udp("responses = 1").toml(&of(&[&origin])).start();
    for _ in 0..20 {
        let client = client(&edge);
        client.send("A");
        client.send("AAAA");
        let mut answers = [client.receive(), client.receive()];
        answers.sort();
        assert_eq!(answers, [&b"a A"[..], b"a AAAA"]);
    }
    wait_for_sessions(&edge, 0);
}

#[test]
fn a_silent_session_ends_and_is_written_down() {
    let origin = UdpOrigin::named("a");
    let edge = udp("idle_timeout = \"200ms\"").toml(&of(&[&origin])).logging().start();
    client(&edge).ask("12345");
    wait_for_sessions(&edge, 0);
    let record = &edge.records(1)[0];
    let server = origin.address();
    for (field, value) in [
        ("listener", "udp"),
        ("client", "127.0.0.1"),
        ("protocol", "UDP"),
        ("upstream", "app"),
        ("server", &server),
        ("close", "idle"),
    ] {
        assert_eq!(record[field], value, "{field} in {record}");
    }
    for (field, value) in [("status", 200), ("bytes_received", 5), ("bytes_sent", 7)] {
        assert_eq!(record[field], value, "{field} in {record}");
    }
    assert_eq!(record["attempts"][0]["outcome"], "answered");
    let code = "tidegate_requests_total{listener=\"udp\",route=\"\",upstream=\"app\",code=\"200\"}";
    assert_eq!(edge.metric(code), Some(1.0));
}

#[test]
fn at_the_limit_the_most_silent_session_gives_way() {
    let (a, b) = (UdpOrigin::named("a"), UdpOrigin::named("b"));
    let edge = udp("max_sessions = 2").workers(1).toml(&of(&[&a, &b])).logging().start();
    let (one, two, three) = (client(&edge), client(&edge), client(&edge));
    assert_eq!(
        (one.ask("1"), two.ask("2"), one.ask("3")),
        ("a 1".into(), "b 2".into(), "a 3".into())
    );
    assert_eq!(three.ask("4"), "a 4", "the second gave way");
    assert_eq!(one.ask("5"), "a 5", "the first did not");
    assert_eq!(edge.metric("tidegate_udp_sessions_evicted_total{listener=\"udp\"}"), Some(1.0));
    wait_for_sessions(&edge, 2);
    assert_eq!(edge.records(1)[0]["close"], "evicted");
}

#[test]
fn a_server_that_leaves_loses_its_sessions_with_their_next_datagram() {
    let (old, new) = (UdpOrigin::named("old"), UdpOrigin::named("new"));
    let edge = udp("").toml(&of(&[&old])).start();
    let client = client(&edge);
    assert_eq!(client.ask("1"), "old 1");
    edge.post("app", &format!("server {};", new.address()));
    assert_eq!(client.ask("2"), "new 2");
    edge.post("app", &format!("server {} down; server {};", new.address(), old.address()));
    assert_eq!(client.ask("3"), "old 3");
    edge.post("app", &format!("server {0}; server {1};", new.address(), old.address()));
    assert_eq!(client.ask("4"), "old 4", "a change that leaves the server alone");
    assert_eq!(edge.call("DELETE", "/upstream/app", "").text(), "success");
    client.send("5");
    assert!(client.is_quiet_for(Duration::from_millis(200)));
    edge.post("app", &format!("server {};", new.address()));
    assert_eq!(client.ask("6"), "new 6");
}

#[test]
fn who_is_not_there_is_passed_over_with_all_that_was_said() {
    let ((dead, _held), alive) = (refusing(), UdpOrigin::named("up"));
    let edge =
        udp("").workers(1).toml(&pool(&[dead.clone(), alive.address()], "")).logging().start();
    let client = client(&edge);
    client.send("A");
    client.send("AAAA");
    let mut answers = [client.receive(), client.receive()];
    answers.sort();
    assert_eq!(answers, [&b"up A"[..], b"up AAAA"]);
    let state =
        format!("tidegate_server_state{{upstream=\"app\",server=\"{dead}\",state=\"unhealthy\"}}");
    assert_eq!(edge.metric(&state), Some(1.0), "one failure takes it out");
    let attempts = format!(
        "tidegate_upstream_attempts_total{{upstream=\"app\",server=\"{dead}\",outcome=\"connect_failed\"}}"
    );
    assert_eq!(edge.metric(&attempts), Some(1.0));
    let retries = "tidegate_retries_total{upstream=\"app\",cause=\"connect_failed\"}";
    assert_eq!(edge.metric(retries), Some(1.0));
}

#[test]
fn a_server_that_ends_is_changed_and_the_session_goes_on() {
    let (first, second) = (UdpOrigin::named("first"), UdpOrigin::named("second"));
    let edge = udp("").workers(1).toml(&of(&[&first, &second])).start();
    let client = client(&edge);
    assert_eq!(client.ask("1"), "first 1");
    drop(first);
    eventually("another server answers", || {
        client.send("2");
        !client.is_quiet_for(Duration::from_millis(100))
    });
    wait_for_sessions(&edge, 1);
}

#[test]
fn when_nobody_is_there_every_try_is_written_down() {
    for (keys, tried) in [("next = { tries = 1 }", 1), ("next = { on = [] }", 1), ("", 2)] {
        let ((one, _a), (two, _b)) = (refusing(), refusing());
        let edge = udp("").toml(&pool(&[one, two], keys)).logging().start();
        client(&edge).send("1");
        let record = &edge.records(1)[0];
        assert_eq!(record["attempts"].as_array().unwrap().len(), tried, "{keys} {record}");
        assert_eq!((&record["status"], &record["close"]), (&502.into(), &"error_server".into()));
        wait_for_sessions(&edge, 0);
    }
}

#[test]
fn answers_that_were_expected_and_do_not_come_are_a_failure() {
    let (silent, well) = (UdpOrigin::silent(), UdpOrigin::named("well"));
    let edge = udp("responses = 1, idle_timeout = \"200ms\"")
        .workers(1)
        .toml(&of(&[&silent, &well]))
        .logging()
        .start();
    client(&edge).send("1");
    let record = &edge.records(1)[0];
    assert_eq!((&record["status"], &record["close"]), (&502.into(), &"idle".into()), "{record}");
    assert_eq!(record["attempts"][0]["outcome"], "timeout");
    for _ in 0..3 {
        assert_eq!(client(&edge).ask("2"), "well 2");
    }
}

/// What is only ever sent, such as logs, needs no answers.
#[test]
fn a_server_that_never_answers_is_well_where_nothing_is_expected() {
    let sink = UdpOrigin::silent();
    let edge = udp("idle_timeout = \"200ms\"").toml(&of(&[&sink])).logging().start();
    let client = client(&edge);
    (0..20).for_each(|n| client.send(n.to_string()));
    sink.wait_for(20);
    assert_eq!(edge.records(1)[0]["status"], 200);
    let state = format!(
        "tidegate_server_state{{upstream=\"app\",server=\"{}\",state=\"up\"}}",
        sink.address()
    );
    assert_eq!(edge.metric(&state), Some(1.0));
}

/// One pool, two listeners: whoever hashes a client by its address finds the same server.
#[test]
fn a_client_has_one_server_over_tcp_and_udp() {
    let names = ["a", "b", "c", "d", "e"];
    let servers: Vec<_> = names.into_iter().map(both).collect();
    let addresses: Vec<String> = servers.iter().map(|(tcp, _)| tcp.address()).collect();
    for balance in ["maglev", "hash", "ip_hash"] {
        let edge = udp("")
            .toml("[[listener]]\nname = \"tcp\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\nupstream = \"app\"")
            .expect_listener("tcp")
            .toml(&pool(&addresses, &format!("balance = \"{balance}\"")))
            .start();
        let mut met = std::collections::BTreeSet::new();
        for host in 1..40 {
            // ip_hash goes by three octets.
            let ip = Ipv4Addr::new(127, 0, host, host).into();
            let mut tcp = Socket::connect_from(ip, edge.port("tcp"));
            let name = String::from_utf8(tcp.exactly(1).unwrap()).unwrap();
            assert_eq!(UdpClient::from(ip, edge.port("udp")).ask("1"), format!("{name} 1"));
            met.insert(name);
        }
        assert!(met.len() > 2, "{balance}: {met:?}");
    }
}

/// A server that says its name over both, on one port.
fn both(name: &'static str) -> (Origin, UdpOrigin) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            let origin = Origin::over(tcp, move |conn| {
                let _ = conn.try_send(name);
                let _ = conn.rest();
            });
            let answer = move |asked: &[u8]| vec![[name.as_bytes(), b" ", asked].concat()];
            return (origin, UdpOrigin::over(udp, answer));
        }
    }
}

/// With every descriptor taken, datagrams are lost; sessions go on, and no server is blamed.
#[test]
fn out_of_descriptors_sessions_go_on() {
    let origin = UdpOrigin::named("up");
    let edge = udp("idle_timeout = \"1s\"").toml(&of(&[&origin])).descriptors(80).start();
    let first = client(&edge);
    assert_eq!(first.ask("1"), "up 1");
    let crowd: Vec<UdpClient> = (0..150).map(|_| client(&edge)).collect();
    crowd.iter().for_each(|client| client.send("x"));
    assert_eq!(first.ask("2"), "up 2");
    drop(crowd);
    wait_for_sessions(&edge, 0);
    assert_eq!(client(&edge).ask("3"), "up 3");
    assert!(edge.metric("tidegate_local_errors_total{kind=\"connect\"}") > Some(0.0));
    let state = format!(
        "tidegate_server_state{{upstream=\"app\",server=\"{}\",state=\"up\"}}",
        origin.address()
    );
    assert_eq!(edge.metric(&state), Some(1.0));
}

#[test]
fn a_stop_lets_sessions_end_and_takes_no_new_ones() {
    let origin = UdpOrigin::named("up");
    let mut edge = udp("idle_timeout = \"1s\"").toml(&of(&[&origin])).start();
    let old = client(&edge);
    assert_eq!(old.ask("1"), "up 1");
    edge.signal(Signal::TERM);
    edge.wait_for_log("stopping");
    assert_eq!(old.ask("2"), "up 2");
    let new = client(&edge);
    new.send("3");
    assert!(new.is_quiet_for(Duration::from_millis(200)));
    assert!(edge.wait_for_exit().success());
    assert!(origin.seen().iter().all(|seen| seen != b"3"));
}

#[test]
fn a_port_that_is_taken_is_said_so() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let edge = Edge::new().toml(&format!(
        "[[listener]]\naddress = \"{address}\"\nprotocol = \"udp\"\nupstream = \"app\""
    ));
    let said = edge.command(&["run"]).said();
    assert!(said.contains("is taken"), "{said}");
}
