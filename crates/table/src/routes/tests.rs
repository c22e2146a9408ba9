//! The law of the index: what it finds is what a walk through all routes finds.

use proptest::prelude::*;
use tidegate_model::{
    Action, HostPattern, PathPattern, Template,
    route::{Conditions, ValuePattern},
};
use tidegate_wire::judge_request;

use super::*;

fn route(hosts: &[&str], path: &str) -> Route {
    let host = |text: &&str| HostPattern::parse(text).expect("a host");
    Route {
        label: String::new(),
        listeners: Vec::new(),
        hosts: hosts.iter().map(host).collect(),
        path: PathPattern::parse(path).expect("a path"),
        conditions: Conditions::default(),
        action: Action::Upstream(Template::parse("a").expect("a template")),
        upstream_in: Vec::new(),
        fallback: None,
        rewrite: None,
        request_headers: Arc::default(),
        response_headers: Arc::default(),
        upgrade: Vec::new(),
        max_body: None,
        allow_encoded_slash: false,
        policy: None,
    }
}

/// Hands a request over as routes see it.
fn asked<T>(head: &str, then: impl FnOnce(&Request<'_>) -> T) -> T {
    let mut storage = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Request::new(&mut storage);
    assert!(parsed.parse(head.as_bytes()).expect("it parses").is_complete());
    let facts = judge_request(&parsed).expect("it is sound");
    then(&Request {
        listener: "edge",
        host: facts.host,
        path: facts.path,
        facts: &facts,
        headers: parsed.headers,
    })
}

/// Where the route that takes the request stands; by the index, and by asking each.
fn both(routes: &Routes, request: &Request<'_>) -> (Option<usize>, Option<usize>) {
    let is_one =
        |found: &(Arc<str>, Route)| routes.list.iter().position(|one| std::ptr::eq(one, found));
    let found = routes.find(request).and_then(is_one);
    let walked = routes.list.iter().position(|(_, route)| request.mismatch(route).is_none());
    (found, walked)
}

fn values(typed: &[(&str, &str)]) -> Vec<(String, ValuePattern)> {
    let one = |(name, value): &(&str, &str)| {
        ((*name).to_owned(), ValuePattern::parse(value).expect("a value"))
    };
    typed.iter().map(one).collect()
}

#[test]
fn everything_that_is_asked_for_has_to_be_there() {
    let conditions = Conditions {
        methods: vec!["GET".into(), "HEAD".into()],
        headers: values(&[("x-env", "gray"), ("x-more", "~ ^[0-9]+$")]),
        cookies: values(&[("gray", "b")]),
        arguments: values(&[("v", "~ ^2")]),
    };
    let picky = Route { conditions, ..route(&[], "/") };
    let judge = |head: &str| asked(head, |request| request.mismatch(&picky).map(|m| m.to_string()));
    let head = |start: &str, lines: &str| format!("{start} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let lines = "X-Env: blue\r\nx-env: gray\r\nX-MORE: 12\r\nCookie: a=1; gray=b\r\n";
    assert_eq!(judge(&head("GET /?u=1&v=2.0", lines)), None, "any line of a header counts");
    let because = |start: &str, lines: &str| judge(&head(start, lines)).expect("a mismatch");
    assert_eq!(because("PUT /?v=2", lines), "method");
    assert_eq!(because("get /?v=2", lines), "method");
    assert_eq!(because("GET /?v=2", &lines.replace("gray\r\nX-M", "Gray\r\nX-M")), "header x-env");
    assert_eq!(because("GET /?v=2", &lines.replace("12", "1 2")), "header x-more");
    assert_eq!(because("GET /?v=2", &lines.replace("gray=b", "gray=bb")), "cookie gray");
    assert_eq!(because("GET /?v=2", "X-Env: gray\r\nX-More: 1\r\n"), "cookie gray");
    for start in ["GET /", "GET /?v", "GET /?V=2", "GET /?v=12", "GET /?v=1&v=2"] {
        assert_eq!(because(start, lines), "query v", "{start}: the first counts");
    }
}

#[test]
fn the_first_in_the_file_wins_whatever_list_it_is_in() {
    let routes = Routes::new(vec![
        route(&["*.b.example"], "/1"),
        route(&[], "/any"),
        route(&["a.b.example", "*.example"], "/"),
        route(&["a.b.example"], "/never"),
        route(&["*.b.example"], "/"),
        route(&[], "/"),
    ]);
    let found = |host: &str, path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        asked(&head, |request| both(&routes, request))
    };
    for (host, path, at) in [
        ("a.b.example", "/1", 0),
        ("a.b.example", "/any", 1),
        ("a.b.example", "/never", 2),
        ("c.b.example", "/", 2),
        ("x.c.b.example", "/1", 0),
        ("b.example", "/1", 2),
        ("example", "/1", 5),
        (".example", "/1", 5),
        ("[::1]", "/any", 1),
    ] {
        assert_eq!(found(host, path), (Some(at), Some(at)), "{host}{path}");
    }
    assert_eq!(Routes::new(Vec::new()).list.len(), 0);
    let long = format!("{}b.example", "x.".repeat(12_000));
    assert_eq!(found(&long, "/1"), (Some(0), Some(0)));
}

proptest! {
    #[test]
    fn the_index_and_a_walk_agree(
        drawn in prop::collection::vec(
            (prop::collection::vec("(\\*\\.)?([ab]\\.){0,2}[ab]", 0..3), "/[ab]?", any::<bool>(), any::<bool>()),
            0..24,
        ),
        host in "([ab]\\.){0,4}[ab]",
        path in "/[ab]?",
        gray in any::<bool>(),
    ) {
        let draw = |(hosts, path, elsewhere, picky): &(Vec<String>, String, bool, bool)| {
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            let cookies = if *picky { values(&[("gray", "b")]) } else { Vec::new() };
            Route {
                listeners: if *elsewhere { vec!["inner".into()] } else { Vec::new() },
                conditions: Conditions { cookies, ..Conditions::default() },
                ..route(&hosts, path)
            }
        };
        let routes = Routes::new(drawn.iter().map(draw).collect());
        let cookie = if gray { "Cookie: gray=b\r\n" } else { "" };
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n");
        let (found, walked) = asked(&head, |request| both(&routes, request));
        prop_assert_eq!(found, walked);
    }
}
