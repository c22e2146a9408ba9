//! `timeouts`, `next` and `max_body` of a route.

use crate::kit::{Edge, Origin};

fn post(path: &str, size: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{}", "x".repeat(size))
}

#[test]
fn a_route_has_time_outs_of_its_own() {
    let origin = Origin::silent();
    let edge = Edge::new()
        .route("path = \"/soon\"\nupstream = \"app\"\ntimeouts = { read = \"200ms\" }")
        .route("upstream = \"app\"")
        .pool_of("app", &[(&origin, "")], "timeouts = { read = \"1h\" }")
        .start();
    let mut waiting = edge.client();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    assert_eq!(edge.get("a", "/soon").status(), 504);
    assert!(waiting.is_quiet_for(std::time::Duration::from_millis(100)), "the pool's still holds");
}

#[test]
fn a_route_has_rules_of_its_own_for_the_next_server() {
    let (closing, busy) = (Origin::closing(), Origin::answering(503, "busy"));
    let well = Origin::named("well");
    let edge = Edge::new()
        .route("path = \"/once\"\nupstream = \"${host}\"\nnext = { on = [] }")
        .route("path = \"/on\"\nupstream = \"${host}\"\nnext = { on = [\"error\", \"http_503\"] }")
        .route("upstream = \"${host}\"")
        .pool_of("closing", &[(&closing, ", max_fails = 0"), (&well, ", backup = true")], "")
        .pool_of("busy", &[(&busy, ", max_fails = 0"), (&well, ", backup = true")], "")
        .start();
    for (host, path, text) in
        [("closing", "/", "well"), ("busy", "/", "busy"), ("busy", "/on", "well")]
    {
        assert_eq!(edge.get(host, path).text(), text, "{host} {path}");
    }
    assert_eq!(edge.get("closing", "/once").status(), 502);
}

#[test]
fn a_body_is_a_megabyte_at_most_unless_the_route_says_otherwise() {
    let origin = Origin::new(|conn| {
        while let Ok(request) = conn.receive() {
            let text = request.body.len().to_string();
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let edge = Edge::new()
        .route("path = \"/any\"\nupstream = \"app\"\nmax_body = 0")
        .route("upstream = \"app\"")
        .pool("app", &[&origin])
        .start();
    let most = 1 << 20;
    assert_eq!(edge.client().ask(post("/", most)).text(), most.to_string());
    assert_eq!(edge.client().ask(post("/", most + 1)).status(), 413);
    let large = 3 * most + 1;
    assert_eq!(edge.client().ask(post("/any", large)).text(), large.to_string());
    let mut chunked = edge.client();
    chunked.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let _ = chunked.try_send([b"100001\r\n", vec![b'x'; most + 1].as_slice()].concat());
    assert_eq!(chunked.response().unwrap().status(), 413);
}
