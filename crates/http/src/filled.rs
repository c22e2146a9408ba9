//! A route's changes of header fields, filled in for one request while its head is still there. A
//! value that a field cannot hold, because of what a client sent, counts as absent.

use std::{borrow::Cow, sync::Arc};

use tidegate_h1::HeadWriter;
use tidegate_model::{Template, route::FieldEdits, template::Variable};
use tidegate_wire::is_field_value_ok;

use crate::{
    head::marked,
    variables::{SERVER_MARK, UPSTREAM_MARK, Variables},
};

/// Changes with the values that belong to them.
#[derive(Debug)]
pub(crate) struct Filled {
    edits: Arc<FieldEdits>,
    /// Of each line that comes; empty: it does not.
    values: Vec<String>,
}

impl Filled {
    /// `None` when there is nothing to change. What depends on the server stays a mark.
    pub(crate) fn of(edits: &Arc<FieldEdits>, variables: &Variables<'_>) -> Option<Box<Self>> {
        if edits.is_empty() {
            return None;
        }
        let values = edits.lines().map(|(_, value)| fill(value, variables)).collect();
        Some(Box::new(Self { edits: Arc::clone(edits), values }))
    }

    /// Whether the lines of that name that are there go.
    pub(crate) fn take(&self, name: &str) -> bool {
        self.edits.take(name)
    }

    /// Writes the lines that come into a request.
    pub(crate) fn write_marked(&self, head: &mut HeadWriter<'_>, marks: &mut Vec<usize>) {
        self.lines().for_each(|(name, value)| marked(head, marks, name, value));
    }

    /// Writes the lines that come into an answer, of whom it is.
    pub(crate) fn write(&self, head: &mut HeadWriter<'_>, upstream: &str, server: &str) {
        for (name, value) in self.lines() {
            head.field(name, named(value, upstream, server).as_bytes());
        }
    }

    /// Each line that comes.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = self.edits.lines().map(|(name, _)| name.as_str());
        names.zip(self.values.iter().map(String::as_str)).filter(|(_, value)| !value.is_empty())
    }
}

/// A value for a field; empty when it would be none.
pub(crate) fn fill(template: &Template, variables: &Variables<'_>) -> String {
    let mut out = String::new();
    template.render(&mut out, |variable| match variable {
        Variable::Server | Variable::Upstream => variables.value(variable),
        _ => variables.value(variable).filter(|value| is_field_value_ok(value.as_bytes())),
    });
    let is_ok =
        out.split([SERVER_MARK, UPSTREAM_MARK]).all(|text| is_field_value_ok(text.as_bytes()));
    if is_ok { out.trim_matches([' ', '\t']).to_owned() } else { String::new() }
}

fn named<'v>(value: &'v str, upstream: &str, server: &str) -> Cow<'v, str> {
    if value.contains([SERVER_MARK, UPSTREAM_MARK]) {
        value.replace(SERVER_MARK, server).replace(UPSTREAM_MARK, upstream).into()
    } else {
        value.into()
    }
}
