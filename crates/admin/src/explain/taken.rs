//! What the route that matched asks for, says itself, and changes about a request, as far as it
//! does.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_model::{
    Action, HostPattern, Route, Template,
    route::{Conditions, FieldEdits, Portion, Split, ValuePattern, is_credential},
};
use tidegate_wire::{Refusal, escape_location, escape_path};
use utoipa::ToSchema;

use super::variables::Variables;

const HIDDEN: &str = "(hidden)";

/// What a route asks for besides its path, as it is written.
#[derive(Serialize, ToSchema)]
#[schema(as = RouteConditions)]
pub(super) struct Asks {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listener: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    host: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    method: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    cookie: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query: BTreeMap<String, String>,
}

/// Whose share a request lies in.
#[derive(Serialize, ToSchema)]
pub(super) struct SplitChoice<'e> {
    key: String,
    /// In this request; empty: it has none, and goes to the first.
    value: String,
    /// Where it lies among all keys, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<f64>,
    to: Vec<SplitShare<'e>>,
}

/// A pool of a split.
#[derive(Serialize, ToSchema)]
struct SplitShare<'e> {
    upstream: &'e str,
    weight: u32,
    chosen: bool,
}

/// The answer of a route that asks no server.
#[derive(Serialize, ToSchema)]
pub(super) struct RouteAnswer {
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<String>,
}

/// What is changed about header fields, as it is written; credentials are hidden.
#[derive(Serialize, ToSchema)]
pub(super) struct HeaderChanges {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    set: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    add: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remove: Vec<String>,
}

impl Asks {
    /// `None`: for nothing.
    pub(super) fn of(route: &Route) -> Option<Self> {
        let Route { listeners, hosts, conditions, .. } = route;
        let host = |pattern: &HostPattern| match pattern {
            HostPattern::Exact(name) => name.clone(),
            HostPattern::Suffix(suffix) => format!("*{suffix}"),
        };
        let Conditions { methods, headers, cookies, arguments } = conditions;
        let asks = !(listeners.is_empty() && hosts.is_empty() && conditions.is_empty());
        asks.then(|| Self {
            listener: listeners.clone(),
            host: hosts.iter().map(host).collect(),
            method: methods.clone(),
            header: values(headers),
            cookie: values(cookies),
            query: values(arguments),
        })
    }
}

fn values(conditions: &[(String, ValuePattern)]) -> BTreeMap<String, String> {
    let one = |(name, value): &(String, ValuePattern)| (name.clone(), shown(name, value.typed()));
    conditions.iter().map(one).collect()
}

fn shown(name: &str, value: String) -> String {
    if is_credential(name) { HIDDEN.into() } else { value }
}

impl<'e> SplitChoice<'e> {
    /// The choice, and what names the pool.
    pub(super) fn of(split: &'e Split, variables: &Variables<'_>) -> (Self, &'e Template) {
        let value = variables.value(split.key.variable()).unwrap_or_default().into_owned();
        let place = tidegate_table::place(value.as_bytes());
        let chosen = split.portion(place);
        let share = |portion: &'e Portion| SplitShare {
            upstream: portion.upstream.as_str(),
            weight: portion.weight,
            chosen: std::ptr::eq(portion, chosen),
        };
        #[allow(clippy::cast_precision_loss)]
        let place = place.map(|place| place as f64 / u64::MAX as f64);
        let to = split.to.iter().map(share).collect();
        (Self { key: split.key.to_string(), value, place, to }, &chosen.upstream)
    }
}

impl RouteAnswer {
    /// `None`: a server is asked.
    pub(super) fn of(action: &Action, variables: &Variables<'_>) -> Option<Self> {
        match action {
            Action::Respond(respond) => Some(Self { status: respond.status, location: None }),
            Action::Redirect(redirect) => {
                let location = escape_location(&variables.render(&redirect.location));
                let status = if location.is_empty() { 400 } else { redirect.status };
                Some(Self { status, location: Some(location) })
            }
            Action::Split(_) | Action::Upstream(_) => None,
        }
    }
}

impl HeaderChanges {
    /// `None`: nothing.
    pub(super) fn of(edits: &FieldEdits) -> Option<Self> {
        let lines = |lines: &[(String, Template)]| {
            let one = |(name, value): &(String, Template)| {
                (name.clone(), shown(name, value.as_str().to_owned()))
            };
            lines.iter().map(one).collect()
        };
        let changes = || Self {
            set: lines(&edits.set),
            add: lines(&edits.add),
            remove: edits.remove.clone(),
        };
        (!edits.is_empty()).then(changes)
    }
}

/// The path for the server, where the route makes another of it; an error when that is none.
pub(super) fn rewritten(route: &Route, path: &[u8]) -> Option<Result<String, Refusal>> {
    let path = route.rewrite.as_ref()?.apply(path)?;
    let text = |path: Vec<u8>| String::from_utf8_lossy(&path).into_owned();
    Some(escape_path(&path).map(text))
}
