//! Connections that are kept, and sessions that are taken up again: Tengine's cases C78 to C105, where
//! `PORT .` is a handshake in full and `PORT r` one that took up a session. How many sessions it frees
//! (C83, C89, C94, C105) is its own affair; that they are not taken up again is not.

use crate::{
    kit::{Authority, Conn, Edge, Guarded, Pair, named_reply},
    upstream_tls::{HERE, believing, named},
};

/// A certificate that nobody verifies.
fn anybody() -> Pair {
    Pair::self_signed(&["nobody.internal"])
}

/// Answers 200 with its name, or 500 to `?fail=yes` where it does that.
fn answering(pair: &Pair, name: &'static str, fails: bool) -> Guarded {
    let failure = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
    pair.guard().origin(move |conn: &mut Conn| {
        while let Ok(request) = conn.receive() {
            let fails = fails && request.head.start.contains("fail=yes");
            let reply = if fails { failure.to_vec() } else { named_reply(name) };
            if conn.try_send(reply).is_err() {
                return;
            }
        }
    })
}

/// Who answered, and how its handshake went.
#[track_caller]
fn ask(edge: &Edge, origins: &[(&str, &Guarded)], host: &str, path: &str) -> String {
    let answer = edge.get(host, path);
    let name = answer.text();
    let Some((_, origin)) = origins.iter().find(|(known, _)| *known == name) else {
        return answer.status().to_string();
    };
    format!("{name} {}", if origin.last().resumed { "r" } else { "." })
}

#[test]
fn c78_to_c105_sessions_are_those_of_a_server_as_it_is_defined() {
    let pair = anybody();
    let [a, b] = ["8087", "8088"].map(|name| answering(&pair, name, true));
    let [c, d] = ["8089", "8090"].map(|name| answering(&pair, name, false));
    let origins = [("8087", &a), ("8088", &b), ("8089", &c), ("8090", &d)];
    let edge = Edge::new()
        .toml("[upstream_defaults]\nkeepalive = 0\ntls = { verify = false }")
        .toml("next = { on = [\"error\", \"timeout\", \"http_500\"] }")
        .start();
    let ask = |host: &str, path: &str| ask(&edge, &origins, host, path);
    let deleted = |host: &str| {
        assert_eq!(edge.call("DELETE", &format!("/upstream/{host}"), "").text(), "success");
    };
    let server = |origin: &Guarded, more: &str| format!("server {}{more};", origin.address());
    // C78 to C81
    edge.post("dyhost", &server(&b, ""));
    for expected in ["8088 .", "8088 r", "8088 r"] {
        assert_eq!(ask("dyhost", "/"), expected);
    }
    // C82 to C87
    deleted("dyhost");
    assert_eq!(ask("dyhost", "/"), "502");
    edge.post("dyhost", &server(&b, ""));
    assert_eq!([ask("dyhost", "/"), ask("dyhost", "/")], ["8088 .", "8088 r"]);
    // C88 to C92
    let fragile = " fail_timeout=60s max_fails=1";
    edge.post("dyhost", &format!("{} {}", server(&b, fragile), server(&c, " backup")));
    assert_eq!(ask("dyhost", "/"), "8088 .");
    assert_eq!(ask("dyhost", "/?fail=yes"), "8089 .");
    assert_eq!(ask("dyhost", "/"), "8089 r");
    // C93 to C103
    deleted("dyhost");
    let list =
        [server(&a, fragile), server(&b, fragile), server(&c, " backup"), server(&d, " backup")];
    edge.post("dyhost2", &list.join("\n"));
    for expected in ["8087 .", "8088 .", "8087 r", "8088 r"] {
        assert_eq!(ask("dyhost2", "/"), expected);
    }
    assert_eq!(ask("dyhost2", "/?fail=yes"), "8089 .");
    for expected in ["8090 .", "8089 r", "8090 r"] {
        assert_eq!(ask("dyhost2", "/"), expected);
    }
    // C104
    deleted("dyhost2");
    assert_eq!(ask("dyhost2", "/"), "502");
    let series = |outcome, pool| {
        format!(
            "tidegate_upstream_tls_handshakes_total{{upstream=\"{pool}\",outcome=\"{outcome}\"}}"
        )
    };
    assert_eq!(edge.metric(&series("full", "dyhost2")), None, "its series left with it");
}

/// A server of TLS 1.3 sends its tickets when it likes: on an idle connection they must not look like
/// an answer that nobody asked for.
#[test]
fn a_kept_connection_is_used_again() {
    let authority = Authority::new("one");
    let origin = named(&authority.pair(&[HERE]), "somebody");
    let edge = believing(&authority, &[&origin], "").workers(1).start();
    for _ in 0..5 {
        assert_eq!(edge.get("a", "/").text(), "somebody");
    }
    assert_eq!(origin.shaken().len(), 1);
    let full =
        edge.metric("tidegate_upstream_tls_handshakes_total{upstream=\"app\",outcome=\"full\"}");
    assert_eq!(full, Some(1.0));
}

#[test]
fn a_kept_connection_that_is_dead_is_not_the_end() {
    let authority = Authority::new("one");
    // Every connection is good for one request, whatever was said.
    let origin = authority.pair(&[HERE]).guard().origin(|conn| {
        if conn.receive().is_ok() {
            conn.send(named_reply("somebody"));
            let _ = conn.receive();
        }
    });
    let edge = believing(&authority, &[&origin], "").workers(1).start();
    for _ in 0..4 {
        assert_eq!(edge.get("a", "/").text(), "somebody");
    }
    assert!(origin.shaken().iter().skip(1).all(|shaken| shaken.resumed));
}
