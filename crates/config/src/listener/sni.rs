//! `[[listener.sni]]`: a pool by the name that a client asks for in its TLS ClientHello. The bytes are
//! passed on as they came, so the name is all that there is to go by.

use std::{
    cmp::Reverse,
    hash::{Hash, Hasher},
    net::IpAddr,
};

use tidegate_model::{HostPattern, Name};

use super::protocol::SniRule;
use crate::{
    node::{FromToml, Node},
    place::{Placed, repeated},
    reader::Reader,
    route::Host,
};

/// What one table says; what is missing or wrong is `None`.
pub(super) struct RuleDraft {
    name: Option<Placed<ServerName>>,
    pub(super) upstream: Option<Placed<Name>>,
}

/// Names that a ClientHello can hold.
#[derive(PartialEq, Eq)]
struct ServerName(HostPattern);

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<RuleDraft> {
    let rules = reader.tables("sni", |reader| RuleDraft {
        name: reader.require("name"),
        upstream: reader.require("upstream"),
    });
    let names = rules.iter().filter_map(|rule| rule.name.as_ref());
    repeated(names).into_iter().for_each(|(again, first)| reader.report.twice(again, first));
    rules
}

/// In nginx's order of names: one itself before any wildcard, a longer wildcard before a shorter one.
pub(super) fn most_specific_first(drafts: Vec<RuleDraft>) -> Vec<SniRule> {
    let mut rules: Vec<_> = drafts.into_iter().filter_map(RuleDraft::rule).collect();
    rules.sort_by_key(|rule| match &rule.pattern {
        HostPattern::Exact(_) => Reverse(usize::MAX),
        HostPattern::Suffix(suffix) => Reverse(suffix.len()),
    });
    rules
}

impl RuleDraft {
    fn rule(self) -> Option<SniRule> {
        let ServerName(pattern) = self.name?.value;
        Some(SniRule { pattern, upstream: self.upstream?.value })
    }
}

impl FromToml for ServerName {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let Host(typed, pattern) = Host::from_toml(node)?;
        let address = typed.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        // RFC 6066 §3
        if address.is_ok() || typed.ends_with('.') {
            return node.fail(format!(
                "no client asks for \"{typed}\": TLS knows neither addresses here nor a dot at the end"
            ));
        }
        Some(Self(pattern))
    }
}

impl Hash for ServerName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            HostPattern::Exact(text) | HostPattern::Suffix(text) => text.hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{Place, Source};

    #[test]
    fn the_name_itself_then_the_longest_wildcard() {
        let source = Source::new(0, "t".into(), std::path::PathBuf::new(), "".into());
        let place = Place::start_of(&source, "");
        let draft = |name: &str| {
            let pattern = HostPattern::parse(name).expect("a pattern");
            let pool = Name::new("a").expect("a name");
            RuleDraft {
                name: Some(Placed { value: ServerName(pattern), place: place.clone() }),
                upstream: Some(Placed { value: pool, place: place.clone() }),
            }
        };
        let names = ["*.test", "a.test", "*.im.test", "b.im.test"];
        let ordered = most_specific_first(names.map(draft).into());
        let expected = ["a.test", "b.im.test", "*.im.test", "*.test"];
        let expected = expected.map(|name| HostPattern::parse(name).expect("a pattern"));
        assert!(ordered.iter().map(|rule| &rule.pattern).eq(&expected));
    }
}
