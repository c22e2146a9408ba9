//! The lines of docs/transactions.md, run as they stand there, with the addresses of real servers.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

use crate::{
    api::show,
    kit::{Edge, Origin},
};

const TEXT: &str = include_str!("../../docs/transactions.md");

/// The blocks of shell in it.
fn blocks() -> Vec<&'static str> {
    let parts = TEXT.split("```sh\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap()).collect()
}

fn run(edge: &Edge, origins: &[Origin], block: &str) -> Value {
    let mut text = block.to_owned();
    for (at, origin) in origins.iter().enumerate() {
        text = text.replace(&format!("10.0.0.{}:8080", at + 1), &origin.address());
    }
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &text]);
    let done = shell.env("ADMIN", format!("http://{}", edge.admin())).output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{text}\n{said}");
    serde_json::from_str(&said).unwrap_or(Value::Null)
}

/// Who answers, and how often of `of` times.
fn answers(edge: &Edge, of: usize) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for _ in 0..of {
        *found.entry(edge.get("iot", "/").text()).or_default() += 1;
    }
    found
}

#[test]
fn the_lines_of_the_documentation_do_what_it_says() {
    let origins = ["sorry", "two", "three"].map(Origin::named);
    let edge = Edge::new().start();
    let blocks = blocks();
    let [_, set_up, maintenance, back, undo, one, several] = blocks[..] else {
        panic!("the text has other blocks than this test knows: {}", blocks.len());
    };
    let at_work = || answers(&edge, 4) == BTreeMap::from([("two".into(), 2), ("three".into(), 2)]);
    let is_sorry = || answers(&edge, 2) == BTreeMap::from([("sorry".into(), 2)]);
    run(&edge, &origins, set_up);
    assert!(at_work());
    let said = run(&edge, &origins, maintenance);
    assert_eq!(said["generation"], 3, "{said}");
    assert!(is_sorry());
    run(&edge, &origins, back);
    assert!(at_work());
    run(&edge, &origins, undo);
    assert!(is_sorry(), "{}", show(&edge, "/iot"));
    run(&edge, &origins, back);
    run(&edge, &origins, one);
    assert_eq!(show(&edge, "/iot")["servers"][1]["weight"], 5);
    run(&edge, &origins, several);
    assert_eq!(answers(&edge, 10), BTreeMap::from([("two".into(), 1), ("three".into(), 9)]));
}
