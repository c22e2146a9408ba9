//! What an operator reads: metrics that promtool takes and that leave with their server, the access
//! log, and the log of changes and failures.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::kit::{Edge, Origin, Socket, eventually, skip};

/// Traffic of many kinds, so that every family has something to show.
fn busy_edge(origin: &Origin, dead: &Origin) -> Edge {
    let edge = Edge::new().pool("app", &[dead, origin]).pool("gone", &[dead]).start();
    for _ in 0..5 {
        edge.get("app", "/");
    }
    edge.get("gone", "/");
    edge.get("nobody", "/");
    edge.client().ask("GET / HTTP/1.1\r\n\r\n");
    edge.post("posted", &format!("server {};", origin.address()));
    edge.call("POST", "/upstream/posted", "nonsense");
    edge
}

#[test]
fn promtool_finds_nothing_to_mend() {
    let (origin, dead) = (Origin::named("up"), Origin::refusing());
    let edge = busy_edge(&origin, &dead);
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        return skip("promtool_finds_nothing_to_mend", "no promtool; run scripts/test");
    };
    promtool.stdin.take().unwrap().write_all(edge.metrics().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{}", edge.metrics());
}

#[test]
fn the_families_of_the_contract_are_there() {
    let (origin, dead) = (Origin::named("up"), Origin::refusing());
    let edge = busy_edge(&origin, &dead);
    let up = origin.address();
    let active = format!("tidegate_server_requests_active{{upstream=\"app\",server=\"{up}\"}}");
    eventually("all requests are over", || edge.metric(&active) == Some(0.0));
    let text = edge.metrics();
    for series in [
        "tidegate_build_info{".to_owned(),
        "tidegate_generation ".to_owned(),
        "tidegate_changes_total{".to_owned(),
        "tidegate_change_seconds".to_owned(),
        "tidegate_connections_active{listener=\"edge\"}".to_owned(),
        "tidegate_connections_total{listener=\"edge\"}".to_owned(),
        "tidegate_requests_total{listener=\"edge\"".to_owned(),
        "tidegate_request_seconds_bucket{upstream=\"app\"".to_owned(),
        format!("tidegate_upstream_requests_total{{upstream=\"app\",server=\"{up}\""),
        "tidegate_upstream_seconds_bucket{upstream=\"app\"".to_owned(),
        format!("tidegate_upstream_attempts_total{{upstream=\"app\",server=\"{up}\""),
        "tidegate_retries_total{upstream=\"app\"".to_owned(),
        format!("tidegate_server_state{{upstream=\"app\",server=\"{up}\",state=\"up\"}} 1"),
        format!("tidegate_server_tunnels_active{{upstream=\"app\",server=\"{up}\"}} 0"),
        "process_".to_owned(),
    ] {
        assert!(text.lines().any(|line| line.starts_with(&series)), "{series} in:\n{text}");
    }
    let answered = format!("tidegate_upstream_requests_total{{upstream=\"app\",server=\"{up}\"");
    assert_eq!(edge.metric(&answered), Some(5.0));
}

#[test]
fn series_leave_with_their_server() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let edge = Edge::new().pool("app", &[&old]).start();
    edge.get("app", "/");
    assert!(edge.metrics().contains(&old.address()));
    edge.post("app", &format!("server {};", new.address()));
    eventually("the old server's series are gone", || !edge.metrics().contains(&old.address()));
    assert!(edge.metrics().contains(&new.address()));
    edge.call("DELETE", "/upstream/app", "");
    eventually("the pool's servers are gone", || !edge.metrics().contains(&new.address()));
}

#[test]
fn a_generation_is_one_more_with_each_change() {
    let edge = Edge::new().start();
    let before = edge.metric("tidegate_generation ").unwrap();
    edge.post("a", "server 127.0.0.1:1;");
    edge.call("DELETE", "/upstream/a", "");
    edge.call("DELETE", "/upstream/a", "");
    edge.call("POST", "/upstream/a", "nonsense");
    assert_eq!(edge.metric("tidegate_generation "), Some(before + 2.0));
}

#[test]
fn metrics_have_listeners_of_their_own() {
    let edge = Edge::new()
        .toml("[metrics]\nlisten = [\"127.0.0.1:0\"]")
        .expect_listener("metrics")
        .start();
    let address = edge.port("metrics");
    let ask = |method: &str, path: &str| {
        let mut socket = Socket::connect(address);
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        socket.send(request);
        socket.response_to(method).unwrap().status()
    };
    assert_eq!(
        (ask("GET", "/metrics"), ask("GET", "/healthz"), ask("GET", "/readyz")),
        (200, 200, 200)
    );
    for path in ["/list", "/detail", "/upstream/a", "/api/v1/status"] {
        assert_eq!(ask("GET", path), 404, "{path}");
    }
    assert_ne!(ask("DELETE", "/upstream/a"), 200);
}

/// The lines of an access log once there are that many.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(path).unwrap_or_default();
    eventually(&format!("{count} lines in {path:?}"), || read().lines().count() >= count);
    read().lines().map(str::to_owned).collect()
}

fn logging_edge(format: &str) -> Edge {
    let edge = Edge::new();
    let path = edge.directory().join("access.log");
    edge.toml(&format!("[access_log]\npath = {path:?}\nformat = {format:?}"))
}

#[test]
fn the_access_log_in_json() {
    let (dead, up) = (Origin::refusing(), Origin::named("up"));
    let edge = logging_edge("json").pool("app", &[&dead, &up]).start();
    let path = edge.directory().join("access.log");
    edge.client().ask(
        "GET /x?y=\"z HTTP/1.1\r\nHost: app\r\nUser-Agent: t\"e\\st\r\nConnection: close\r\n\r\n",
    );
    let record: Value = serde_json::from_str(&lines(&path, 1)[0]).unwrap();
    for (key, wanted) in [
        ("listener", Value::from("edge")),
        ("method", Value::from("GET")),
        ("host", Value::from("app")),
        ("uri", Value::from("/x?y=\"z")),
        ("upstream", Value::from("app")),
        ("server", Value::from(up.address())),
        ("status", Value::from(200)),
    ] {
        assert_eq!(record[key], wanted, "{key} in {record}");
    }
    for key in ["time", "request_id", "client", "route", "attempts", "seconds", "bytes_sent"] {
        assert!(!record[key].is_null(), "{key} in {record}");
    }
    let attempts = record["attempts"].to_string();
    assert!(attempts.contains(&dead.address()), "the refused try is there: {record}");
    assert_eq!(record["request_id"], *up.last_request().field("x-request-id").unwrap());
}

/// A time in seconds, to the microsecond.
#[track_caller]
fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no time"))
}

#[test]
fn the_access_log_says_what_took_how_long() {
    let (dead, up) = (Origin::refusing(), Origin::named("up"));
    let edge = Edge::new().logging().pool("app", &[&dead, &up]).start();
    let mut client = edge.client();
    for _ in 0..2 {
        client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    }
    let records = edge.records(2);
    let attempts = records[0]["attempts"].as_array().unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["connect_failed", "answered"], "{}", records[0]);
    assert_eq!(attempts[0].get("connect_seconds"), None, "there was none: {}", records[0]);
    assert_eq!(records[0]["connect_seconds"], attempts[1]["connect_seconds"]);
    // Each is part of the next one.
    let told = [
        &records[0]["connect_seconds"],
        &records[0]["upstream_seconds"],
        &attempts[1]["seconds"],
        &records[0]["seconds"],
    ];
    assert!(told.map(seconds).is_sorted(), "{}", records[0]);
    let tries: f64 = attempts.iter().map(|attempt| seconds(&attempt["seconds"])).sum();
    // Both are rounded down.
    assert!(tries <= seconds(&records[0]["seconds"]) + 1e-5, "{}", records[0]);
    assert_eq!(records[1].get("connect_seconds"), None, "a kept one was used: {}", records[1]);
    assert_eq!(up.connections(), 1);
    seconds(&records[1]["upstream_seconds"]);
}

#[test]
fn a_tunnel_has_the_times_of_its_beginning() {
    let tunnel = Origin::echo_tunnel();
    let edge = Edge::new().logging().pool("app", &[&tunnel]).start();
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    drop(client);
    let record = &edge.records(1)[0];
    let told = ["connect_seconds", "upstream_seconds", "seconds"].map(|key| seconds(&record[key]));
    assert!(told.is_sorted(), "{record}");
}

/// Without an exporter Tidegate takes no part in traces, and hides none.
#[test]
fn a_trace_passes_and_is_named_in_the_access_log() {
    let up = Origin::named("up");
    let edge = Edge::new().logging().pool("app", &[&up]).start();
    let id = "0af7651916cd43dd8448eb211c80319c";
    let mut client = edge.client();
    for parent in [format!("00-{id}-b7ad6b7169203331-01"), "nonsense".to_owned()] {
        client.ask(format!(
            "GET / HTTP/1.1\r\nHost: app\r\nTraceparent: {parent}\r\nTracestate: a=b\r\n\r\n"
        ));
        let request = up.last_request();
        assert_eq!(request.field("traceparent"), Some(&*parent));
        assert_eq!(request.field("tracestate"), Some("a=b"));
    }
    let records = edge.records(2);
    assert_eq!((&records[0]["trace_id"], records[1].get("trace_id")), (&id.into(), None));
}

#[test]
fn the_access_log_has_errors_refusals_and_tunnels() {
    let tunnel = Origin::echo_tunnel();
    let edge = logging_edge("json").pool("app", &[&tunnel]).start();
    let path = edge.directory().join("access.log");
    edge.get("nobody", "/");
    let one: Value = serde_json::from_str(&lines(&path, 1)[0]).unwrap();
    assert_eq!(one["status"], 502, "{one}");
    edge.client().ask("GET / HTTP/1.1\r\n\r\n");
    let two: Value = serde_json::from_str(&lines(&path, 2)[1]).unwrap();
    assert_eq!(two["status"], 400, "{two}");
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    client.send("hello");
    client.exactly(5).unwrap();
    drop(client);
    let three: Value = serde_json::from_str(&lines(&path, 3)[2]).unwrap();
    assert_eq!(three["status"], 101, "{three}");
    assert!(three["close"].is_string(), "why it ended: {three}");
}

#[test]
fn the_combined_access_log() {
    let up = Origin::named("up");
    let edge = logging_edge("combined").pool("app", &[&up]).start();
    let path = edge.directory().join("access.log");
    edge.client().ask(
        "GET /x HTTP/1.1\r\nHost: app\r\nUser-Agent: te\"st\x1b\r\nReferer: /r\r\nConnection: close\r\n\r\n",
    );
    edge.client().ask(
        "GET /x HTTP/1.1\r\nHost: app\r\nUser-Agent: te\"st\r\nReferer: /r\r\nConnection: close\r\n\r\n",
    );
    let line = lines(&path, 2).pop().unwrap();
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains("] \"GET /x HTTP/1.1\" 200 2 \"/r\" \""), "{line}");
    assert!(!line.contains("te\"st"), "a quote cannot forge a field: {line}");
}

#[test]
fn sigusr1_reopens_the_access_log() {
    let up = Origin::named("up");
    let edge = logging_edge("json").pool("app", &[&up]).start();
    let path = edge.directory().join("access.log");
    edge.get("app", "/before");
    assert!(lines(&path, 1)[0].contains("/before"));
    let rotated = edge.directory().join("access.log.1");
    fs::rename(&path, &rotated).unwrap();
    edge.signal(Signal::USR1);
    eventually("a new file is there", || path.exists());
    edge.get("app", "/after");
    assert!(lines(&path, 1)[0].contains("/after"));
    assert_eq!(lines(&rotated, 1).len(), 1);
}

#[test]
fn changes_say_who_did_what() {
    let edge = Edge::new().start();
    edge.forget_log();
    edge.post("shop", "server 127.0.0.1:1;");
    let line = edge.wait_for_log("shop");
    assert!(line.contains("127.0.0.1"), "who: {line}");
}

#[test]
fn failures_name_the_server_and_the_request_at_a_bounded_rate() {
    let dead = Origin::refusing();
    let edge = Edge::new().pool("app", &[&dead]).start();
    edge.forget_log();
    let answer = edge.get("app", "/");
    let line = edge.wait_for_log(&dead.address());
    let id = answer.request_id().expect("the answer names the request");
    assert!(line.contains(&id), "the request of {line} was {id}");
    for _ in 0..500 {
        edge.get("app", "/");
    }
    let log = edge.log();
    let said = log.lines().filter(|line| line.contains(&dead.address())).count();
    assert!(said < 250, "{said} lines for 501 failures");
}

#[test]
fn json_logs_are_json() {
    let up = Origin::named("up");
    let edge = Edge::new().toml("[log]\nformat = \"json\"").pool("app", &[&up]);
    let path = edge.directory().join("tidegate.toml");
    fs::write(&path, edge.config()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "-c"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let first: Vec<String> = std::io::BufRead::lines(stderr).take(2).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    for line in first {
        assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    }
}
