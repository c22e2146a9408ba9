//! What a route does to requests: answers them itself, gives servers another path, changes header
//! fields. And what strangers try with it.

use crate::kit::{Edge, Message, Origin, Socket};

/// One request over a connection of its own.
fn send(edge: &Edge, start: &str, lines: &str) -> Message {
    let mut client = edge.client();
    client.send(format!("{start} HTTP/1.1\r\nHost: h.example:81\r\n{lines}\r\n"));
    client.response_to(start.split(' ').next().unwrap()).expect("an answer")
}

fn refuses(answer: &Message) -> bool {
    answer.status() == 400
}

#[test]
fn respond_answers_any_method_and_keeps_the_connection() {
    let edge = Edge::new()
        .route("path = \"/none\"\nrespond = { status = 204 }")
        .route("path = \"/type\"\nrespond = { body = \"{}\", headers = { content-type = \"application/json\", x-host = \"${host}\", x-none = \"${cookie:c}\" } }\nresponse_headers = { add = { x-more = \"${method}\" }, remove = [\"x-host\"] }")
        .route("respond = { status = 503, body = \"closed\\n\", headers = { retry-after = \"30\" } }")
        .logging()
        .start();
    let mut client = edge.client();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND"] {
        client.send(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.response_to(method).unwrap();
        assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("30")), "{method}");
        assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.field("content-length"), Some("7"));
        assert_eq!(answer.text(), if method == "HEAD" { "" } else { "closed\n" });
        assert!(answer.head.has("date") && !answer.head.closes());
    }
    let none = client.ask("GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(none.status() == 204 && !none.head.has("content-length") && !none.head.closes());
    assert!(!none.head.has("content-type"));
    let typed = client.ask("GET /type HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(typed.head.all("content-type"), ["application/json"]);
    assert_eq!((typed.field("x-more"), typed.field("x-host")), (Some("GET"), None));
    assert!(!typed.head.has("x-none"), "an empty value is no line");
    let upgrade = client
        .ask("GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(upgrade.status(), 503);
    let records = edge.records(8);
    assert_eq!((&records[0]["status"], &records[0]["route"]), (&503.into(), &"/".into()));
    assert!(!edge.log().contains("request refused"), "it is none");
}

#[test]
fn a_body_that_nobody_reads_is_not_the_next_request() {
    let edge = Edge::new().route("respond = { body = \"ours\" }").start();
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    for framing in
        [format!("Content-Length: {}", hidden.len()), "Transfer-Encoding: chunked".into()]
    {
        let mut client = edge.client();
        let body = match framing.starts_with('C') {
            true => hidden.to_owned(),
            false => format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
        };
        let answer = client.ask(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}"));
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ours"));
        assert!(answer.head.closes());
        client.finish();
        assert!(client.rest().unwrap().is_empty(), "one answer");
    }
    // Nobody waits for a 100 that never comes.
    let mut client = edge.client();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    let answer = client.ask(head);
    assert!(answer.interim.is_empty() && answer.head.closes());
    let old = edge.client().ask("GET / HTTP/1.0\r\n\r\n");
    assert!(old.text() == "ours" && old.head.closes());
}

#[test]
fn redirects_lead_where_they_were_meant_to() {
    let edge = Edge::new()
        .route("path = \"/uri\"\nredirect = { status = 301, location = \"https://${host}${uri}\" }")
        .route("path = \"/path\"\nredirect = { location = \"https://h${path}\" }")
        .route("path = \"/own\"\nredirect = { status = 307, location = \"${query:to}\" }\nresponse_headers = { set = { cache-control = \"no-store\" } }")
        .route("redirect = { status = 308, location = \"${uri}\" }")
        .start();
    for (path, status, location) in [
        ("/uri/a%20b?q=1&r=%0d%0a", 301, "https://h.example/uri/a%20b?q=1&r=%0d%0a"),
        ("/uri|\"é", 301, "https://h.example/uri%7C%22%C3%A9"),
        ("/path/a%20b%0d%0aSet-Cookie:%20x", 302, "https://h/path/a%20b%0D%0ASet-Cookie:%20x"),
        ("/own?to=/x", 307, "/x"),
        ("/own?to=//evil.example", 307, "/evil.example"),
        ("/own?to=/\\evil.example", 307, "/evil.example"),
        ("//evil.example/..", 308, "/evil.example/.."),
    ] {
        let answer = send(&edge, &format!("GET {path}"), "");
        assert_eq!(
            (answer.status(), answer.head.all("location")),
            (status, vec![location]),
            "{path}"
        );
        assert!(!answer.head.has("set-cookie") && !answer.head.closes());
    }
    assert_eq!(send(&edge, "GET /own?to=/x", "").field("cache-control"), Some("no-store"));
    assert!(refuses(&send(&edge, "GET /own", "")), "nowhere to go");
    let head = send(&edge, "HEAD /own?to=/x", "");
    assert!(head.status() == 307 && head.body.is_empty());
}

#[test]
fn paths_are_rewritten_and_stay_paths() {
    let origin = Origin::named("app");
    let edge = Edge::new()
        .route("path = \"/ws\"\nstrip_prefix = \"/ws\"\nupstream = \"app\"")
        .route("path = \"/slash/\"\nencoded_slash = \"allow\"\nstrip_prefix = \"/slash\"\nupstream = \"app\"")
        .route("path = \"/u/\"\nrewrite = { from = \"^/u/([^/]+)/(?<rest>.*)$\", to = \"/users/${1}x/$rest\" }\nupstream = \"app\"")
        .route("path = \"/api\"\nrewrite = { from = \"^/api(.*)\", to = \"/v1/$1\" }\nupstream = \"app\"")
        .route("path = \"/dots/\"\nrewrite = { from = \"^/dots/(.)/(.*)\", to = \"/in/.$1/$2\" }\nupstream = \"app\"")
        .route("path = \"/raw/\"\nrewrite = { from = \"^/raw/(.*)\", to = \"$1\" }\nupstream = \"app\"")
        .route("upstream = \"app\"")
        .pool("app", &[&origin])
        .start();
    for (asked, got) in [
        ("/ws", "/"),
        ("/ws?q=/../x&y", "/?q=/../x&y"),
        ("/ws/", "/"),
        ("/ws/a//b/./c/../%64", "/a/b/d"),
        ("/a/../w%73/x", "/x"),
        ("/wsx/%7e//y?", "/wsx/%7e//y?"),
        ("/ws/a%20b%3fc%23%25%0d%0aX:y", "/a%20b%3Fc%23%25%0D%0AX:y"),
        ("/ws/%e9|\"{}", "/%E9%7C%22%7B%7D"),
        ("/slash/a%2Fb", "/a/b"),
        ("/u/7/a/b?q=%20", "/users/7x/a/b?q=%20"),
        ("/u/7", "/u/7"),
        ("/api/x", "/v1/x"),
        ("/apix", "/v1/x"),
        ("/api", "/v1/"),
        ("/dots/x/y", "/in/.x/y"),
    ] {
        let answer = send(&edge, &format!("GET {asked}"), "");
        assert_eq!(answer.text(), "app", "{asked}");
        assert_eq!(origin.last_request().head.target(), got, "{asked}");
    }
    let before = origin.count();
    for path in ["/raw/x", "/raw/http://evil/", "/ws/a%2fb", "/ws/..%2f", "/ws/../.."] {
        assert!(refuses(&send(&edge, &format!("GET {path}"), "")), "{path}");
    }
    assert_eq!(origin.count(), before);
    let mut client = edge.client();
    client.ask("GET http://h.example?q=1 HTTP/1.1\r\nHost: h.example\r\n\r\n");
    assert_eq!(origin.last_request().head.target(), "/?q=1");
}

#[test]
fn dots_that_a_capture_makes_are_refused() {
    let origin = Origin::named("app");
    let edge = Edge::new()
        .route(
            "rewrite = { from = \"^/(..)([^/]*)/(.*)\", to = \"/in/$1/$3\" }\nupstream = \"app\"",
        )
        .pool("app", &[&origin])
        .start();
    for path in ["/..x/secret", "/%2e%2ex/secret", "/...//secret"] {
        assert!(refuses(&send(&edge, &format!("GET {path}"), "")), "{path}");
    }
    assert_eq!(origin.count(), 0);
    assert_eq!(send(&edge, "OPTIONS *", "").text(), "app");
    assert_eq!(origin.last_request().head.target(), "*");
}

#[test]
fn request_fields_are_set_added_and_removed() {
    let origin = Origin::named("app");
    let edge = Edge::new()
        .route(
            "request_headers = { set = { X-Real-Ip = \"${client_ip}\", x-path = \"${path|none}\", \
             x-forwarded-proto = \"https\", x-who = \"${upstream} ${server}\", x-empty = \"\", \
             x-user = \"${cookie:user|nobody}\" }, \
             add = { via = \"1.1 edge\", x-server = \"<${server}>\" }, \
             remove = [\"x-debug\", \"X-Forwarded-For\", \"x-request-id\"] }\nupstream = \"app\"",
        )
        .pool("app", &[&origin])
        .start();
    let lines = "X-Debug: 1\r\nx-debug: 2\r\nA: 1\r\nX-Real-IP: 6.6.6.6\r\nVia: 1.0 x\r\n\
                 x-real-ip: 7.7.7.7\r\nX-Empty: full\r\nConnection: keep-alive, b\r\nB: 2\r\n\
                 X-Who: me\r\nC: 3\r\n";
    assert_eq!(send(&edge, "GET /p", lines).status(), 200);
    let head = origin.last_request().head;
    let server = origin.address();
    let (who, own) = (format!("app {server}"), format!("<{server}>"));
    for (name, values) in [
        ("x-debug", vec![]),
        ("x-empty", vec![]),
        ("b", vec![]),
        ("a", vec!["1"]),
        ("c", vec!["3"]),
        ("x-real-ip", vec!["127.0.0.1"]),
        ("x-path", vec!["/p"]),
        ("x-user", vec!["nobody"]),
        ("via", vec!["1.0 x", "1.1 edge"]),
        ("x-forwarded-proto", vec!["https"]),
        ("x-forwarded-for", vec![]),
        ("x-request-id", vec![]),
        ("x-who", vec![&who]),
        ("x-server", vec![&own]),
        ("host", vec!["h.example:81"]),
    ] {
        assert_eq!(head.all(name), values, "{name}: {head:?}");
    }
    // A line end in the path is in no field, and neither is a mark of ours.
    for path in ["/a%0d%0aX-Evil:%20y", "/a%0a", "/%01%02"] {
        assert_eq!(send(&edge, &format!("GET {path}"), "").status(), 200);
        let head = origin.last_request().head;
        assert_eq!(head.all("x-path"), ["none"], "{path}");
        assert!(!head.has("x-evil"));
    }
}

#[test]
fn each_server_is_told_its_own_name() {
    let (bad, good) = (Origin::closing(), Origin::named("good"));
    let edge = Edge::new()
        .workers(1)
        .route("upstream = \"app\"\nrequest_headers = { set = { x-a = \"a${server}b\", x-b = \"${server}\" } }\nresponse_headers = { set = { x-server = \"${server} of ${upstream}\" } }")
        .pool("app", &[&bad, &good])
        .start();
    while bad.count() == 0 {
        let answer = send(&edge, "GET /", "");
        assert_eq!(answer.text(), "good");
        assert_eq!(answer.field("x-server"), Some(&*format!("{} of app", good.address())));
    }
    for origin in [&bad, &good] {
        let (head, server) = (origin.last_request().head, origin.address());
        assert_eq!(head.all("x-a"), [format!("a{server}b")]);
        assert_eq!(head.all("x-b"), [server]);
    }
}

#[test]
fn answer_fields_are_set_added_and_removed() {
    let origin = Origin::new(|conn| {
        while let Ok(request) = conn.receive() {
            let status = request.head.target()[1..4].to_owned();
            conn.send("HTTP/1.1 103 Early Hints\r\nX-Set: early\r\nLink: </a>\r\n\r\n");
            conn.send(format!(
                "HTTP/1.1 {status} Said\r\nServer: secret\r\nX-Set: 1\r\nx-set: 2\r\nVary: a\r\n\
                 Set-Cookie: s=1\r\nKeep: k\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
            ));
        }
    });
    let (dead, fallen) = (Origin::refusing(), Origin::named("fallen"));
    let edits = "response_headers = { set = { x-set = \"${path} ${cookie:c|none}\" }, \
                 add = { vary = \"b\", x-pool = \"${upstream}\" }, remove = [\"server\"] }";
    let edge = Edge::new()
        .route(&format!("host = \"dead\"\nupstream = \"dead\"\n{edits}"))
        .route(&format!("host = \"falls\"\nupstream = \"dead\"\nfallback = \"fallen\"\n{edits}"))
        .route(&format!("upstream = \"app\"\n{edits}"))
        .pool("app", &[&origin])
        .pool("dead", &[&dead])
        .pool("fallen", &[&fallen])
        .start();
    for status in ["200", "404", "500", "301"] {
        let answer = send(&edge, &format!("GET /{status}"), "Cookie: c=7\r\n");
        assert_eq!((answer.status().to_string(), answer.text()), (status.into(), "hi".into()));
        for (name, values) in [
            ("server", vec![]),
            ("x-set", vec![&*format!("/{status} 7")]),
            ("vary", vec!["a", "b"]),
            ("x-pool", vec!["app"]),
            ("set-cookie", vec!["s=1"]),
            ("keep", vec!["k"]),
        ] {
            assert_eq!(answer.head.all(name), values, "{name}: {:?}", answer.head);
        }
        assert_eq!(answer.interim[0].all("x-set"), ["early"], "interim answers stay as they are");
    }
    let ours = send_to(&edge, "dead", "/");
    assert!(ours.status() == 502 && !ours.head.has("x-pool"), "an error of our own: {ours:?}");
    assert_eq!(send_to(&edge, "falls", "/").field("x-pool"), Some("fallen"), "who answered");
    let evil = send(&edge, "GET /200%0d%0aX-Evil:%20y", "");
    assert!(!evil.head.has("x-evil") && !evil.interim[0].has("x-evil"));
}

fn send_to(edge: &Edge, host: &str, path: &str) -> Message {
    edge.client().ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

#[test]
fn an_upgrade_and_its_101_are_changed_too() {
    let origin = Origin::echo_tunnel();
    let edge = Edge::new()
        .route("path = \"/ws/\"\nstrip_prefix = \"/ws\"\nupstream = \"app\"\nrequest_headers = { set = { x-a = \"${server}\" }, remove = [\"sec-websocket-extensions\"] }\nresponse_headers = { set = { x-b = \"${upstream}\" } }")
        .pool("app", &[&origin])
        .start();
    let mut client: Socket = edge.client();
    client.send(
        "GET /ws/chat?x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    );
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.all("x-b")), (101, vec!["app"]));
    assert_eq!(head.all("upgrade"), ["websocket"]);
    client.send("hello");
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    let asked = origin.last_request().head;
    assert_eq!(asked.target(), "/chat?x");
    assert_eq!(asked.all("x-a"), [origin.address()]);
    assert_eq!(asked.all("upgrade"), ["websocket"]);
    assert!(!asked.has("sec-websocket-extensions"));
}

#[test]
fn the_environment_is_read_with_the_file() {
    let origin = Origin::named("app");
    let edge = Edge::new()
        .route("upstream = \"app\"\nrequest_headers = { set = { x-home = \"${env:PATH}\", x-none = \"${env:TIDEGATE_NO_SUCH|not set}\" } }")
        .pool("app", &[&origin])
        .start();
    assert_eq!(send(&edge, "GET /", "").status(), 200);
    let head = origin.last_request().head;
    assert_eq!(head.field("x-home"), std::env::var("PATH").ok().as_deref());
    assert_eq!(head.field("x-none"), Some("not set"));
}
