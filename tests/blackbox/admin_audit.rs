//! The audit log: who changed what, who was refused, and that no caller can write a line of its own.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    admin_security::{call_as, call_with, guarded},
    kit::{Chat, Edge, Socket, eventually},
};

fn log(edge: &Edge) -> PathBuf {
    edge.directory().join("audit.log")
}

/// The lines of a log once there are that many; each is JSON and nothing but visible.
#[track_caller]
fn lines_of(path: &PathBuf, count: usize) -> Vec<Value> {
    let whole = || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| line.trim_end_matches('\n').to_owned()).collect::<Vec<_>>()
    };
    eventually(&format!("{count} lines"), || whole().len() >= count);
    let read = |line: &String| {
        let strange = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}');
        assert!(!line.contains(strange), "{line:?}");
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    };
    whole().iter().map(read).collect()
}

#[track_caller]
fn lines(edge: &Edge, count: usize) -> Vec<Value> {
    let lines = lines_of(&log(edge), count);
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

#[track_caller]
fn holds(line: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key} in {line:#}");
    }
}

#[test]
fn a_change_is_written_with_what_was_and_what_is() {
    let edge = guarded().start();
    call_as(&edge, "kf", "POST", "/upstream/kf_a", "server 127.0.0.1:1;");
    call_as(&edge, "boss", "POST", "/upstream/KF_A?existing=keep", "server 127.0.0.1:2 weight=5;");
    call_as(&edge, "operator", "DELETE", "/upstream/kf_a", "");
    call_as(&edge, "operator", "DELETE", "/upstream/kf_a", "");
    call_as(&edge, "operator", "POST", "/upstream/kf_a", "nonsense 1;");
    call_as(&edge, "operator", "GET", "/list", "");
    call_as(&edge, "operator", "POST", "/upstream/kf_a", "");
    let lines = lines(&edge, 6);
    holds(
        &lines[0],
        &json!({"method": "POST", "path": "/upstream/kf_a", "what": "upstream.replace",
            "upstreams": ["kf_a"], "reason": null, "before": null, "outcome": "applied",
            "status": 200, "detail": null}),
    );
    holds(&lines[0]["caller"], &json!({"token": "kf", "role": "operate"}));
    assert!(lines[0]["caller"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(lines[0]["caller"].get("uid").is_none());
    let at = lines[0]["at"].as_str().unwrap();
    assert!(at.len() == 24 && at.ends_with('Z') && at.contains('T'), "{at}");
    let address = |spec: &Value| spec["servers"][0]["address"].clone();
    assert_eq!(address(&lines[0]["after"]), "127.0.0.1:1", "{:#}", lines[0]);
    holds(&lines[1], &json!({"path": "/upstream/KF_A?existing=keep", "upstreams": ["KF_A"]}));
    assert_eq!(lines[1]["before"], lines[0]["after"]);
    assert_eq!(lines[1]["after"]["servers"][0]["weight"], 5, "{:#}", lines[1]);
    assert!(lines[1]["generation"].as_u64() > lines[0]["generation"].as_u64());
    holds(&lines[2], &json!({"what": "upstream.delete", "after": null, "outcome": "applied"}));
    assert_eq!(lines[2]["before"], lines[1]["after"]);
    holds(
        &lines[3],
        &json!({"before": null, "outcome": "refused", "status": 404, "generation": null}),
    );
    assert_eq!(lines[3]["detail"], "there is no upstream \"kf_a\"");
    holds(&lines[4], &json!({"outcome": "refused", "status": 500}));
    assert!(lines[4]["detail"].as_str().unwrap().contains("nonsense"), "{:#}", lines[4]);
    holds(&lines[5], &json!({"outcome": "refused", "status": 204}));
}

#[test]
fn drains_and_refusals_are_written() {
    let origin = Chat::new();
    let edge = guarded().pool("app", &[&origin]).start();
    let order = json!({"upstream": "app", "server": origin.address(), "over": "1h", "force": true,
        "reason": "new version"});
    call_as(&edge, "operator", "POST", "/api/v1/drains", &order.to_string());
    let drains = call_as(&edge, "reader", "GET", "/api/v1/drains", "").text();
    let drains: Value = serde_json::from_str(&drains).unwrap();
    let path = format!("/api/v1/drains/{}", drains["drains"][0]["id"]);
    call_as(&edge, "operator", "PATCH", &path, r#"{"paused": true}"#);
    call_as(&edge, "kf", "DELETE", &path, "");
    call_as(&edge, "operator", "DELETE", &path, "");
    call_as(&edge, "reader", "DELETE", &path, "");
    call_with(&edge, "wrong", "GET", "/list", "");
    call_as(&edge, "boss", "DELETE", "/api/v1/nothing", "");
    let lines = lines(&edge, 7);
    holds(
        &lines[0],
        &json!({"what": "drain.begin", "upstreams": ["app"], "reason": "new version",
            "before": null, "outcome": "applied", "status": 201}),
    );
    holds(&lines[1], &json!({"what": "drain.alter", "outcome": "applied"}));
    assert_eq!(lines[0]["after"]["over"], "1h", "{:#}", lines[0]);
    assert_eq!(lines[1]["before"], lines[0]["after"]);
    assert_eq!(lines[1]["after"]["paused"], true, "{:#}", lines[1]);
    holds(
        &lines[2],
        &json!({"what": "drain.cancel", "upstreams": ["app"], "outcome": "refused", "status": 403}),
    );
    holds(&lines[3], &json!({"what": "drain.cancel", "after": null, "outcome": "applied"}));
    assert_eq!(lines[3]["before"], lines[1]["after"]);
    holds(&lines[4], &json!({"what": "request", "outcome": "refused", "status": 403}));
    holds(&lines[4]["caller"], &json!({"token": "reader", "role": "read"}));
    holds(
        &lines[5],
        &json!({"method": "GET", "path": "/list", "status": 401, "outcome": "refused"}),
    );
    holds(&lines[5]["caller"], &json!({"role": null}));
    holds(&lines[6], &json!({"what": "request", "status": 404}));
    assert!(!fs::read_to_string(log(&edge)).unwrap().contains("secret"), "a token is in the log");
}

#[test]
fn what_is_large_is_told_by_its_number() {
    let edge = guarded().start();
    let servers: String = (1..=2_000).map(|port| format!("server 127.0.0.1:{port};")).collect();
    call_as(&edge, "boss", "POST", "/upstream/a", &servers);
    let line = &lines(&edge, 1)[0];
    assert_eq!(line["after"], json!({"servers": 2_000, "truncated": true}));
}

/// Whatever a caller says, where it can say something, stays within its field of its one line.
#[test]
fn no_caller_writes_a_line_of_its_own() {
    let edge = guarded().start();
    let forged = "x\"}\n{\"at\":\"2026-01-01T00:00:00.000Z\",\"outcome\":\"applied\"}\r\n\
                  \u{1b}[2J\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\\";
    let order = json!({"upstream": "app", "server": forged, "reason": forged});
    call_as(&edge, "boss", "POST", "/api/v1/drains", &order.to_string());
    call_as(&edge, "boss", "POST", "/upstream/a", &format!("server {forged};"));
    call_as(&edge, "boss", "DELETE", "/upstream/%22%7D%0A%7B%22%0D%E2%80%A8", "");
    let mut count = 3;
    for head in [
        "DELETE /upstream/\"}{\"a\":\"b\u{2028}\u{85} HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
        "DELETE /upstream/a\\u000a?x=\u{202e}\" HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
        "POST /a HTTP/1.1\r\nHost: a\"\u{2028}\u{1b}[2J\r\n".to_owned(),
        "POST /a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \"\u{2028}\u{85}\r\n"
            .to_owned(),
        format!("POST /{} HTTP/1.1\r\nHost: localhost\r\n", "a".repeat(12_000)),
        format!("{} /a HTTP/1.1\r\nHost: localhost\r\n", "A".repeat(5_000)),
    ] {
        let mut socket = Socket::connect(edge.admin());
        let answer = socket.ask(format!("{head}Connection: close\r\n\r\n"));
        // What is not even HTTP never gets to the guard.
        count += usize::from(answer.status() != 400);
    }
    call_as(&edge, "boss", "DELETE", "/upstream/last", "");
    let lines = lines(&edge, count + 1);
    assert!(count > 5, "most of it is HTTP: {count}");
    assert_eq!(lines[0]["reason"], forged);
    assert!(lines.iter().all(|line| line["outcome"] == "refused"), "{lines:#?}");
    assert!(lines.iter().all(|line| line.to_string().len() < 10_000), "{lines:#?}");
    assert_eq!(lines[count]["path"], "/upstream/last");
}

#[test]
fn a_log_moved_away_is_opened_anew() {
    let edge = guarded().start();
    let (path, old) = (log(&edge), edge.directory().join("old.log"));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others may not read it");
    call_as(&edge, "boss", "DELETE", "/upstream/a", "");
    lines(&edge, 1);
    fs::rename(&path, &old).unwrap();
    edge.signal(Signal::USR1);
    eventually("it is there anew", || path.exists());
    call_as(&edge, "boss", "DELETE", "/upstream/b", "");
    assert_eq!(lines(&edge, 1)[0]["path"], "/upstream/b");
    assert_eq!(lines_of(&old, 1)[0]["path"], "/upstream/a");
}

#[test]
fn a_reload_is_written_and_the_end_loses_nothing() {
    let mut edge = guarded().start();
    edge.rewrite(|text| text + "[upstream.fresh]\nservers = ['127.0.0.1:1']\n");
    edge.signal(Signal::HUP);
    lines(&edge, 1);
    edge.rewrite(|text| text.replace("[upstream.fresh]", "[nonsense"));
    edge.signal(Signal::HUP);
    let reloads = lines(&edge, 2);
    holds(
        &reloads[0],
        &json!({"what": "reload", "method": null, "status": null, "upstreams": ["fresh"],
            "outcome": "applied", "caller": {"peer": "SIGHUP", "role": null}}),
    );
    assert!(reloads[0]["generation"].is_u64());
    holds(&reloads[1], &json!({"what": "reload", "outcome": "refused", "generation": null}));
    for _ in 0..50 {
        call_as(&edge, "boss", "DELETE", "/upstream/a", "");
    }
    edge.signal(Signal::TERM);
    assert!(edge.wait_for_exit().success());
    assert_eq!(fs::read_to_string(log(&edge)).unwrap().lines().count(), 52);
}

#[test]
fn who_is_at_the_unix_socket_is_written() {
    let edge = Edge::new().admin_section("audit_log = 'audit.log'");
    let socket = edge.directory().join("admin.sock");
    let path = edge.directory().join("unix.toml");
    let listen = format!("\"127.0.0.1:0\", \"unix:{}\"]", socket.display());
    fs::write(&path, edge.config().replacen("\"127.0.0.1:0\"]", &listen, 1)).unwrap();
    let _running = Edge::from_arguments(&["run", "-c", path.to_str().unwrap()], &["edge", "admin"]);
    let mut client = Socket::over(UnixStream::connect(&socket).unwrap());
    client.ask("DELETE /upstream/a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let uid = rustix::process::geteuid().as_raw();
    let caller = &lines(&edge, 1)[0]["caller"];
    assert_eq!(*caller, json!({"peer": "unix", "uid": uid, "role": "admin"}));
}

#[test]
fn without_a_file_it_is_in_the_log() {
    let edge = Edge::new().start();
    edge.call("DELETE", "/upstream/a\"b", "");
    let line = edge.wait_for_log("audit={");
    let (_, json) = line.split_once("audit=").unwrap();
    let value: Value = serde_json::from_str(json).unwrap();
    assert_eq!((&value["path"], &value["status"]), (&"/upstream/a\"b".into(), &404.into()));
    edge.post("a", "server 127.0.0.1:1;");
    assert_eq!(edge.metric("tidegate_audit_log_errors_total"), Some(0.0));
}
