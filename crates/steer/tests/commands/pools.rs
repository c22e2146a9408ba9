//! `tidegate upstream`.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::kit::{Proxy, Reply, changed};

/// The pools that most tests know.
pub fn list() -> Reply {
    let pool = |name: &str, up: u64, tunnels: u64| {
        json!({
            "name": name, "generation": 41, "source": "file", "balance": "round_robin",
            "servers": {"total": 3, "up": up, "down": 3 - up}, "requests_active": 7,
            "tunnels_active": tunnels, "requests_total": 1_000, "eligible": up
        })
    };
    let upstreams = [pool("chat", 3, 1_234), pool("shop", 2, 0)];
    Reply::json(json!({"generation": 42, "upstreams": upstreams, "deleted": ["old"]}))
}

pub fn chat() -> Value {
    let server = |address: &str, state: &str| {
        json!({
            "address": address, "weight": 1, "max_conns": 0, "max_fails": 1, "backup": false,
            "source": "file", "state": state, "tags": {},
            "live": {"requests_active": 2, "tunnels_active": 400, "requests_total": 1_000,
                "fails_total": 1, "ewma_ms": 3.24, "since": "2026-11-20T10:00:00Z",
                "last_check": {"at": "2026-11-20T10:00:00Z", "ok": state == "up", "detail": "refused"}}
        })
    };
    json!({
        "name": "chat", "generation": 41, "source": "file", "overridden": ["servers"],
        "definition": {
            "servers": ["10.0.0.1:8080", "10.0.0.2:8080"], "balance": "round_robin", "keepalive": 64,
            "timeouts": {"read": "60s"}
        },
        "servers": [server("10.0.0.1:8080", "up"), server("10.0.0.2:8080", "unhealthy")],
        "drains": [3]
    })
}

fn proxy() -> Proxy {
    Proxy::of(&[
        ("GET /api/v1/upstreams", list()),
        ("GET /api/v1/upstreams/chat", Reply::json(chat()).etag(41)),
        ("PUT /api/v1/upstreams/chat", changed(43, &["chat"])),
        ("PUT /api/v1/upstreams/fresh", changed(43, &["fresh"])),
        ("DELETE /api/v1/upstreams/chat?existing=drain&reason=old", changed(43, &["chat"])),
    ])
}

#[test]
fn the_list_is_a_table() {
    let said = proxy().run("upstream list");
    let want = "NAME  BALANCE      UP  SERVERS  ACTIVE  TUNNELS  GENERATION  SOURCE\n\
                chat  round_robin   3        3       7     1234          41  file\n\
                shop  round_robin   2        3       7        0          41  file\n\
                in the file, but deleted over the API: old\n";
    assert_eq!((said.code, said.out.as_str()), (0, want));
}

#[test]
fn json_is_the_api_s_own_answer() {
    let said = proxy().run("upstream show chat --json");
    assert_eq!(said.out, format!("{}\n", chat()));
}

#[test]
fn one_pool_with_its_servers() {
    let said = proxy().run("upstream show chat").out;
    for part in [
        "chat: generation 41, from file, which changed servers of the file's\n",
        "  balance = round_robin\n",
        "  timeouts = {\"read\":\"60s\"}\n",
        "  drains: 3\n",
        "10.0.0.2:8080  unhealthy       1       2      400      1000      1  3.2ms  file    check: refused\n",
    ] {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
}

#[test]
fn a_name_that_does_not_exist_gets_advice() {
    for command in ["upstream show chta", "upstream delete chta", "server up chta a:1"] {
        let said = proxy().run(command);
        assert_eq!(said.code, 1);
        assert_eq!(said.err, "tidegate: no upstream \"chta\"; did you mean \"chat\"?\n");
    }
    let said = proxy().run("server up chat 10.0.0.3:8080");
    let want = "tidegate: no server \"10.0.0.3:8080\" in upstream \"chat\"; did you mean \"10.0.0.1:8080\"?\n";
    assert_eq!(said.err, want);
}

#[test]
fn set_keeps_what_is_not_given_on_the_condition_that_it_stayed() {
    let proxy = proxy();
    let said = proxy.run(
        "upstream set chat 10.0.0.9:80 10.0.0.8:80,weight=3 --set timeouts.send=5s --reason more",
    );
    assert_eq!(said.out, "changed chat: generation 43, on disk, visible after 87 µs\n");
    let put = proxy.last();
    assert_eq!(put.header("if-match"), Some("\"41\""));
    let want = json!({
        "servers": ["10.0.0.9:80", {"address": "10.0.0.8:80", "weight": 3}],
        "balance": "round_robin", "keepalive": 64, "timeouts": {"read": "60s", "send": "5s"},
        "reason": "more"
    });
    assert_eq!(put.body, want);
}

#[test]
fn set_of_keys_alone_keeps_the_servers() {
    let proxy = proxy();
    assert_eq!(proxy.run("upstream set chat --balance least_conn").code, 0);
    let body = proxy.last().body;
    assert_eq!(body["balance"], "least_conn");
    assert_eq!(body["servers"], json!(["10.0.0.1:8080", "10.0.0.2:8080"]));
    assert_eq!(proxy.run("upstream set chat").code, 2);
}

#[test]
fn set_makes_a_pool_only_while_there_is_none() {
    let proxy = proxy();
    assert_eq!(proxy.run("upstream set fresh 10.0.0.9:80").code, 0);
    let put = proxy.last();
    assert_eq!((put.header("if-none-match"), put.header("if-match")), (Some("*"), None));
    assert_eq!(put.body, json!({"servers": ["10.0.0.9:80"]}));
}

#[test]
fn set_begins_anew_when_somebody_was_faster() {
    let puts = AtomicUsize::new(0);
    let proxy = Proxy::new(move |asked| match asked.method.as_str() {
        "GET" => Reply::json(chat()).etag(41 + puts.load(Ordering::SeqCst) as u64),
        _ if puts.fetch_add(1, Ordering::SeqCst) < 2 => Reply::refusal(412, "it has changed"),
        _ => changed(50, &["chat"]),
    });
    assert_eq!(proxy.run("upstream set chat 10.0.0.9:80").code, 0);
    assert_eq!(proxy.last().header("if-match"), Some("\"43\""));
    let stale = Proxy::new(|asked| match asked.method.as_str() {
        "GET" => Reply::json(chat()).etag(41),
        _ => Reply::refusal(412, "it has changed"),
    });
    assert_eq!(stale.run("upstream set chat a:1").code, 1);
    assert_eq!(stale.asked().len(), 10, "five tries of two calls");
    let own = stale.run("upstream set chat a:1 --if-match 7");
    assert_eq!((own.code, own.err.as_str()), (1, "tidegate: it has changed\n"));
    assert_eq!(stale.last().header("if-match"), Some("\"7\""));
    assert_eq!(stale.asked().len(), 12, "a condition of one's own is tried once");
}

#[test]
fn delete_says_why() {
    let proxy = proxy();
    let said = proxy.run("upstream delete chat --existing drain --reason old --idempotency-key k1");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(proxy.last().header("idempotency-key"), Some("k1"));
}

#[test]
fn a_dry_run_says_what_would_become_of_it() {
    let proxy = Proxy::new(|asked| match asked.method.as_str() {
        "GET" => Reply::json(chat()).etag(41),
        _ => Reply::json(json!({
            "dry_run": true, "generation": 43, "changed": ["chat"], "leaves_nobody": ["chat"],
            "changes": [{
                "upstream": "chat", "change": "changed", "keys": ["balance"],
                "servers": {"added": ["10.0.0.9:80"],
                    "removed": [{"address": "10.0.0.1:8080", "requests_active": 1, "tunnels_active": 400}],
                    "altered": [{"address": "10.0.0.2:8080", "fields": ["weight"], "requests_active": 0, "tunnels_active": 0}]},
                "hash_keys_moved": 0.33, "eligible_before": 2, "eligible_after": 0
            }]
        })),
    });
    let said = proxy.run("upstream set chat 10.0.0.9:80 --dry-run --force");
    let want = "this would make generation 43; nothing was changed\n\
                chat changed\n\
                \x20 + 10.0.0.9:80\n\
                \x20 - 10.0.0.1:8080 (1 request and 400 tunnels run on it)\n\
                \x20 ~ 10.0.0.2:8080: weight\n\
                \x20 ~ balance\n\
                \x20 33 % of the hash keys would move\n\
                \x20 0 servers eligible, 2 before\n\
                chat would have nobody left who could serve\n";
    assert_eq!(said.out, want);
    let put = proxy.last();
    assert_eq!(
        (put.target.as_str(), &put.body["force"]),
        ("/api/v1/upstreams/chat?dry_run=true", &json!(true))
    );
}
