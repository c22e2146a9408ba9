//! The file is read again, by POST or SIGHUP: listeners come, change, move and go without the others
//! noticing, and what is refused has changed nothing.

mod listeners;
mod moves;
mod unnoticed;

use std::{net::SocketAddr, thread};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::kit::{Edge, Origin, Socket, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";

/// Reads the file again, which has to be taken.
#[track_caller]
fn reload(edge: &Edge) -> Value {
    let (status, said) = edge.json("POST", "/api/v1/reload", &Value::Null);
    assert_eq!(status, 200, "{said}");
    said
}

/// Reads the file again, which has to be refused.
#[track_caller]
fn refused(edge: &Edge) -> Value {
    let (status, said) = edge.json("POST", "/api/v1/reload", &Value::Null);
    assert_eq!(status, 422, "{said}");
    said
}

fn add(edge: &Edge, text: &str) {
    edge.rewrite(|before| format!("{before}\n{text}\n"));
}

/// One `[[listener]]`, anywhere.
fn listener(name: &str, lines: &str) -> String {
    format!("[[listener]]\nname = {name:?}\naddress = \"127.0.0.1:0\"\n{lines}\n")
}

/// What the status page says of a listener; null when it does not know it.
fn about(edge: &Edge, name: &str) -> Value {
    let (_, status) = edge.json("GET", "/api/v1/status", &Value::Null);
    let listeners = status["listeners"].as_array().unwrap().clone();
    listeners.into_iter().find(|one| one["name"] == name).unwrap_or_default()
}

#[track_caller]
fn place(edge: &Edge, name: &str) -> SocketAddr {
    about(edge, name)["address"].as_str().unwrap().parse().unwrap()
}

fn last_reload(edge: &Edge) -> Value {
    edge.json("GET", "/api/v1/status", &Value::Null).1["last_reload"].take()
}

/// Whether nobody listens there any more. That an answer has come means that it is so.
#[track_caller]
fn assert_closed(address: SocketAddr) {
    assert!(std::net::TcpStream::connect(address).is_err(), "{address} still listens");
}

#[test]
fn the_answer_says_what_was_done() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let edge = Edge::new().pool("app", &[&old]).pool("gone", &[&old]).start();
    edge.post("app", &format!("server {} weight=2;", old.address()));
    let nothing = reload(&edge);
    assert_eq!(nothing["changed"], json!([]));
    assert_eq!(nothing["routes_changed"], false);
    assert_eq!(nothing["listeners"], json!({ "added": [], "changed": [], "removed": [] }));
    edge.rewrite(|text| {
        let text = text.replace("[upstream.gone]", "[upstream.fresh]");
        let text = text.replacen(&old.address(), &new.address(), 1);
        text.replace("${host}", "${host|app}") + "[upstream_defaults]\nkeepalive = 3\n"
    });
    let said = reload(&edge);
    let mut changed: Vec<&str> =
        said["changed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    changed.sort_unstable();
    assert_eq!(changed, ["app", "fresh"]);
    assert_eq!(said["removed"], json!(["gone"]));
    assert_eq!(said["replaced_api_changes"], json!(["app"]));
    assert_eq!(said["routes_changed"], true);
    assert_eq!(said["settings_changed"], json!(["[upstream_defaults]"]));
    assert_eq!(said["durable"], false);
    let (_, status) = edge.json("GET", "/api/v1/status", &Value::Null);
    assert_eq!(said["generation"], status["generation"]);
    assert_eq!(edge.get("app", "/").text(), "new");
}

/// Whoever asks: the same is done and the same is said.
#[test]
fn sighup_and_post_are_one() {
    let origin = Origin::named("up");
    let details: Vec<String> = [true, false]
        .into_iter()
        .map(|by_signal| {
            let edge = Edge::new().pool("app", &[&origin]).start();
            add(&edge, &listener("more", ""));
            add(&edge, &format!("[upstream.b]\nservers = [{:?}]", origin.address()));
            if by_signal {
                edge.signal(Signal::HUP);
                edge.wait_for_log("configuration reloaded");
            } else {
                reload(&edge);
            }
            eventually("the status page knows it", || last_reload(&edge)["outcome"] == "applied");
            let detail = last_reload(&edge)["detail"].as_str().unwrap().to_owned();
            let line = edge.wait_for_log("configuration reloaded");
            assert!(line.contains(&detail), "{detail} in {line}");
            assert_eq!(line.contains("SIGHUP"), by_signal, "{line}");
            let address = place(&edge, "more");
            assert_eq!(Socket::connect(address).ask(GET).text(), "up");
            detail
        })
        .collect();
    assert_eq!(details[0], details[1]);
    assert!(details[0].contains("listeners added: more; changed: none; removed: none"));
}

#[test]
fn a_file_with_errors_is_refused_with_all_of_them() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let edge = Edge::new().pool("app", &[&old]).start();
    let before = edge.json("GET", "/api/v1/config", &Value::Null);
    edge.rewrite(|text| {
        text.replace(&old.address(), &new.address())
            + "keepalive = \"many\"\nnonsense = 1\n[[route]]\npath = 7\nupstream = \"app\"\n"
    });
    let said = refused(&edge);
    let errors = said["errors"].as_array().unwrap();
    let path = edge.config_path().display().to_string();
    for key in ["upstream.app.keepalive", "upstream.app.nonsense", "route.path"] {
        let is_it = |error: &&Value| error["field"].as_str().unwrap().ends_with(&format!(" {key}"));
        let error = errors.iter().find(is_it).unwrap_or_else(|| panic!("{key} in {said}"));
        assert!(error["field"].as_str().unwrap().starts_with(&format!("{path}:")), "{error}");
        assert!(!error["reason"].as_str().unwrap().is_empty());
    }
    assert_eq!(errors.len(), 3, "{said}");
    assert_eq!(last_reload(&edge)["outcome"], "refused");
    assert_eq!(last_reload(&edge)["detail"], said["detail"]);
    assert_eq!(edge.metric("tidegate_config_last_reload_successful"), Some(0.0));
    assert_eq!(edge.get("app", "/").text(), "old");
    assert_eq!(edge.json("GET", "/api/v1/config", &Value::Null), before, "it runs as before");
}

#[test]
fn sections_that_take_a_restart_are_refused_by_name() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let edge = Edge::new().pool("app", &[&old]).start();
    edge.rewrite(|text| {
        let text = text.replace("workers = 2", "workers = 1");
        text.replace(&old.address(), &new.address())
            + &listener("more", "")
            + "[log]\nlevel = \"warn\"\n"
    });
    let said = refused(&edge);
    let fields: Vec<&str> =
        said["errors"].as_array().unwrap().iter().filter_map(|e| e["field"].as_str()).collect();
    assert_eq!(fields, ["[process]", "[log]"]);
    assert_eq!(said["errors"][0]["reason"], "changed, which takes a restart");
    assert_eq!(edge.get("app", "/").text(), "old", "all of it or nothing");
    assert!(about(&edge, "more").is_null());
}

/// Both are done, one after the other: the second finds nothing left to do.
#[test]
fn reloads_that_come_together_are_done_one_after_the_other() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let edge = Edge::new().durable().pool("app", &[&old]).start();
    edge.rewrite(|text| text.replace(&old.address(), &new.address()) + &listener("more", ""));
    let said: Vec<Value> = thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| reload(&edge))).collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let did = |said: &&Value| said["changed"] == json!(["app"]);
    let first = said.iter().find(did).expect("one of them did it");
    assert_eq!(first["listeners"]["added"], json!(["more"]));
    let second = said.iter().find(|one| !did(one)).expect("the other found it done");
    assert_eq!(second["listeners"]["added"], json!([]));
    assert_eq!(first["generation"], second["generation"]);
    assert_eq!(edge.get("app", "/").text(), "new");
}

#[test]
fn the_configuration_can_be_looked_at_as_it_runs() {
    let origin = Origin::named("up");
    let directory = tempfile::tempdir().unwrap();
    let include = directory.path().join("more.toml");
    let pool = format!("[upstream.more]\nservers = [{:?}]\nkeepalive = 0x10\n", origin.address());
    std::fs::write(&include, pool).unwrap();
    let edge = Edge::new()
        .pool_of(
            "app",
            &[(&origin, "")],
            "check = { type = \"http\", headers = { Authorization = \"Basic s3cret\" } }",
        )
        .start();
    // Included by what is read again; a key of the whole file stands before every table.
    edge.rewrite(|text| format!("include = [{include:?}]\n{text}"));
    reload(&edge);
    let answer = edge.call("GET", "/api/v1/config", "");
    assert!(!answer.text().contains("s3cret"), "{answer:?}");
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    let files = [edge.config_path(), include].map(|path| path.display().to_string());
    assert_eq!(said["files"], json!(files));
    let config = &said["config"];
    assert_eq!(config["process"]["workers"], 2);
    assert_eq!(config["listener"][0]["name"], "edge");
    assert_eq!(config["upstream"]["more"]["keepalive"], 16);
    assert_eq!(config["upstream"]["app"]["servers"][0]["address"], origin.address());
    assert_eq!(config["upstream"]["app"]["check"]["headers"]["Authorization"], "(hidden)");
}
