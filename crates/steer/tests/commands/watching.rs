//! What is looked at for longer: drains that are waited for, events, tunnels by pages, `top`.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::{
    kit::{Proxy, Reply},
    pools::{chat, list},
    servers::drain,
};

/// A drain that has fewer tunnels each time it is looked at.
fn emptying() -> Proxy {
    let looks = AtomicU64::new(0);
    Proxy::new(move |asked| match asked.method.as_str() {
        "POST" => drain("running", 400).status(201),
        _ => match looks.fetch_add(1, Ordering::SeqCst) {
            0 => drain("running", 120),
            _ => drain("drained", 0),
        },
    })
}

#[test]
fn a_drain_is_waited_for_in_lines() {
    let said = emptying().run("server drain chat 10.0.0.1:8080 --wait");
    assert_eq!(said.code, 0, "{said:?}");
    let want = "drain 3 10.0.0.1:8080: 120 of 400 tunnels left, 0 requests, running, about 15m to go\n\
                drain 3 10.0.0.1:8080: 0 of 400 tunnels left, 0 requests, drained\n";
    assert!(said.out.ends_with(want), "{}", said.out);
}

#[test]
fn followed_for_a_script_it_is_the_last_answer() {
    let said = emptying().run("drain show 3 --follow --json");
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()["state"], "drained");
}

#[test]
fn a_drain_that_vanishes_was_not_finished() {
    let looks = AtomicU64::new(0);
    let proxy = Proxy::new(move |_| match looks.fetch_add(1, Ordering::SeqCst) {
        0 => drain("running", 120),
        _ => Reply::refusal(404, "there is no such drain"),
    });
    let said = proxy.run("drain show 3 --follow");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("drain 3 is no more: somebody cancelled it"), "{}", said.err);
    assert_eq!(proxy.run("drain show 3 --follow").err, "tidegate: there is no drain 3\n");
}

#[test]
fn events_are_lines_and_taken_up_where_they_ended() {
    let calls = AtomicU64::new(0);
    let proxy = Proxy::new(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::events(
            "id: 7\nevent: change\ndata: {\"generation\":7,\"reason\":\"more room\"}\n\n",
        ),
        1 => Reply::events("id: 8\nevent: lost\ndata: {\"after\":7}\n\n"),
        _ => Reply::refusal(503, "stopping"),
    });
    let said = proxy.run("events --kinds change,drain --after 6");
    assert_eq!(said.out, "change   generation=7 reason=\"more room\"\nlost     after=7\n");
    assert_eq!((said.code, said.err.as_str()), (1, "tidegate: stopping\n"));
    let asked = proxy.asked();
    let resumed: Vec<_> = asked.iter().map(|one| one.header("last-event-id").unwrap()).collect();
    assert_eq!(resumed, ["6", "7", "8"]);
    assert_eq!(asked[0].target, "/api/v1/events?kinds=change%2Cdrain");
}

#[test]
fn tunnels_are_gathered_over_pages() {
    let proxy = Proxy::new(|asked| {
        let tunnel = |id: u64| {
            json!({"id": id, "kind": "websocket", "upstream": "chat", "server": "a:1",
                "client": "127.0.0.1:4", "state": "open", "age_ms": 2_720, "idle_ms": 40,
                "bytes_to_client": 2_048, "bytes_to_server": 13})
        };
        let (rows, next): (Vec<_>, _) = match asked.target.contains("after=") {
            false => ((1..=1_000).map(tunnel).collect(), json!("0-1000")),
            true => (vec![tunnel(1_001)], Value::Null),
        };
        Reply::json(json!({"tunnels": rows, "next": next, "total": 1_001}))
    });
    let said = proxy.run("tunnels --limit 5000 --upstream chat --sort idle");
    assert_eq!(said.out.lines().count(), 1_002);
    assert!(said.out.contains("1001  websocket  chat      a:1     127.0.0.1:4  open    2s  40ms    2.0 KiB       13 B\n"), "{}", &said.out[said.out.len() - 200..]);
    let want = "GET /api/v1/tunnels?upstream=chat&sort=idle&limit=1000&after=0-1000";
    assert_eq!(proxy.lines().last().unwrap(), want);
    let whole: Value = serde_json::from_str(&proxy.run("tunnels --limit 5000 --json").out).unwrap();
    assert_eq!(whole["tunnels"].as_array().unwrap().len(), 1_001);
}

#[test]
fn one_frame_of_top_is_plain_text() {
    let status = json!({"version": "0.1.0", "generation": 42, "uptime_seconds": 60,
        "connections_active": 12, "tunnels_active": 400});
    let proxy = Proxy::of(&[
        ("GET /api/v1/status", Reply::json(status)),
        ("GET /api/v1/upstreams", list()),
        ("GET /api/v1/upstreams/chat", Reply::json(chat())),
        ("GET /api/v1/drains", Reply::json(json!({"drains": []}))),
    ]);
    let said = proxy.run("top --once --interval 100ms");
    assert_eq!(said.code, 0, "{said:?}");
    for part in
        ["tidegate 0.1.0  gen 42  up 1m  0 req/s", "chat", "3/3", "10.0.0.2:8080", "unhealthy"]
    {
        assert!(said.out.contains(part), "{part:?} in\n{}", said.out);
    }
    let asked = proxy.lines();
    let lists = asked.iter().filter(|line| *line == "GET /api/v1/upstreams").count();
    assert_eq!(lists, 2, "one each look: {asked:?}");
    assert_eq!(proxy.run("top").code, 2, "without a terminal");
}
