//! `request_headers` and `response_headers` of a route. Fields that others stand on, such as those
//! that say where a body ends, are not for changing.

use std::{collections::HashSet, sync::Arc};

use tidegate_model::{Template, route::FieldEdits, template::Variable};

use crate::{
    node::{FromToml, Node, is_token},
    place::Placed,
    reader::Reader,
};

/// Which messages fields are of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Requests,
    Responses,
}

/// Lines to write, each with its name.
#[derive(Default)]
pub(super) struct Lines(Vec<Placed<(String, Template)>>);

/// What changes about the fields of these messages.
pub(super) fn read(reader: &mut Reader<'_>, key: &'static str, of: Of) -> Arc<FieldEdits> {
    let edits = reader.table(key, |reader| edits(reader, of));
    Arc::new(edits.map(|table| table.value).unwrap_or_default())
}

fn edits(reader: &mut Reader<'_>, of: Of) -> FieldEdits {
    let set = lines(reader, "set", of);
    let add = lines(reader, "add", of);
    let remove: Vec<Placed<String>> = reader.take("remove").unwrap_or_default();
    for name in &remove {
        let comes =
            set.iter().chain(&add).any(|(other, _)| other.eq_ignore_ascii_case(&name.value));
        let fault = match comes {
            true => Err("it is set or added, too; to set takes out what is there anyway".into()),
            false => changeable(&name.value, of),
        };
        if let Err(message) = fault {
            reader.report.error(name.place.clone(), message);
        }
    }
    let remove = remove.into_iter().map(|name| name.value).collect();
    FieldEdits { set, add, remove }
}

/// The lines that stand under a key, those that may be there.
pub(super) fn lines(reader: &mut Reader<'_>, key: &'static str, of: Of) -> Vec<(String, Template)> {
    let Lines(lines) = reader.take(key).unwrap_or_default();
    let mut seen = HashSet::new();
    for Placed { value: (name, value), place } in &lines {
        let fault = changeable(name, of).and_then(|()| match value.as_str() {
            _ if !seen.insert(name.to_ascii_lowercase()) => {
                Err("it is there twice: names have no case".into())
            }
            text if text.chars().any(|c| c.is_control() && c != '\t') => {
                Err("no value of a field holds a control character".into())
            }
            _ => Ok(()),
        });
        if let Err(message) = fault {
            reader.report.error(place.clone(), message);
        }
    }
    lines.into_iter().map(|line| line.value).collect()
}

/// Nothing in the text is known only when a pool was chosen.
pub(super) fn without_server(template: &Template) -> Result<(), String> {
    let late = |variable: &Variable| matches!(variable, Variable::Upstream | Variable::Server);
    match template.variables().any(late) {
        true => Err("${upstream} and ${server} mean nothing here: no server is asked".into()),
        false => Ok(()),
    }
}

/// Whether a field is one that a route may change.
fn changeable(name: &str, of: Of) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    let why = match (lower.as_str(), of) {
        _ if !is_token(name) => {
            return Err(format!("\"{}\" is no name of a header", name.escape_debug()));
        }
        (
            "connection" | "keep-alive" | "proxy-connection" | "te" | "upgrade" | "http2-settings",
            _,
        ) => "it is about one connection, and never passed on",
        ("content-length" | "transfer-encoding" | "trailer", _) => "it says where the body ends",
        ("host", Of::Requests) => "the pool says what Host its servers see: host_header",
        ("expect" | "max-forwards", Of::Requests) => "it is answered for on the way",
        ("date", Of::Responses) => "it says when the answer was made",
        _ => return Ok(()),
    };
    Err(format!("\"{name}\" may not be changed: {why}"))
}

impl FromToml for Lines {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let read = |entry: Node<'_>| {
            let value = (entry.key.to_owned(), Template::from_toml(&entry)?);
            Some(Placed { value, place: entry.place() })
        };
        // All of them are read before one that failed takes the table with it.
        let read: Vec<_> = node.entries()?.map(read).collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }
}
