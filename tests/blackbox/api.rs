//! The JSON API for pools, servers and transactions: what it answers, what it refuses, and that a
//! refusal changes nothing. What is remembered is in `generations.rs`.

use std::{collections::BTreeSet, sync::Mutex, thread};

use serde_json::{Value, json};

use crate::kit::{Edge, Message, Origin, Socket};

/// One call with further header lines, each `Name: value`.
#[track_caller]
pub fn ask(
    edge: &Edge,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &Value,
) -> (Message, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    lines += &format!("Content-Length: {}\r\n", body.len());
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{lines}\r\n{body}",
        edge.admin()
    );
    let mut socket = Socket::connect(edge.admin());
    socket.send(request);
    let answer = socket.response_to(method).unwrap_or_else(|broken| panic!("{path}: {broken:?}"));
    let said = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer, said)
}

/// A change that has to be made; the answer.
#[track_caller]
pub fn done(edge: &Edge, method: &str, path: &str, body: &Value) -> Value {
    let (status, said) = edge.json(method, path, body);
    assert_eq!(status, 200, "{method} {path}: {said}");
    assert!(said["visible_us"].is_u64() && said["generation"].is_u64(), "{said}");
    said
}

/// A change that has to be refused with that status, and changes nothing; what was said.
#[track_caller]
pub fn refused(edge: &Edge, method: &str, path: &str, body: &Value, status: u16) -> Value {
    let before = edge.json("GET", "/api/v1/upstreams", &Value::Null).1;
    let (answer, said) = ask(edge, method, path, &[], body);
    assert_eq!(answer.status(), status, "{method} {path} {body}: {said}");
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    assert_eq!(said["status"], status, "{said}");
    assert_eq!(edge.json("GET", "/api/v1/upstreams", &Value::Null).1, before);
    said
}

#[track_caller]
pub fn show(edge: &Edge, path: &str) -> Value {
    let (status, said) = edge.json("GET", &format!("/api/v1/upstreams{path}"), &Value::Null);
    assert_eq!(status, 200, "{path}: {said}");
    said
}

fn addresses(pool: &Value) -> Vec<&str> {
    pool["servers"].as_array().unwrap().iter().map(|one| one["address"].as_str().unwrap()).collect()
}

#[test]
fn a_pool_is_put_shown_altered_and_deleted() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let edge = Edge::new().start();
    let put = json!({"servers": [{"address": one.address(), "weight": 2}], "balance": "least_conn",
        "reason": "a first"});
    let said = done(&edge, "PUT", "/api/v1/upstreams/chat", &put);
    assert_eq!(said["changed"], json!(["chat"]));
    assert_eq!(edge.get("chat", "/").text(), "one");
    let pool = show(&edge, "/chat");
    assert_eq!(pool["definition"]["balance"], "least_conn");
    assert_eq!((&pool["source"], &pool["file"]), (&json!("api"), &Value::Null));
    let server = &pool["servers"][0];
    assert_eq!(server["state"], "up");
    assert_eq!(server["live"]["requests_total"], 1);
    let servers = "/api/v1/upstreams/CHAT/servers";
    done(&edge, "POST", servers, &json!({"servers": [two.address()]}));
    assert_eq!(addresses(&show(&edge, "/chat")), [one.address(), two.address()]);
    let path = format!("{servers}/{}", one.address());
    done(&edge, "PATCH", &path, &json!({"down": true, "tags": {"version": "2"}}));
    let server = show(&edge, &format!("/chat/servers/{}", one.address()));
    assert_eq!((&server["state"], &server["weight"]), (&json!("down"), &json!(2)));
    assert_eq!(server["tags"]["version"], "2");
    for _ in 0..4 {
        assert_eq!(edge.get("chat", "/").text(), "two");
    }
    done(&edge, "DELETE", &path, &Value::Null);
    assert_eq!(addresses(&show(&edge, "/chat")), [two.address()]);
    let row = &show(&edge, "")["upstreams"][0];
    assert_eq!((&row["servers"]["total"], &row["eligible"]), (&json!(1), &json!(1)));
    done(&edge, "DELETE", "/api/v1/upstreams/chat", &Value::Null);
    assert_eq!(edge.get("chat", "/").status(), 502);
    refused(&edge, "DELETE", "/api/v1/upstreams/chat", &Value::Null, 404);
    refused(&edge, "GET", "/api/v1/upstreams/chat", &Value::Null, 404);
}

#[test]
fn what_cannot_be_is_refused_by_field() {
    let origin = Origin::named("one");
    let edge = Edge::new().pool("chat", &[&origin]).start();
    let pool = "/api/v1/upstreams/chat";
    let server = format!("{pool}/servers/{}", origin.address());
    let servers = format!("{pool}/servers");
    for (method, path, body, status, field) in [
        (
            "PUT",
            pool,
            json!({"servers": [{"address": "a:1", "weigth": 1}]}),
            400,
            "servers[0].weigth",
        ),
        ("PUT", pool, json!({"servers": 1}), 400, "servers"),
        ("PUT", pool, json!({"colour": 1}), 400, "colour"),
        ("PUT", pool, json!({"balance": "best"}), 400, "balance"),
        ("PUT", pool, json!([]), 400, "body"),
        ("PUT", pool, json!({"reason": "x".repeat(1_001)}), 400, "reason"),
        ("PUT", &format!("{pool}?nope=1"), json!({}), 400, "nope"),
        ("PUT", &format!("{pool}?dry_run=maybe"), json!({}), 400, "dry_run"),
        ("POST", &servers, json!({"servers": []}), 400, "servers"),
        ("POST", &servers, json!({"servers": ["a:b:c"]}), 400, "servers[0]"),
        ("PATCH", &server, json!({"weight": -1}), 400, "weight"),
        ("PATCH", &server, json!({"address": "b:1"}), 400, "address"),
        ("DELETE", &format!("{server}?existing=maybe"), Value::Null, 400, "existing"),
    ] {
        let said = refused(&edge, method, path, &body, status);
        assert_eq!(said["errors"][0]["field"], field, "{said}");
    }
    refused(&edge, "POST", &servers, &json!({"servers": [origin.address()]}), 409);
    refused(&edge, "PATCH", &format!("{pool}/servers/10.9.9.9:1"), &json!({"weight": 1}), 404);
    refused(
        &edge,
        "POST",
        "/api/v1/upstreams/none/servers",
        &json!({"servers": ["127.0.0.1:1"]}),
        404,
    );
    let backups = json!({"servers": [{"address": "127.0.0.1:1", "backup": true}]});
    refused(&edge, "PUT", pool, &backups, 400);
    let twice = r#"{"servers":[],"servers":[]}"#;
    let answer = edge.call("PUT", pool, twice);
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert!(answer.text().contains("duplicate field"), "{}", answer.text());
}

#[test]
fn nothing_leaves_a_pool_with_nobody_unless_forced() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let edge = Edge::new().pool("chat", &[&one, &two]).start();
    let pool = "/api/v1/upstreams/chat";
    let path = |origin: &Origin| format!("{pool}/servers/{}", origin.address());
    done(&edge, "PATCH", &path(&one), &json!({"down": true}));
    let said = refused(&edge, "PATCH", &path(&two), &json!({"weight": 0}), 409);
    assert!(said["detail"].as_str().unwrap().contains("chat"), "{said}");
    refused(&edge, "DELETE", &path(&two), &Value::Null, 409);
    refused(&edge, "PUT", pool, &json!({"servers": []}), 409);
    let both = json!({"operations": [
        {"op": "remove_server", "upstream": "chat", "server": one.address()},
        {"op": "remove_server", "upstream": "chat", "server": two.address()},
    ]});
    refused(&edge, "POST", "/api/v1/transactions", &both, 409);
    // Dyups is never refused for it, and neither is whoever says so, or takes the whole pool.
    done(&edge, "PATCH", &path(&two), &json!({"down": true, "force": true}));
    assert_eq!(edge.get("chat", "/").status(), 502);
    edge.post("chat", &format!("server {};", two.address()));
    let forced = format!("{}?force=true", path(&two));
    done(&edge, "DELETE", &forced, &Value::Null);
    edge.post("chat", &format!("server {};", two.address()));
    done(&edge, "DELETE", pool, &Value::Null);
}

#[test]
fn a_change_may_depend_on_what_was_before() {
    let origin = Origin::named("one");
    let edge = Edge::new().pool("a", &[&origin]).pool("b", &[&origin]).start();
    let body = json!({"servers": [origin.address(), "127.0.0.1:9"]});
    let tag = |path: &str| {
        let (answer, _) =
            ask(&edge, "GET", &format!("/api/v1/upstreams/{path}"), &[], &Value::Null);
        answer.field("etag").unwrap().to_owned()
    };
    let put = |pool: &str, headers: &[&str]| {
        let (answer, _) = ask(&edge, "PUT", &format!("/api/v1/upstreams/{pool}"), headers, &body);
        (answer.status(), answer.field("etag").map(str::to_owned))
    };
    let first = tag("a");
    let (status, second) = put("a", &[&format!("If-Match: {first}")]);
    assert_eq!((status, second.as_deref()), (200, Some(&*tag("a"))));
    assert_eq!(put("a", &[&format!("If-Match: {first}")]).0, 412);
    assert_eq!(put("a", &["If-Match: W/\"2\""]).0, 412);
    assert_eq!(put("a", &["If-Match: 2"]).0, 400);
    assert_eq!(put("b", &[&format!("If-Match: {first}")]).0, 200, "b is as it was");
    assert_eq!(put("a", &["If-None-Match: *"]).0, 412);
    assert_eq!(put("n", &["If-Match: *"]).0, 412);
    assert_eq!(put("n", &["If-None-Match: *"]).0, 200);
    // A server's tag is its own.
    let server = format!("a/servers/{}", origin.address());
    let before = tag(&server);
    let other = "/api/v1/upstreams/a/servers/127.0.0.1:9";
    done(&edge, "PATCH", other, &json!({"weight": 3}));
    assert_eq!(tag(&server), before);
    let path = format!("/api/v1/upstreams/{server}");
    let patch = |tag: &str| {
        let headers = [&*format!("If-Match: {tag}")];
        ask(&edge, "PATCH", &path, &headers, &json!({"weight": 2})).0.status()
    };
    assert_eq!((patch(&before), patch(&before)), (200, 412));
    let current = tag("a");
    let (answer, _) = ask(
        &edge,
        "GET",
        "/api/v1/upstreams/a",
        &[&format!("If-None-Match: {current}")],
        &Value::Null,
    );
    assert_eq!((answer.status(), answer.body.len()), (304, 0));
}

#[test]
fn a_transaction_is_all_or_nothing_and_one_generation() {
    let origin = Origin::named("one");
    let edge = Edge::new().pool("old", &[&origin]).pool("b", &[&origin]).start();
    let generation =
        |edge: &Edge| edge.json("GET", "/api/v1/status", &Value::Null).1["generation"].clone();
    let before = generation(&edge).as_u64().unwrap();
    let server = origin.address();
    let steps = |last: Value| {
        json!({"reason": "a move", "operations": [
            {"op": "put_upstream", "upstream": "new", "definition": {"servers": [server]}},
            {"op": "add_servers", "upstream": "new", "servers": [{"address": "127.0.0.1:9", "weight": 2}]},
            {"op": "set_server", "upstream": "new", "server": "127.0.0.1:9", "set": {"down": true}},
            {"op": "delete_upstream", "upstream": "old"},
            last,
        ]})
    };
    for (last, status) in [
        (json!({"op": "delete_upstream", "upstream": "none"}), 404),
        (json!({"op": "put_upstream", "upstream": "b", "definition": {}, "if_match": 77}), 412),
        (json!({"op": "set_server", "upstream": "b", "server": "x:1", "set": {}}), 404),
        (json!({"op": "nothing", "upstream": "b"}), 400),
        (json!({"op": "delete_upstream", "upstream": "b", "more": 1}), 400),
    ] {
        refused(&edge, "POST", "/api/v1/transactions", &steps(last), status);
    }
    let if_match = json!({"op": "add_servers", "upstream": "b", "servers": ["127.0.0.1:9"], "if_match": before});
    let said = done(&edge, "POST", "/api/v1/transactions", &steps(if_match));
    assert_eq!(said["generation"], before + 1);
    let changed: BTreeSet<&str> =
        said["changed"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(changed, BTreeSet::from(["b", "new", "old"]));
    let names: Vec<_> = show(&edge, "")["upstreams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].clone())
        .collect();
    assert_eq!(names, ["b", "new"]);
    assert_eq!(show(&edge, "")["deleted"], json!(["old"]));
    let whole = ask(
        &edge,
        "POST",
        "/api/v1/transactions",
        &["If-Match: \"1\""],
        &json!({"operations": [{"op": "delete_upstream", "upstream": "new"}]}),
    );
    assert_eq!(whole.0.status(), 412);
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let edge =
        Edge::new().pool_of("chat", &[(&one, ""), (&two, "")], "balance = \"maglev\"").start();
    let before = show(&edge, "/chat");
    let body =
        json!({"servers": [one.address(), "127.0.0.1:9"], "balance": "maglev", "keepalive": 3});
    let (status, said) = edge.json("PUT", "/api/v1/upstreams/chat?dry_run=true", &body);
    assert_eq!((status, &said["dry_run"]), (200, &json!(true)), "{said}");
    let change = &said["changes"][0];
    assert_eq!(change["change"], "changed");
    assert_eq!(change["servers"]["added"], json!(["127.0.0.1:9"]));
    assert_eq!(change["servers"]["removed"][0]["address"], two.address());
    assert_eq!(change["servers"]["removed"][0]["tunnels_active"], 0);
    assert_eq!(change["keys"], json!(["keepalive"]));
    let moved = change["hash_keys_moved"].as_f64().unwrap();
    assert!((0.3..0.8).contains(&moved), "{moved}");
    assert_eq!((&change["eligible_before"], &said["leaves_nobody"]), (&json!(2), &json!([])));
    let (_, said) = edge.json("PUT", "/api/v1/upstreams/chat?dry_run=1", &json!({"servers": []}));
    assert_eq!(said["leaves_nobody"], json!(["chat"]), "{said}");
    refused(
        &edge,
        "PUT",
        "/api/v1/upstreams/chat?dry_run=1",
        &json!({"servers": ["nowhere"]}),
        400,
    );
    assert_eq!(show(&edge, "/chat"), before);
}

#[test]
fn a_key_makes_one_change_however_often_it_is_sent() {
    let origin = Origin::named("one");
    let mut edge = Edge::new().durable().start();
    let body = json!({"servers": [origin.address()]});
    let path = "/api/v1/upstreams/chat";
    let send = |edge: &Edge, body: &Value| ask(edge, "PUT", path, &["Idempotency-Key: k-1"], body);
    let answers: Mutex<Vec<(Message, Value)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..10 {
                    answers.lock().unwrap().push(send(&edge, &body));
                }
            });
        }
    });
    let answers = answers.into_inner().unwrap();
    let generations: BTreeSet<u64> =
        answers.iter().map(|(_, said)| said["generation"].as_u64().unwrap()).collect();
    assert_eq!((answers.len(), generations.len()), (100, 1));
    let first = answers.iter().filter(|(answer, _)| answer.field("idempotent-replayed").is_none());
    assert_eq!(first.count(), 1);
    assert_eq!(send(&edge, &json!({"servers": []})).0.status(), 422);
    edge.restart();
    let (answer, said) = send(&edge, &body);
    assert_eq!(answer.field("idempotent-replayed"), Some("true"));
    assert_eq!(said["generation"].as_u64(), generations.first().copied());
    let (answer, _) = ask(&edge, "PUT", path, &["Idempotency-Key: "], &body);
    assert_eq!(answer.status(), 400);
}

#[test]
fn callers_that_race_lose_no_update() {
    let origin = Origin::named("one");
    let edge = Edge::new().durable().pool("p", &[&origin]).start();
    let path = format!("/api/v1/upstreams/p/servers/{}", origin.address());
    done(&edge, "PATCH", &path, &json!({"tags": {"n": "0"}}));
    let count = |said: &Value| said["tags"]["n"].as_str().unwrap().parse::<u64>().unwrap();
    let seen: Mutex<Vec<(u64, u64)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut left = 10;
                while left > 0 {
                    let (answer, said) = ask(&edge, "GET", &path, &[], &Value::Null);
                    let tag = answer.field("etag").unwrap().to_owned();
                    let next = count(&said) + 1;
                    let body = json!({"tags": {"n": next.to_string()}});
                    let (answer, said) =
                        ask(&edge, "PATCH", &path, &[&format!("If-Match: {tag}")], &body);
                    match answer.status() {
                        200 => {
                            seen.lock().unwrap().push((said["generation"].as_u64().unwrap(), next));
                            left -= 1;
                            let now = ask(&edge, "GET", &path, &[], &Value::Null).1;
                            assert!(count(&now) >= next, "not visible after the answer");
                        }
                        status => assert_eq!(status, 412, "{said}"),
                    }
                }
            });
        }
    });
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    let counts: Vec<u64> = seen.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, (1..=160).collect::<Vec<_>>(), "each success follows the one before");
}

#[test]
fn file_and_api_stand_side_by_side() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let edge = Edge::new().pool("chat", &[&one]).start();
    let pool = show(&edge, "/chat");
    assert_eq!((&pool["source"], &pool["overridden"]), (&json!("file"), &json!([])));
    assert_eq!(pool["servers"][0]["source"], "file");
    done(&edge, "POST", "/api/v1/upstreams/chat/servers", &json!({"servers": [two.address()]}));
    let pool = show(&edge, "/chat");
    assert_eq!((&pool["source"], &pool["overridden"]), (&json!("api"), &json!(["servers"])));
    assert_eq!(pool["file"]["servers"].as_array().unwrap().len(), 1);
    let sources: Vec<&Value> =
        pool["servers"].as_array().unwrap().iter().map(|server| &server["source"]).collect();
    assert_eq!(sources, ["file", "api"]);
}

#[test]
fn a_pool_speaks_http2_if_that_is_said() {
    let origin = Origin::named("one");
    let edge = Edge::new().start();
    let put = json!({ "servers": [origin.address()], "protocol": "http2" });
    done(&edge, "PUT", "/api/v1/upstreams/app", &put);
    assert_eq!(show(&edge, "/app")["definition"]["protocol"], "http2");
    for (keys, field, reason) in [
        (json!({ "send_proxy": "v2" }), "send_proxy", "many clients"),
        (json!({ "check": { "type": "websocket" } }), "check", "HTTP/1.1"),
        (json!({ "protocol": "http3" }), "protocol", "unknown variant"),
    ] {
        let mut wrong = put.clone();
        wrong.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let said = refused(&edge, "PUT", "/api/v1/upstreams/app", &wrong, 400);
        assert_eq!(said["errors"][0]["field"], field, "{said}");
        assert!(said["errors"][0]["reason"].as_str().unwrap().contains(reason), "{said}");
    }
    edge.post("app", &format!("server {};", origin.address()));
    assert_eq!(show(&edge, "/app")["definition"]["protocol"], "http2");
    done(&edge, "PUT", "/api/v1/upstreams/app", &json!({ "servers": [origin.address()] }));
    assert_eq!(show(&edge, "/app")["definition"].get("protocol"), None);
}
