//! Upgrades go on to the next server until one of them says 101, and never after that.

use super::{GET, on, outcomes, plain};
use crate::{
    kit::{Origin, SWITCHING},
    websocket::{ASK, echoes},
};

const EVERY: &[&str] = &["error", "timeout", "invalid_header", "http_502", "http_503"];

#[test]
fn an_upgrade_goes_on_until_the_101() {
    let half = "HTTP/1.1 101 Switching Protocols\r\nUpgr";
    let early = "HTTP/1.1 502 Bad\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmine";
    let origins = [
        Origin::refusing(),
        Origin::closing(),
        Origin::silent(),
        Origin::raw(half),
        Origin::raw("garbage\r\n\r\n"),
        // Not the protocol that was asked for.
        Origin::raw(SWITCHING.replace("websocket", "foo")),
        Origin::raw(early),
        Origin::answering(503, "mine"),
        Origin::echo_tunnel(),
    ];
    let keys = format!("{}\ntimeouts = {{ read = \"1s\" }}", on(EVERY));
    let edge = plain(&origins.each_ref(), &keys);
    let mut client = edge.client();
    client.send(format!("{ASK}early"));
    assert_eq!(client.head().unwrap().status(), 101);
    assert_eq!(client.exactly(5).unwrap(), b"early", "what came early waits for the tunnel");
    echoes(&mut client, b"hello");
    drop(client);
    let record = &edge.records(1)[0];
    let wanted = [
        "connect_failed",
        "failed",
        "timeout",
        "failed",
        "malformed",
        "malformed",
        "http_502",
        "http_503",
        "answered",
    ];
    assert_eq!(outcomes(record), wanted, "{record}");
    assert!(origins[1..].iter().all(|origin| origin.count() == 1), "each was asked once");
}

#[test]
fn the_last_servers_refusal_is_passed_on() {
    let origins = ["1", "2"].map(|name| Origin::answering(503, name));
    let edge = plain(&origins.each_ref(), &on(EVERY));
    let mut client = edge.client();
    let answer = client.ask(ASK);
    assert_eq!((answer.status(), answer.text().as_str()), (503, "2"));
    assert_eq!(client.ask(GET).status(), 503, "and the connection goes on");
}

#[test]
fn a_tunnel_that_ends_at_once_is_not_opened_again() {
    let (brief, good) = (Origin::raw(SWITCHING), Origin::echo_tunnel());
    let edge = plain(&[&brief, &good], &on(EVERY));
    let mut client = edge.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status(), 101);
    client.expect_end();
    assert_eq!((brief.count(), good.count()), (1, 0));
}
