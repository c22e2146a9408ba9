//! Settings and files that change: through the API, with a reload, under a running proxy, and between
//! two runs of it.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    kit::{Authority, Edge, Guarded, eventually},
    upstream_tls::{HERE, believing, named},
};

/// A pool over the API.
fn pool(origin: &Guarded, tls: &Value) -> Value {
    json!({ "servers": [origin.address()], "tls": tls })
}

#[track_caller]
fn put(edge: &Edge, body: &Value) -> (u16, Value) {
    edge.json("PUT", "/api/v1/upstreams/app", body)
}

#[test]
fn a_file_that_cannot_be_used_refuses_the_change() {
    let authority = Authority::new("one");
    let origin = named(&authority.pair(&[HERE]), "somebody");
    let edge = believing(&authority, &[&origin], "").start();
    fs::write(edge.directory().join("none.pem"), "no certificate\n").unwrap();
    authority.pair(&["us"]).write(edge.directory(), "us");
    authority.pair(&["us"]).write(edge.directory(), "b");
    let generation = edge.metric("tidegate_generation");
    for (tls, field, reason) in [
        (json!({ "ca": "missing.pem" }), "tls.ca", "missing.pem: No such file"),
        (json!({ "ca": "none.pem" }), "tls.ca", "none.pem"),
        (json!({ "ca": "ca.pem", "cert": "us.pem" }), "tls.key", "go together"),
        (json!({ "ca": "ca.pem", "key": "us.key" }), "tls.cert", "go together"),
        (json!({ "ca": "ca.pem", "cert": "us.pem", "key": "b.key" }), "tls.key", "b.key"),
        (json!({ "ca": "ca.pem", "cert": "us.pem", "key": "us.pem" }), "tls.key", "us.pem"),
        (json!({ "server_name": "a b" }), "tls.server_name", "a b"),
        (json!({ "verify": "no" }), "tls.verify", "boolean"),
        (json!({ "versions": [] }), "tls.versions", "unknown field"),
    ] {
        for query in ["", "?dry_run=true"] {
            let path = format!("/api/v1/upstreams/app{query}");
            let (status, said) = edge.json("PUT", &path, &pool(&origin, &tls));
            assert_eq!(status, 400, "{tls}: {said}");
            assert_eq!(said["errors"][0]["field"], field, "{tls}: {said}");
            let told = said["errors"][0]["reason"].as_str().unwrap();
            assert!(told.contains(reason), "{tls}: {told}");
        }
    }
    let step = json!({ "op": "put_upstream", "upstream": "app", "definition": pool(&origin, &json!({ "ca": "missing.pem" })) });
    let (status, said) =
        edge.json("POST", "/api/v1/transactions", &json!({ "operations": [step] }));
    assert_eq!((status, &said["errors"][0]["field"]), (400, &json!("tls.ca")), "{said}");
    assert_eq!(edge.metric("tidegate_generation"), generation);
    assert_eq!(edge.get("a", "/").text(), "somebody");
}

/// Names of files mean the same in a body and in the file: relative to where that is.
#[test]
fn a_definition_is_shown_as_it_would_be_put() {
    let authority = Authority::new("one");
    let origin = named(&authority.pair(&[HERE]), "somebody");
    let edge = believing(&authority, &[&origin], "server_name = \"127.0.0.1\"").start();
    let shown = || edge.json("GET", "/api/v1/upstreams/app", &Value::Null).1;
    let tls = json!({ "ca": "ca.pem", "server_name": "127.0.0.1" });
    assert_eq!(shown()["definition"]["tls"], tls);
    assert_eq!(put(&edge, &pool(&origin, &tls)).0, 200);
    assert_eq!(shown()["overridden"], json!([]));
    assert_eq!(put(&edge, &pool(&origin, &json!({ "ca": "ca.pem" }))).0, 200);
    assert_eq!(shown()["overridden"], json!(["tls"]));
    let newest = shown()["generation"].as_u64().unwrap();
    let path = format!("/api/v1/generations/{}/diff?to={newest}", newest - 1);
    let (_, difference) = edge.json("GET", &path, &Value::Null);
    assert!(difference.to_string().contains("\"keys\":[\"tls\"]"), "{difference}");
}

/// What was agreed on under other rules is not used any more, and what runs is left alone.
#[test]
fn connections_made_by_other_settings_are_not_used_again() {
    let authority = Authority::new("one");
    let origin = named(&authority.pair(&[HERE, "a.internal", "b.internal"]), "somebody");
    let edge = believing(&authority, &[&origin], "server_name = \"a.internal\"").workers(1).start();
    let ask = || assert_eq!(edge.get("a", "/").text(), "somebody");
    ask();
    ask();
    assert_eq!(origin.shaken().len(), 1);
    let tls = json!({ "ca": "ca.pem", "server_name": "b.internal" });
    assert_eq!(put(&edge, &pool(&origin, &tls)).0, 200);
    ask();
    let last = origin.last();
    assert_eq!((origin.shaken().len(), last.name.as_deref()), (2, Some("b.internal")));
    assert!(!last.resumed, "a session for one name proves nothing about another");
    // Another server beside it changes nothing of that.
    let mut more = pool(&origin, &tls);
    more["servers"] = json!([origin.address(), { "address": "127.0.0.1:1", "down": true }]);
    assert_eq!(put(&edge, &more).0, 200);
    ask();
    assert_eq!(origin.shaken().len(), 2);
    assert_eq!(put(&edge, &json!({ "servers": [origin.address()] })).0, 200);
    assert_eq!(edge.get("a", "/").status(), 502, "in the clear it is not understood");
}

#[test]
fn defaults_are_for_every_pool_that_does_not_say_no() {
    let authority = Authority::new("one");
    let origin = named(&authority.pair(&[HERE]), "somebody");
    let plain = crate::kit::Origin::named("plain");
    let edge = Edge::new()
        .pool("plain", &[&plain])
        .toml("tls = { enabled = false }")
        .toml("[upstream_defaults.tls]\nca = \"ca.pem\"");
    authority.write(edge.directory().join("ca.pem"));
    let edge = edge.start();
    edge.post("app", &format!("server {};", origin.address()));
    assert_eq!(edge.get("app", "/").text(), "somebody");
    assert_eq!(edge.get("plain", "/").text(), "plain");
    edge.rewrite(|text| text.replace("ca = \"ca.pem\"", "ca = \"other.pem\""));
    let (status, said) = edge.json("POST", "/api/v1/reload", &Value::Null);
    assert_eq!(status, 422, "{said}");
    assert_eq!(edge.get("app", "/").text(), "somebody");
}

#[test]
fn a_file_that_is_named_and_cannot_be_used_is_pointed_at() {
    let authority = Authority::new("one");
    let origin = named(&authority.pair(&[HERE]), "somebody");
    let edge = Edge::to(&[&origin]).toml("[upstream.app.tls]\nca = \"ca.pem\"");
    let line = edge.config().lines().position(|line| line.starts_with("ca = ")).unwrap() + 1;
    for command in ["check", "run"] {
        let output = edge.command(&[command]);
        assert_eq!(output.status.code(), Some(64), "{}", output.said());
        let place = format!("tidegate.toml:{line}:6: upstream.app.tls.ca: ");
        assert!(output.said().contains(&place), "{place}: {}", output.said());
        assert!(output.said().contains("ca.pem: No such file"), "{}", output.said());
    }
    authority.write(edge.directory().join("ca.pem"));
    let edge = edge.start();
    edge.rewrite(|text| text.replace("ca = \"ca.pem\"", "ca = \"tidegate.toml\""));
    let (status, said) = edge.json("POST", "/api/v1/reload", &Value::Null);
    assert_eq!(status, 422, "{said}");
    let field = said["errors"][0]["field"].as_str().unwrap();
    assert!(field.ends_with(&format!("tidegate.toml:{line}:6 upstream.app.tls.ca")), "{said}");
    assert_eq!(edge.get("a", "/").text(), "somebody");
}

/// The same name, another content: with a reload at once.
#[test]
fn a_reload_reads_files_again() {
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let (a, b) = (named(&one.pair(&[HERE]), "a"), named(&two.pair(&[HERE]), "b"));
    let edge = believing(&one, &[&a], "").workers(1).start();
    assert_eq!(edge.get("a", "/").text(), "a");
    edge.rewrite(|text| text.replace(&a.address(), &b.address()));
    edge.signal(Signal::HUP);
    edge.wait_for_log("configuration reloaded");
    assert_eq!(edge.get("a", "/").status(), 502, "it is by an authority that nobody believes");
    two.write(edge.directory().join("ca.pem"));
    edge.forget_log();
    edge.signal(Signal::HUP);
    edge.wait_for_log("configuration reloaded");
    assert_eq!(edge.get("a", "/").text(), "b");
}

/// Without anybody saying so: within a few seconds.
#[test]
fn files_that_change_are_read_again() {
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let a = named(&one.pair(&[HERE]), "a");
    let edge = believing(&one, &[&a], "").workers(1).start();
    assert_eq!(edge.get("a", "/").text(), "a");
    two.write(edge.directory().join("ca.pem"));
    edge.wait_for_log("files for TLS to servers were read again");
    assert_eq!(edge.get("a", "/").status(), 502, "what was kept is not used any more");
    fs::write(edge.directory().join("ca.pem"), "").unwrap();
    edge.wait_for_log("cannot be read again");
    let failures = || edge.metric("tidegate_upstream_tls_file_failures_total");
    eventually("it is counted", || failures() >= Some(1.0));
    assert_eq!(edge.get("a", "/").status(), 502);
}

#[test]
fn what_the_api_has_defined_is_there_after_a_restart() {
    let authority = Authority::new("one");
    let origin = named(&authority.pair(&[HERE]), "somebody");
    let mut edge = Edge::new().durable();
    let ca = edge.directory().join("ca.pem");
    authority.write(&ca);
    edge = edge.start();
    assert_eq!(put(&edge, &pool(&origin, &json!({ "ca": "ca.pem" }))).0, 200);
    assert_eq!(edge.get("app", "/").text(), "somebody");
    edge.restart();
    assert_eq!(edge.get("app", "/").text(), "somebody");
    // A file that is gone keeps no process from starting, and is found again.
    fs::rename(&ca, ca.with_extension("away")).unwrap();
    edge.restart();
    edge.wait_for_log("no TLS to its servers");
    assert_eq!(edge.get("app", "/").status(), 502);
    assert!(edge.wait_for_log("the TLS of its pool cannot be used").contains("ca.pem"));
    let (_, shown) = edge.json("GET", "/api/v1/upstreams/app", &Value::Null);
    assert_eq!(shown["servers"][0]["live"]["fails_total"], 0, "it is not the server's failure");
    fs::rename(ca.with_extension("away"), &ca).unwrap();
    eventually("the file is read again", || edge.get("app", "/").status() == 200);
}
