//! Probes, status and metrics, and how the API says no.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tidegate_admin::{AdminListener, Settings, serve_metrics};
use tidegate_net::{ListenAddress, bind};
use tidegate_table::{Attempt, Close};
use tokio::{net::TcpStream, sync::watch};

use crate::kit::{Site, any_port, body, code, exchange, header, probe};

#[tokio::test]
async fn probes_are_told_whether_it_lives_and_serves() {
    let site = Site::with(&[]);
    assert_eq!(body(&site.get("/healthz").await), "ok\n");
    assert_eq!(body(&site.get("/readyz").await), "ok\n");
    let head = site.send(b"HEAD /healthz HTTP/1.0\nHost: localhost\n\n").await;
    assert_eq!((code(&head), body(&head)), ("200", ""));
    site.stop().await;
    let stopping = Site::start(&[], Settings::default(), &any_port(), false);
    assert_eq!(code(&stopping.get("/healthz").await), "200");
    assert_eq!(code(&stopping.get("/readyz").await), "503");
    stopping.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_said_as_a_problem() {
    let site = Site::with(&[]);
    let unknown = site.get("/api/v1/nope").await;
    let problem: Value = serde_json::from_str(body(&unknown)).expect("JSON");
    assert_eq!(header(&unknown, "Content-Type"), Some("application/problem+json"));
    assert_eq!((&problem["status"], &problem["title"]), (&404.into(), &"Not Found".into()));
    let wrong = site.delete("/api/v1/status").await;
    assert_eq!((code(&wrong), header(&wrong, "Allow")), ("405", Some("GET,HEAD")));
    assert_eq!(header(&wrong, "Content-Type"), Some("application/problem+json"));
    assert_eq!(code(&site.post("/metrics", "x").await), "405");
    site.stop().await;
    let without_dyups = Site::start(&[], Settings::default(), &any_port(), true);
    let gone = without_dyups.get("/list").await;
    assert_eq!(code(&gone), "404");
    assert_eq!(header(&gone, "Content-Type"), Some("application/problem+json"));
    without_dyups.stop().await;
}

#[tokio::test]
async fn the_status_counts_servers_by_state() {
    let servers = "server 10.0.0.1; server 10.0.0.2 down; server 10.0.0.3; server 10.0.0.4;";
    let site = Site::with(&[("a", servers)]);
    let pool = Arc::clone(site.admin.table.snapshot().pool("a").expect("it is there"));
    let third = &pool.servers[2];
    third.state.failed(&third.spec, 900);
    let answer = site.get("/api/v1/status").await;
    let status: Value = serde_json::from_str(body(&answer)).expect("JSON");
    assert_eq!(status["servers"], serde_json::json!({"up": 2, "down": 1, "unhealthy": 1}));
    pool.eject(&pool.servers[0], 1_000).expect("it is the first");
    let answer = site.get("/api/v1/status").await;
    let ejected: Value = serde_json::from_str(body(&answer)).expect("JSON");
    let expected = serde_json::json!({"up": 1, "ejected": 1, "down": 1, "unhealthy": 1});
    assert_eq!(ejected["servers"], expected);
    assert_eq!(status["pools"], 1);
    assert_eq!(status["version"], "1.2.3");
    assert_eq!(status["started"], "1970-01-01T00:00:00Z");
    assert_eq!(status["listeners"][0]["name"], "edge");
    assert_eq!((&status["durable"], &status["state_dir"]), (&false.into(), &Value::Null));
    assert!(status["descriptors"]["open"].as_u64().is_some_and(|open| open > 0));
    site.stop().await;
}

/// A site on which everything that has a metric has happened once.
async fn busy_site() -> Site {
    let site = Site::with(&[("a\"b\\", "server 10.0.0.1; server 10.0.0.2;")]);
    let pool = Arc::clone(site.admin.table.snapshot().pool("a\"b\\").expect("it is there"));
    let cells = pool.live.cells.of(0);
    cells.request_seconds.observe(Duration::from_millis(3));
    cells.upstream_seconds.observe(Duration::from_millis(2));
    cells.retries(Attempt::Failed).add(1);
    cells.budget_exhausted.add(2);
    cells.replay_refused.add(3);
    pool.eject(&pool.servers[1], 1).expect("it is the first");
    pool.live.series(&"edge".into(), &"/".into()).of(0).count(200);
    site.admin.table.nowhere().series(&"edge".into(), &"".into()).of(0).count(404);
    let server = pool.servers[0].state.cells.of(0);
    server.codes.count(200);
    server.attempt(Attempt::Answered).add(1);
    server.tunnels.add(1);
    server.close(Close::Idle).add(1);
    server.bytes_to_client.add(10);
    server.bytes_to_server.add(20);
    let checked = "server 10.0.0.1; server 10.0.0.2; check rise=2 fall=2 type=tcp;";
    site.post("/upstream/checked", checked).await;
    let checked = site.pool("checked");
    probe(&checked, &checked.servers[0], &[true, true, false]);
    site.post("/upstream/b", "server 10.0.0.1;").await;
    site.post("/upstream/b", "server 10.0.0.1").await;
    site
}

#[tokio::test]
async fn metrics_say_what_happened_in_words_that_prometheus_reads() {
    let site = busy_site().await;
    let answer = site.get("/metrics").await;
    assert_eq!(header(&answer, "Content-Type"), Some("text/plain; version=0.0.4"));
    let page = body(&answer);
    for line in [
        r#"tidegate_build_info{version="1.2.3"} 1"#,
        "tidegate_generation 3",
        r#"tidegate_changes_total{source="dyups",outcome="applied"} 2"#,
        r#"tidegate_connections_active{listener="edge"} 3"#,
        r#"tidegate_requests_total{listener="edge",route="/",upstream="a\"b\\",code="200"} 1"#,
        r#"tidegate_requests_total{listener="edge",route="",upstream="",code="404"} 1"#,
        r#"tidegate_request_seconds_count{upstream="a\"b\\"} 1"#,
        r#"tidegate_upstream_attempts_total{upstream="a\"b\\",server="10.0.0.1",outcome="answered"} 1"#,
        r#"tidegate_retries_total{upstream="a\"b\\",cause="failed"} 1"#,
        r#"tidegate_retry_budget_exhausted_total{upstream="a\"b\\"} 2"#,
        r#"tidegate_replay_refused_total{upstream="a\"b\\"} 3"#,
        r#"tidegate_ejections_total{upstream="a\"b\\"} 1"#,
        r#"tidegate_checks_total{upstream="checked",server="10.0.0.1",outcome="passed"} 2"#,
        r#"tidegate_checks_total{upstream="checked",server="10.0.0.1",outcome="failed"} 1"#,
        r#"tidegate_server_state{upstream="checked",server="10.0.0.2",state="checking"} 1"#,
        r#"tidegate_server_state{upstream="b",server="10.0.0.1",state="up"} 1"#,
        r#"tidegate_tunnel_closes_total{upstream="a\"b\\",server="10.0.0.1",cause="idle"} 1"#,
        r#"tidegate_tunnel_bytes_total{upstream="a\"b\\",server="10.0.0.1",direction="to_server"} 20"#,
        r#"tidegate_local_errors_total{kind="EMFILE"} 2"#,
        "tidegate_config_last_reload_successful 1",
        r#"tidegate_worker_lag_seconds{worker="0"} 0.001"#,
    ] {
        assert!(page.lines().any(|each| each == line), "{line} is not in\n{page}");
    }
    check_with_promtool(page);
    site.stop().await;
}

/// Prometheus' own judgement, where it is installed.
fn check_with_promtool(page: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut promtool) = command.stderr(Stdio::piped()).spawn() else { return };
    let mut input = promtool.stdin.take().expect("it was piped");
    input.write_all(page.as_bytes()).expect("it reads");
    drop(input);
    let said = promtool.wait_with_output().expect("it ends");
    let complaints = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success() && complaints.is_empty(), "{complaints}");
}

#[tokio::test]
async fn a_removed_server_keeps_its_series_until_its_last_tunnel_ends() {
    let site = Site::with(&[("a", "server 10.0.0.1; server 10.0.0.2;")]);
    let pool = Arc::clone(site.admin.table.snapshot().pool("a").expect("it is there"));
    let tunnel = pool.servers[0].state.lease(0).expect("no limit").into_tunnel();
    drop(pool);
    site.delete("/upstream/a").await;
    let page = site.get("/metrics").await;
    let removed = r#"tidegate_server_state{upstream="a",server="10.0.0.1",state="removed"} 1"#;
    assert!(page.contains(removed) && !page.contains("10.0.0.2"), "{page}");
    assert!(page.contains(r#"tidegate_server_tunnels_active{upstream="a",server="10.0.0.1"} 1"#));
    site.post("/upstream/a", "server 10.0.0.1;").await;
    let page = site.get("/metrics").await;
    assert_eq!(page.matches(r#"tidegate_server_state{upstream="a","#).count(), 1, "{page}");
    site.delete("/upstream/a").await;
    drop(tunnel);
    assert!(!site.get("/metrics").await.contains("10.0.0.1"));
    site.stop().await;
}

#[tokio::test]
async fn a_metrics_listener_shows_metrics_and_probes_alone() {
    let site = Site::with(&[("a", "server 10.0.0.1;")]);
    let mut bound = bind(&any_port(), &tidegate_net::Options::default(), 1).expect("any port");
    let socket = bound.sockets.pop().expect("one was asked for");
    let ListenAddress::Tcp(address) = bound.address else { panic!("not TCP") };
    let listener = AdminListener::new(bound.address.clone(), socket).expect("a listener");
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(serve_metrics(vec![listener], Arc::clone(&site.admin), stopped));
    for (request, expected) in [
        ("GET /metrics", "200"),
        ("GET /healthz", "200"),
        ("GET /readyz", "200"),
        ("GET /list", "404"),
        ("DELETE /upstream/a", "404"),
        ("GET /api/v1/status", "404"),
    ] {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let bytes = format!("{request} HTTP/1.0\r\nHost: prometheus.example:9090\r\n\r\n");
        assert_eq!(code(&exchange(stream, bytes.as_bytes()).await), expected, "{request}");
    }
    drop(stop);
    serving.await.expect("it ends without its sender");
    site.stop().await;
}

#[tokio::test]
async fn a_process_without_a_file_has_nothing_to_read_again() {
    let site = Site::with(&[]);
    let answer = site.post("/api/v1/reload", "").await;
    assert_eq!(code(&answer), "409");
    assert_eq!(header(&answer, "content-type"), Some("application/problem+json"));
    assert_eq!(body(&site.get("/api/v1/config").await), "{\"files\":[],\"config\":{}}");
    assert_eq!(code(&site.get("/api/v1/reload").await), "405");
}
