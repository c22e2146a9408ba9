//! Who may call the admin listener: no browser that was lured, nobody without the token, nobody under
//! a name that is not ours. And what it answers beside dyups.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixStream},
};

use serde_json::Value;

use crate::kit::{Edge, Message, Socket, eventually};

/// One raw admin call with these field lines.
fn call(edge: &Edge, method: &str, path: &str, fields: &str) -> Message {
    let mut socket = Socket::connect(edge.admin());
    socket.send(format!("{method} {path} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"));
    socket.response_to(method).unwrap()
}

fn is_problem(answer: &Message, status: u16) -> bool {
    let kind = answer.field("content-type").unwrap_or_default();
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    answer.status() == status
        && kind.starts_with("application/problem+json")
        && body["status"] == status
        && body["title"].is_string()
}

#[test]
fn the_names_it_answers_to() {
    let edge = Edge::new().admin_section("hosts = [\"tidegate\", \"Gate.example\"]").start();
    let port = edge.admin().port();
    for host in [
        format!("127.0.0.1:{port}"),
        "127.0.0.1".into(),
        "localhost".into(),
        format!("LOCALHOST:{port}"),
        "[::1]".into(),
        "127.0.0.5".into(),
        "tidegate".into(),
        "tidegate:80".into(),
        "gate.example".into(),
    ] {
        let answer = call(&edge, "GET", "/healthz", &format!("Host: {host}\r\n"));
        assert_eq!(answer.status(), 200, "{host}");
        let answer = call(&edge, "GET", "/api/v1/status", &format!("Host: {host}\r\n"));
        assert_eq!(answer.status(), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "tidegate.evil"] {
        for path in ["/list", "/api/v1/status", "/metrics"] {
            let answer = call(&edge, "GET", path, &format!("Host: {host}\r\n"));
            assert!(matches!(answer.status(), 403 | 421), "{host} {path}: {}", answer.status());
        }
    }
}

#[test]
fn http_1_0_needs_no_name() {
    let edge = Edge::new().start();
    let mut socket = Socket::connect(edge.admin());
    assert_eq!(socket.ask("GET /list HTTP/1.0\r\n\r\n").status(), 204);
}

#[test]
fn browsers_cannot_be_lured_into_it() {
    let edge = Edge::new().start();
    let host = format!("Host: {}\r\n", edge.admin());
    for field in [
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: http://localhost.evil.example",
        "Sec-Fetch-Site: cross-site",
    ] {
        for (method, path) in
            [("POST", "/upstream/a"), ("DELETE", "/upstream/a"), ("GET", "/detail")]
        {
            let fields = format!("{host}{field}\r\nContent-Length: 0\r\n");
            let answer = call(&edge, method, path, &fields);
            assert_eq!(answer.status(), 403, "{field} {method} {path}");
        }
    }
    for field in ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "X-Any: thing"] {
        let answer = call(&edge, "GET", "/list", &format!("{host}{field}\r\n"));
        assert_eq!(answer.status(), 204, "{field}");
    }
    let ours = format!("{host}Origin: http://{}\r\n", edge.admin());
    assert_eq!(call(&edge, "GET", "/list", &ours).status(), 204, "our own page may");
}

#[test]
fn with_a_token_nothing_goes_without_it() {
    let edge = Edge::new().admin_section("token_file = \"token\"");
    fs::write(edge.directory().join("token"), "s3cret\n").unwrap();
    let edge = edge.start();
    // Fewer than one may be wrong at once.
    for path in ["/list", "/detail", "/metrics", "/api/v1/status", "/nonsense", "/"] {
        for token in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic czNjcmV0\r\n"] {
            let answer = call(&edge, "GET", path, &format!("Host: localhost\r\n{token}"));
            assert_eq!(answer.status(), 401, "{path} {token:?}");
            assert!(answer.head.has("www-authenticate"), "{:?}", answer.head);
        }
    }
    let token = "Host: localhost\r\nAuthorization: Bearer s3cret\r\n";
    assert_eq!(call(&edge, "GET", "/list", token).status(), 204);
    assert_eq!(call(&edge, "GET", "/api/v1/status", token).status(), 200);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(call(&edge, "GET", path, "Host: localhost\r\n").status(), 200, "{path}");
    }
    assert!(!edge.log().contains("s3cret"), "the token is in the log");
}

#[test]
fn status_says_what_runs() {
    let edge = Edge::new().start();
    let answer = edge.call("GET", "/api/v1/status", "");
    assert_eq!(answer.status(), 200);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(body["version"].is_string(), "{body}");
    assert!(body["generation"].is_u64(), "{body}");
    assert_eq!(body["workers"], 2, "{body}");
    let listeners = body["listeners"].as_array().expect("a list of listeners");
    let edge_listener = listeners.iter().find(|listener| listener["name"] == "edge");
    let address = &edge_listener.expect("the listener is there")["address"];
    assert_eq!(*address, edge.port("edge").to_string(), "{body}");
}

#[test]
fn unknown_paths_of_the_api_are_problems() {
    let edge = Edge::new().start();
    for path in ["/api/v1/nonsense", "/api/v1", "/api/v2/status"] {
        let answer = edge.call("GET", path, "");
        assert!(is_problem(&answer, 404), "{path}: {answer:?}");
    }
    let answer = edge.call("POST", "/api/v1/status", "");
    assert!(is_problem(&answer, 405), "{answer:?}");
    assert!(answer.head.has("allow"), "{answer:?}");
}

#[test]
fn dyups_can_be_turned_off() {
    let edge = Edge::new().admin_section("dyups = \"off\"").start();
    for path in ["/list", "/detail", "/upstream/a"] {
        assert_eq!(edge.call("GET", path, "").status(), 404, "{path}");
    }
    assert_eq!(edge.call("POST", "/upstream/a", "server 127.0.0.1:1;").status(), 404);
    assert_eq!(edge.call("GET", "/api/v1/status", "").status(), 200);
}

#[test]
fn a_unix_socket_is_for_its_owner() {
    let edge = Edge::new();
    let socket = edge.directory().join("admin.sock");
    let path = edge.directory().join("unix.toml");
    let listen = format!("\"127.0.0.1:0\", \"unix:{}\"]", socket.display());
    fs::write(&path, edge.config().replacen("\"127.0.0.1:0\"]", &listen, 1)).unwrap();
    let running = Edge::from_arguments(&["run", "-c", path.to_str().unwrap()], &["edge", "admin"]);
    eventually("the socket is there", || UnixStream::connect(&socket).is_ok());
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    running.post("a", "server 127.0.0.1:1;");
    let mut client = Socket::over(UnixStream::connect(&socket).unwrap());
    assert_eq!(client.ask("GET /list HTTP/1.1\r\nHost: localhost\r\n\r\n").text(), "a\n");
}

#[test]
fn the_proxys_own_listener_is_no_admin_listener() {
    let edge = Edge::new().start();
    for path in ["/list", "/metrics", "/healthz", "/api/v1/status"] {
        assert_eq!(edge.get("localhost", path).status(), 502, "{path}: a pool called localhost");
    }
}
