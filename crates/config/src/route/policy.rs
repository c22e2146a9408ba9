//! What most routes do not set: who may use them, how often, how many at once, and what is different
//! there from their pools' own settings.

use std::sync::Arc;

use ipnet::IpNet;
use tidegate_model::{
    Size,
    route::{ConnLimit, Encoding, MAX_BODY, Nets, Policy, Rate, RateLimit},
    upstream::HashKey,
};
use toml::de::DeValue;

use super::{
    pages::Pages,
    target::{NO_SERVER, asks_a_server},
};
use crate::{
    node::{FromToml, Node, OneOrMany, Words, within},
    reader::Reader,
    upstream,
};

/// A key may have made up for all of its burst within the time that is told apart.
const MAX_BURST: u32 = 1_000_000;

/// The largest body of a request.
pub(super) struct BodyLimit(Option<Size>);

/// The policy, but for its pages: their files are read once for all routes.
pub(super) fn read(reader: &mut Reader<'_>) -> (Option<Arc<Policy>>, Pages) {
    if !asks_a_server(reader) {
        ["timeouts", "next", "compress"].into_iter().for_each(|key| reader.refuse(key, NO_SERVER));
    }
    let policy = Policy {
        allow: nets(reader, "allow"),
        deny: nets(reader, "deny"),
        rate_limit: reader.table("rate_limit", rate_limit).and_then(|table| table.value),
        conn_limit: reader.table("conn_limit", conn_limit).and_then(|table| table.value),
        timeouts: reader.table("timeouts", upstream::timeouts).map(|t| t.value).unwrap_or_default(),
        next: reader.table("next", upstream::next).map(|t| t.value).unwrap_or_default(),
        compress: reader.take_if("compress", each_once).unwrap_or_default(),
        ..Policy::default()
    };
    let pages = reader.take("error_pages").unwrap_or_default();
    ((!policy.is_empty()).then(|| Arc::new(policy)), pages)
}

/// An empty list is what there is without one.
fn nets(reader: &mut Reader<'_>, key: &'static str) -> Nets {
    let listed: Option<OneOrMany<IpNet>> = reader.take(key);
    listed.map(|OneOrMany(nets)| Nets::new(nets)).unwrap_or_default()
}

/// The order says which is preferred, so nothing is there twice.
#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn each_once(encodings: &Vec<Encoding>) -> Result<(), String> {
    match (1..encodings.len()).find(|at| encodings[..*at].contains(&encodings[*at])) {
        Some(again) => Err(format!("\"{}\" is there twice", encodings[again].word())),
        None => Ok(()),
    }
}

fn rate_limit(reader: &mut Reader<'_>) -> Option<RateLimit> {
    let key = limit_key(reader);
    let rate: Option<Rate> = reader.require("rate");
    let burst = reader.take_if("burst", within(0..=MAX_BURST)).unwrap_or(0);
    Some(RateLimit::new(key, rate?, burst))
}

fn conn_limit(reader: &mut Reader<'_>) -> Option<ConnLimit> {
    let key = limit_key(reader);
    let count = reader.require_if("count", within(1..=u32::MAX));
    Some(ConnLimit::new(key, count?))
}

fn limit_key(reader: &mut Reader<'_>) -> HashKey {
    reader.take_if("key", upstream::names_a_token).unwrap_or_default()
}

pub(super) fn max_body(reader: &mut Reader<'_>) -> Option<Size> {
    reader.take("max_body").map_or(Some(MAX_BODY), |BodyLimit(limit)| limit)
}

impl Words for Encoding {
    const WORDS: &'static [(&'static str, Self)] = &[
        (Self::Gzip.word(), Self::Gzip),
        (Self::Brotli.word(), Self::Brotli),
        (Self::Zstd.word(), Self::Zstd),
    ];
}

impl FromToml for Rate {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        node.parsed("a rate in quotes such as \"100/s\"", Self::parse)
    }
}

/// A size, or 0 for none, also without the quotes.
impl FromToml for BodyLimit {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let size = match node.value.get_ref() {
            DeValue::Integer(digits) if digits.as_str() == "0" => Size::default(),
            _ => Size::from_toml(node)?,
        };
        Some(Self((size > Size::default()).then_some(size)))
    }
}
