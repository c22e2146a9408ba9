//! Tengine's health page: the cases H1 to H12 of its own tests, and the bytes of every format.

use serde_json::Value;

use crate::kit::{Site, body, code, header, probe};

/// Six servers, of which the check has passed one.
fn checked() -> Site {
    let check = "check interval=500 rise=1 fall=1 timeout=400 type=http;";
    let servers: String = (1970..1976).map(|port| format!("server 127.0.0.1:{port};")).collect();
    let site = Site::with(&[("u", &format!("{servers}{check}"))]);
    let pool = site.pool("u");
    for (at, server) in pool.servers.iter().enumerate() {
        probe(&pool, server, &[at == 0, at == 0, at == 0]);
    }
    site
}

#[tokio::test]
async fn formats_and_filters_are_those_of_tengine() {
    let site = checked();
    for (query, kind, part) in [
        ("", "text/html", "<h2>Check upstream server number: 6, generation: 1</h2>\n"),
        ("?format=html", "text/html", "server number: 6,"),
        ("?format=csv", "text/plain", "5,u,127.0.0.1:1975,down,0,3,http,0\n"),
        ("?format=json", "application/json", "  \"total\": 6,\n"),
        ("?format=prometheus", "text/plain", "nginx_upstream_count_total 6\n"),
        ("?format=htm", "text/html", "server number: 6,"),
        ("?format=JSON", "text/html", "server number: 6,"),
        ("?format=json&status=down", "application/json", "  \"total\": 5,\n"),
        ("?status=up&format=html", "text/html", "server number: 1,"),
        ("?format=html&status=Down", "text/html", "server number: 5,"),
        ("?format=html&status=foo", "text/html", "server number: 6,"),
    ] {
        let answer = site.get(&format!("/status{query}")).await;
        assert_eq!(
            (code(&answer), header(&answer, "Content-Type")),
            ("200", Some(kind)),
            "{query}"
        );
        assert!(body(&answer).contains(part), "{query}: {answer}");
    }
    let up = site.get("/status?format=csv&status=up").await;
    assert_eq!(body(&up), "0,u,127.0.0.1:1970,up,3,0,http,0\n");
    site.stop().await;
}

#[tokio::test]
async fn the_page_is_for_looking_only_and_for_checked_servers() {
    let site = checked();
    let head = site.send(b"HEAD /status?format=csv HTTP/1.0\nHost: localhost\n\n").await;
    assert_eq!((code(&head), body(&head)), ("200", ""));
    assert_eq!(code(&site.post("/status", "x").await), "405");
    assert_eq!(code(&site.delete("/status").await), "405");
    site.stop().await;
    let without = Site::with(&[("u", "server 127.0.0.1:1970;")]);
    assert_eq!(code(&without.get("/status").await), "500");
    without.stop().await;
}

/// Two pools with checks and one without between them, of all kinds of addresses; nobody asks a
/// server that is down.
fn mixed() -> Site {
    let site = Site::with(&[
        (
            "a",
            "server [::1]:80; server unix:/run/b.sock; check rise=2 fall=1 type=ssl_hello port=443;",
        ),
        ("plain", "server 10.0.0.9;"),
        ("b", "server 10.0.0.2 down; server 10.0.0.1; check type=tcp default_down=false;"),
    ]);
    let pool = site.pool("a");
    probe(&pool, &pool.servers[0], &[false, true]);
    probe(&pool, &pool.servers[1], &[true, true]);
    site
}

#[tokio::test]
async fn csv_and_json_are_byte_for_byte_what_scripts_expect() {
    let site = mixed();
    assert_eq!(
        body(&site.get("/status?format=csv").await),
        "0,a,[::1]:80,down,1,0,ssl_hello,443\n\
         1,a,unix:/run/b.sock,up,2,0,ssl_hello,443\n\
         2,b,10.0.0.1:80,up,0,0,tcp,0\n"
    );
    let json = site.get("/status?format=json&status=up").await;
    assert_eq!(
        body(&json),
        r#"{"servers": {
  "total": 2,
  "up": 2,
  "down": 0,
  "generation": 1,
  "server": [
    {"index": 1, "upstream": "a", "name": "unix:/run/b.sock", "status": "up", "rise": 2, "fall": 0, "type": "ssl_hello", "port": 443},
    {"index": 2, "upstream": "b", "name": "10.0.0.1:80", "status": "up", "rise": 0, "fall": 0, "type": "tcp", "port": 0}
  ]
}}
"#
    );
    serde_json::from_str::<Value>(body(&json)).expect("JSON");
    site.stop().await;
}

#[tokio::test]
async fn an_empty_choice_is_an_empty_page() {
    let site = Site::with(&[("a", "server 10.0.0.1; check type=tcp;")]);
    let csv = site.get("/status?format=csv&status=up").await;
    assert_eq!((code(&csv), body(&csv)), ("200", ""));
    let json = site.get("/status?format=json&status=up").await;
    assert!(body(&json).ends_with("  \"server\": [\n  ]\n}}\n"), "{json}");
    site.stop().await;
}

#[tokio::test]
async fn the_prometheus_page_names_every_server_three_times() {
    let site = mixed();
    let answer = site.get("/status?format=prometheus").await;
    for line in [
        "nginx_upstream_count_up 2",
        "nginx_upstream_count_down 1",
        "nginx_upstream_count_generation 1",
        r#"nginx_upstream_server_rise{index="1",upstream="a",name="unix:/run/b.sock",status="up",type="ssl_hello",port="443"} 2"#,
        r#"nginx_upstream_server_fall{index="0",upstream="a",name="[::1]:80",status="down",type="ssl_hello",port="443"} 0"#,
        r#"nginx_upstream_server_active{index="2",upstream="b",name="10.0.0.1:80",type="tcp",port="0"} 1"#,
        "# TYPE nginx_upstream_server_rise counter",
        "# TYPE nginx_upstream_server_active gauge",
    ] {
        assert!(body(&answer).lines().any(|each| each == line), "{line} is not in\n{answer}");
    }
    site.stop().await;
}

#[tokio::test]
async fn servers_of_a_check_that_was_taken_back_leave_the_page() {
    let site = mixed();
    assert_eq!(code(&site.post("/upstream/a", "server [::1]:80;").await), "200");
    let csv = site.get("/status?format=csv").await;
    assert_eq!(body(&csv), "0,b,10.0.0.1:80,up,0,0,tcp,0\n");
    site.stop().await;
}
