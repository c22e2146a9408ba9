//! Servers by IPv6 address and by name: looked up at the start, when a pool is posted and again on a
//! timer; the last good answer stands when there is no better one, and whoever stays stays connected.
//! Names are changed under a running proxy in a mount namespace of its own (`kit/names.rs`).

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use rustix::process::Signal;

use crate::kit::{Conn, Edge, Origin, SWITCHING, Socket, eventually, named_reply, skip};

/// Answers with its name, and opens a tunnel for whoever wants one.
fn serve(name: &str, conn: &mut Conn) {
    while let Ok(request) = conn.receive() {
        if !request.head.has("upgrade") {
            if conn.try_send(named_reply(name)).is_err() {
                return;
            }
            continue;
        }
        conn.send(SWITCHING);
        while let Ok(bytes) = conn.some() {
            if conn.try_send(bytes).is_err() {
                return;
            }
        }
    }
}

/// Servers on the same port of 127.0.`network`.1 and so on, by these names.
fn siblings(network: u8, names: &[&'static str]) -> (u16, Vec<Origin>) {
    let ip = |host: usize| Ipv4Addr::new(127, 0, network, host as u8 + 1);
    let listen = |at: usize, port: u16| TcpListener::bind((ip(at), port));
    let mut found = None;
    eventually("a port that is free on all of them", || {
        let first = listen(0, 0).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = (1..names.len()).map(|at| listen(at, port));
        let all: Result<Vec<_>, _> = [Ok(first)].into_iter().chain(others).collect();
        found = all.ok().map(|all| (port, all));
        found.is_some()
    });
    let (port, listeners) = found.unwrap();
    let origins = listeners.into_iter().zip(names.iter().copied());
    (port, origins.map(|(one, name)| Origin::over(one, move |conn| serve(name, conn))).collect())
}

/// A pool "app" of the host `app.test`, which is looked up every second, and of further servers.
fn named(edge: Edge, port: u16, more: &str) -> Edge {
    edge.route("upstream = \"app\"").toml(&format!(
        "[upstream.app]\nservers = [\"app.test:{port}\"{more}]\nresolve_interval = \"1s\""
    ))
}

/// One who knows no other names than these; skips the test where that cannot be.
fn knowing(test: &str, hosts: &str) -> Option<Edge> {
    let edge = Edge::new().knowing(hosts);
    if edge.is_none() {
        skip(test, "no right to a mount namespace");
    }
    edge
}

#[track_caller]
fn ask(edge: &Edge) -> String {
    let answer = edge.get("app", "/");
    if answer.status() == 200 { answer.text() } else { answer.status().to_string() }
}

/// Who answers a dozen requests.
#[track_caller]
fn answering(edge: &Edge) -> BTreeSet<String> {
    (0..12).map(|_| ask(edge)).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[track_caller]
fn tunnel(edge: &Edge) -> Socket {
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    client
}

#[track_caller]
fn echoes(tunnel: &mut Socket) {
    tunnel.send("still here");
    assert_eq!(tunnel.exactly(10).unwrap(), b"still here");
}

/// Skips where there is no IPv6.
fn six(test: &str) -> Option<(SocketAddr, Origin)> {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        skip(test, "no IPv6 on this machine");
        return None;
    };
    let address = listener.local_addr().unwrap();
    Some((address, Origin::over(listener, |conn| serve("six", conn))))
}

#[test]
fn a_server_may_have_an_ipv6_address() {
    let Some((address, origin)) = six("a_server_may_have_an_ipv6_address") else { return };
    let edge = Edge::to(&[&origin]).start();
    assert_eq!((ask(&edge).as_str(), address.to_string()), ("six", origin.address()));
    edge.post("app", &format!("server {address} weight=2; check interval=100 type=http;"));
    eventually("its check passes", || ask(&edge) == "six");
    assert_eq!(edge.call("GET", "/upstream/app", "").text(), format!("server {address}\n"));
    let series =
        format!("tidegate_server_state{{upstream=\"app\",server=\"{address}\",state=\"up\"}}");
    assert_eq!(edge.metric(&series), Some(1.0));
    let mut tunnel = tunnel(&edge);
    echoes(&mut tunnel);
}

#[test]
fn a_listener_may_have_an_ipv6_address() {
    let Some((_, origin)) = six("a_listener_may_have_an_ipv6_address") else { return };
    let edge = Edge::to(&[&origin])
        .toml("[[listener]]\nname = \"six\"\naddress = \"[::1]:0\"")
        .expect_listener("six")
        .start();
    let answer = Socket::connect(edge.port("six")).ask("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n");
    assert_eq!(answer.text(), "six");
    let request = origin.last_request();
    assert_eq!(request.field("x-forwarded-for"), Some("::1"), "{request:?}");
}

#[test]
fn a_name_is_looked_up_at_the_start() {
    let test = "a_name_is_looked_up_at_the_start";
    let (port, _origins) = siblings(71, &["one", "two"]);
    let hosts = "127.0.71.1 app.test\n127.0.71.2 app.test\n";
    let Some(edge) = knowing(test, hosts) else { return };
    let edge = named(edge, port, "").start();
    assert_eq!(answering(&edge), set(&["one", "two"]), "every address is a server");
    let (metrics, label) = (edge.metrics(), format!("server=\"app.test:{port}@127.0.71.1\""));
    assert!(metrics.contains(&label), "{metrics}");
}

#[test]
fn a_name_in_a_body_is_looked_up_when_it_is_posted() {
    let test = "a_name_in_a_body_is_looked_up_when_it_is_posted";
    let (port, _origins) = siblings(72, &["one", "two"]);
    let Some(edge) = knowing(test, "127.0.72.2 app.test\n") else { return };
    let edge = edge.route("upstream = \"app\"").start();
    edge.post("app", &format!("server app.test:{port};"));
    assert_eq!(answering(&edge), set(&["two"]));
    let refused = edge.call("POST", "/upstream/app", &format!("server nobody.test:{port};"));
    assert_eq!((refused.status(), refused.text().as_str()), (500, "add server failed"));
    let reason = refused.field("x-tidegate-reason").unwrap_or_default();
    assert!(reason.contains("nobody.test"), "{reason}");
    assert_eq!(answering(&edge), set(&["two"]), "nothing has changed");
}

/// No name server has to be asked for a start: the others serve, and the log says who is missing.
#[test]
fn a_name_that_nobody_knows_keeps_nobody_from_starting() {
    let other = Origin::named("other");
    let edge = Edge::new()
        .route("upstream = \"app\"")
        .toml(&format!("[upstream.app]\nservers = [\"nobody.invalid:80\", {:?}]", other.address()))
        .start();
    let line = edge.wait_for_log("host name not found");
    assert!(line.contains("nobody.invalid") && line.contains("app"), "{line}");
    (0..4).for_each(|_| assert_eq!(ask(&edge), "other"));
}

#[test]
fn a_pool_of_nothing_but_unknown_names_is_502_until_they_are_known() {
    let test = "a_pool_of_nothing_but_unknown_names_is_502_until_they_are_known";
    let (port, _origins) = siblings(73, &["one"]);
    let Some(edge) = knowing(test, "") else { return };
    let edge = named(edge, port, "").start();
    assert_eq!(ask(&edge), "502");
    edge.learn("127.0.73.1 app.test\n");
    eventually("it takes part", || ask(&edge) == "one");
}

#[test]
fn a_name_with_another_address_is_followed() {
    let test = "a_name_with_another_address_is_followed";
    let (port, origins) = siblings(74, &["one", "two"]);
    let Some(edge) = knowing(test, "127.0.74.1 app.test\n") else { return };
    let edge = named(edge, port, "").start();
    assert_eq!(answering(&edge), set(&["one"]));
    edge.learn("127.0.74.2 app.test\n");
    eventually("the new address serves", || ask(&edge) == "two");
    assert_eq!(answering(&edge), set(&["two"]), "and the old one no longer");
    origins[0].wait_for_ended(1);
    let line = edge.wait_for_log("host names have other addresses");
    assert!(line.contains("app"), "{line}");
    assert!(!edge.metrics().contains("@127.0.74.1"), "its series are gone");
}

#[test]
fn a_name_that_vanishes_keeps_its_last_addresses() {
    let test = "a_name_that_vanishes_keeps_its_last_addresses";
    let (port, _origins) = siblings(75, &["one", "two"]);
    let Some(edge) = knowing(test, "127.0.75.1 app.test\n") else { return };
    let edge = named(edge, port, "").start();
    let mut tunnel = tunnel(&edge);
    edge.learn("127.0.75.2 somebody-else.test\n");
    edge.forget_log();
    let line = edge.wait_for_log("what was known of it stands");
    assert!(line.contains("app.test") && line.contains("addresses=1"), "{line}");
    assert_eq!(answering(&edge), set(&["one"]));
    edge.forget_log();
    edge.wait_for_log("what was known of it stands");
    assert_eq!(answering(&edge), set(&["one"]), "however often it is not found");
    echoes(&mut tunnel);
    edge.learn("127.0.75.2 app.test\n");
    eventually("it is found again", || ask(&edge) == "two");
}

/// Servers that stay keep what is known of them, and their connections; a tunnel outlives even its
/// address.
#[test]
fn whoever_stays_through_a_change_of_addresses_keeps_its_connections() {
    let test = "whoever_stays_through_a_change_of_addresses_keeps_its_connections";
    let (port, origins) = siblings(76, &["one", "two", "three"]);
    let Some(edge) = knowing(test, "127.0.76.1 app.test\n") else { return };
    let edge = named(edge.workers(1), port, "").toml("keepalive_timeout = \"1h\"").start();
    let mut stays = tunnel(&edge);
    assert_eq!(answering(&edge), set(&["one"]));
    let connections = origins[0].connections();
    edge.learn("127.0.76.1 app.test\n127.0.76.2 app.test\n");
    eventually("the second serves", || ask(&edge) == "two");
    edge.learn("127.0.76.3 app.test\n127.0.76.1 app.test\n");
    eventually("the third serves", || ask(&edge) == "three");
    assert_eq!(answering(&edge), set(&["one", "three"]));
    assert_eq!(origins[0].connections(), connections, "its idle connection was kept");
    echoes(&mut stays);
    edge.learn("127.0.76.3 app.test\n");
    eventually("the first has left", || answering(&edge) == set(&["three"]));
    echoes(&mut stays);
}

#[test]
fn an_order_that_changes_is_no_change() {
    let test = "an_order_that_changes_is_no_change";
    let (port, _origins) = siblings(77, &["one", "two"]);
    let Some(edge) = knowing(test, "127.0.77.1 app.test\n127.0.77.2 app.test\n") else { return };
    let edge = named(edge, port, ", \"other.test:1\"").start();
    let generation = || edge.metric("tidegate_generation ");
    let before = generation();
    edge.learn("127.0.77.2 app.test\n127.0.77.1 app.test\n");
    // The other name is asked for in the same turn, and is found by nobody.
    for _ in 0..2 {
        edge.forget_log();
        edge.wait_for_log("other.test");
    }
    assert_eq!(generation(), before);
    assert_eq!(answering(&edge), set(&["one", "two"]));
}

#[test]
fn a_check_follows_the_addresses_of_a_name() {
    let test = "a_check_follows_the_addresses_of_a_name";
    let (port, _origins) = siblings(78, &["one", "two"]);
    let Some(edge) = knowing(test, "127.0.78.1 app.test\n") else { return };
    let edge = named(edge, port, "")
        .toml("[upstream.app.check]\ninterval = \"100ms\"\nstart = \"down\"\nrise = 1")
        .start();
    let page = || edge.call("GET", "/status?format=csv&status=up", "").text();
    let up = |host: u8| format!(",127.0.78.{host}:{port},up,");
    eventually("the first is up", || page().contains(&up(1)));
    edge.learn("127.0.78.2 app.test\n");
    eventually("the second is up", || page().contains(&up(2)));
    assert!(!page().contains(&up(1)), "{}", page());
    assert_eq!(answering(&edge), set(&["two"]));
}

#[test]
fn sighup_looks_names_up() {
    let test = "sighup_looks_names_up";
    let (port, _origins) = siblings(79, &["one", "two"]);
    let Some(edge) = knowing(test, "127.0.79.1 one.test\n127.0.79.2 two.test\n") else { return };
    let edge = named(edge, port, "").start();
    assert_eq!(ask(&edge), "502");
    for name in ["one", "two"] {
        edge.forget_log();
        edge.rewrite(|text| {
            let (start, _) = text.split_once("servers = [").unwrap();
            format!("{start}servers = [\"{name}.test:{port}\"]\nresolve_interval = \"1h\"\n")
        });
        edge.signal(Signal::HUP);
        edge.wait_for_log("configuration reloaded");
        assert_eq!(answering(&edge), set(&[name]));
    }
}
