//! Which route takes a request: by method, header, cookie and query besides host and path, among a
//! few and among 10,000.

use serde_json::Value;

use crate::kit::{Edge, Message, Origin};

/// One request with these header lines, each with its line end.
fn send(edge: &Edge, start: &str, lines: &str) -> Message {
    let head = format!("{start} HTTP/1.1\r\nHost: h\r\n{lines}Connection: close\r\n\r\n");
    let mut client = edge.client();
    client.send(head);
    client.response_to(start.split(' ').next().unwrap()).expect("an answer")
}

/// Routes that answer with a name of their own.
fn answering(edge: Edge, conditions: &[(&str, &str)]) -> Edge {
    conditions.iter().fold(edge, |edge, (name, lines)| {
        edge.route(&format!("{lines}\nrespond = {{ body = \"{name}\" }}"))
    })
}

fn conditions() -> Edge {
    let routes = [
        ("put", "method = [\"PUT\", \"DELETE\"]"),
        (
            "all",
            "method = \"GET\"\nheader = { x-env = \"gray\" }\ncookie = { g = \"b\" }\nquery = { v = \"2\" }",
        ),
        ("header", "header = { X-Env = \"~ ^(gray|beta)$\" }"),
        ("cookie", "cookie = { gray = \"b\" }"),
        ("query", "query = { v = \"~ ^2[.]\" }"),
        ("socket", "header = { upgrade = \"~ (?i-u)^websocket$\" }"),
        ("there", "header = { x-there = \"~ \" }"),
        ("empty", "header = { x-empty = \"\" }"),
        ("rest", ""),
    ];
    answering(Edge::new(), &routes).start()
}

#[test]
fn routes_match_by_method_header_cookie_and_query() {
    let edge = conditions();
    for (start, lines, name) in [
        ("PUT /", "", "put"),
        ("DELETE /?v=2", "X-Env: gray\r\n", "put"),
        ("put /", "", "rest"),
        ("GET /?v=2", "X-Env: gray\r\nCookie: g=b\r\n", "all"),
        ("POST /?v=2", "X-Env: gray\r\nCookie: g=b\r\n", "header"),
        ("GET /?v=3", "X-Env: gray\r\nCookie: g=b\r\n", "header"),
        ("GET /", "X-Env: blue\r\nx-env: beta\r\n", "header"),
        ("GET /", "X-Env: gray, blue\r\n", "rest"),
        ("GET /", "X-Env: Gray\r\n", "rest"),
        ("GET /", "Cookie: x=1\r\nCookie: y=2; gray=b\r\n", "cookie"),
        ("GET /", "Cookie: gray=c; gray=b\r\n", "rest"),
        ("GET /", "Cookie: Gray=b; xgray=b\r\n", "rest"),
        ("GET /?u=1&v=2.7", "", "query"),
        ("GET /?v=1&v=2.7", "", "rest"),
        ("GET /?v=%32.7", "", "rest"),
        ("GET /?V=2.7", "", "rest"),
        ("GET /v=2.7", "", "rest"),
        ("GET /", "Upgrade: WebSocket\r\n", "socket"),
        ("GET /", "X-There:\r\n", "there"),
        ("GET /", "X-Empty:\r\n", "empty"),
        ("GET /", "X-Empty: x\r\n", "rest"),
        ("GET /", "", "rest"),
    ] {
        assert_eq!(send(&edge, start, lines).text(), name, "{start} {lines:?}");
    }
    let head = send(&edge, "HEAD /?v=2", "X-Env: gray\r\nCookie: g=b\r\n");
    assert_eq!(head.field("content-length"), Some("3"), "a HEAD goes where a GET goes");
}

#[test]
fn explain_says_what_happens() {
    let edge = conditions();
    let explain = |query: &str| -> Value {
        let answer = edge.call("GET", &format!("/api/v1/explain?{query}"), "");
        assert_eq!(answer.status(), 200, "{answer:?}");
        serde_json::from_str(&answer.text()).unwrap()
    };
    let because = |said: &Value| -> Vec<String> {
        let routes = said["routes"].as_array().unwrap();
        routes.iter().filter_map(|route| Some(route["because"].as_str()?.to_owned())).collect()
    };
    let said = explain("method=PUT");
    assert_eq!((because(&said).len(), &said["decision"]["status"]), (0, &Value::from(200)));
    let said = explain("query=v%3D2&header=X-Env:gray&cookie=g=c");
    assert_eq!(because(&said), ["method", "cookie g"]);
    let said = explain("query=v%3D2.7&cookie=gray=b&method=HEAD");
    assert_eq!(because(&said), ["method", "header x-env", "header x-env"]);
    assert_eq!(said["route"]["asks"]["cookie"]["gray"], "b");
    assert_eq!(because(&explain("")).len(), 8);
}

#[test]
fn ten_thousand_hosts_each_find_their_own() {
    const HOSTS: usize = 10_000;
    let origin = Origin::named("all");
    let route = |at: usize| {
        let respond = format!("respond = {{ body = \"{at}\" }}");
        match at % 10 {
            0 => format!("[[route]]\nhost = \"*.w{at}.example\"\n{respond}\n"),
            _ => format!("[[route]]\nhost = \"h{at}.example\"\n{respond}\n"),
        }
    };
    let routes: String = (1..HOSTS).map(route).collect();
    let edge = Edge::new()
        .route("path = \"/first/\"\nupstream = \"app\"")
        .route(&format!("host = \"h0.example\"\nrespond = {{ body = \"0\" }}\n{routes}"))
        .route("host = [\"*.example\"]\nrespond = { body = \"wild\" }")
        .route("upstream = \"app\"")
        .pool("app", &[&origin])
        .start();
    let mut client = edge.client();
    let mut ask = |host: &str, path: &str| {
        client.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).text()
    };
    for (host, path, name) in [
        ("h0.example", "/", "0"),
        ("h9999.example", "/", "9999"),
        ("H5001.Example:81", "/x", "5001"),
        ("h5001.example", "/first/", "all"),
        ("a.b.w5000.example", "/", "5000"),
        ("w5000.example", "/", "wild"),
        ("h5000.example", "/", "wild"),
        ("example", "/", "all"),
        ("h1.example.org", "/", "all"),
    ] {
        assert_eq!(ask(host, path), name, "{host}{path}");
    }
    let long = format!("{}example", "x.".repeat(3_000));
    assert_eq!(ask(&long, "/"), "wild");
    let checked = edge.command(&["check"]);
    assert_eq!(checked.status.code(), Some(0));
}
