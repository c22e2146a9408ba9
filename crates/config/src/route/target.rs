//! Where the requests of a route go: exactly one of `upstream`, `split`, `respond` and `redirect`.

use std::sync::Arc;

use tidegate_model::{
    Action, Name, Template,
    route::{Portion, Redirect, Respond, Split},
    template::Variable,
};

use super::{
    PoolPattern,
    fields::{Of, lines, without_server},
    list,
};
use crate::{node::within, place::Placed, reader::Reader, upstream::names_a_token};

const ACTIONS: [&str; 4] = ["upstream", "split", "respond", "redirect"];

/// An answer from the file is held by every request that it is given to.
const MAX_BODY: usize = 64 * 1024;

pub(super) struct Target {
    /// `None` when it is missing or wrong.
    pub(super) action: Option<Action>,
    pub(super) upstream_in: Vec<String>,
    pub(super) fallback: Option<Name>,
    /// The pools it names for certain.
    pub(super) pools: Vec<Placed<Name>>,
}

/// Whether a server is asked, by the keys that are there.
pub(super) fn asks_a_server(reader: &Reader<'_>) -> bool {
    !["respond", "redirect"].iter().any(|key| reader.has(key))
}

/// A rule for keys that mean nothing where none is.
pub(super) const NO_SERVER: &str = "means nothing here: the route answers, and no server is asked";

impl Target {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        one_action(reader);
        let mut upstreams: Vec<Placed<Template>> = Vec::new();
        let upstream: Option<Placed<Template>> = reader.take_if("upstream", names_a_pool);
        upstreams.extend(upstream.clone());
        let split = reader.table("split", |reader| split(reader, &mut upstreams));
        let respond = reader.table("respond", respond);
        let redirect = reader.table("redirect", redirect);
        let (upstream_in, fallback) = reach(reader, &upstreams);
        let literal = |upstream: Placed<Template>| {
            let name = Name::new(upstream.value.literal()?).ok()?;
            Some(Placed { value: name, place: upstream.place })
        };
        let pools = upstreams.into_iter().filter_map(literal).chain(fallback.clone()).collect();
        let action = upstream.map(|upstream| Action::Upstream(upstream.value));
        let action = action
            .or_else(|| split?.value.map(Action::Split))
            .or_else(|| respond?.value.map(Action::Respond))
            .or_else(|| redirect?.value.map(Action::Redirect));
        Self { action, upstream_in, fallback: fallback.map(|name| name.value), pools }
    }
}

fn one_action(reader: &Reader<'_>) {
    let mut given = ACTIONS.into_iter().filter(|key| reader.has(key));
    let Some(first) = given.next() else {
        let message = "this key is required, or split, respond or redirect in its place";
        return reader.report.error(reader.place_of("upstream"), message);
    };
    for key in given {
        let message =
            format!("there is {first} already: a route has one of {}", ACTIONS.join(", "));
        reader.report.error(reader.place_of(key), message);
    }
}

/// `upstream_in` and `fallback`.
fn reach(
    reader: &mut Reader<'_>,
    upstreams: &[Placed<Template>],
) -> (Vec<String>, Option<Placed<Name>>) {
    if !asks_a_server(reader) {
        reader.refuse("upstream_in", NO_SERVER);
        reader.refuse("fallback", NO_SERVER);
        return (Vec::new(), None);
    }
    let patterns: Vec<PoolPattern> = list(reader, "upstream_in");
    let patterns: Vec<String> = patterns.into_iter().map(|PoolPattern(text)| text).collect();
    for upstream in upstreams {
        // A fixed pool outside the route's own `upstream_in` could never be used.
        if let Some(pool) = upstream.value.literal()
            && !tidegate_model::route::is_among(pool, &patterns)
        {
            let message = format!("\"{}\" is not among upstream_in", pool.escape_debug());
            reader.report.error(upstream.place.clone(), message);
        }
    }
    (patterns, reader.take("fallback"))
}

fn split(reader: &mut Reader<'_>, upstreams: &mut Vec<Placed<Template>>) -> Option<Split> {
    let key = reader.require_if("key", names_a_token);
    if !reader.has("to") {
        reader.report.error(reader.place_of("to"), "this key is required");
        return None;
    }
    let before = upstreams.len();
    let to = reader.tables("to", |reader| {
        let upstream: Option<Placed<Template>> = reader.require_if("upstream", names_a_pool);
        let weight: Option<u16> = reader.require("weight");
        upstreams.extend(upstream.clone());
        Some(Portion { upstream: upstream?.value, weight: weight?.into() })
    });
    let to: Vec<Portion> = to.into_iter().collect::<Option<_>>()?;
    if upstreams.len() > before && to.iter().all(|portion| portion.weight == 0) {
        reader.report.error(reader.place_of("to"), "one of them has to have weight");
    } else if to.is_empty() {
        reader.report.error(reader.place_of("to"), "at least one pool is needed");
    }
    Some(Split { key: key?, to })
}

fn respond(reader: &mut Reader<'_>) -> Option<Respond> {
    let status = reader.take_if("status", within(200..=599)).unwrap_or(200);
    let body: String = reader.take_if("body", short).unwrap_or_default();
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        reader.report.error(reader.place_of("body"), format!("an answer of {status} has none"));
    }
    let headers = lines(reader, "headers", Of::Responses);
    if let Err(message) = headers.iter().try_for_each(|(_, value)| without_server(value)) {
        reader.report.error(reader.place_of("headers"), message);
    }
    Some(Respond { status, body: Arc::from(body.into_bytes()), headers })
}

#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn short(body: &String) -> Result<(), String> {
    match body.len() <= MAX_BODY {
        true => Ok(()),
        false => Err("a body in the file has at most 64k: larger ones are a server's".into()),
    }
}

fn redirect(reader: &mut Reader<'_>) -> Option<Redirect> {
    let status = reader.take_if("status", |status: &u16| match status {
        301 | 302 | 303 | 307 | 308 => Ok(()),
        _ => Err("has to be 301, 302, 303, 307 or 308".into()),
    });
    let location = reader.require_if("location", |location: &Template| match location.as_str() {
        "" => Err("may not be empty".into()),
        text if text.chars().any(|c| c.is_control() || c == ' ') => {
            Err("a reference holds neither blanks nor control characters".into())
        }
        _ => without_server(location),
    });
    Some(Redirect { status: status.unwrap_or(302), location: location? })
}

pub(super) fn names_a_pool(template: &Placed<Template>) -> Result<(), String> {
    let late = |variable: &Variable| matches!(variable, Variable::Upstream | Variable::Server);
    if template.value.variables().any(late) {
        return Err("${upstream} and ${server} are not known before a pool is chosen".into());
    }
    template
        .value
        .literal()
        .map_or(Ok(()), |text| Name::new(text).map(|_| ()).map_err(|reason| reason.to_string()))
}
