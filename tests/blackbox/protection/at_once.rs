//! `conn_limit`: requests and tunnels at once.

use super::{refused, reload};
use crate::{
    kit::{Edge, Gate, Origin, Socket, eventually, named_reply},
    websocket::{ASK, echoes, open},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const TWO: &str = "upstream = \"app\"\nconn_limit = { key = \"client_ip\", count = 2 }";

#[test]
fn requests_hold_their_place_until_they_are_answered() {
    let gate = Gate::default();
    let origin = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            while conn.receive().is_ok() {
                gate.wait();
                conn.send(named_reply("done"));
            }
        })
    };
    let edge = Edge::new().route(TWO).pool("app", &[&origin]).start();
    let mut clients = [edge.client(), edge.client()];
    clients.iter_mut().for_each(|client| client.send(GET));
    origin.wait_for_requests(2);
    let mut third = edge.client();
    let answer = third.ask(GET);
    assert_eq!((answer.status(), answer.field("retry-after")), (429, Some("1")));
    assert_eq!(refused(&edge, "/", "conn_limit"), 1.0);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().unwrap().text(), "done");
    }
    eventually("there is room again", || third.ask(GET).status() == 200);
    // A connection that waits for its next request holds no place.
    for client in &mut clients {
        assert_eq!(client.ask(GET).text(), "done");
    }
}

#[test]
fn tunnels_hold_their_place_until_they_end() {
    let origin = Origin::echo_tunnel();
    let edge = Edge::new().route(TWO).pool("app", &[&origin]).start();
    let (mut one, mut two) = (open(&edge), open(&edge));
    assert_eq!(edge.client().ask(ASK).status(), 429);
    assert_eq!(edge.client().ask(GET).status(), 429, "plain requests count, too");
    echoes(&mut one, b"one");
    echoes(&mut two, b"two");
    edge.rewrite(|text| {
        text.replace("upstream = \"app\"", "upstream = \"app\"\nmax_body = \"2m\"")
    });
    reload(&edge);
    assert_eq!(edge.client().ask(ASK).status(), 429, "a reload frees no place");
    drop(one);
    let mut three = when_there_is_room(&edge);
    echoes(&mut three, b"three");
    echoes(&mut two, b"two");
    assert_eq!(edge.client().ask(ASK).status(), 429);
    edge.rewrite(|text| text.replace("count = 2", "count = 3"));
    reload(&edge);
    echoes(&mut when_there_is_room(&edge), b"four");
}

/// One more tunnel, as soon as that can be.
fn when_there_is_room(edge: &Edge) -> Socket {
    let mut tunnel = None;
    eventually("there is room", || {
        let mut client = edge.client();
        client.send(ASK);
        tunnel = (client.head().unwrap().status() == 101).then_some(client);
        tunnel.is_some()
    });
    tunnel.unwrap()
}

/// What comes to nothing gives its place back: refusals, servers that are not there, clients that leave.
#[test]
fn no_place_is_lost() {
    let (refusing, closing, silent) = (Origin::refusing(), Origin::closing(), Origin::silent());
    let edge = Edge::new()
        .route(
            "upstream = \"${host}\"\nmax_body = \"1k\"\n\
             conn_limit = { key = \"client_ip\", count = 1 }",
        )
        .pool("refusing", &[&refusing])
        .pool("closing", &[&closing])
        .pool("silent", &[&silent])
        .start();
    let next = |request: String| {
        let mut status = 0;
        eventually("the place is free", || {
            status = edge.client().ask(&request).status();
            status != 429
        });
        status
    };
    let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for _ in 0..3 {
        assert_eq!(next(get("refusing")), 502);
        assert_eq!(next(get("closing")), 502);
        assert_eq!(next(get("nowhere")), 502);
        let large = "POST / HTTP/1.1\r\nHost: refusing\r\nContent-Length: 9999\r\n\r\n";
        assert_eq!(next(large.to_owned()), 413);
        let count = silent.count();
        let mut leaving = edge.client();
        leaving.send(get("silent"));
        silent.wait_for_requests(count + 1);
        drop(leaving);
    }
    assert_eq!(next(get("nowhere")), 502);
}
