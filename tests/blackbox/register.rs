//! The register of open tunnels, `/api/v1/tunnels`: what it tells, how it is searched and turned page
//! by page, and closing one by its id.

use std::{collections::HashSet, net::IpAddr};

use serde_json::{Value, json};

use crate::{
    kit::{
        Chat, Edge, Origin, Socket, eventually,
        frames::{TEXT, frame, masked},
    },
    websocket::{ASK, edge, open},
};

const CHAT: &str = "GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n\r\n";

/// The tunnels that a query finds, all of its pages' one after the other.
#[track_caller]
pub fn tunnels(edge: &Edge, query: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/tunnels?limit=1000&{query}{after}");
        let (status, page) = edge.json("GET", &path, &Value::Null);
        assert_eq!(status, 200, "{page}");
        all.extend(page["tunnels"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return all };
        after = format!("&after={next}");
    }
}

fn ids(tunnels: &[Value]) -> Vec<u64> {
    tunnels.iter().map(|tunnel| tunnel["id"].as_u64().unwrap()).collect()
}

/// The id of the tunnel of that client.
#[track_caller]
pub fn id_of(edge: &Edge, client: &Socket) -> u64 {
    let address = client.inner().local_addr().unwrap().as_socket().unwrap().to_string();
    let all = tunnels(edge, "");
    let its = all.iter().find(|tunnel| tunnel["client"] == *address);
    its.unwrap_or_else(|| panic!("{address} has no tunnel among {all:?}"))["id"].as_u64().unwrap()
}

/// Asks the tunnel of that client to close.
#[track_caller]
pub fn close(edge: &Edge, client: &Socket) {
    let path = format!("/api/v1/tunnels/{}", id_of(edge, client));
    let (status, said) = edge.json("DELETE", &path, &Value::Null);
    assert_eq!((status, &said["state"]), (202, &json!("closing")), "{said}");
}

#[test]
fn a_tunnel_is_listed_with_all_that_is_known_of_it() {
    let chat = Chat::new();
    let edge = edge().pool("ImGateway", &[&chat]).start();
    let mut client = edge.client();
    client.send(ASK.replace("Host: app", "Host: imgateway"));
    assert_eq!(client.head().unwrap().status(), 101);
    let one = tunnels(&edge, "").pop().expect("it is listed");
    let address = client.inner().local_addr().unwrap().as_socket().unwrap();
    for (key, wanted) in [
        ("kind", json!("websocket")),
        ("upstream", json!("ImGateway")),
        ("server", json!(chat.address())),
        ("listener", json!("edge")),
        ("client", json!(address.to_string())),
        ("state", json!("open")),
        ("within_message", json!(false)),
        ("bytes_to_server", json!(0)),
    ] {
        assert_eq!(one[key], wanted, "{key} in {one}");
    }
    assert!(one["age_ms"].is_u64() && one["idle_ms"].is_u64(), "{one}");
    let to_client = || tunnels(&edge, "").pop().unwrap()["bytes_to_client"].as_u64().unwrap();
    eventually("the head of the 101 is counted", || to_client() > 0);
    let before = to_client();
    client.chats("hello");
    eventually("its bytes are counted", || {
        let now = tunnels(&edge, "").pop().unwrap();
        now["bytes_to_server"] == json!(masked(TEXT, "hello").len())
            && now["bytes_to_client"] == json!(before + frame(TEXT, "hello").len() as u64)
    });
    eventually("it grows older, and is idle", || {
        let now = tunnels(&edge, "").pop().unwrap();
        now["age_ms"].as_u64() >= now["idle_ms"].as_u64() && now["idle_ms"].as_u64() > Some(0)
    });
    drop(client);
    eventually("it is gone", || tunnels(&edge, "").is_empty());
}

#[test]
fn other_upgrades_are_listed_as_such() {
    let reply =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n\r\n";
    let origin = Origin::new(move |conn| {
        conn.receive().unwrap();
        conn.send(reply);
        let _ = conn.rest();
    });
    let edge = Edge::new()
        .route("upstream = \"app\"\nupgrade = [\"chat/2\"]")
        .pool("app", &[&origin])
        .start();
    let mut client = edge.client();
    client.send(CHAT);
    assert_eq!(client.head().unwrap().status(), 101);
    assert_eq!(tunnels(&edge, "")[0]["kind"], "upgrade");
    client.finish();
    eventually("one side has said its last word", || {
        tunnels(&edge, "").iter().all(|tunnel| tunnel["state"] == "half_closed")
    });
}

#[test]
fn tunnels_are_found_by_pool_server_listener_and_client() {
    let (one, two, other) = (Chat::new(), Chat::new(), Chat::new());
    let edge = edge()
        .toml("[[listener]]\nname = \"side\"\naddress = \"127.0.0.1:0\"")
        .expect_listener("side")
        .pool("app", &[&one, &two])
        .pool("other", &[&other])
        .start();
    let ask = |socket: &mut Socket, host: &str| {
        socket.send(ASK.replace("Host: app", &format!("Host: {host}")));
        assert_eq!(socket.head().unwrap().status(), 101);
    };
    let far: IpAddr = "127.0.0.2".parse().unwrap();
    let mut clients = [
        edge.client(),
        edge.client(),
        Socket::connect_from(far, edge.port("edge")),
        Socket::connect(edge.port("side")),
    ];
    for (client, host) in clients.iter_mut().zip(["app", "app", "other", "other"]) {
        ask(client, host);
    }
    let all: Vec<u64> = clients.iter().map(|client| id_of(&edge, client)).collect();
    let found = |query: &str| -> HashSet<u64> { ids(&tunnels(&edge, query)).into_iter().collect() };
    let these = |at: &[usize]| -> HashSet<u64> { at.iter().map(|at| all[*at]).collect() };
    for (query, wanted) in [
        ("", these(&[0, 1, 2, 3])),
        ("upstream=app", these(&[0, 1])),
        ("upstream=OTHER", these(&[2, 3])),
        ("upstream=nobody", these(&[])),
        ("client=127.0.0.2", these(&[2])),
        ("client=127.0.0.1", these(&[0, 1, 3])),
        ("client=::1", these(&[])),
        ("listener=side", these(&[3])),
        ("listener=edge", these(&[0, 1, 2])),
        ("upstream=other&listener=edge", these(&[2])),
        ("upstream=app&client=127.0.0.2", these(&[])),
        (&format!("server={}", other.address()), these(&[2, 3])),
    ] {
        assert_eq!(found(query), wanted, "{query}");
    }
    let by_server: Vec<_> =
        [&one, &two].map(|server| found(&format!("server={}", server.address()))).into();
    assert!(by_server.iter().all(|its| its.len() == 1) && by_server[0] != by_server[1]);
    let (_, page) = edge.json("GET", "/api/v1/tunnels?upstream=app&limit=1", &Value::Null);
    assert_eq!((page["total"].as_u64(), page["tunnels"].as_array().unwrap().len()), (Some(2), 1));
}

#[test]
fn every_order_puts_first_what_it_says_and_repeats_nobody() {
    let chat = Chat::new();
    let edge = edge().pool("app", &[&chat]).start();
    let mut clients: Vec<Socket> = (0..23).map(|_| open(&edge)).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        (0..at % 5).for_each(|_| client.chats("a few bytes"));
    }
    let all: HashSet<u64> = ids(&tunnels(&edge, "")).into_iter().collect();
    assert_eq!(all.len(), 23);
    for (sort, key, is_ordered) in [
        ("id", "id", (|one, two| one < two) as fn(u64, u64) -> bool),
        ("age", "age_ms", |one, two| one >= two),
        ("idle", "idle_ms", |one, two| one >= two),
        ("bytes", "bytes_to_client", |one, two| one >= two),
    ] {
        let mut found = Vec::new();
        let mut after = String::new();
        let mut pages = 0;
        loop {
            let path = format!("/api/v1/tunnels?sort={sort}&limit=4{after}");
            let (status, page) = edge.json("GET", &path, &Value::Null);
            assert_eq!((status, page["total"].as_u64()), (200, Some(23)), "{page}");
            let rows = page["tunnels"].as_array().unwrap();
            let values: Vec<u64> = rows.iter().map(|row| row[key].as_u64().unwrap()).collect();
            assert!(values.is_sorted_by(|one, two| is_ordered(*one, *two)), "{sort}: {page}");
            found.extend(ids(rows));
            pages += 1;
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!((pages, found.len()), (6, 23), "{sort}");
        assert_eq!(found.into_iter().collect::<HashSet<_>>(), all, "{sort}");
    }
}

/// Others come and go between the pages; those that stay are all seen, and once.
#[test]
fn pages_hold_still_while_tunnels_come_and_go() {
    let chat = Chat::new();
    let edge = edge().pool("app", &[&chat]).start();
    let mut passing: Vec<Socket> = Vec::new();
    let mut staying = Vec::new();
    for _ in 0..12 {
        staying.push(open(&edge));
        passing.push(open(&edge));
    }
    let stay: HashSet<u64> = staying.iter().map(|client| id_of(&edge, client)).collect();
    for sort in ["id", "age", "idle"] {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/tunnels?sort={sort}&limit=3{after}");
            let (_, page) = edge.json("GET", &path, &Value::Null);
            found.extend(ids(page["tunnels"].as_array().unwrap()));
            passing.pop();
            passing.insert(0, open(&edge));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        let seen = found.iter().filter(|id| stay.contains(id));
        assert_eq!(
            seen.clone().collect::<HashSet<_>>().len(),
            stay.len(),
            "{sort}: one is missing"
        );
        assert_eq!(seen.count(), stay.len(), "{sort}: one is repeated");
    }
}

#[test]
fn what_cannot_be_asked_for_is_400_with_the_field() {
    let edge = Edge::new().start();
    for (query, field) in [
        ("nope=1", "nope"),
        ("sort=upwards", "sort"),
        ("limit=many", "limit"),
        ("limit=-1", "limit"),
        ("client=localhost", "client"),
        ("after=x", "after"),
        ("after=", "after"),
        ("after=1", "after"),
        ("after=1-", "after"),
        ("after=-1", "after"),
        ("after=1-2-3", "after"),
        ("upstream=a&upstream=b", "upstream"),
    ] {
        let answer = edge.call("GET", &format!("/api/v1/tunnels?{query}"), "");
        assert_eq!(answer.status(), 400, "{query}: {answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{query}");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["status"], 400, "{problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{query}: {problem}");
    }
}

#[test]
fn a_tunnel_is_closed_by_its_id() {
    let chat = Chat::new();
    let edge = edge()
        .logging()
        .toml(&format!(
            "[upstream.app]\nservers = [{:?}]\ntunnel = {{ close_code = 4000 }}",
            chat.address()
        ))
        .start();
    let (mut client, mut other) = (open(&edge), open(&edge));
    client.chats("hello");
    close(&edge, &client);
    let goodbye = (4000, "closed by an operator".to_owned());
    assert_eq!(client.leaves(), goodbye);
    assert_eq!(chat.goodbye(0), goodbye);
    let record = edge.records(1).remove(0);
    assert_eq!((&record["status"], &record["close"]), (&json!(101), &json!("admin")), "{record}");
    assert!(record.get("close_by").is_none_or(Value::is_null), "nobody's number: {record}");
    let by_server = format!(
        "tidegate_tunnel_closes_total{{upstream=\"app\",server=\"{}\",cause=\"admin\"}}",
        chat.address()
    );
    assert_eq!(edge.metric(&by_server), Some(1.0));
    let by_listener = "tidegate_listener_tunnel_closes_total{listener=\"edge\",cause=\"admin\"}";
    assert_eq!(edge.metric(by_listener), Some(1.0));
    other.chats("nobody else was meant");
}

#[test]
fn what_is_asked_for_twice_is_closed_once() {
    let chat = Chat::new();
    let edge = edge().pool("app", &[&chat]).start();
    let mut client = open(&edge);
    let path = format!("/api/v1/tunnels/{}", id_of(&edge, &client));
    for _ in 0..2 {
        assert_eq!(edge.json("DELETE", &path, &Value::Null).0, 202);
    }
    client.leaves();
    chat.goodbye(0);
    eventually("it is gone", || edge.json("DELETE", &path, &Value::Null).0 == 404);
}

#[test]
fn a_tunnel_that_is_not_there_is_404() {
    let edge = Edge::new().start();
    for id in ["0", "4096", "18446744073709551615", "18446744073709551616", "-1", "all", "1x"] {
        let answer = edge.call("DELETE", &format!("/api/v1/tunnels/{id}"), "");
        assert_eq!(answer.status(), 404, "{id}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{id}");
    }
    assert_eq!(edge.call("PATCH", "/api/v1/tunnels/1", "{}").status(), 405);
}
