//! `[[route]]`: which requests go where. See `conditions` for what they have to bring, `target` for
//! where they go, `rewrite` and `fields` for what is changed about them.

mod conditions;
mod fields;
mod pages;
mod policy;
mod rewrite;
mod target;

use std::sync::Arc;

use tidegate_model::{
    Action, HostPattern, Name, PathPattern, Route, Template,
    route::{Conditions, ErrorPages, FieldEdits, Rewrite},
};

use fields::{Of, without_server};
use target::{NO_SERVER, Target, asks_a_server};

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
    /// `None` when it is missing or wrong where requests go.
    pub(crate) route: Option<Route>,
    pub(crate) listeners: Vec<Placed<String>>,
    /// The pools it names for certain.
    pub(crate) pools: Vec<Placed<Name>>,
    pages: Pages,
}

/// What is changed about requests and answers on their way.
struct Changes {
    rewrite: Option<Rewrite>,
    request_headers: Arc<FieldEdits>,
    response_headers: Arc<FieldEdits>,
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
        conditions: Conditions::default(),
        action: Action::Upstream(
            Template::parse("default").expect("a text without variables is a template"),
        ),
        upstream_in: Vec::new(),
        fallback: None,
        rewrite: None,
        request_headers: Arc::default(),
        response_headers: Arc::default(),
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
        let conditions = conditions::read(reader);
        let target = Target::read(reader);
        let changes = Changes::read(reader);
        let upgrade = upgrade(reader);
        let max_body = policy::max_body(reader);
        let encoded_slash: Option<EncodedSlash> = reader.take("encoded_slash");
        let (policy, pages) = policy::read(reader);

        let route = target.action.map(|action| Route {
            label: label(hosts.first(), &typed),
            listeners: listeners.iter().map(|name| name.value.clone()).collect(),
            hosts: hosts.into_iter().map(|Host(_, pattern)| pattern).collect(),
            path,
            conditions,
            action,
            upstream_in: target.upstream_in,
            fallback: target.fallback,
            rewrite: changes.rewrite,
            request_headers: changes.request_headers,
            response_headers: changes.response_headers,
            upgrade,
            max_body,
            allow_encoded_slash: matches!(encoded_slash, Some(EncodedSlash::Allow)),
            policy,
        });
        Self { place: reader.place(), route, listeners, pools: target.pools, pages }
    }

    /// Reads the files that it shows.
    pub(crate) fn load_pages(&mut self, files: &mut Files, report: &Report) {
        let pages = self.pages.load(files, report);
        if let Some(route) = self.route.as_mut().filter(|_| pages != ErrorPages::default()) {
            Arc::make_mut(route.policy.get_or_insert_default()).error_pages = pages;
        }
    }
}

impl Changes {
    fn read(reader: &mut Reader<'_>) -> Self {
        let response_headers = fields::read(reader, "response_headers", Of::Responses);
        if asks_a_server(reader) {
            let rewrite = rewrite::read(reader);
            let request_headers = fields::read(reader, "request_headers", Of::Requests);
            return Self { rewrite, request_headers, response_headers };
        }
        for key in ["rewrite", "strip_prefix", "request_headers"] {
            reader.refuse(key, NO_SERVER);
        }
        let late = response_headers.lines().try_for_each(|(_, value)| without_server(value));
        if let Err(message) = late {
            reader.report.error(reader.place_of("response_headers"), message);
        }
        Self { rewrite: None, request_headers: Arc::default(), response_headers }
    }
}

/// What may open a tunnel.
fn upgrade(reader: &mut Reader<'_>) -> Vec<String> {
    if !asks_a_server(reader) {
        reader.refuse("upgrade", NO_SERVER);
        return Vec::new();
    }
    let tokens: Option<Vec<UpgradeToken>> = reader.take("upgrade");
    match tokens {
        Some(tokens) => tokens.into_iter().map(|UpgradeToken(token)| token).collect(),
        None => vec![UPGRADE.into()],
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

/// What metrics and logs call the route.
fn label(host: Option<&Host>, path: &str) -> String {
    let gap = if path.starts_with('/') { "" } else { " " };
    host.map_or_else(|| path.to_owned(), |Host(host, _)| format!("{host}{gap}{path}"))
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
