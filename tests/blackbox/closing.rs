//! How a tunnel is closed politely: a Close between two frames, and no byte of either side lost that
//! could still be delivered. Where that cannot be, FIN and no word.

use serde_json::json;

use crate::{
    kit::{
        Chat, Edge, Gate, Origin, eventually,
        frames::{
            BINARY, CLOSE, CONTINUES, ENDS, PING, TEXT, TEXT_BEGINS, close as goodbye, frame,
            header, masked,
        },
    },
    register::{close, tunnels},
    websocket::{edge, open},
};

const SAID: &str = "closed by an operator";

/// A server that says one thing, waits for the gate, says another, and listens.
fn in_two_parts(gate: &Gate, first: Vec<u8>, second: Vec<u8>) -> Chat {
    let gate = gate.clone();
    Chat::with(move |conn, heard| {
        conn.send(&first);
        gate.wait();
        if conn.try_send(&second).is_ok() {
            heard.listen(conn);
        }
    })
}

#[test]
fn the_close_comes_right_behind_the_last_byte_of_a_large_frame() {
    let gate = Gate::default();
    let payload = vec![7; 300_000];
    let whole = [header(BINARY, payload.len(), 0), payload].concat();
    let (first, second) = whole.split_at(100_000);
    let second = [second, &frame(TEXT, "too late")].concat();
    let chat = in_two_parts(&gate, first.to_vec(), second);
    let edge = edge().pool("app", &[&chat]).start();
    let mut client = open(&edge);
    let mut got = client.exactly(first.len()).unwrap();
    close(&edge, &client);
    eventually("it is about it", || tunnels(&edge, "")[0]["state"] == "closing");
    gate.open();
    got.extend(client.exactly(whole.len() - first.len()).unwrap());
    assert!(got == whole, "the frame is whole");
    assert_eq!(client.leaves(), (1012, SAID.into()));
    assert_eq!(chat.goodbye(0), (1012, SAID.into()));
}

#[test]
fn the_close_comes_behind_a_fragmented_message_not_within_it() {
    let gate = Gate::default();
    let rest = [
        frame(PING, "between"),
        frame(CONTINUES, "two, "),
        frame(ENDS, "three"),
        frame(TEXT, "too late"),
    ];
    let chat = in_two_parts(&gate, frame(TEXT_BEGINS, "one, "), rest.concat());
    let edge = edge().pool("app", &[&chat]).start();
    let mut client = open(&edge);
    assert!(client.hear().is(TEXT_BEGINS, "one, "));
    eventually("the register knows", || tunnels(&edge, "")[0]["within_message"] == true);
    close(&edge, &client);
    gate.open();
    assert!(client.hear().is(PING, "between"));
    assert!(client.hear().is(CONTINUES, "two, "));
    assert!(client.hear().is(ENDS, "three"));
    assert_eq!(client.leaves(), (1012, SAID.into()));
    assert_eq!(chat.goodbye(0), (1012, SAID.into()));
}

/// RFC 6455 §5.4 lets a control frame stand there.
#[test]
fn a_message_that_does_not_end_is_interrupted_between_its_frames() {
    let chat = Chat::with(|conn, heard| {
        conn.send(frame(TEXT_BEGINS, "for ever and "));
        heard.listen(conn);
    });
    let edge = edge().pool("app", &[&chat]).start();
    let mut client = open(&edge);
    client.hear();
    close(&edge, &client);
    assert_eq!(client.leaves(), (1012, SAID.into()));
    assert_eq!(chat.goodbye(0), (1012, SAID.into()));
}

#[test]
fn all_that_the_client_says_before_its_answer_reaches_the_server() {
    let chat = Chat::with(|conn, heard| heard.listen(conn));
    let edge = edge().pool("app", &[&chat]).start();
    let mut client = open(&edge);
    close(&edge, &client);
    assert_eq!(client.hear().goodbye(), (1012, SAID.into()));
    let large = vec![9; 200_000];
    for n in 0..100 {
        client.send(masked(TEXT, format!("message {n}")));
    }
    client.send(masked(BINARY, &large));
    // The answer, and what must not come behind it.
    client.send([masked(CLOSE, goodbye(1012, "")), masked(TEXT, "behind")].concat());
    let heard = chat.heard(0, "a Close", |frame| frame.first == CLOSE);
    assert_eq!(heard.len(), 102, "100 messages, a large one, and the Close of ours: no other");
    for (n, frame) in heard[..100].iter().enumerate() {
        assert!(frame.is(TEXT, format!("message {n}")), "{n}: {frame:?}");
    }
    assert!(heard[100].is(BINARY, &large));
    assert_eq!(heard[101].goodbye(), (1012, SAID.into()));
    client.expect_end();
}

#[test]
fn a_client_in_the_middle_of_a_frame_may_end_it() {
    let chat = Chat::with(|conn, heard| heard.listen(conn));
    let edge = edge().pool("app", &[&chat]).start();
    let mut client = open(&edge);
    let message = masked(BINARY, vec![5; 70_000]);
    let (first, second) = message.split_at(30_000);
    client.send(first);
    close(&edge, &client);
    assert_eq!(client.hear().goodbye(), (1012, SAID.into()));
    client.send([second, &masked(CLOSE, goodbye(1012, SAID))].concat());
    let heard = chat.heard(0, "a Close", |frame| frame.first == CLOSE);
    assert!(heard[0].is(BINARY, vec![5; 70_000]) && heard.len() == 2, "{:?}", heard.len());
    client.expect_end();
}

#[test]
fn a_client_that_never_answers_is_let_go() {
    let chat = Chat::new();
    let edge = edge().logging().pool("app", &[&chat]).start();
    let mut client = open(&edge);
    close(&edge, &client);
    assert_eq!(client.hear().goodbye(), (1012, SAID.into()));
    assert_eq!(chat.goodbye(0), (1012, SAID.into()), "the server is told all the same");
    client.expect_end();
    assert_eq!(edge.records(1)[0]["close"], "admin");
}

#[test]
fn a_client_that_just_hangs_up_when_told_is_no_error() {
    let chat = Chat::new();
    let edge = edge().logging().pool("app", &[&chat]).start();
    for n in 0..2 {
        let mut client = open(&edge);
        close(&edge, &client);
        assert_eq!(client.hear().goodbye(), (1012, SAID.into()));
        drop(client);
        assert_eq!(chat.goodbye(n), (1012, SAID.into()), "the server is told all the same");
    }
    assert!(edge.records(2).iter().all(|record| record["close"] == "admin"));
}

#[test]
fn a_server_that_never_answers_holds_nobody_up() {
    let chat = Chat::with(|conn, heard| {
        heard.listen(conn);
        // Neither a Close nor an end, until the other side ends.
        let _ = conn.rest();
    });
    let edge = edge().pool("app", &[&chat]).start();
    let mut client = open(&edge);
    close(&edge, &client);
    assert_eq!(client.leaves(), (1012, SAID.into()));
    chat.wait_for_ended(1);
}

/// Where frames of the server begin is anybody's guess, and a Close could stand in one of them.
#[test]
fn a_malformed_stream_ends_without_a_close() {
    let malformed = frame(0x83, "a reserved opcode");
    let chat = {
        let malformed = malformed.clone();
        Chat::with(move |conn, heard| {
            conn.send(&malformed);
            heard.listen(conn);
        })
    };
    let edge = edge().logging().pool("app", &[&chat]).start();
    let mut client = open(&edge);
    let got = client.exactly(malformed.len()).unwrap();
    close(&edge, &client);
    assert!(got == malformed && client.rest().unwrap().is_empty(), "FIN, and not a byte of ours");
    client.finish();
    assert_eq!(chat.goodbye(0), (1012, SAID.into()), "what the client says is sound");
    assert_eq!(edge.records(1)[0]["close"], "admin");
}

#[test]
fn a_malformed_client_is_told_and_its_server_gets_fin() {
    let chat = Chat::with(|conn, _| assert_eq!(conn.rest().unwrap(), frame(TEXT, "unmasked")));
    let edge = edge().pool("app", &[&chat]).start();
    let mut client = open(&edge);
    client.send(frame(TEXT, "unmasked"));
    eventually("it is through", || tunnels(&edge, "")[0]["bytes_to_server"] == json!(10));
    close(&edge, &client);
    assert_eq!(client.hear().goodbye(), (1012, SAID.into()));
    client.finish();
    client.expect_end();
    chat.wait_for_ended(1);
}

/// They are about to end it themselves, and a second Close would be one too many.
#[test]
fn a_websocket_where_a_side_has_said_close_is_left_alone() {
    let gate = Gate::default();
    let chat = {
        let gate = gate.clone();
        Chat::with(move |conn, heard| match conn.number {
            0 => {
                conn.send(frame(CLOSE, goodbye(1000, "my own")));
                heard.listen(conn);
            }
            1 => {
                heard.listen(conn);
                gate.wait();
                conn.send(frame(CLOSE, goodbye(1000, "and mine")));
            }
            _ => heard.chat(conn),
        })
    };
    let edge = edge().logging().pool("app", &[&chat]).start();
    let (mut told, mut telling, mut other) = (open(&edge), open(&edge), open(&edge));
    assert_eq!(told.hear().goodbye(), (1000, "my own".into()));
    telling.send(masked(CLOSE, goodbye(1000, "and mine")));
    chat.goodbye(1);
    let order =
        json!({"upstream": "app", "server": chat.address(), "rate": "1000/s", "force": true});
    let drain = edge.json("POST", "/api/v1/drains", &order).1["id"].clone();
    assert_eq!(other.leaves(), (1012, "server is being drained".into()));
    gate.open();
    assert_eq!(telling.hear().goodbye(), (1000, "and mine".into()));
    telling.expect_end();
    drop(telling);
    told.send(masked(CLOSE, goodbye(1000, "my own")));
    told.expect_end();
    drop(told);
    assert_eq!(chat.goodbye(0), (1000, "my own".into()));
    let records = edge.records(3);
    let by = |cause: &str| records.iter().filter(|record| record["close"] == cause).count();
    assert_eq!((by("drain"), by("server")), (1, 2), "{records:?}");
    let path = format!("/api/v1/drains/{drain}");
    eventually("it is drained", || edge.json("GET", &path, &json!(null)).1["state"] == "drained");
    let view = edge.json("GET", &path, &json!(null)).1;
    assert_eq!((&view["closed"], &view["left"]), (&json!(1), &json!(2)), "{view}");
}

/// A tunnel that carries no frames ends with FIN, first for the client.
#[test]
fn another_upgrade_ends_with_fin_and_loses_nothing() {
    let reply =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n\r\n";
    let origin = Origin::new(move |conn| {
        conn.receive().unwrap();
        conn.send(format!("{reply}welcome"));
        assert_eq!(conn.rest().unwrap(), b"the last word");
    });
    let edge = Edge::new()
        .route("upstream = \"app\"\nupgrade = [\"chat/2\"]")
        .logging()
        .pool("app", &[&origin])
        .start();
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    assert_eq!(client.exactly(7).unwrap(), b"welcome");
    close(&edge, &client);
    assert!(client.rest().unwrap().is_empty());
    client.send("the last word");
    client.finish();
    origin.wait_for_ended(1);
    assert_eq!(edge.records(1)[0]["close"], "admin");
}
