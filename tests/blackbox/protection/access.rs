//! `allow` and `deny`.

use super::{TRUSTED, get_as, refused};
use crate::kit::{Edge, Origin, Socket};

#[test]
fn deny_comes_first_and_allow_leaves_nobody_else() {
    let origin = Origin::named("in");
    let edge = Edge::new()
        .listener(TRUSTED)
        .route(
            "path = \"/both\"\nupstream = \"app\"\nallow = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n\
             deny = \"10.9.0.0/16\"",
        )
        .route("path = \"/deny\"\nupstream = \"app\"\ndeny = [\"192.0.2.1\"]")
        .pool("app", &[&origin])
        .logging()
        .start();
    for (client, path) in [
        ("10.1.1.1", "/both"),
        ("::ffff:10.1.1.1", "/both"),
        ("2001:db8::5", "/both"),
        ("192.0.2.2", "/deny"),
        ("2001:db8::5", "/deny"),
    ] {
        assert_eq!(get_as(&edge, client, path).status(), 200, "{client} {path}");
    }
    let before = origin.count();
    for (client, path) in [
        ("10.9.1.1", "/both"),
        ("::ffff:10.9.1.1", "/both"),
        ("192.0.2.1", "/both"),
        ("2001:db9::1", "/both"),
        ("192.0.2.1", "/deny"),
    ] {
        assert_eq!(get_as(&edge, client, path).status(), 403, "{client} {path}");
    }
    assert_eq!(origin.count(), before, "no server hears of them");
    assert_eq!((refused(&edge, "/both", "denied"), refused(&edge, "/deny", "denied")), (4.0, 1.0));
    edge.wait_for_log("the route does not allow this client");
    let records = edge.records(10);
    let denied = records.iter().filter(|record| record["refused"] == "denied");
    assert_eq!(denied.filter(|record| record["status"] == 403).count(), 5, "{records:?}");
}

/// What somebody who is not trusted says of others counts for nothing.
#[test]
fn a_stranger_cannot_say_who_it_is() {
    let origin = Origin::named("in");
    let edge = Edge::new()
        .route("upstream = \"app\"\nallow = \"10.0.0.0/8\"")
        .pool("app", &[&origin])
        .start();
    assert_eq!(get_as(&edge, "10.0.0.1", "/").status(), 403);
}

#[test]
fn who_has_no_address_is_on_no_list() {
    let origin = Origin::named("in");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let edge = Edge::new()
        .route("path = \"/allow\"\nupstream = \"app\"\nallow = \"10.0.0.0/8\"")
        .route("upstream = \"app\"\ndeny = [\"0.0.0.0/0\", \"::/0\"]")
        .pool("app", &[&origin])
        .toml(&format!("[[listener]]\nname = \"unix\"\naddress = \"unix:{}\"", path.display()))
        .start();
    let status = |target: &str| {
        let mut client = Socket::over(std::os::unix::net::UnixStream::connect(&path).unwrap());
        client.ask(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).status()
    };
    assert_eq!((status("/allow"), status("/")), (403, 200));
    assert_eq!(edge.get("a", "/").status(), 403);
}

/// The next route is not tried: which one a request has is told by what it asks for, not by who asks.
#[test]
fn a_refusal_is_final_and_the_connection_goes_on() {
    let origin = Origin::named("in");
    let edge = Edge::new()
        .route("path = \"/x\"\nupstream = \"app\"\ndeny = \"127.0.0.0/8\"")
        .route("upstream = \"app\"")
        .pool("app", &[&origin])
        .start();
    let mut client = edge.client();
    for (path, status) in [("/x", 403), ("/", 200), ("/x", 403)] {
        let answer = client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(answer.status(), status, "{path}");
    }
    // A body that nobody wants is in the way of whatever would follow.
    let answer = client.ask("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!((answer.status(), answer.head.closes()), (403, true));
}

#[test]
fn explain_tells_who_may_and_what_is_limited() {
    let origin = Origin::named("in");
    let edge = Edge::new()
        .route(
            "upstream = \"app\"\nallow = \"10.0.0.0/8\"\n\
             rate_limit = { key = \"cookie:uid\", rate = \"5/m\", burst = 2 }\n\
             conn_limit = { count = 9 }",
        )
        .pool("app", &[&origin])
        .start();
    let explain = |query: &str| {
        let (status, said) =
            edge.json("GET", &format!("/api/v1/explain?{query}"), &serde_json::Value::Null);
        assert_eq!(status, 200, "{said}");
        said
    };
    let said = explain("client=10.0.0.1&cookie=uid=7");
    assert_eq!(
        said["route"]["protection"],
        serde_json::json!({
            "allow": ["10.0.0.0/8"],
            "rate_limit": { "key": "cookie:uid", "value": "7", "rate": "5/m", "burst": 2 },
            "conn_limit": { "key": "client_ip", "value": "10.0.0.1", "count": 9 },
        })
    );
    assert_eq!(said["pool"]["name"], "app");
    let said = explain("client=192.0.2.1");
    assert_eq!(said["decision"]["status"], 403, "{said}");
    assert!(said["pool"].is_null(), "{said}");
}
