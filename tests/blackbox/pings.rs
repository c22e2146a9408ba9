//! Pings of our own (`tunnel.ping_interval`): both sides answer them and neither ever sees the other's
//! answer; whoever does not answer has gone.

use crate::{
    kit::{
        Chat, Edge, Socket,
        frames::{BINARY, PING, PONG, TEXT, frame, masked},
    },
    websocket::{edge, open},
};

fn pinging(chat: &Chat, more: &str) -> Edge {
    edge()
        .logging()
        .toml(&format!(
            "[upstream.app]\nservers = [{:?}]\ntunnel = {{ ping_interval = \"1s\"{more} }}",
            chat.address()
        ))
        .start()
}

/// Answers so many pings of the proxy's.
#[track_caller]
fn answers(client: &mut Socket, pings: usize) {
    for _ in 0..pings {
        let ping = client.hear();
        assert_eq!(ping.first, PING, "{ping:?}");
        client.send(masked(PONG, &ping.payload));
    }
}

#[test]
fn who_answers_stays_and_nobody_sees_the_answers() {
    let chat = Chat::new();
    let edge = pinging(&chat, "");
    let mut client = open(&edge);
    answers(&mut client, 3);
    client.chats("still here");
    let heard = chat.heard(0, "the message", |frame| frame.is(TEXT, "still here"));
    let kinds: Vec<u8> = heard.iter().map(|frame| frame.first).collect();
    assert!(heard.iter().all(|frame| frame.is_masked), "{heard:?}");
    assert!(!kinds.contains(&PONG), "the client's answers were to us: {heard:?}");
    assert!(kinds.iter().filter(|kind| **kind == PING).count() >= 2, "it is pinged: {heard:?}");
    // Chat has answered its pings, and `answers` has heard nothing but pings.
}

#[test]
fn pings_and_pongs_of_their_own_pass() {
    let chat = Chat::with(|conn, heard| {
        conn.send(frame(PING, "of the server"));
        conn.send(frame(PONG, "for nobody"));
        heard.chat(conn);
    });
    let edge = pinging(&chat, "");
    let mut client = open(&edge);
    assert!(client.hear().is(PING, "of the server"));
    assert!(client.hear().is(PONG, "for nobody"));
    client.send(masked(PONG, "of the server"));
    answers(&mut client, 1);
    client
        .send([masked(PONG, ""), masked(PONG, "unasked"), masked(PING, "of the client")].concat());
    assert!(client.hear().is(PONG, "of the client"), "the server has answered it");
    let heard = chat.heard(0, "a ping", |frame| frame.is(PING, "of the client"));
    let pongs: Vec<_> = heard.iter().filter(|frame| frame.first == PONG).collect();
    let wanted = ["of the server", "", "unasked"];
    assert_eq!(pongs.len(), wanted.len(), "{pongs:?}");
    assert!(pongs.iter().zip(wanted).all(|(pong, text)| pong.is(PONG, text)), "{pongs:?}");
}

#[test]
fn a_client_that_does_not_answer_has_gone() {
    let chat = Chat::new();
    let edge = pinging(&chat, "");
    let mut client = open(&edge);
    assert_eq!(client.hear().first, PING);
    client.expect_end();
    chat.wait_for_ended(1);
    assert_eq!(edge.records(1)[0]["close"], "error_ping");
    let closes = "tidegate_listener_tunnel_closes_total{listener=\"edge\",cause=\"error_ping\"}";
    assert_eq!(edge.metric(closes), Some(1.0));
}

#[test]
fn a_server_that_does_not_answer_has_gone() {
    let chat = Chat::with(|conn, heard| heard.listen(conn));
    let edge = pinging(&chat, "");
    let mut client = open(&edge);
    answers(&mut client, 1);
    client.expect_end();
    chat.wait_for_ended(1);
    assert_eq!(edge.records(1)[0]["close"], "error_ping");
}

/// Pings are no data: who only answers them is idle.
#[test]
fn pings_do_not_keep_an_idle_tunnel() {
    let chat = Chat::new();
    let edge = pinging(&chat, ", idle_timeout = \"3s\"");
    let mut client = open(&edge);
    let mut pings = 0;
    while let Ok(ping) = client.frame() {
        assert_eq!(ping.first, PING, "{ping:?}");
        client.send(masked(PONG, &ping.payload));
        pings += 1;
    }
    assert!((1..=3).contains(&pings), "{pings} pings");
    assert_eq!(edge.records(1)[0]["close"], "idle");
}

/// The server is asked whether it is still there, but the client hears nothing of ours before the
/// end of the frame.
#[test]
fn a_frame_under_way_is_not_broken_by_a_ping() {
    let whole = frame(BINARY, vec![3; 1_000]);
    let chat = {
        let whole = whole.clone();
        Chat::with(move |conn, heard| {
            conn.send(&whole[..500]);
            let ping = heard.frame(conn).unwrap();
            assert_eq!(ping.first, PING);
            conn.send([&whole[500..], &frame(PONG, ping.payload)].concat());
            heard.chat(conn);
        })
    };
    let edge = pinging(&chat, "");
    let mut client = open(&edge);
    assert!(client.exactly(whole.len()).unwrap() == whole);
    answers(&mut client, 2);
}
