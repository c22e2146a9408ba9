use std::collections::BTreeSet;

use super::*;

fn references<'d>(value: &'d Value, found: &mut BTreeSet<&'d str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, found));
        }
        _ => {}
    }
}

/// Each with its method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let of_path = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods").iter();
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    of_path.collect()
}

#[test]
fn whatever_is_referred_to_is_there() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_what_it_answers() {
    let document = document();
    let mut names = BTreeSet::new();
    for (place, operation) in operations(&document) {
        let name = operation["operationId"].as_str().expect("a name");
        assert!(names.insert(name), "{place}: {name} is the name of another one, too");
        assert!(operation["summary"].is_string(), "{place} has no summary");
        for (status, answer) in operation["responses"].as_object().expect("answers") {
            let is_shared = answer.get("$ref").is_some();
            let is_described = answer["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_shared || is_described, "{place}: {status} is not described");
        }
        assert!(operation["responses"].get("403").is_some(), "{place} lacks what the guard says");
    }
}

/// A route that is added without its description would be a gap in the document.
#[test]
fn no_route_goes_without_its_description() {
    let router = include_str!("../router.rs");
    for word in [".route(", ".route_service(", ".nest(", ".merge("] {
        assert!(!router.contains(word), "router.rs: {word} leaves the document out; use routes!");
    }
}

#[test]
fn every_number_that_is_sent_to_us_has_a_bound() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for name in ["DrainOrder", "ServerSpec", "UpstreamSpec", "CheckSpec"] {
        let Some(properties) =
            schemas.get(name).and_then(|schema| schema["properties"].as_object())
        else {
            continue;
        };
        for (key, property) in properties {
            let kind = &property["type"];
            let is_number = *kind == "integer" || *kind == serde_json::json!(["integer", "null"]);
            assert!(!is_number || property.get("maximum").is_some(), "{name}.{key}: {property}");
        }
    }
}
