//! What happens at the edges of what the machine or the configuration allows: full listeners, no
//! descriptors left, and that neither is ever blamed on a server.

use crate::{
    kit::{Broken, Edge, Origin, Socket, eventually},
    websocket::{ASK, echoes},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_full_listener_says_503_until_somebody_leaves() {
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin]).listener("max_connections = 2").start();
    let mut inside: Vec<Socket> = (0..2).map(|_| edge.client()).collect();
    for client in &mut inside {
        assert_eq!(client.ask(GET).text(), "up");
    }
    let mut outside = edge.client();
    let _ = outside.try_send(GET);
    match outside.response() {
        Ok(answer) => assert_eq!(answer.status(), 503),
        Err(broken) => assert!(broken.is_cut(), "{broken:?}"),
    }
    outside.expect_end();
    assert_eq!(inside[0].ask(GET).text(), "up", "those inside are not disturbed");
    inside.pop();
    eventually("there is room again", || {
        let mut client = edge.client();
        client.try_send(GET).is_ok() && client.response().is_ok_and(|answer| answer.text() == "up")
    });
}

/// With every descriptor taken, what is open goes on, and when some are free again so does the rest.
#[test]
fn out_of_descriptors_nothing_breaks_and_no_server_is_blamed() {
    let (one, two) = (Origin::named("up"), Origin::named("up"));
    let edge = Edge::to(&[&one, &two]).descriptors(120).start();
    let mut first = edge.client();
    assert_eq!(first.ask(GET).text(), "up");
    let mut crowd: Vec<Socket> = (0..200).map(|_| edge.client()).collect();
    for client in &mut crowd {
        let _ = client.try_send(GET);
    }
    for _ in 0..20 {
        // Its server connection may have been given up; if no new one can be had, that is 502 or 503.
        first.send(GET);
        let answer = first.response();
        assert!(
            matches!(&answer, Ok(answer) if [200, 502, 503].contains(&answer.status())),
            "{answer:?}"
        );
    }
    drop(crowd);
    eventually("it recovers", || {
        let mut client = edge.client();
        client.try_send(GET).is_ok() && client.response().is_ok_and(|answer| answer.text() == "up")
    });
    for origin in [&one, &two] {
        let state = format!(
            "tidegate_server_state{{upstream=\"app\",server=\"{}\",state=\"up\"}}",
            origin.address()
        );
        assert_eq!(edge.metric(&state), Some(1.0), "{}", edge.metrics());
    }
    assert_eq!(edge.call("GET", "/list", "").text(), "app\n", "the admin listener answers");
}

/// Clients take all they can get, and more wait; none of that is anything to the admin side, to tunnels,
/// or to clients that are in.
#[test]
fn clients_cannot_take_the_last_descriptors() {
    let (app, tunnels) = (Origin::named("up"), Origin::echo_tunnel());
    let edge =
        Edge::new().pool("app", &[&app]).pool("tunnels", &[&tunnels]).descriptors(160).start();
    let ask = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
    let mut tunnel = edge.client();
    tunnel.send(ASK.replace("Host: app", "Host: tunnels"));
    assert_eq!(tunnel.head().unwrap().status(), 101);
    let mut inside = edge.client();
    assert_eq!(inside.ask(ask).text(), "up");
    let mut crowd: Vec<Socket> = (0..300).map(|_| edge.client()).collect();
    crowd.iter_mut().for_each(|client| drop(client.try_send("GET / HT")));
    edge.wait_for_log("descriptors are running out");
    for _ in 0..30 {
        assert_eq!(edge.call("GET", "/list", "").text(), "app\ntunnels\n");
        assert_eq!(edge.call("GET", "/healthz", "").status(), 200);
        echoes(&mut tunnel, b"still here");
        assert_eq!(inside.ask(ask).text(), "up");
    }
    let swapped = Origin::named("swapped");
    edge.post("app", &format!("server {};", swapped.address()));
    assert_eq!(inside.ask(ask).text(), "swapped");
    drop(crowd);
    eventually("it recovers", || {
        let mut client = edge.client();
        client.try_send(ask).is_ok() && client.response().is_ok_and(|one| one.text() == "swapped")
    });
    echoes(&mut tunnel, b"still here");
}

#[test]
fn start_up_says_how_many_tunnels_fit() {
    let edge = Edge::new().descriptors(500).start();
    edge.wait_for_log("tunnels");
}

#[test]
fn a_thousand_clients_at_once_are_served() {
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin]).start();
    let mut clients: Vec<Socket> = (0..1_000).map(|_| edge.client()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    let served = clients.iter_mut().map(Socket::response);
    let failed: Vec<Broken> = served.filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
