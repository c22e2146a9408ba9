//! `strip_prefix` and `rewrite` of a route: another path for the server.

use tidegate_model::route::{BadRewrite, Rewrite};

use crate::{
    node::{FromToml, Node},
    place::Placed,
    reader::Reader,
};

/// What `strip_prefix` takes away.
struct Prefix(String);

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Rewrite> {
    let prefix: Option<Prefix> = reader.take("strip_prefix");
    let replaced = reader.table("rewrite", replaced).and_then(|table| table.value);
    if reader.has("strip_prefix") && reader.has("rewrite") {
        let message = "there is strip_prefix already: a path is rewritten once";
        reader.report.error(reader.place_of("rewrite"), message);
    }
    prefix.map(|Prefix(text)| Rewrite::Strip(text)).or(replaced)
}

fn replaced(reader: &mut Reader<'_>) -> Option<Rewrite> {
    let from: Option<Placed<String>> = reader.require("from");
    let to: Option<Placed<String>> = reader.require("to");
    let (from, to) = (from?, to?);
    let (place, message) = match Rewrite::replace(&from.value, &to.value) {
        Ok(rewrite) => return Some(rewrite),
        Err(BadRewrite::From(message)) => (from.place, message),
        Err(BadRewrite::To(message)) => (to.place, message),
    };
    reader.report.error(place, message);
    None
}

impl FromToml for Prefix {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let text = node.text("a path in quotes")?;
        match text {
            "/" => node.fail("there is nothing to strip"),
            _ if !text.starts_with('/') => node.fail("a path starts with '/'"),
            _ if text.contains("//") => node.fail("slashes are merged before: it is never there"),
            _ => Some(Self(text.into())),
        }
    }
}
