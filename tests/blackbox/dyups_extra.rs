//! The cases X1 to X20: what the source of dyups says beyond its own tests, and the two places where
//! Tidegate is better on purpose (`include` is refused, and a restart forgets nothing).

use std::thread;

use crate::{
    dyups::Bench,
    kit::{Edge, Gate, Origin, Socket, status_of},
};

const ONE: &str = "server 127.0.0.1:8088;";

/// The status and the body of a raw answer.
fn parts(answer: &str) -> (u16, &str) {
    let (_, body) = answer.split_once("\r\n\r\n").expect("the head ends");
    (status_of(answer.as_bytes()), body)
}

fn bench() -> Bench {
    Bench::start(1, |edge, _, _| edge)
}

impl Bench {
    #[track_caller]
    fn expect(&self, case: &str, call: (&str, &str, Option<&str>), wanted: (u16, &str)) {
        let answer = self.admin(call.0, call.1, call.2);
        assert_eq!(parts(&answer), wanted, "{case}: {call:?}: {answer:?}");
    }

    /// A POST to /upstream/a that is refused, with the reason in its header.
    #[track_caller]
    fn refused(&self, case: &str, body: &str) {
        let answer = self.admin("POST", "/upstream/a", Some(body));
        assert_eq!(parts(&answer), (500, "add server failed"), "{case}: {body:?}: {answer:?}");
        let reason = answer.to_ascii_lowercase().contains("\r\nx-tidegate-reason: ");
        assert!(reason, "{case}: {body:?}: no reason in {answer:?}");
    }

    #[track_caller]
    fn accepted(&self, case: &str, body: &str) {
        self.expect(case, ("POST", "/upstream/a", Some(body)), (200, "success"));
    }
}

#[test]
fn x1_a_post_without_a_body_is_204_before_any_look_at_the_path() {
    let bench = bench();
    for path in ["/upstream/a", "/nope"] {
        bench.expect("X1", ("POST", path, None), (204, ""));
        bench.expect("X1", ("POST", path, Some("")), (204, ""));
    }
}

#[test]
fn x2_to_x4_wrong_paths_are_404_for_post_and_405_for_delete() {
    let bench = bench();
    let body = Some("server 127.0.0.1:1;");
    bench.expect("X2", ("POST", "/upstream", body), (404, "not support this interface"));
    bench.expect("X2", ("POST", "/upstream/a/b", body), (404, "not support this interface"));
    bench.expect("X3", ("POST", "/foo/bar", body), (404, "not support this api"));
    bench.expect("X4", ("DELETE", "/upstream", None), (405, "not support this interface"));
    bench.expect("X4", ("DELETE", "/foo/bar", None), (405, "not support this api"));
    bench.expect("X4", ("DELETE", "/upstream/none", None), (404, "not found uptream"));
}

#[test]
fn x5_other_methods_are_405_and_empty() {
    let bench = bench();
    bench.expect("X5", ("PUT", "/upstream/a", Some(ONE)), (405, ""));
    bench.expect("X5", ("PATCH", "/upstream/a", Some(ONE)), (405, ""));
    bench.expect("X5", ("HEAD", "/list", None), (405, ""));
}

#[test]
fn x6_and_x7_what_is_not_there() {
    let bench = bench();
    for path in ["/upstream/none", "/upstream", "/upstream/a/b", "/foo"] {
        bench.expect("X6", ("GET", path, None), (404, ""));
    }
    let answer = bench.admin("GET", "/upstream/none", None).to_ascii_lowercase();
    assert!(answer.contains("\r\ncontent-length: 0\r\n"), "X6: {answer:?}");
    assert!(!answer.contains("\r\ncontent-type:"), "dyups sends no Content-Type: {answer:?}");
    for path in ["/list", "/detail"] {
        bench.expect("X7", ("GET", path, None), (204, ""));
    }
}

#[test]
fn x8_a_missing_semicolon_changes_nothing() {
    let bench = bench();
    bench.accepted("X8", ONE);
    bench.refused("X8", "server 127.0.0.1:8089");
    assert!(bench.front("a").ends_with("8088"), "X8: what was there serves on");
}

#[test]
fn x9_to_x13_bodies_that_are_refused() {
    let bench = bench();
    bench.refused("X9", "server 127.0.0.1:8088;;");
    bench.refused("X10", " # only a comment");
    for parameter in ["weight=0", "weight=-1", "max_fails=-1", "fail_timeout=5ms", "bogus=1"] {
        bench.refused("X11", &format!("server 127.0.0.1:8088 {parameter};"));
    }
    bench.refused("X12", "ip_hash; server 127.0.0.1:8088; server 127.0.0.1:8089 backup;");
    bench.refused("X13", "server 127.0.0.1:8088 backup;");
    for body in [
        "include /etc/passwd;",
        "server 127.0.0.1:8088; } ",
        "server 127.0.0.1:8088 { }",
        "SERVER 127.0.0.1:8088;",
        "server;",
        "server \"127.0.0.1:8088\"weight=2;",
        "server 127.0.0.1:99999;",
        "server no-such-host.invalid:80;",
    ] {
        bench.refused("X13", body);
    }
    bench.expect("X13", ("GET", "/upstream/a", None), (404, ""));
}

/// What nginx knows and Tidegate has not yet is refused by its name, and changes nothing.
#[test]
fn what_is_not_there_yet_is_named() {
    let bench = bench();
    bench.accepted("grammar", ONE);
    for directive in [
        "random",
        "hash $uri consistent",
        "check type=mysql",
        "consistent_hash $uri",
        "session_sticky",
    ] {
        let answer = bench.admin("POST", "/upstream/a", Some(&format!("{directive}; {ONE}")));
        assert_eq!(parts(&answer), (500, "add server failed"), "{directive}");
        let word = directive.split(' ').next().unwrap();
        let reason =
            answer.lines().find(|line| line.to_ascii_lowercase().starts_with("x-tidegate-reason:"));
        assert!(reason.is_some_and(|reason| reason.contains(word)), "{directive}: {answer:?}");
    }
    assert!(bench.front("a").ends_with("8088"), "what was there serves on");
}

#[test]
fn keepalive_and_zone_are_taken() {
    let bench = bench();
    bench.accepted(
        "grammar",
        "zone a 64k; server 127.0.0.1:8088; keepalive 16; keepalive_timeout 30s; keepalive_requests 100;",
    );
    assert!(bench.front("a").ends_with("8088"));
}

#[test]
fn host_names_are_resolved() {
    let bench = bench();
    let port = bench.first.address().replace("127.0.0.1:", "localhost:");
    bench.accepted("names", &format!("server {port};"));
    for _ in 0..4 {
        assert!(bench.front("a").ends_with("8088"), "names");
    }
}

#[test]
fn x14_names_have_no_case() {
    let bench = bench();
    bench.expect("X14", ("POST", "/upstream/Dy", Some(ONE)), (200, "success"));
    let wanted = bench.filled("server 127.0.0.1:8088\n");
    bench.expect("X14", ("GET", "/upstream/dY", None), (200, &wanted));
    assert!(bench.front("DY").ends_with("8088"), "X14");
    bench.expect("X14", ("GET", "/list", None), (200, "Dy\n"));
}

#[test]
fn x15_and_x16_the_text_form() {
    let bench = bench();
    bench.accepted("X15", ONE);
    let plain = bench.filled("server 127.0.0.1:8088\n");
    bench.expect("X15", ("GET", "/upstream/a", None), (200, &plain));
    bench.accepted("X16", "server \"127.0.0.1:8088\"  weight=2 ;\n#c\n");
    let detail = bench.filled(
        "a\nserver 127.0.0.1:8088 weight=2 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n\n",
    );
    bench.expect("X16", ("GET", "/detail", None), (200, &detail));
    bench.accepted(
        "X16",
        "server 127.0.0.1:8088 max_conns=7 max_fails=3 fail_timeout=1m30s down;\r\n\
         server 127.0.0.1:8089 weight=2 weight=5;\tserver '127.0.0.1:18089' backup;",
    );
    let detail = bench.filled(
        "a\nserver 127.0.0.1:8088 weight=1 max_conns=7 max_fails=3 fail_timeout=90 backup=0 down=1\n\
         server 127.0.0.1:8089 weight=5 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n\
         server 127.0.0.1:18089 weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=1 down=0\n\n",
    );
    bench.expect("X16", ("GET", "/detail", None), (200, &detail));
}

#[test]
fn x17_a_response_in_flight_outlives_its_pool() {
    let gate = Gate::default();
    let slow = {
        let gate = gate.clone();
        Origin::new(move |conn| {
            if conn.receive().is_ok() {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
                gate.wait();
                conn.send("world");
            }
        })
    };
    let edge = Edge::new().pool("a", &[&slow]).start();
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(edge.call("DELETE", "/upstream/a", "").text(), "success");
    assert_eq!(edge.get("a", "/").status(), 502, "X17: a new request finds nothing");
    gate.open();
    assert_eq!(client.exactly(10).unwrap(), b"helloworld", "X17: the old one completes");
}

#[test]
fn x18_a_websocket_outlives_the_servers_of_its_pool() {
    let (old, new) = (Origin::echo_tunnel(), Origin::named("new"));
    let edge = Edge::new()
        .route("upstream = \"${host}\"\nupgrade = [\"websocket\"]")
        .pool("a", &[&old])
        .start();
    let mut tunnel = edge.client();
    tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(tunnel.head().unwrap().status(), 101);
    edge.post("a", &format!("server {};", new.address()));
    assert_eq!(edge.get("a", "/").text(), "new");
    for word in ["one", "two", "three"] {
        tunnel.send(word);
        assert_eq!(tunnel.exactly(word.len()).unwrap(), word.as_bytes(), "X18");
    }
}

#[test]
fn x19_spellings_of_the_list() {
    let bench = bench();
    bench.accepted("X19", ONE);
    for path in
        ["/list", "/list/", "/LIST", "/list/xyz", "/list?x=y", "//list", "/%6cist", "/x/../list"]
    {
        bench.expect("X19", ("GET", path, None), (200, "a\n"));
    }
}

#[test]
fn x20_a_restart_forgets_nothing() {
    let origin = Origin::named("8088");
    let mut edge = Edge::new().durable().start();
    edge.post("a", &format!("server {};", origin.address()));
    edge.kill9();
    edge.restart();
    assert_eq!(edge.call("GET", "/list", "").text(), "a\n", "X20");
    assert_eq!(edge.get("a", "/").text(), "8088", "X20");
}

/// The original joins only the first two buffers of a body; a long one must arrive whole.
#[test]
fn a_long_body_in_pieces_arrives_whole() {
    let bench = bench();
    let body =
        bench.filled(&format!("{}{ONE}", "# a comment line of no consequence\n".repeat(8_000)));
    let mut socket = Socket::connect(bench.edge.admin());
    let head =
        format!("POST /upstream/a HTTP/1.0\nHost: localhost\nContent-Length: {}\n\n", body.len());
    socket.send(head);
    for piece in body.as_bytes().chunks(10_000) {
        socket.send(piece);
    }
    socket.send("\n");
    let answer = String::from_utf8(socket.rest().unwrap()).unwrap();
    assert_eq!(parts(&answer), (200, "success"));
}

#[test]
fn a_body_above_the_limit_is_413() {
    let bench = bench();
    let body = "#".repeat(1024 * 1024 + 1);
    let mut socket = Socket::connect(bench.edge.admin());
    let head =
        format!("POST /upstream/a HTTP/1.0\nHost: localhost\nContent-Length: {}\n\n", body.len());
    socket.send(head);
    // It may answer and close before it has read everything.
    let _ = socket.try_send(body);
    assert_eq!(socket.head().unwrap().status(), 413);
}

#[test]
fn callers_at_the_same_time_get_one_of_their_lists_whole() {
    let origins = [Origin::named("0"), Origin::named("1"), Origin::named("2"), Origin::named("3")];
    let edge = Edge::new().start();
    thread::scope(|scope| {
        for origin in &origins {
            let line = format!("server {};", origin.address());
            let edge = &edge;
            scope.spawn(move || (0..25).for_each(|_| edge.post("a", &line.repeat(2))));
        }
    });
    let list = edge.call("GET", "/upstream/a", "").text();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list:?}");
    assert_eq!(lines[0], lines[1], "{list:?}");
    let winner = origins.iter().position(|origin| lines[0].ends_with(&origin.address()));
    assert_eq!(edge.get("a", "/").text(), winner.unwrap().to_string());
}
