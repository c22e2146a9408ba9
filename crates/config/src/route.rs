//! `[[route]]`: which requests go to which pool.

mod pages;
mod policy;

use std::sync::Arc;

use tidegate_model::{
    HostPattern, Name, PathPattern, Route, Template, route::ErrorPages, template::Variable,
};

use crate::{
    node::{FromToml, Node, OneOrMany, Words, is_token},
    place::{Place, Placed, Report},
    reader::Reader,
};

pub(crate) use pages::{Files, Pages};

/// What may open a tunnel unless a route says otherwise.
const UPGRADE: &str = "websocket";

/// Stars in a pattern of pool names. To match takes the length of a name to this power, and the
/// name may be a stranger's.
const MAX_STARS: usize = 2;

/// What a file says, with the places that checks across sections need.
pub(crate) struct RouteDraft {
    pub(crate) place: Place,
    /// `None` when the upstream is missing or wrong.
    pub(crate) route: Option<Route>,
    pub(crate) listeners: Vec<Placed<String>>,
    /// The pools it names for certain.
    pub(crate) pools: Vec<Placed<Name>>,
    pages: Pages,
}

/// Where a route's requests go.
struct Target {
    upstream: Option<Placed<Template>>,
    upstream_in: Vec<String>,
    fallback: Option<Placed<Name>>,
}

#[derive(Clone, Copy)]
enum EncodedSlash {
    Allow,
    Deny,
}

/// A host pattern as typed and as meant.
pub(crate) struct Host(pub(crate) String, pub(crate) HostPattern);

/// A path pattern as typed and as meant.
struct Path(String, PathPattern);

/// A pattern of pool names.
pub(crate) struct PoolPattern(pub(crate) String);

/// An upgrade token in lower case.
struct UpgradeToken(String);

/// Every request to the pool `default`, whatever its size: there is no file to say so in.
pub(crate) fn catch_all() -> Route {
    Route {
        label: "/".into(),
        listeners: Vec::new(),
        hosts: Vec::new(),
        path: PathPattern::Prefix("/".into()),
        upstream: Template::parse("default").expect("a text without variables is a template"),
        upstream_in: Vec::new(),
        fallback: None,
        upgrade: vec![UPGRADE.into()],
        max_body: None,
        allow_encoded_slash: false,
        policy: None,
    }
}

impl RouteDraft {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let listeners: Vec<Placed<String>> = list(reader, "listener");
        let hosts: Vec<Host> = list(reader, "host");
        let Path(typed, path) = reader.take("path").unwrap_or_else(Path::any);
        let target = Target::read(reader);
        let upgrade: Option<Vec<UpgradeToken>> = reader.take("upgrade");
        let max_body = policy::max_body(reader);
        let encoded_slash: Option<EncodedSlash> = reader.take("encoded_slash");
        let (policy, pages) = policy::read(reader);

        let pools = target.pools();
        let route = target.upstream.map(|upstream| Route {
            label: label(hosts.first(), &typed),
            listeners: listeners.iter().map(|name| name.value.clone()).collect(),
            hosts: hosts.into_iter().map(|Host(_, pattern)| pattern).collect(),
            path,
            upstream: upstream.value,
            upstream_in: target.upstream_in,
            fallback: target.fallback.map(|name| name.value),
            upgrade: match upgrade {
                Some(tokens) => tokens.into_iter().map(|UpgradeToken(token)| token).collect(),
                None => vec![UPGRADE.into()],
            },
            max_body,
            allow_encoded_slash: matches!(encoded_slash, Some(EncodedSlash::Allow)),
            policy,
        });
        if let Some(route) = &route {
            refuse_own_pool(reader, route);
        }
        Self { place: reader.place(), route, listeners, pools, pages }
    }

    /// Reads the files that it shows.
    pub(crate) fn load_pages(&mut self, files: &mut Files, report: &Report) {
        let pages = self.pages.load(files, report);
        if let Some(route) = self.route.as_mut().filter(|_| pages != ErrorPages::default()) {
            Arc::make_mut(route.policy.get_or_insert_default()).error_pages = pages;
        }
    }
}

impl Target {
    fn read(reader: &mut Reader<'_>) -> Self {
        let patterns: Vec<PoolPattern> = list(reader, "upstream_in");
        Self {
            upstream: reader.require_if("upstream", names_a_pool),
            upstream_in: patterns.into_iter().map(|PoolPattern(text)| text).collect(),
            fallback: reader.take("fallback"),
        }
    }

    /// The pools it names for certain.
    fn pools(&self) -> Vec<Placed<Name>> {
        let literal = |upstream: &Placed<Template>| {
            let name = Name::new(upstream.value.literal()?).ok()?;
            Some(Placed { value: name, place: upstream.place.clone() })
        };
        let upstream = self.upstream.as_ref().and_then(literal);
        upstream.into_iter().chain(self.fallback.clone()).collect()
    }
}

/// One value or a list of them.
fn list<T: FromToml>(reader: &mut Reader<'_>, key: &'static str) -> Vec<T> {
    reader.take_if(key, some).map(|OneOrMany(values)| values).unwrap_or_default()
}

/// A rule for [`Reader::take_if`]: an empty list would mean "any", which is not what it says.
pub(crate) fn some<T>(OneOrMany(values): &OneOrMany<T>) -> Result<(), String> {
    match values.is_empty() {
        true => Err("an empty list matches nothing; leave the key out to match everything".into()),
        false => Ok(()),
    }
}

/// A fixed pool outside the route's own `upstream_in` could never be used.
fn refuse_own_pool(reader: &Reader<'_>, route: &Route) {
    if let Some(pool) = route.upstream.literal()
        && !route.may_name(pool)
    {
        let message = format!("\"{}\" is not among upstream_in", pool.escape_debug());
        reader.report.error(reader.place_of("upstream"), message);
    }
}

/// What metrics and logs call the route.
fn label(host: Option<&Host>, path: &str) -> String {
    let gap = if path.starts_with('/') { "" } else { " " };
    host.map_or_else(|| path.to_owned(), |Host(host, _)| format!("{host}{gap}{path}"))
}

fn names_a_pool(template: &Placed<Template>) -> Result<(), String> {
    let late = |variable: &Variable| matches!(variable, Variable::Upstream | Variable::Server);
    if template.value.variables().any(late) {
        return Err("${upstream} and ${server} are not known before a pool is chosen".into());
    }
    template
        .value
        .literal()
        .map_or(Ok(()), |text| Name::new(text).map(|_| ()).map_err(|reason| reason.to_string()))
}

impl Path {
    fn any() -> Self {
        Self("/".into(), PathPattern::Prefix("/".into()))
    }
}

impl FromToml for Host {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let text = node.text("a host name in quotes")?;
        match HostPattern::parse(text) {
            Some(pattern) => Some(Self(text.into(), pattern)),
            None => node.fail(format!(
                "\"{}\" is no host such as example.com or *.example.com",
                text.escape_debug()
            )),
        }
    }
}

impl FromToml for Path {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let read = |text: &str| PathPattern::parse(text).map(|meant| Self(text.into(), meant));
        let path = node.parsed("a path in quotes", read)?;
        if let Self(typed, PathPattern::Exact(_) | PathPattern::Prefix(_)) = &path
            && ["//", "/./", "/../"].iter().any(|part| typed.contains(part))
        {
            let message = "never matches: slashes are merged and dot segments resolved before";
            node.report.warn(node.place(), message);
        }
        Some(path)
    }
}

impl FromToml for PoolPattern {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let text = node.text("a pattern of pool names in quotes")?;
        match text.matches('*').count() {
            0..=MAX_STARS => Name::new(text)
                .map_or_else(|reason| node.fail(reason), |name| Some(Self(name.as_str().into()))),
            _ => node.fail(format!("a pattern has at most {MAX_STARS} stars")),
        }
    }
}

impl FromToml for UpgradeToken {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let text = node.text("an upgrade token in quotes")?;
        // RFC 9110 §7.8: a name, and a version if need be, both tokens.
        let protocol = |text: &str| text.splitn(2, '/').all(is_token);
        match text.to_ascii_lowercase() {
            h2c if h2c == "h2c" => node.fail("h2c is never passed on (RFC 9113 §3.1)"),
            text if !protocol(&text) => {
                node.fail(format!("\"{}\" is no upgrade token", text.escape_debug()))
            }
            text => Some(Self(text)),
        }
    }
}

impl Words for EncodedSlash {
    const WORDS: &'static [(&'static str, Self)] = &[("allow", Self::Allow), ("deny", Self::Deny)];
}
