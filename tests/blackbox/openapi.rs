//! The description of the admin API and the API itself agree: somebody else's tools read the one and
//! try the other.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::kit::{Edge, Origin, skip};

/// With a pool of each kind that a stranger's requests might meet.
fn edge(origin: &Origin) -> Edge {
    Edge::new()
        .durable()
        .pool("app", &[origin])
        .pool_of("checked", &[(origin, ""), (origin, ", weight = 2")], "check = { type = \"tcp\" }")
        .start()
}

fn document(edge: &Edge) -> Value {
    let (status, document) = edge.json("GET", "/openapi.json", &json!(null));
    assert_eq!(status, 200);
    document
}

/// A Python with these modules; `scripts/test` makes one, and names it in `TIDEGATE_PYTHON`.
fn python_with(test: &str, module: &str) -> Option<String> {
    let python = std::env::var("TIDEGATE_PYTHON").unwrap_or_else(|_| "python3".into());
    let able = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if able.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    skip(test, &format!("{python} has no {module}; run scripts/test"));
    None
}

/// Runs a tool to its end, which has to be a good one.
#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}

#[test]
fn the_description_is_openapi() {
    let Some(python) = python_with("the_description_is_openapi", "openapi_spec_validator") else {
        return;
    };
    let origin = Origin::named("a");
    let edge = edge(&origin);
    let file = edge.directory().join("openapi.json");
    std::fs::write(&file, document(&edge).to_string()).unwrap();
    succeeds(Command::new(python).args(["-m", "openapi_spec_validator"]).arg(file));
}

/// Every path says which methods it has when it is asked for another one.
#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let origin = Origin::named("a");
    let edge = edge(&origin);
    let document = document(&edge);
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
        if item[&methods[0]]["tags"] == json!(["dyups"]) {
            continue;
        }
        let place = path.replace("{id}", "1").replace("{name}", "app");
        let answer = edge.call("PROPFIND", &place, "");
        assert_eq!(answer.status(), 405, "{path}");
        let allow = answer.field("allow").unwrap_or_default().to_ascii_lowercase();
        let mut allowed: Vec<&str> = allow.split(',').filter(|m| *m != "head").collect();
        allowed.sort_unstable();
        assert_eq!(allowed, methods, "{path}");
    }
}

/// Requests made up by the description are answered as it says, and others are refused.
#[test]
fn the_api_is_as_described() {
    let Some(python) = python_with("the_api_is_as_described", "schemathesis") else { return };
    let origin = Origin::named("a");
    let edge = edge(&origin);
    let seed = std::env::var("TIDEGATE_SEED").unwrap_or_else(|_| "1".into());
    let examples = std::env::var("TIDEGATE_EXAMPLES").unwrap_or_else(|_| "10".into());
    let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis.toml");
    let url = format!("http://{}/openapi.json", edge.admin());
    succeeds(
        Command::new(python)
            .args(["-m", "schemathesis.cli", "--config-file"])
            .arg(config)
            .args(["run", &url, "--checks", "all", "--no-color", "--seed", &seed])
            .args(["--max-examples", &examples])
            .current_dir(edge.directory()),
    );
}
