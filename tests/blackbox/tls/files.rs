//! Files of certificates that are bad, that change, and that change for the worse.

use std::fs;

use serde_json::{Value, json};

use super::{GET, Site, tls};
use crate::{
    events::follower::Follower,
    kit::{Authority, Edge, Gate, Origin, Output, TlsClient, named_reply},
    websocket::{self, ASK, echoes},
};

/// The command, which has to refuse the file.
fn refused(edge: &Edge, command: &str) -> Output {
    let output = edge.command(&[command]);
    assert_eq!(output.status.code(), Some(64), "{}", output.said());
    output
}

#[test]
fn every_bad_file_is_named_in_its_place() {
    let authority = Authority::new("tests");
    let edge = Edge::new();
    let directory = edge.directory().to_owned();
    authority.pair(&["a.test"]).write(&directory, "a");
    authority.pair(&["b.test"]).write(&directory, "b");
    fs::copy(directory.join("a.key"), directory.join("b.key")).unwrap();
    authority.pair(&["c.test"]).write(&directory, "c");
    fs::write(directory.join("c.pem"), "this is no certificate").unwrap();
    fs::write(directory.join("ca.pem"), "").unwrap();
    let keys = "client_ca = \"ca.pem\", client_auth = \"required\"";
    let pairs = tls(&["a", "b", "c", "gone"], keys).replace("{ cert =", "\n{ cert =");
    let edge = edge.listener(&format!("tls = {pairs}"));
    let file = edge.config();
    let line_of = |text: &str| file.lines().position(|line| line.contains(text)).unwrap() + 1;
    for command in ["check", "run"] {
        let output = refused(&edge, command);
        let said = output.said();
        for (place, key, name) in [
            (line_of("\"b.pem\""), "", "b."),
            (line_of("\"c.pem\""), "cert", "c.pem"),
            (line_of("\"gone.pem\""), "cert", "gone.pem"),
            (line_of("\"ca.pem\""), "ca", "ca.pem"),
        ] {
            let start = format!("tidegate.toml:{place}:");
            let is_it =
                |line: &&str| line.contains(&start) && line.contains(key) && line.contains(name);
            assert!(said.lines().any(|line| is_it(&line)), "{start} {name} in:\n{said}");
        }
        assert_eq!(said.matches("tidegate.toml:").count(), 4, "{said}");
    }
}

#[test]
fn an_end_that_is_near_is_warned_of() {
    let authority = Authority::new("tests");
    let edge = Edge::new();
    authority.pair(&["a.test"]).write(edge.directory(), "a");
    authority.pair_until("b.test", (2020, 2, 3)).write(edge.directory(), "b");
    let edge = edge.listener(&format!("tls = {}", tls(&["a", "b"], "")));
    let output = edge.command(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", output.said());
    let said = output.said();
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("warning")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(warnings[0].contains("b.pem") && warnings[0].contains("expired"), "{said}");
    edge.start().wait_for_log("has expired");
}

#[test]
fn a_bad_pair_refuses_a_reload_and_a_good_one_is_taken() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let site = Site::new(Edge::to(&[&old]).pool("other", &[&new]), "");
    let (edge, port) = (&site.edge, site.edge.port("edge"));
    let reload = || edge.json("POST", "/api/v1/reload", &Value::Null);
    site.authority.pair(&["b.test"]).write(edge.directory(), "b");
    fs::write(edge.directory().join("b.key"), "nonsense").unwrap();
    edge.rewrite(|text| {
        let text = text.replace(&tls(&["a"], ""), &tls(&["a", "b"], ""));
        text.replace("upstream = \"app\"", "upstream = \"other\"")
    });
    let (status, said) = reload();
    assert_eq!(status, 422, "{said}");
    let fault = &said["errors"][0];
    let field = fault["field"].as_str().unwrap();
    assert!(field.ends_with("listener.tls.certificates.key"), "{said}");
    assert!(fault["reason"].as_str().unwrap().contains("b.key"), "{said}");
    assert_eq!(site.connect().ask(GET).text(), "old", "nothing of it was taken");
    assert!(site.client().try_connect(port, "b.test").is_err());
    site.authority.pair(&["b.test"]).write(edge.directory(), "b");
    let (status, said) = reload();
    assert_eq!((status, &said["listeners"]["changed"]), (200, &json!(["edge"])), "{said}");
    let mut client = site.client().connect(port, "b.test");
    assert_eq!(client.ask(GET).text(), "new");
    let (_, said) = reload();
    assert_eq!(said["listeners"]["changed"], json!([]), "nothing was new");
    site.authority.pair(&["b.test"]).write(edge.directory(), "b");
    let (_, said) = reload();
    assert!(
        said["listeners"]["changed"] == json!(["edge"])
            || edge.log().contains("certificates have changed"),
        "files are read again: {said}"
    );
    assert_eq!(client.ask(GET).text(), "new", "the connection goes on");
}

/// Whom a client meets there that trusts this authority.
fn meets(site: &Site, authority: &Authority) -> bool {
    let client = TlsClient::trusting(authority);
    client.try_connect(site.edge.port("edge"), "a.test").is_ok()
}

#[test]
fn a_file_that_changes_is_read_and_nobody_is_cut() {
    let gate = Gate::default();
    let held = gate.clone();
    let (echo, slow) = (
        Origin::echo_tunnel(),
        Origin::new(move |conn| {
            if conn.receive().is_ok() {
                held.wait();
                conn.send(named_reply("done"));
            }
        }),
    );
    let edge = websocket::edge().pool("app", &[&echo]).pool("slow", &[&slow]);
    let site = Site::new(edge, "");
    let mut events = Follower::begin(&site.edge, "?kinds=listener");
    let (mut tunnel, mut request) = (site.connect(), site.connect());
    tunnel.send(ASK);
    assert_eq!(tunnel.head().unwrap().status(), 101);
    request.send("GET / HTTP/1.1\r\nHost: slow\r\n\r\n");
    slow.wait_for_requests(1);
    let others = Authority::new("others");
    assert!(!meets(&site, &others));
    others.pair(&["a.test"]).write(site.edge.directory(), "a");
    let line = site.edge.wait_for_log("certificates have changed");
    assert!(line.contains("a.test"), "{line}");
    assert!(meets(&site, &others) && !meets(&site, &site.authority));
    let told = events.told();
    assert_eq!((&told.data["listener"], &told.data["change"]), (&json!("edge"), &json!("changed")));
    echoes(&mut tunnel, b"still here");
    gate.open();
    assert_eq!(request.response().unwrap().text(), "done");
}

#[test]
fn a_file_that_changes_for_the_worse_is_told_once_and_not_used() {
    let origin = Origin::named("up");
    let site = Site::new(Edge::to(&[&origin]), "");
    let edge = &site.edge;
    let failures = || edge.metric("tidegate_certificate_failures_total{listener=\"edge\"}");
    assert_eq!(failures(), Some(0.0));
    fs::write(edge.directory().join("a.key"), "nonsense").unwrap();
    let line = edge.wait_for_log("changed certificates are not used");
    assert!(line.contains("a.key") && line.contains("edge"), "{line}");
    assert!(failures() >= Some(1.0));
    assert_eq!(site.connect().ask(GET).text(), "up", "the old ones stay");
    fs::remove_file(edge.directory().join("a.pem")).unwrap();
    edge.forget_log();
    edge.wait_for_log("changed certificates are not used");
    assert_eq!(site.connect().ask(GET).text(), "up", "the old ones stay");
    assert_eq!(edge.log().matches("changed certificates are not used").count(), 1);
    let others = Authority::new("others");
    others.pair(&["a.test"]).write(edge.directory(), "a");
    edge.wait_for_log("certificates have changed");
    assert!(meets(&site, &others));
}
