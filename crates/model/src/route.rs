//! Routes: which requests go where, and what is changed about them on the way. Tried in file order,
//! the first match wins.

mod action;
mod condition;
mod encoding;
mod fields;
mod nets;
mod pages;
mod policy;
mod rate;
mod rewrite;

use std::{net::IpAddr, sync::Arc};

use crate::{Name, Size, template::Variable};

pub use action::{Action, Portion, Redirect, Respond, Split};
pub use condition::{Conditions, ValuePattern};
pub use fields::{FieldEdits, is_credential};
pub use rewrite::{BadRewrite, Rewrite};

/// Regular expressions are written by the operator, but by mistake too: a bound on their compiled
/// size.
const MAX_EXPRESSION: usize = 1 << 20;

pub use encoding::Encoding;
pub use nets::Nets;
pub use pages::{ErrorPages, Page};
pub use policy::{ConnLimit, Policy, RateLimit};
pub use rate::{BadRate, Rate};

/// The largest request body of a route that says nothing of it, as in nginx.
pub const MAX_BODY: Size = Size::from_bytes(1 << 20);

/// One `[[route]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// What the metrics and logs call it: its first host and its path, as typed.
    pub label: String,
    /// The names of the listeners it serves; empty: every http listener.
    pub listeners: Vec<String>,
    /// Empty: any host.
    pub hosts: Vec<HostPattern>,
    pub path: PathPattern,
    /// What else a request has to bring.
    pub conditions: Conditions,
    pub action: Action,
    /// What a template may name, as patterns with `*`; empty: any pool.
    pub upstream_in: Vec<String>,
    /// Used when the template names no pool, or one without an eligible server.
    pub fallback: Option<Name>,
    /// What becomes of the path on its way to a server.
    pub rewrite: Option<Rewrite>,
    pub request_headers: Arc<FieldEdits>,
    pub response_headers: Arc<FieldEdits>,
    /// Upgrade tokens, in lower case, that may open a tunnel.
    pub upgrade: Vec<String>,
    /// The largest request body; `None`: no limit.
    pub max_body: Option<Size>,
    /// Pass `%2F` in a path instead of refusing it.
    pub allow_encoded_slash: bool,
    /// What most routes do not set.
    pub policy: Option<Arc<Policy>>,
}

/// A host as a route names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// In lower case.
    Exact(String),
    /// `*.example.com` is kept as `.example.com`: any name that ends so and is longer.
    Suffix(String),
}

/// A path as a route names it.
#[derive(Clone, Debug)]
pub enum PathPattern {
    Exact(String),
    Prefix(String),
    Regex(regex::bytes::Regex),
}

impl Route {
    /// Whether it serves that listener.
    pub fn serves(&self, listener: &str) -> bool {
        self.listeners.is_empty() || self.listeners.iter().any(|name| name == listener)
    }

    /// Whether it is for that host, in lower case and without its port.
    pub fn is_for(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Replaces the variables that `value` knows now, in every text of the route.
    pub fn bind(&mut self, value: impl Fn(&Variable) -> Option<String>) {
        let action = self.action.templates_mut();
        let edits = [&mut self.request_headers, &mut self.response_headers];
        let edits = edits.into_iter().flat_map(|edits| Arc::make_mut(edits).templates_mut());
        action.into_iter().chain(edits).for_each(|template| template.bind(&value));
    }

    /// Limits that are as they were go on counting where they are.
    pub fn carry_on(before: &[Self], now: &mut [Self]) {
        policy::carry_on(
            before.iter().map(|route| (route.label.as_str(), route.policy.as_deref())),
            now.iter_mut().map(|route| (route.label.as_str(), &mut route.policy)),
        );
    }

    /// Whether a template of this route may name that pool.
    pub fn may_name(&self, pool: &str) -> bool {
        is_among(pool, &self.upstream_in)
    }
}

impl HostPattern {
    /// Reads `example.com` or `*.example.com`, with or without the dot of the root; `None` when it is
    /// neither.
    pub fn parse(text: &str) -> Option<Self> {
        let host = |text: &str| {
            let bare = text.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<IpAddr>().is_ok()
                || (!text.is_empty()
                    && text
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')))
        };
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some(suffix) if suffix.starts_with('.') && host(&suffix[1..]) => {
                Some(Self::Suffix(suffix.into()))
            }
            Some(_) => None,
            None => host(&text).then_some(Self::Exact(text)),
        }
    }

    /// Whether a host of that name (lower case, no port) is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

impl PathPattern {
    /// Reads a prefix, `= /exact` or `~ regex`.
    ///
    /// # Errors
    /// When a prefix or an exact path does not start with `/`, or the expression is not one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rooted = |path: &str| {
            if path.starts_with('/') {
                Ok(path.to_owned())
            } else {
                Err("a path starts with '/'".to_owned())
            }
        };
        if let Some(path) = text.strip_prefix("= ") {
            return rooted(path).map(Self::Exact);
        }
        let Some(expression) = text.strip_prefix("~ ") else {
            return rooted(text).map(Self::Prefix);
        };
        regex(expression).map(Self::Regex)
    }

    /// Whether a path, normalised, is meant.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => path.starts_with(prefix.as_bytes()),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

/// Whether a pool of that name fits one of these patterns; without any it does.
pub fn is_among(pool: &str, patterns: &[String]) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| glob(pattern.as_bytes(), pool.as_bytes()))
}

fn regex(expression: &str) -> Result<regex::bytes::Regex, String> {
    let builder = regex::bytes::RegexBuilder::new(expression).size_limit(MAX_EXPRESSION).build();
    builder.map_err(|error| error.to_string())
}

/// `*` stands for any run of bytes; ASCII case does not matter, as in pool names. At most the
/// product of both lengths in steps: a star that took too little takes one byte more, and stars
/// before it are settled.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if byte.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_whole_or_by_suffix() {
        let wild = HostPattern::parse("*.Im.example.com").expect("a pattern");
        assert!(wild.matches("a.im.example.com") && wild.matches("a.b.im.example.com"));
        assert!(!wild.matches("im.example.com") && !wild.matches("xim.example.com"));
        assert!(
            HostPattern::parse("Chat.example.com").expect("a pattern").matches("chat.example.com")
        );
        assert!(HostPattern::parse("[::1]").is_some());
        assert!(HostPattern::parse("a.com.").expect("a pattern").matches("a.com"));
        for text in ["", "*", "*x", "a b", "a/b"] {
            assert!(HostPattern::parse(text).is_none(), "{text:?} was read");
        }
    }

    #[test]
    fn paths_match_by_prefix_exactly_or_by_expression() {
        let matches = |pattern: &str, path: &str| {
            PathPattern::parse(pattern).expect("a pattern").matches(path.as_bytes())
        };
        assert!(matches("/ws/", "/ws/a") && !matches("/ws/", "/ws"));
        assert!(matches("= /ws", "/ws") && !matches("= /ws", "/ws/"));
        assert!(matches("~ ^/v[0-9]+/", "/v12/x") && !matches("~ ^/v[0-9]+/", "/va/"));
        assert!(PathPattern::parse("ws").is_err() && PathPattern::parse("~ (").is_err());
    }

    #[test]
    fn a_template_may_name_what_its_patterns_allow() {
        assert!(glob(b"Webapp_*", b"webapp_b") && glob(b"*", b"") && glob(b"a*c", b"abc"));
        assert!(glob(b"*a*b*", b"xxaxxbxx") && glob(b"a*a*a", b"aaaa") && glob(b"**", b"x"));
        assert!(!glob(b"Webapp_*", b"other") && !glob(b"a*c", b"ab") && !glob(b"", b"a"));
        assert!(!glob(&b"a*".repeat(40), &[b'a'; 39]), "and that in no time");
    }
}
