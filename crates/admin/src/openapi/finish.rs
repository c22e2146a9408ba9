//! What the types cannot say themselves, added to the finished document: how large their numbers get,
//! which keys exclude each other, and which answers anybody may be given.

use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use super::refusals;
use crate::problem::Problem;

pub(super) fn finished(mut document: Value) -> Value {
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    share_refusals(&mut document);
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        forbid_pairs(schemas);
        merge_parts(schemas);
    }
    each(&mut document["paths"], &mut plain_parameter);
    each(&mut document, &mut bound);
    for operation in operations(&mut document) {
        add_refusals(operation);
        free_terms(operation);
    }
    document
}

/// Every operation, whatever its path.
fn operations(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let items = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    items.filter_map(Value::as_object_mut)
}

/// Does something to every object.
fn each(value: &mut Value, act: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, act)),
        Value::Object(map) => {
            act(map);
            map.values_mut().for_each(|value| each(value, act));
        }
        _ => {}
    }
}

/// Formats of numbers are not binding, their bounds are.
fn bound(schema: &mut Map<String, Value>) {
    let (format, most) = match schema.get("format").and_then(Value::as_str) {
        Some("u-int8") => ("uint8", u64::from(u8::MAX)),
        Some("u-int16") => ("uint16", u64::from(u16::MAX)),
        Some("u-int32") => ("uint32", u64::from(u32::MAX)),
        Some("u-int64") => ("uint64", u64::MAX),
        _ => return,
    };
    schema.insert("format".into(), format.into());
    schema.entry("maximum").or_insert(most.into());
}

/// A parameter is there or not; it is never null.
fn plain_parameter(parameter: &mut Map<String, Value>) {
    if !parameter.contains_key("in") {
        return;
    }
    let Some(schema) = parameter.get_mut("schema") else { return };
    if let Some(kinds) = schema["type"].as_array() {
        let kind = kinds.iter().find(|kind| *kind != "null").cloned();
        schema["type"] = kind.unwrap_or_default();
    } else if let Some(choices) = schema["oneOf"].as_array() {
        let choice = choices.iter().find(|choice| choice["type"] != "null").cloned();
        *schema = choice.unwrap_or_default();
    }
}

/// A part that allows no other keys than its own excludes those of the whole, so parts become one
/// with it.
fn merge_parts(schemas: &mut Map<String, Value>) {
    let parts = schemas.clone();
    for schema in schemas.values_mut() {
        merge(&parts, schema);
    }
}

fn merge(parts: &Map<String, Value>, schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| merge(parts, item)),
        Value::Object(map) => {
            if let Some(Value::Array(all)) = map.remove("allOf") {
                for part in all {
                    absorb(map, resolved(parts, part));
                }
            }
            map.values_mut().for_each(|value| merge(parts, value));
        }
        _ => {}
    }
}

/// The part itself, in place of its name.
fn resolved(parts: &Map<String, Value>, part: Value) -> Value {
    let name = part["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    let mut part = name.and_then(|name| parts.get(name)).cloned().unwrap_or(part);
    merge(parts, &mut part);
    part
}

fn absorb(whole: &mut Map<String, Value>, part: Value) {
    let Value::Object(part) = part else { return };
    for (key, value) in part {
        match (whole.get_mut(&key), value) {
            (Some(Value::Object(has)), Value::Object(more)) => has.extend(more),
            (Some(Value::Array(has)), Value::Array(more)) => has.extend(more),
            (Some(_), _) => {}
            (None, value) => drop(whole.insert(key, value)),
        }
    }
}

/// A pace is one of these, or the pool's.
fn forbid_pairs(schemas: &mut Map<String, Value>) {
    for name in ["DrainChange", "DrainOrder", "DrainStep"] {
        let both = json!({
            "required": ["over", "rate"],
            "properties": { "over": { "type": "string" }, "rate": { "type": "string" } },
        });
        if let Some(schema) = schemas.get_mut(name) {
            schema["not"] = both;
        }
    }
}

fn share_refusals(document: &mut Value) {
    let problem = serde_json::to_value(Problem::schema()).unwrap_or_default();
    document["components"]["schemas"]["Problem"] = problem;
    let mut responses = Map::new();
    for (status, name, description) in refusals::ALL {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        let mut response = json!({
            "description": description,
            "content": { "application/problem+json": { "schema": schema } },
        });
        for (header, meaning) in refusals::headers(status) {
            response["headers"][header] =
                json!({ "description": meaning, "schema": { "type": "string" } });
        }
        responses.insert(name.into(), response);
    }
    document["components"]["responses"] = responses.into();
}

/// What the guard says is the same everywhere, save that probes need no token.
fn add_refusals(operation: &mut Map<String, Value>) {
    let is_open = operation.get("security").is_some();
    let guards: &[u16] = if is_open { &[403, 429] } else { &[401, 403, 429] };
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    for (status, name, _) in refusals::ALL.iter().filter(|known| guards.contains(&known.0)) {
        let shared = json!({ "$ref": format!("#/components/responses/{name}") });
        responses.entry(status.to_string()).or_insert(shared);
    }
}

/// A body that only says on what terms a change is asked for need not be there.
fn free_terms(operation: &mut Map<String, Value>) {
    let Some(body) = operation.get_mut("requestBody") else { return };
    let schema = &body["content"]["application/json"]["schema"]["$ref"];
    if schema == "#/components/schemas/ChangeTerms" {
        body["required"] = false.into();
    }
}
