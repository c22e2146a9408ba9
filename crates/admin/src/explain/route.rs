//! From a request to a pool: the routes one after the other, and what the one that matches names.

use std::{borrow::Cow, sync::Arc};

use serde::Serialize;
use tidegate_model::{Action, Route, Template};
use tidegate_table::{Pool, Request, Routes, Snapshot};
use tidegate_wire::{Refusal, normalize_path};
use utoipa::ToSchema;

use super::{
    protection::Protection,
    question::refused,
    taken::{Asks, HeaderChanges, RouteAnswer, SplitChoice},
    variables::Variables,
};
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
    /// What does not match: the key, and of a table the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

/// The route that matched, and where it leads.
#[derive(Serialize, ToSchema)]
#[schema(as = TakenRoute)]
pub(super) struct Taken<'e> {
    label: &'e str,
    /// What a request has to bring besides the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    asks: Option<Asks>,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<SplitChoice<'e>>,
    /// What names the pool; of a split, of the share that was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'e str>,
    /// The template, filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<&'e str>,
    fallback_used: bool,
    /// Why the pool it names does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback_because: Option<String>,
    /// The answer of the route itself: no server is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<RouteAnswer>,
    /// The path as the server gets it, where that is another than the client sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rewritten: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_headers: Option<HeaderChanges>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_headers: Option<HeaderChanges>,
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
    request: &Request<'_>,
) -> (Vec<Considered<'s>>, Option<(&'s Arc<str>, &'s Route)>) {
    let mut considered = Vec::new();
    for (label, route) in &routes.list {
        let because = request.mismatch(route).map(|mismatch| mismatch.to_string());
        let matches = because.is_none();
        considered.push(Considered { route: label, matches, because });
        if matches {
            return (considered, Some((label, route)));
        }
    }
    (considered, None)
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
        let mut taken = Self {
            label,
            asks: Asks::of(route),
            split: None,
            template: None,
            upstream: None,
            fallback: None,
            fallback_used: false,
            fallback_because: None,
            answer: RouteAnswer::of(&route.action, variables),
            rewritten: None,
            request_headers: HeaderChanges::of(&route.request_headers),
            response_headers: HeaderChanges::of(&route.response_headers),
            protection: route
                .policy
                .as_ref()
                .map(|policy| Protection::of(policy, variables))
                .filter(Protection::is_some),
        };
        let template = match &route.action {
            Action::Upstream(upstream) => upstream,
            Action::Split(split) => {
                let (choice, upstream) = SplitChoice::of(split, variables);
                taken.split = Some(choice);
                upstream
            }
            Action::Redirect(_) | Action::Respond(_) => return (taken, None),
        };
        let way = taken.lead(snapshot, route, template, variables.render(template), has_choice);
        (taken, way)
    }

    fn lead(
        &mut self,
        snapshot: &'s Snapshot,
        route: &'s Route,
        template: &'s Template,
        upstream: String,
        has_choice: impl Fn(&Pool) -> bool,
    ) -> Option<Way<'s>> {
        let is_literal = template.literal().is_some();
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
        self.template = Some(template.as_str());
        self.upstream = Some(upstream);
        self.fallback = fallback.map(tidegate_model::Name::as_str);
        self.fallback_used = other.is_some();
        self.fallback_because = because;
        other.or(named).map(|pool| Way { pool, asked: named.unwrap_or(pool) })
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
