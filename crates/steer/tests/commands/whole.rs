//! The process as a whole, and how failures are told.

use std::{fs, io::Write as _, net::TcpListener};

use serde_json::json;
use tidegate_steer::Environment;

use crate::kit::{Proxy, Reply, run};

#[test]
fn a_reload_says_what_it_did() {
    let proxy = Proxy::of(&[(
        "POST /api/v1/reload",
        Reply::json(json!({
            "generation": 44, "durable": false, "changed": ["chat"], "removed": [],
            "replaced_api_changes": ["shop"], "routes_changed": true,
            "listeners": {"added": ["edge2"], "changed": [], "removed": []}, "settings_changed": []
        })),
    )]);
    let want = "reloaded: generation 44, in memory only\n  pools changed: chat\n  listeners added: edge2\n\
                \x20 routes changed\n  what the API had changed was replaced in: shop\n";
    assert_eq!(proxy.run("reload").out, want);
    let bad = Reply::refusal_of(
        422,
        "the file is not what it should be",
        &[("t.toml:3:1 typo", "unknown key")],
    );
    let said = Proxy::of(&[("POST /api/v1/reload", bad)]).run("reload");
    let want = "tidegate: the file is not what it should be\n  t.toml:3:1 typo: unknown key\n";
    assert_eq!((said.code, said.err.as_str()), (1, want));
}

#[test]
fn the_configuration_is_json_under_its_files() {
    let config = json!({"files": ["/etc/tidegate.toml"], "config": {"process": {"workers": 2}}});
    let proxy = Proxy::of(&[("GET /api/v1/config", Reply::json(config))]);
    let want = "# /etc/tidegate.toml\n{\n  \"process\": {\n    \"workers\": 2\n  }\n}\n";
    assert_eq!(proxy.run("config").out, want);
}

#[test]
fn who_cannot_be_reached_is_69_with_advice() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for command in [
        "status",
        "upstream list",
        "server up a b:1",
        "top --once",
        "events",
        "drain show 1 --follow",
    ] {
        let said = run(&format!("{command} --admin http://{nobody}"), &Environment::default());
        assert_eq!(said.code, 69, "{command}: {said:?}");
        assert!(
            said.err.contains("cannot be reached") && said.err.contains("TIDEGATE_ADMIN"),
            "{said:?}"
        );
    }
    let said = run("status --admin unix:/nowhere/admin.sock", &Environment::default());
    assert_eq!(said.code, 69);
}

#[test]
fn somebody_else_who_answers_is_69_too() {
    let html = Proxy::new(|_| Reply::events("<html>hello"));
    let said = html.run("status");
    assert_eq!(said.code, 69);
    assert!(said.err.contains("does not speak this API"), "{said:?}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = (&stream).write_all(b"220 mail ready\r\n");
        }
    });
    let said = run(&format!("status --admin {address}"), &Environment::default());
    assert_eq!(said.code, 69, "{said:?}");
}

#[test]
fn tokens_come_from_a_file_or_the_environment() {
    let proxy = Proxy::new(|asked| match asked.header("authorization") {
        Some("Bearer s3cret") => Reply::json(json!({"drains": []})),
        _ => Reply::refusal(401, "this wants a token"),
    });
    let path = std::env::temp_dir().join(format!("steer-token-{}", std::process::id()));
    fs::write(&path, "s3cret\n").unwrap();
    let from_file = proxy.run(&format!("drain list --token-file {}", path.display()));
    fs::remove_file(&path).unwrap();
    assert_eq!(from_file.out, "no server is being drained\n");
    let admin = Some(format!("http://{}", proxy.address));
    let environment = Environment { admin, token: Some("s3cret".into()), no_color: false };
    assert_eq!(run("drain list", &environment).code, 0);
    let none = proxy.run("drain list");
    assert_eq!(none.code, 1);
    assert!(none.err.contains("--token-file"), "{}", none.err);
    assert_eq!(proxy.run("drain list --token-file /nowhere").code, 2);
    let odd = Environment { token: Some("a\nb".into()), ..environment };
    assert_eq!(run("drain list", &odd).code, 2);
}

#[test]
fn explain_is_told_from_the_request_to_the_server() {
    let proxy = Proxy::of(&[(
        "GET /api/v1/explain?host=chat&path=%2Fws&header=x-user:7",
        Reply::json(json!({
            "generation": 42,
            "request": {"listener": "edge", "client": "127.0.0.1", "method": "GET", "host": "chat", "path": "/ws", "query": null},
            "routes": [{"route": "0", "matches": false, "because": "host"}, {"route": "1", "matches": true}],
            "route": {"label": "1", "template": "${host}", "upstream": "chat", "fallback_used": false},
            "pool": {"name": "chat", "generation": 41, "source": "file", "balance": "hash",
                "hash_key": "header:x-user", "hash_value": "7", "when_all_down": "try_all"},
            "candidates": [
                {"server": "a:1", "weight": 1, "state": "up", "requests_active": 1, "tunnels_active": 2, "eligible": true, "reason": "well"},
                {"server": "b:1", "weight": 1, "state": "down", "requests_active": 0, "tunnels_active": 0, "eligible": false, "reason": "down"}],
            "decision": {"server": "a:1", "because": "the hash says so"}
        })),
    )]);
    let said = proxy.run("explain --host chat --path /ws --header x-user:7");
    let want = "request   GET chat/ws, by listener edge, from 127.0.0.1\n\
                passed by 0: host\n\
                route     1, to ${host}, which is \"chat\"\n\
                pool      chat, hash, generation 41, from file, by header:x-user = \"7\"\n\n\
                SERVER  STATE  WEIGHT  ACTIVE  TUNNELS  ELIGIBLE  WHY\n\
                a:1     up          1       1        2  yes       well\n\
                b:1     down        1       0        0  no        down\n\n\
                outcome   to a:1: the hash says so\n";
    assert_eq!(said.out, want, "{said:?}");
}

#[test]
fn explain_tells_the_limits_of_the_route() {
    let limited = |limit: serde_json::Value| {
        Proxy::of(&[(
            "GET /api/v1/explain?path=%2F",
            Reply::json(json!({
                "generation": 42,
                "request": {"listener": "edge", "client": "127.0.0.1", "method": "GET", "host": "chat", "path": "/", "query": null},
                "routes": [{"route": "0", "matches": true}],
                "route": {"label": "0", "template": "chat", "upstream": "chat", "fallback_used": false, "protection": limit},
                "pool": null,
                "candidates": [],
                "decision": {"status": 502, "because": "no such pool"}
            })),
        )])
    };
    let all = limited(json!({
        "allow": ["10.0.0.0/8", "127.0.0.1/32"],
        "deny": ["10.1.0.0/16"],
        "rate_limit": {"key": "client_ip", "value": "127.0.0.1", "rate": "100/s", "burst": 200},
        "conn_limit": {"key": "header:x-user", "count": 50}
    }));
    let said = all.run("explain --path /");
    let want = "route     0, to chat\n\
                allowed   10.0.0.0/8, 127.0.0.1/32\n\
                denied    10.1.0.0/16\n\
                rate      at most 100/s, and 200 at a burst, by client_ip = \"127.0.0.1\"\n\
                at once   at most 50, by header:x-user, which this request does not have: it is not limited\n";
    assert!(said.out.contains(want), "{said:?}");
    let none = limited(json!(null)).run("explain --path /");
    assert!(none.out.contains("route     0, to chat\noutcome "), "{none:?}");
}
