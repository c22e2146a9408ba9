//! `error_pages`: what a client is shown in place of the plain line.

use std::fs;

use serde_json::Value;

use super::reload;
use crate::kit::{Edge, Origin};

/// A proxy that finds these pages beside its file.
fn showing(pages: &[(&str, &str)], edge: Edge) -> Edge {
    for (name, text) in pages {
        fs::write(edge.directory().join(name), text).unwrap();
    }
    edge
}

#[test]
fn answers_of_its_own_are_pages() {
    let silent = Origin::silent();
    let edge = Edge::new()
        .route(
            "upstream = \"${host}\"\nmax_body = \"1k\"\ndeny = \"127.0.0.2\"\n\
             timeouts = { read = \"200ms\" }\n\
             error_pages = { \"502\" = \"502.html\", \"5xx\" = \"any.txt\", 413 = \"413.json\" }",
        )
        .pool("silent", &[&silent]);
    let pages =
        [("502.html", "<p>Back soon."), ("any.txt", "trouble"), ("413.json", "{\"large\":true}")];
    let edge = showing(&pages, edge).start();
    let mut client = edge.client();
    let answer = client.ask("GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n");
    assert_eq!((answer.status(), answer.text().as_str()), (502, "<p>Back soon."));
    assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"));
    client.send("HEAD / HTTP/1.1\r\nHost: nowhere\r\n\r\n");
    let head = client.response_to("HEAD").unwrap();
    assert_eq!((head.status(), head.field("content-length")), (502, Some("13")));
    assert_eq!(edge.get("silent", "/").text(), "trouble");
    let large = "POST / HTTP/1.1\r\nHost: silent\r\nContent-Length: 9999\r\n\r\n";
    let answer = client.ask(large);
    assert_eq!((answer.status(), answer.text().as_str()), (413, "{\"large\":true}"));
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let denied = crate::kit::Socket::connect_from([127, 0, 0, 2].into(), edge.port("edge"))
        .ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(denied.status(), 403);
    assert!(denied.request_id().is_some(), "no page is for that: {denied:?}");
}

#[test]
fn an_answer_of_a_server_stays_what_it_is() {
    let origin = Origin::answering(503, "the server's own");
    let edge = Edge::new()
        .route("upstream = \"app\"\nerror_pages = { 5xx = \"any.html\" }")
        .pool("app", &[&origin]);
    let edge = showing(&[("any.html", "ours")], edge).start();
    assert_eq!(edge.get("a", "/").text(), "the server's own");
}

/// The largest there may be goes out whole, also to somebody who reads late.
#[test]
fn a_large_page_is_whole() {
    let page = "0123456789abcdef".repeat(1 << 16);
    let edge = Edge::new().route("upstream = \"nowhere\"\nerror_pages = { 502 = \"large.txt\" }");
    let edge = showing(&[("large.txt", &page)], edge).start();
    let mut clients: Vec<_> = (0..8).map(|_| edge.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        for _ in 0..2 {
            assert!(client.response().unwrap().text() == page, "it is not whole");
        }
    }
}

#[test]
fn a_reload_reads_them_again_and_nothing_is_changed_without_them() {
    let edge = Edge::new().route("upstream = \"nowhere\"\nerror_pages = { 502 = \"page.txt\" }");
    let edge = showing(&[("page.txt", "before")], edge).start();
    assert_eq!(edge.get("a", "/").text(), "before");
    let page = edge.directory().join("page.txt");
    fs::write(&page, "after").unwrap();
    assert_eq!(edge.get("a", "/").text(), "before");
    reload(&edge);
    assert_eq!(edge.get("a", "/").text(), "after");
    fs::remove_file(&page).unwrap();
    let (status, said) = edge.json("POST", "/api/v1/reload", &Value::Null);
    assert_eq!(status, 422, "{said}");
    assert!(said.to_string().contains("route.error_pages.502"), "{said}");
    assert!(said.to_string().contains("page.txt"), "{said}");
    assert_eq!(edge.get("a", "/").text(), "after");
}
