//! Answers that a route gives itself, without a server: `respond` and `redirect`.

use std::sync::Arc;

use tidegate_model::{
    Route,
    route::{Redirect, Respond},
};
use tidegate_wire::escape_location;

use crate::{
    filled::{Filled, fill},
    variables::Variables,
};

/// What an answer says.
#[derive(Debug)]
pub(crate) struct Said {
    /// Besides Date and what is about the connection.
    pub(crate) fields: Vec<(String, String)>,
    /// `None`: a line of our own.
    pub(crate) body: Option<Arc<[u8]>>,
}

impl Said {
    pub(crate) fn responding(respond: &Respond, route: &Route, variables: &Variables<'_>) -> Self {
        let own =
            respond.headers.iter().map(|(name, value)| (name.clone(), fill(value, variables)));
        let mut fields: Vec<_> = own.filter(|(_, value)| !value.is_empty()).collect();
        let has_type = respond.headers.iter().any(|(name, _)| is_type(name));
        if !respond.body.is_empty() && !has_type {
            fields.insert(0, plain_text());
        }
        let body = Some(Arc::clone(&respond.body));
        Self { fields, body }.edited(route, variables)
    }

    /// `None` when it would lead nowhere.
    pub(crate) fn redirecting(
        redirect: &Redirect,
        route: &Route,
        variables: &Variables<'_>,
    ) -> Option<Self> {
        let location = escape_location(&variables.render(&redirect.location));
        if location.is_empty() {
            return None;
        }
        let fields = vec![plain_text(), ("Location".into(), location)];
        Some(Self { fields, body: None }.edited(route, variables))
    }

    /// With what the route changes about answers.
    fn edited(mut self, route: &Route, variables: &Variables<'_>) -> Self {
        if let Some(edits) = Filled::of(&route.response_headers, variables) {
            self.fields.retain(|(name, _)| !edits.take(name));
            let lines = edits.lines().map(|(name, value)| (name.to_owned(), value.to_owned()));
            self.fields.extend(lines);
        }
        self
    }
}

fn plain_text() -> (String, String) {
    ("Content-Type".into(), "text/plain; charset=utf-8".into())
}

fn is_type(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-type")
}
