//! Who may do what through the admin API: roles, pools of a token's own, how often one may be wrong,
//! and what a browser or a stranger cannot do. What is written down of it is in `admin_audit.rs`.

use std::{fs, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    kit::{Chat, Edge, Message, Socket, eventually},
    register::tunnels,
    websocket::ASK,
};

/// One for each role, and one that may change some pools only.
pub const TOKENS: [(&str, &str); 4] = [
    ("reader", "role = 'read'"),
    ("operator", "role = 'operate'"),
    ("boss", "role = 'admin'"),
    ("kf", "role = 'operate', upstreams = ['kf_*']"),
];

/// A proxy, not yet started, that wants a token. The secret of each is its name, and more.
pub fn guarded() -> Edge {
    let mut lines = String::from("audit_log = 'audit.log'\ntokens = [\n");
    for (name, rights) in TOKENS {
        lines += &format!("  {{ name = '{name}', file = '{name}.token', {rights} }},\n");
    }
    let edge = Edge::new().admin_section(&(lines + "]"));
    for (name, _) in TOKENS {
        write_token(&edge, name, &secret(name));
    }
    edge
}

pub fn secret(name: &str) -> String {
    format!("the-secret-of-{name}")
}

fn write_token(edge: &Edge, name: &str, secret: &str) {
    fs::write(edge.directory().join(format!("{name}.token")), secret).unwrap();
}

/// A call with that for a token.
#[track_caller]
pub fn call_with(edge: &Edge, secret: &str, method: &str, path: &str, body: &str) -> Message {
    let mut socket = Socket::connect(edge.admin());
    socket.send(request(secret, method, path, body) + "Connection: close\r\n\r\n" + body);
    socket.response_to(method).unwrap_or_else(|broken| panic!("{method} {path}: {broken:?}"))
}

/// A call by the bearer of the token of that name.
#[track_caller]
pub fn call_as(edge: &Edge, name: &str, method: &str, path: &str, body: &str) -> Message {
    call_with(edge, &secret(name), method, path, body)
}

fn request(secret: &str, method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n\
         Content-Length: {length}\r\n"
    )
}

#[test]
fn each_role_may_what_it_says_and_no_more() {
    let edge = guarded().start();
    let roles = ["reader", "operator", "boss"];
    for (least, method, path) in [
        ("reader", "GET", "/list"),
        ("reader", "HEAD", "/list"),
        ("reader", "GET", "/upstream/a"),
        ("reader", "GET", "/metrics"),
        ("reader", "GET", "/api/v1/status"),
        ("reader", "GET", "/api/v1/drains"),
        ("reader", "GET", "/api/v1/tunnels"),
        ("operator", "POST", "/upstream/a"),
        ("operator", "DELETE", "/upstream/a"),
        ("operator", "PUT", "/upstream/a"),
        ("operator", "POST", "/api/v1/drains"),
        ("operator", "PATCH", "/api/v1/drains/7"),
        ("operator", "DELETE", "/api/v1/drains/7"),
        ("operator", "DELETE", "/api/v1/tunnels/7"),
        ("operator", "DELETE", "/api/v1/upstreams/a"),
        ("operator", "POST", "/api/v1/transactions"),
        ("operator", "OPTIONS", "/list"),
        ("operator", "BREW", "/api/v1/status"),
        ("boss", "POST", "/api/v1/generations/1/restore"),
        ("boss", "POST", "/api/v1/reload"),
    ] {
        let from = roles.iter().position(|role| *role == least).unwrap();
        for (at, role) in roles.into_iter().enumerate() {
            let answer = call_as(&edge, role, method, path, "");
            assert_eq!(answer.status() == 403, at < from, "{role} {method} {path}: {answer:?}");
            if at < from {
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                let detail = body["detail"].as_str().unwrap();
                assert!(detail.contains(&format!("token \"{role}\"")), "{detail}");
            }
        }
    }
}

/// The refusal of a dyups call: a line of text, and the same as a header.
#[track_caller]
fn is_refused_by_dyups(answer: &Message) {
    let reason = "the token \"kf\" may change upstreams kf_*, not \"";
    assert_eq!(answer.status(), 403, "{answer:?}");
    assert!(answer.text().starts_with(reason) && answer.text().ends_with("\"\n"), "{answer:?}");
    assert!(answer.field("x-tidegate-reason").unwrap().starts_with(reason), "{answer:?}");
}

#[test]
fn a_limited_token_changes_the_pools_it_names_and_reads_all() {
    let edge = guarded().start();
    let server = "server 127.0.0.1:1;";
    for pool in ["kf_a", "KF_b"] {
        let path = format!("/upstream/{pool}");
        assert_eq!(call_as(&edge, "kf", "POST", &path, server).text(), "success", "{pool}");
    }
    assert_eq!(call_as(&edge, "operator", "POST", "/upstream/chat", server).text(), "success");
    for path in
        ["/upstream/chat", "/upstream/CHAT", "/upstream/%63hat", "/upstream/kf", "/upstream/k"]
    {
        is_refused_by_dyups(&call_as(&edge, "kf", "POST", path, server));
        is_refused_by_dyups(&call_as(&edge, "kf", "POST", path, "nonsense"));
        is_refused_by_dyups(&call_as(&edge, "kf", "DELETE", path, ""));
    }
    assert_eq!(call_as(&edge, "kf", "GET", "/list", "").text(), "kf_a\nKF_b\nchat\n");
    assert_eq!(call_as(&edge, "kf", "DELETE", "/upstream/kf_B", "").text(), "success");
}

#[test]
fn a_limited_token_drains_and_closes_in_its_pools_alone() {
    let (chat, kf) = (Chat::new(), Chat::new());
    let edge = guarded().pool("chat", &[&chat]).pool("kf_a", &[&kf]).start();
    let open = |pool: &str| {
        let mut client = edge.client();
        client.send(ASK.replace("Host: app", &format!("Host: {pool}")));
        assert_eq!(client.head().unwrap().status(), 101);
        client
    };
    let _clients = [open("chat"), open("kf_a")];
    let tell = |name: &str, method: &str, path: &str, body: &Value| {
        let answer = call_as(&edge, name, method, path, &body.to_string());
        (answer.status(), serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    let drain = |pool: &str, server: &Chat| json!({"upstream": pool, "server": server.address(), "over": "1h", "force": true});
    assert_eq!(tell("kf", "POST", "/api/v1/drains", &drain("Chat", &chat)).0, 403);
    let (status, others) = tell("operator", "POST", "/api/v1/drains", &drain("chat", &chat));
    assert_eq!(status, 201, "{others}");
    let (status, own) = tell("kf", "POST", "/api/v1/drains", &drain("kf_a", &kf));
    assert_eq!(status, 201, "{own}");
    for (drain, altered, cancelled) in [(others, 403, 403), (own, 200, 200)] {
        let path = format!("/api/v1/drains/{}", drain["id"]);
        assert_eq!(tell("kf", "PATCH", &path, &json!({"paused": true})).0, altered, "{drain}");
        assert_eq!(tell("kf", "DELETE", &path, &Value::Null).0, cancelled, "{drain}");
    }
    let (_, page) = tell("kf", "GET", "/api/v1/tunnels", &Value::Null);
    let tunnels = page["tunnels"].as_array().unwrap();
    assert_eq!(tunnels.len(), 2, "{page}");
    for tunnel in tunnels {
        let path = format!("/api/v1/tunnels/{}", tunnel["id"]);
        let expected = if tunnel["upstream"] == "chat" { 403 } else { 202 };
        assert_eq!(tell("kf", "DELETE", &path, &Value::Null).0, expected, "{tunnel}");
    }
    assert_eq!(tell("kf", "DELETE", "/api/v1/tunnels/4000000000", &Value::Null).0, 404);
}

#[test]
fn without_tokens_who_gets_here_may_everything() {
    let chat = Chat::new();
    let edge = Edge::new().pool("chat", &[&chat]).start();
    let mut client = edge.client();
    client.send(ASK.replace("Host: app", "Host: chat"));
    assert_eq!(client.head().unwrap().status(), 101);
    let id = &tunnels(&edge, "")[0]["id"];
    assert_eq!(edge.call("DELETE", &format!("/api/v1/tunnels/{id}"), "").status(), 202);
    for path in ["/api/v1/reload", "/api/v1/generations/1/restore"] {
        assert_ne!(edge.call("POST", path, "").status(), 403, "{path}");
    }
    edge.post("any", "server 127.0.0.1:1;");
}

#[test]
fn an_address_for_others_takes_a_token() {
    let edge = Edge::new().admin_section("#");
    let open = edge.config().replace("[\"127.0.0.1:0\"]", "[\"0.0.0.0:0\"]");
    let path = edge.directory().join("open.toml");
    let check = |text: String| {
        fs::write(&path, text).unwrap();
        crate::kit::Output::of(&["run", "-c", path.to_str().unwrap()])
    };
    let refused = check(open.replace("\n#\n", "\ntokens = []\n"));
    assert_eq!(refused.status.code(), Some(64), "{}", refused.said());
    assert!(refused.said().contains("set token_file or tokens"), "{}", refused.said());
}

/// A name that its owner makes point here, and a target that says so: neither changes anything.
#[test]
fn no_other_name_changes_anything() {
    let edge = Edge::new().start();
    edge.post("a", "server 127.0.0.1:1;");
    for head in [
        "DELETE /upstream/a HTTP/1.1\r\nHost: rebound.example\r\n",
        "DELETE /upstream/a HTTP/1.1\r\nHost: localhost.rebound.example\r\n",
        "DELETE http://rebound.example/upstream/a HTTP/1.1\r\nHost: localhost\r\n",
        "DELETE http://localhost/upstream/a HTTP/1.1\r\nHost: rebound.example\r\n",
        "DELETE /upstream/a HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n",
        "DELETE /upstream/a HTTP/1.1\r\nHost: localhost@rebound.example\r\n",
        "DELETE /upstream/a HTTP/1.1\r\n",
    ] {
        let mut socket = Socket::connect(edge.admin());
        let answer = socket.ask(format!("{head}Connection: close\r\n\r\n"));
        assert!(matches!(answer.status(), 400 | 403), "{head}: {answer:?}");
    }
    let local = "DELETE http://localhost/upstream/a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(Socket::connect(edge.admin()).ask(local).text(), "success");
}

#[test]
fn no_page_is_told_that_it_may_ask() {
    let edge = Edge::new().start();
    let host = edge.admin();
    for origin in ["http://evil.example".into(), format!("http://{host}"), "null".into()] {
        for (method, path) in
            [("OPTIONS", "/upstream/a"), ("OPTIONS", "/api/v1/drains"), ("GET", "/list")]
        {
            let mut socket = Socket::connect(edge.admin());
            socket.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\
                 Access-Control-Request-Method: DELETE\r\nConnection: close\r\n\r\n"
            ));
            let answer = socket.response_to(method).unwrap();
            let names = answer.head.fields.iter().map(|(name, _)| name.to_ascii_lowercase());
            let allows: Vec<_> = names.filter(|name| name.starts_with("access-control")).collect();
            assert!(allows.is_empty(), "{origin} {method} {path}: {answer:?}");
        }
    }
}

#[test]
fn bodies_are_bounded_in_length_and_in_time() {
    let edge = Edge::new().start();
    let mut slow: Vec<Socket> = ["/upstream/a", "/api/v1/drains"]
        .into_iter()
        .map(|path| {
            let mut socket = Socket::connect(edge.admin());
            socket.inner().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            socket.send(format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nserve"
            ));
            socket
        })
        .collect();
    for (path, most) in [("/upstream/a", 1 << 20), ("/api/v1/drains", 1 << 20)] {
        let mut socket = Socket::connect(edge.admin());
        socket.send(format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        // What it does not want to read any more it need not take.
        let _ = socket.try_send(format!("{:x}\r\n{}\r\n1\r\na\r\n", most, "a".repeat(most)));
        assert_eq!(socket.response().unwrap().status(), 413, "{path}");
    }
    edge.post("a", "server 127.0.0.1:1;");
    for socket in &mut slow {
        assert_eq!(socket.response().unwrap().status(), 408);
    }
}

/// As often as it likes, until it is told to wait.
fn is_wrong_until_429(edge: &Edge) -> Message {
    let mut last = None;
    eventually("it is told to wait", || {
        let mut socket = Socket::connect(edge.admin());
        // All at once, so that a slow machine does not make it a patient one.
        socket.send((request("wrong", "GET", "/list", "") + "\r\n").repeat(30));
        for answer in (0..30).map(|_| socket.response().unwrap()) {
            match answer.status() {
                401 => {}
                429 => {
                    last = Some(answer);
                    return true;
                }
                _ => panic!("{answer:?}"),
            }
        }
        false
    });
    last.unwrap()
}

#[test]
fn who_is_wrong_too_often_waits_and_nobody_else_does() {
    let edge = guarded().start();
    let told = is_wrong_until_429(&edge);
    assert!(told.field("retry-after").unwrap().parse::<u64>().unwrap() >= 1, "{told:?}");
    assert_eq!(told.field("content-type"), Some("application/problem+json"));
    assert!(told.head.closes(), "{told:?}");
    for _ in 0..100 {
        let answer = call_as(&edge, "reader", "GET", "/list", "");
        assert_eq!(answer.status(), 204, "the bearer of a good token is not held up");
    }
    let page = call_as(&edge, "reader", "GET", "/metrics", "").text();
    for reason in ["rate", "token"] {
        let series = format!("tidegate_admin_refused_total{{reason=\"{reason}\"}} ");
        let count = page.lines().find_map(|line| line.strip_prefix(&series));
        assert!(count.is_some_and(|count| count != "0"), "{reason}: {count:?}");
    }
    let mut other = Socket::connect_from("127.0.0.77".parse().unwrap(), edge.admin());
    assert_eq!(other.ask(request("wrong", "GET", "/list", "") + "\r\n").status(), 401);
    let mut probe = Socket::connect(edge.admin());
    assert_eq!(probe.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status(), 200);
}

/// Reads the file again and waits until that is done.
#[track_caller]
fn reload(edge: &Edge) {
    edge.forget_log();
    edge.signal(Signal::HUP);
    edge.wait_for_log("configuration reloaded");
}

#[test]
fn tokens_hosts_and_dyups_are_exchanged_by_a_reload() {
    let edge = guarded().start();
    write_token(&edge, "reader", "another-secret");
    assert_eq!(call_as(&edge, "reader", "GET", "/list", "").status(), 204, "not before it is told");
    reload(&edge);
    assert_eq!(call_as(&edge, "reader", "GET", "/list", "").status(), 401);
    assert_eq!(call_with(&edge, "another-secret", "GET", "/list", "").status(), 204);
    assert_eq!(call_with(&edge, "another-secret", "DELETE", "/upstream/a", "").status(), 403);
    edge.rewrite(|text| text.replace("role = 'read'", "role = 'operate'"));
    reload(&edge);
    assert_eq!(call_with(&edge, "another-secret", "DELETE", "/upstream/a", "").status(), 404);
    let host = |edge: &Edge| {
        let request = request(&secret("boss"), "GET", "/list", "").replace("localhost", "gate");
        Socket::connect(edge.admin()).ask(request + "\r\n").status()
    };
    assert_eq!(host(&edge), 403);
    edge.rewrite(|text| text.replace("audit_log", "hosts = ['gate']\naudit_log"));
    reload(&edge);
    assert_eq!(host(&edge), 204);
    edge.rewrite(|text| text.replace("hosts =", "dyups = 'off'\nhosts ="));
    reload(&edge);
    assert_eq!(host(&edge), 404);
}

#[test]
fn a_token_that_is_gone_changes_nothing_and_the_old_ones_hold() {
    let edge = guarded().start();
    fs::remove_file(edge.directory().join("reader.token")).unwrap();
    edge.signal(Signal::HUP);
    edge.wait_for_log("configuration not reloaded");
    assert_eq!(call_as(&edge, "reader", "GET", "/list", "").status(), 204);
    for (key, change) in [("admin.audit_log", "'other.log'"), ("admin.listen", "['127.0.0.1:1']")] {
        edge.forget_log();
        write_token(&edge, "reader", &secret("reader"));
        let name = key.trim_start_matches("admin.");
        let before = fs::read_to_string(edge.config_path()).unwrap();
        let line = before.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        edge.rewrite(|text| text.replacen(&line, &format!("{name} = {change}"), 1));
        edge.signal(Signal::HUP);
        edge.wait_for_log(&format!("{key}: changed, which takes a restart"));
        edge.rewrite(|_| before);
    }
}
