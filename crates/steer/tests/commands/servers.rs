//! `tidegate server`.

use serde_json::{Value, json};

use crate::{
    kit::{Proxy, Reply, changed},
    pools::{chat, list},
};

/// Says yes to everything.
fn willing() -> Proxy {
    Proxy::new(|asked| match asked.target.as_str() {
        "/api/v1/drains" => drain("running", 400).status(201),
        _ => changed(43, &["chat"]),
    })
}

pub fn drain(state: &str, left: u64) -> Reply {
    Reply::json(json!({
        "id": 3, "generation": 43, "upstream": "chat", "server": "10.0.0.1:8080", "over": "15m",
        "order": "quiet_first", "deadline": "1h", "state": state, "begun": 1_764_000_000_000_u64,
        "total": 400, "closed": 400 - left, "left": 0, "cut": 0,
        "remaining": {"tunnels": left, "requests": 0}, "eta_seconds": 900, "durable": true
    }))
}

/// What one command asked: the method and target, and the body.
#[track_caller]
fn asked(line: &str) -> (String, Value) {
    let proxy = willing();
    let said = proxy.run(line);
    assert_eq!(said.code, 0, "{said:?}");
    let asked = proxy.last();
    (format!("{} {}", asked.method, asked.target), asked.body)
}

#[test]
fn one_server_is_its_own_resource() {
    let at = "/api/v1/upstreams/chat/servers/10.0.0.1:8080";
    for (line, method, query, body) in [
        ("set chat 10.0.0.1:8080 --weight 5", "PATCH", "", json!({"weight": 5})),
        ("up chat 10.0.0.1:8080", "PATCH", "", json!({"down": false})),
        ("down chat 10.0.0.1:8080 --force", "PATCH", "", json!({"down": true, "force": true})),
        ("down chat 10.0.0.1:8080 --dry-run", "PATCH", "?dry_run=true", json!({"down": true})),
        ("remove chat 10.0.0.1:8080", "DELETE", "", Value::Null),
        (
            "remove chat 10.0.0.1:8080 --existing drain --force --reason a&b",
            "DELETE",
            "?existing=drain&reason=a%26b&force=true",
            Value::Null,
        ),
    ] {
        let want = (format!("{method} {at}{query}"), body);
        assert_eq!(asked(&format!("server {line}")), want, "{line}");
    }
}

#[test]
fn every_parameter_is_the_api_s() {
    let line = "server set chat a:1 --weight 5 --max-conns 9 --max-fails 2 --fail-timeout 5s \
                --slow-start 1m --backup --tag version=2 --tag zone=b";
    let (_, body) = asked(&line.split_whitespace().collect::<Vec<_>>().join(" "));
    let want = json!({
        "weight": 5, "max_conns": 9, "max_fails": 2, "fail_timeout": "5s", "slow_start": "1m",
        "backup": true, "tags": {"version": "2", "zone": "b"}
    });
    assert_eq!(body, want);
    let (_, body) = asked("server set chat a:1 --backup=false");
    assert_eq!(body, json!({"backup": false}));
}

#[test]
fn a_path_of_a_socket_is_one_segment() {
    let (line, _) = asked("server up chat unix:/run/a.sock");
    assert_eq!(line, "PATCH /api/v1/upstreams/chat/servers/unix:%2Frun%2Fa.sock");
}

#[test]
fn several_are_changed_together_or_not_at_all() {
    let (line, body) = asked("server set chat a:1 b:1 --weight 2 --if-match 41 --reason r");
    assert_eq!(line, "POST /api/v1/transactions");
    let want = json!({"reason": "r", "operations": [
        {"op": "set_server", "upstream": "chat", "server": "a:1", "set": {"weight": 2}, "if_match": 41},
        {"op": "set_server", "upstream": "chat", "server": "b:1", "set": {"weight": 2}, "if_match": 41},
    ]});
    assert_eq!(body, want);
    let (_, body) = asked("server remove chat a:1 b:1 --existing close");
    let want = json!({"existing": "close", "operations": [
        {"op": "remove_server", "upstream": "chat", "server": "a:1"},
        {"op": "remove_server", "upstream": "chat", "server": "b:1"},
    ]});
    assert_eq!(body, want);
}

#[test]
fn servers_are_added_in_one_go() {
    let (line, body) = asked("server add chat a:1 b:1 --weight 2 --backup --tag v=1");
    assert_eq!(line, "POST /api/v1/upstreams/chat/servers");
    let server = |address: &str| json!({"address": address, "weight": 2, "backup": true, "tags": {"v": "1"}});
    assert_eq!(body, json!({"servers": [server("a:1"), server("b:1")]}));
}

#[test]
fn a_drain_is_ordered_and_told() {
    let proxy = willing();
    let said = proxy.run(
        "server drain chat 10.0.0.1:8080 --over 15m --order oldest_first --deadline 1h \
         --close-code 1001 --reason moving --force",
    );
    assert_eq!(said.code, 0, "{said:?}");
    let want = json!({
        "upstream": "chat", "server": "10.0.0.1:8080", "over": "15m", "order": "oldest_first",
        "deadline": "1h", "close_code": 1001, "reason": "moving", "force": true
    });
    assert_eq!(proxy.last().body, want);
    let want = "drain 3: 10.0.0.1:8080 of chat, running\n\
                \x20 over 15m, quiet_first, what is left after 1h is cut\n\
                \x20 400 of 400 tunnels remain, 0 requests; 0 were told to leave, 0 left by themselves, 0 were cut\n\
                \x20 about 15m to go\n";
    assert_eq!(said.out, want);
}

#[test]
fn what_makes_no_sense_is_found_before_anybody_is_asked() {
    let proxy = willing();
    for line in [
        "server",
        "server add chat",
        "server add chat a:99999",
        "server set chat a:1",
        "server set chat a:1 --weight -1",
        "server set chat a:1 --slow-start soon",
        "server set chat a:1 --tag v",
        "server remove chat a:1 --existing kill",
        "server drain chat a:1 --over 15m --rate 5/s",
        "server drain chat a:1 --rate 5",
        "server drain chat a:1 --order first",
        "drain pause 3 --if-match 4",
        "server up chat a:1 --if-match soon",
        "upstream set chat a:1 --set keepalive",
        "upstream set chat a:1,backup,backup",
        "drain rate 3 fast",
        "drain show three",
        "explain --nope",
        "top --interval 1ms",
        "events --kinds nonsense",
        "tunnels --sort size",
    ] {
        let said = proxy.run(line);
        assert_eq!(said.code, 2, "{line}: {said:?}");
        assert!(!said.err.is_empty());
    }
    assert!(proxy.asked().is_empty(), "{:?}", proxy.lines());
}

#[test]
fn what_the_proxy_has_against_it_is_told_by_field() {
    let proxy = Proxy::new(|asked| match asked.target.as_str() {
        "/api/v1/upstreams" => list(),
        "/api/v1/upstreams/chat" if asked.method == "GET" => Reply::json(chat()),
        _ => Reply::refusal_of(
            400,
            "this is no pool",
            &[("servers[0].weight", "too\u{1b}[2J much"), ("x", "y")],
        ),
    });
    let said = proxy.run("server add chat a:1");
    assert_eq!(said.code, 1);
    let want = "tidegate: this is no pool\n  servers[0].weight: too\\u{1b}[2J much\n  x: y\n";
    assert_eq!(said.err, want);
}
