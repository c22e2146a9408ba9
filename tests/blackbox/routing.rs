//! Where a request goes: targets in all their forms, the path that is matched and the one that is sent
//! on, routes by host and path, and templates that name the pool.

use crate::kit::{Edge, Origin};

/// A plain GET for `path`.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn paths_that_climb_or_hide_are_400() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    for path in ["/..", "/a/../..", "/%2e%2e/", "/a%2fb", "/a%5cb", "/a%00b", "/a%0", "/a%zz"] {
        assert_eq!(edge.client().ask(get(path)).status(), 400, "{path}");
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn routes_match_by_host_and_normalised_path() {
    let (chat, api, rest) = (Origin::named("chat"), Origin::named("api"), Origin::named("rest"));
    let edge = Edge::new()
        .route("host = [\"chat.example.com\", \"*.im.example.com\"]\npath = \"/ws/\"\nupstream = \"chat\"")
        .route("path = \"= /exact\"\nupstream = \"api\"")
        .route("path = \"~ ^/v[0-9]+/\"\nupstream = \"api\"")
        .route("host = \"rest.example.com\"\nupstream = \"rest\"")
        .pool("chat", &[&chat])
        .pool("api", &[&api])
        .pool("rest", &[&rest])
        .start();
    for (host, path, name) in [
        ("chat.example.com", "/ws/x", "chat"),
        ("CHAT.example.com:80", "/ws/x", "chat"),
        ("eu.im.example.com", "//ws/./y", "chat"),
        ("chat.example.com", "/a/../%77s/", "chat"),
        ("rest.example.com", "/ws/x", "rest"),
        ("any", "/exact", "api"),
        ("any", "/exact?query", "api"),
        ("any", "/v12/x", "api"),
    ] {
        assert_eq!(edge.get(host, path).text(), name, "{host} {path}");
    }
    assert_eq!(edge.get("im.example.com", "/ws/x").status(), 404);
    assert_eq!(edge.get("any", "/exactly").status(), 404);
}

#[test]
fn a_template_names_the_pool_from_host_cookie_header_and_default() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = Edge::new()
        .route("path = \"/cookie/\"\nupstream = \"Web_${cookie:gray|a}\"")
        .route("path = \"/header/\"\nupstream = \"Web_${header:x-env|a}\"\nfallback = \"Web_b\"")
        .route("path = \"/fenced/\"\nupstream = \"${query:pool}\"\nupstream_in = [\"Web_*\"]")
        .pool("Web_a", &[&a])
        .pool("Web_b", &[&b])
        .pool("secret", &[&a])
        .start();
    let ask = |path: &str, field: &str| {
        edge.client().ask(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n"))
    };
    assert_eq!(ask("/cookie/", "X: y").text(), "a");
    assert_eq!(ask("/cookie/", "Cookie: x=1; gray=b; y=2").text(), "b");
    assert_eq!(ask("/header/", "X-Env: A").text(), "a", "names have no case");
    assert_eq!(ask("/header/", "X-Env: none").text(), "b", "the fallback");
    assert_eq!(ask("/fenced/?pool=Web_b", "X: y").text(), "b");
    assert_eq!(ask("/fenced/?pool=secret", "X: y").status(), 502);
    assert_eq!(ask("/other", "X: y").status(), 404);
}

#[test]
fn the_absolute_form_becomes_the_origin_form() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    let mut client = edge.client();
    client.ask("GET http://a.example:81/p?q=1 HTTP/1.1\r\nHost: a.example:81\r\n\r\n");
    let request = origin.last_request();
    assert_eq!(request.head.target(), "/p?q=1");
    assert_eq!(request.head.all("host"), ["a.example:81"]);
    client.ask("GET http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(origin.last_request().head.target(), "/");
    client.ask("OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(origin.last_request().head.target(), "*", "RFC 9112 3.2.4");
}

#[test]
fn options_star_goes_through() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    let answer = edge.client().ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.text(), "one");
    assert_eq!(origin.last_request().head.start, "OPTIONS * HTTP/1.1");
}

#[test]
fn the_target_goes_through_as_typed() {
    let origin = Origin::named("one");
    let edge = Edge::to(&[&origin]).start();
    for target in ["/a//b/./c/../d?x=%20&y=/../z", "/%41%7e%ff", "/?", "/a;b=c,d@e:f!$&'()*+"] {
        edge.client().ask(get(target));
        assert_eq!(origin.last_request().head.target(), target);
    }
}
