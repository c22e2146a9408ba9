//! What the JSON API remembers: every change with who made it and why, how two points in time
//! differ, and the way back.

use serde_json::{Value, json};

use crate::{
    api::{done, refused, show},
    kit::{Edge, Origin},
};

fn get(edge: &Edge, path: &str) -> Value {
    let (status, said) = edge.json("GET", &format!("/api/v1/generations{path}"), &Value::Null);
    assert_eq!(status, 200, "{path}: {said}");
    said
}

#[test]
fn every_change_is_remembered_with_its_caller_and_reason() {
    let origin = Origin::named("one");
    let mut edge = Edge::new().durable().pool("chat", &[&origin]).start();
    let server = origin.address();
    let body = json!({"servers": ["127.0.0.1:9"], "reason": "more room"});
    done(&edge, "POST", "/api/v1/upstreams/chat/servers", &body);
    edge.post("other", &format!("server {server};"));
    let check = |edge: &Edge| {
        let listed = get(edge, "");
        let heads: Vec<_> = listed["generations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|head| {
                let text = |key: &str| head[key].as_str().unwrap_or_default().to_owned();
                (
                    head["generation"].as_u64().unwrap(),
                    text("source"),
                    text("reason"),
                    head["changed"].clone(),
                )
            })
            .collect();
        assert_eq!(
            heads,
            [
                (3, "dyups".into(), String::new(), json!(["other"])),
                (2, "api".into(), "more room".into(), json!(["chat"])),
                (1, "file".into(), String::new(), json!(["chat"])),
            ]
        );
        assert!(listed["generations"][1]["caller"].as_str().unwrap().starts_with("127.0.0.1"));
        assert!(listed["generations"][1]["at"].as_str().unwrap().ends_with('Z'));
        let one = get(edge, "/2");
        assert_eq!(one["changes"][0]["change"], "changed");
        assert_eq!(one["changes"][0]["servers"]["added"], json!(["127.0.0.1:9"]));
        assert_eq!(one["changes"][0]["before"]["servers"].as_array().unwrap().len(), 1);
        let between = get(edge, "/1/diff?to=3");
        let kinds: Vec<_> = between["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["upstream"].clone(), one["change"].clone()))
            .collect();
        assert_eq!(kinds, [(json!("chat"), json!("changed")), (json!("other"), json!("created"))]);
        let back = get(edge, "/3/diff?to=1");
        assert_eq!(back["changes"][1]["change"], "deleted");
    };
    check(&edge);
    edge.restart();
    check(&edge);
}

#[test]
fn pages_go_back_and_may_be_of_one_pool() {
    let origin = Origin::named("one");
    let edge = Edge::new().start();
    for at in 0..9 {
        edge.post(["a", "b", "c"][at % 3], &format!("server {};", origin.address()));
    }
    let numbers = |path: &str| {
        let page = get(&edge, path);
        let numbers = page["generations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["generation"].as_u64().unwrap());
        (numbers.collect::<Vec<_>>(), page["next"].as_u64())
    };
    assert_eq!(numbers("?limit=4"), (vec![10, 9, 8, 7], Some(7)));
    assert_eq!(numbers("?limit=4&before=7"), (vec![6, 5, 4, 3], Some(3)));
    assert_eq!(numbers("?limit=4&before=3"), (vec![2, 1], None));
    assert_eq!(numbers("?upstream=B"), (vec![9, 6, 3], None));
    for query in ["?limit=x", "?nope=1", "?limit=1&limit=2"] {
        refused(&edge, "GET", &format!("/api/v1/generations{query}"), &Value::Null, 400);
    }
    for path in ["/0", "/99", "/x", "/1/diff?to=99"] {
        refused(&edge, "GET", &format!("/api/v1/generations{path}"), &Value::Null, 404);
    }
}

#[test]
fn a_generation_is_restored_as_a_new_one() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let mut edge = Edge::new().durable().pool("chat", &[&one]).start();
    let before = show(&edge, "/chat")["definition"].clone();
    edge.post("chat", &format!("server {};", two.address()));
    edge.post("late", &format!("server {};", two.address()));
    assert_eq!(edge.get("chat", "/").text(), "two");
    let path = "/api/v1/generations/1/restore";
    let (_, dry) = edge.json("POST", &format!("{path}?dry_run=true"), &Value::Null);
    assert_eq!(dry["changed"], json!(["chat", "late"]), "{dry}");
    let said = done(&edge, "POST", path, &json!({"reason": "as it was"}));
    assert_eq!(said["generation"], 4);
    let check = |edge: &Edge| {
        assert_eq!(edge.get("chat", "/").text(), "one");
        assert_eq!(edge.get("late", "/").status(), 502);
        assert_eq!(show(edge, "/chat")["definition"], before);
        assert_eq!(get(edge, "/4")["reason"], "as it was");
    };
    check(&edge);
    edge.restart();
    check(&edge);
    // And the way back from the way back.
    done(&edge, "POST", "/api/v1/generations/3/restore", &Value::Null);
    assert_eq!(edge.get("late", "/").text(), "two");
    refused(&edge, "POST", "/api/v1/generations/77/restore", &Value::Null, 404);
}
