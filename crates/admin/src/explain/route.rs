//! From a request to a pool: the routes one after the other, and what the one that matches names.

use std::{borrow::Cow, sync::Arc};

use serde::Serialize;
use tidegate_model::{PathPattern, Route};
use tidegate_table::{Pool, Routes, Snapshot};
use tidegate_wire::{Refusal, normalize_path};
use utoipa::ToSchema;

use super::{protection::Protection, question::refused, variables::Variables};
use crate::problem::Problem;

/// A path as routes see it.
pub(super) struct Path<'r> {
    pub(super) normal: Cow<'r, [u8]>,
    /// Whether that may pass is the route's to say.
    pub(super) has_encoded_slash: bool,
}

/// A route that was looked at.
#[derive(Serialize, ToSchema)]
#[schema(as = ConsideredRoute)]
pub(super) struct Considered<'e> {
    route: &'e str,
    matches: bool,
    /// What does not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'static str>,
}

/// The route that matched, and where it leads.
#[derive(Serialize, ToSchema)]
#[schema(as = TakenRoute)]
pub(super) struct Taken<'e> {
    label: &'e str,
    template: &'e str,
    /// The template, filled in.
    upstream: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<&'e str>,
    fallback_used: bool,
    /// Why the pool it names does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback_because: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protection: Option<Protection>,
}

/// Where a request ends up.
#[derive(Clone, Copy)]
pub(super) struct Way<'e> {
    pub(super) pool: &'e Pool,
    /// The pool by whose settings the request was read: the one the route names, if it is there.
    pub(super) asked: &'e Pool,
}

impl<'r> Path<'r> {
    /// # Errors
    /// For a path that no route is asked about.
    pub(super) fn of(raw: &'r [u8]) -> Result<Self, Problem> {
        let strict = normalize_path(raw, false);
        let has_encoded_slash = strict == Err(Refusal::EncodedSlash);
        let normal = if has_encoded_slash { normalize_path(raw, true) } else { strict };
        Ok(Self { normal: normal.map_err(refused)?, has_encoded_slash })
    }
}

/// Every route until the first that matches, and that one.
pub(super) fn walk<'s>(
    routes: &'s Routes,
    listener: &str,
    host: &str,
    path: &Path<'_>,
) -> (Vec<Considered<'s>>, Option<(&'s Arc<str>, &'s Route)>) {
    let mut considered = Vec::new();
    for (label, route) in &routes.list {
        let because = mismatch(route, listener, host, &path.normal);
        considered.push(Considered { route: label, matches: because.is_none(), because });
        if because.is_none() {
            return (considered, Some((label, route)));
        }
    }
    (considered, None)
}

/// What of a route does not match. It is asked as a whole, and again with parts left out, so that
/// it decides here as it decides for requests.
fn mismatch(route: &Route, listener: &str, host: &str, path: &[u8]) -> Option<&'static str> {
    if route.matches(listener, host, path) {
        return None;
    }
    let any_path = Route { path: PathPattern::Prefix(String::new()), ..route.clone() };
    let any_host = Route { hosts: Vec::new(), ..any_path.clone() };
    Some(if !any_host.matches(listener, host, path) {
        "listener"
    } else if !any_path.matches(listener, host, path) {
        "host"
    } else {
        "path"
    })
}

impl<'s> Taken<'s> {
    /// Where the route leads, and the pool there, if there is one. The fallback steps in for a pool
    /// that is not there, and for one of which `has_choice` says that nobody can be picked.
    pub(super) fn of(
        snapshot: &'s Snapshot,
        label: &'s str,
        route: &'s Route,
        variables: &Variables<'_>,
        has_choice: impl Fn(&Pool) -> bool,
    ) -> (Self, Option<Way<'s>>) {
        let upstream = variables.render(&route.upstream);
        let is_literal = route.upstream.literal().is_some();
        let (named, because) = if is_literal || route.may_name(&upstream) {
            match snapshot.pool(&upstream) {
                None => (None, Some(format!("there is no pool \"{upstream}\""))),
                Some(pool) if has_choice(pool) => (Some(&**pool), None),
                Some(pool) => (Some(&**pool), Some(format!("nobody in {} can serve", pool.name))),
            }
        } else {
            (None, Some(format!("the route may not name \"{upstream}\" (upstream_in)")))
        };
        let fallback = route.fallback.as_ref();
        let other = fallback.filter(|_| because.is_some());
        let other = other.and_then(|name| snapshot.pool(name.as_str())).map(|pool| &**pool);
        let taken = Self {
            label,
            template: route.upstream.as_str(),
            upstream,
            fallback: fallback.map(tidegate_model::Name::as_str),
            fallback_used: other.is_some(),
            fallback_because: because,
            protection: route
                .policy
                .as_ref()
                .map(|policy| Protection::of(policy, variables))
                .filter(Protection::is_some),
        };
        let way = other.or(named).map(|pool| Way { pool, asked: named.unwrap_or(pool) });
        (taken, way)
    }

    /// Whether the route takes requests of that client.
    pub(super) fn admits(&self) -> bool {
        self.protection.as_ref().is_none_or(|protection| protection.admits)
    }

    /// Why there is no pool.
    pub(super) fn without_pool(&self) -> String {
        let because = self.fallback_because.as_deref().unwrap_or_default();
        match self.fallback {
            Some(name) => format!("{because}, nor is there the fallback \"{name}\""),
            None => format!("{because}, and the route has no fallback"),
        }
    }
}
