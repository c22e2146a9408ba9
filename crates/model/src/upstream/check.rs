//! Active health checks, as defined and as meant. Tengine's `check*` directives are read into the
//! same keys.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::ToSchema;

use super::balance::WhenAllDown;
use crate::Span;

/// The shortest interval: below it the probes of a pool are an attack on it.
pub const MIN_INTERVAL: Span = Span::from_millis(10);

/// `[upstream.NAME.check]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSpec {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<CheckKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_status: Option<Vec<StatusPattern>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_body: Option<ExpectBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fast_interval: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<CheckStart>,
    /// In place of the pool's, for as long as it has this check: Tengine's knows no other way than
    /// to fail, and what a dyups body brings leaves with its check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_all_down: Option<WhenAllDown>,
}

/// The same, with nothing left open.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub kind: CheckKind,
    pub path: String,
    pub method: String,
    /// In lower case; `host` is what it says, not the server's address, when it is there.
    pub headers: BTreeMap<String, String>,
    /// The request as it goes over the wire, instead of one made from method, path and headers
    /// (Tengine's `check_http_send`).
    pub send: Option<String>,
    /// The service asked for by `grpc`; empty: the server as a whole.
    pub service: String,
    pub expect_status: Vec<StatusPattern>,
    pub expect_body: Option<ExpectBody>,
    /// 0: the server's own.
    pub port: u16,
    /// From the beginning of one probe to that of the next.
    pub interval: Span,
    /// The same while the server is between states.
    pub fast_interval: Span,
    /// For a whole probe, connect included.
    pub timeout: Span,
    /// Probes passed in a row that bring a server back.
    pub rise: u32,
    /// Probes failed in a row that take it out.
    pub fall: u32,
    pub start: CheckStart,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// The standard health protocol, over HTTP/2.
    Grpc,
    #[default]
    Http,
    /// Not at all: for a pool that is not to have the check of `[upstream_defaults]`.
    Off,
    /// A connection.
    Tcp,
    /// A TLS handshake; the certificate is not verified.
    Tls,
    /// A handshake, a ping and its pong.
    Websocket,
}

/// What is thought of a server that was never checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStart {
    /// It gets nothing until `rise` probes have passed.
    Down,
    #[default]
    Up,
}

/// A status code, or a class of them: `204`, `2xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusPattern {
    /// 1 to 5.
    Class(u16),
    Code(u16),
}

/// What has to be in a body: a text, or after `~ ` a regular expression.
#[derive(Clone, Debug)]
pub enum ExpectBody {
    Pattern(regex::bytes::Regex),
    Text(String),
}

/// Why a text is no status pattern or no body to expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadExpectation(String);

impl CheckSpec {
    /// The check that a pool's table means, with gaps filled from the defaults' table; `None` when
    /// there is neither, or when it is off.
    pub(super) fn resolve(pool: Option<&Self>, defaults: Option<&Self>) -> Option<Check> {
        let empty = Self::default();
        let (own, base) = match (pool, defaults) {
            (None, None) => return None,
            (own, base) => (own.unwrap_or(&empty), base.unwrap_or(&empty)),
        };
        macro_rules! pick {
            ($key:ident, $built_in:expr) => {
                own.$key.clone().or_else(|| base.$key.clone()).unwrap_or_else(|| $built_in)
            };
        }
        let kind = pick!(kind, CheckKind::default());
        if kind == CheckKind::Off {
            return None;
        }
        let interval = pick!(interval, Span::from_secs(5));
        Some(Check {
            kind,
            path: pick!(path, "/".into()),
            method: pick!(method, "GET".into()),
            headers: pick!(headers, BTreeMap::new()),
            send: own.send.clone().or_else(|| base.send.clone().filter(|_| !own.makes_request())),
            service: pick!(service, String::new()),
            expect_status: pick!(
                expect_status,
                vec![StatusPattern::Class(2), StatusPattern::Class(3)]
            ),
            expect_body: own
                .expect_body
                .clone()
                .or_else(|| base.expect_body.clone())
                .filter(|body| !body.is_anything()),
            port: pick!(port, 0),
            interval,
            fast_interval: pick!(fast_interval, Span::from_secs(1)).min(interval),
            timeout: pick!(timeout, Span::from_secs(1)),
            rise: pick!(rise, 2),
            fall: pick!(fall, 3),
            start: pick!(start, CheckStart::default()),
        })
    }

    /// Whether it says anything that `send` would make void.
    fn makes_request(&self) -> bool {
        self.path.is_some() || self.method.is_some() || self.headers.is_some()
    }
}

impl Check {
    /// Whether both ask the same question, however often: what one has found out holds for the
    /// other.
    pub fn asks_as(&self, other: &Self) -> bool {
        let Self {
            kind,
            path,
            method,
            headers,
            send,
            service,
            expect_status,
            expect_body,
            port,
            interval: _,
            fast_interval: _,
            timeout: _,
            rise: _,
            fall: _,
            start: _,
        } = self;
        *kind == other.kind
            && *path == other.path
            && *method == other.method
            && *headers == other.headers
            && *send == other.send
            && *service == other.service
            && *expect_status == other.expect_status
            && *expect_body == other.expect_body
            && *port == other.port
    }

    /// Whether an answer of that status passes.
    pub fn expects(&self, status: u16) -> bool {
        self.expect_status.iter().any(|pattern| pattern.matches(status))
    }
}

impl CheckKind {
    /// The word for it in files and answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Off => "off",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Websocket => "websocket",
        }
    }
}

impl StatusPattern {
    /// # Errors
    /// When the text is neither a status code nor a class.
    pub fn parse(text: &str) -> Result<Self, BadExpectation> {
        let bad = || {
            BadExpectation(format!(
                "\"{}\" is neither a status such as 204 nor a class such as 2xx",
                text.escape_debug()
            ))
        };
        let class = text.strip_suffix("xx").and_then(|class| class.parse().ok());
        match class {
            Some(class @ 1..=5) if text.len() == 3 => Ok(Self::Class(class)),
            _ => match text.parse() {
                Ok(code @ 100..=599) if text.len() == 3 => Ok(Self::Code(code)),
                _ => Err(bad()),
            },
        }
    }

    pub fn matches(self, status: u16) -> bool {
        match self {
            Self::Class(class) => status / 100 == class,
            Self::Code(code) => status == code,
        }
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => write!(f, "{class}xx"),
            Self::Code(code) => write!(f, "{code}"),
        }
    }
}

impl ExpectBody {
    /// # Errors
    /// When what follows `~ ` is no regular expression.
    pub fn parse(text: &str) -> Result<Self, BadExpectation> {
        let pattern = |text: &str| {
            let regex = regex::bytes::Regex::new(text);
            regex.map(Self::Pattern).map_err(|error| BadExpectation(error.to_string()))
        };
        text.strip_prefix("~ ").map_or_else(|| Ok(Self::Text(text.into())), pattern)
    }

    /// The empty text, which is in every body: what takes back the text of the defaults.
    pub fn anything() -> Self {
        Self::Text(String::new())
    }

    pub fn is_anything(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    pub fn is_in(&self, body: &[u8]) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.is_match(body),
            Self::Text(_) if self.is_anything() => true,
            Self::Text(text) => body.windows(text.len()).any(|at| at == text.as_bytes()),
        }
    }
}

impl PartialEq for ExpectBody {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl fmt::Display for ExpectBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => write!(f, "~ {pattern}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for BadExpectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadExpectation {}

impl Serialize for StatusPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StatusPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl Serialize for ExpectBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExpectBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: CheckKind) -> CheckSpec {
        CheckSpec { kind: Some(kind), ..CheckSpec::default() }
    }

    #[test]
    fn a_pool_fills_its_check_from_the_defaults_or_switches_it_off() {
        let defaults =
            CheckSpec { path: Some("/ping".into()), rise: Some(5), ..spec(CheckKind::Http) };
        let own = CheckSpec { rise: Some(1), ..CheckSpec::default() };
        let check = CheckSpec::resolve(Some(&own), Some(&defaults)).expect("a check");
        assert_eq!((check.path.as_str(), check.rise, check.fall), ("/ping", 1, 3));
        assert_eq!(CheckSpec::resolve(Some(&spec(CheckKind::Off)), Some(&defaults)), None);
        assert_eq!(CheckSpec::resolve(None, None), None);
        assert!(CheckSpec::resolve(None, Some(&defaults)).is_some());
    }

    #[test]
    fn a_pool_can_take_back_what_the_defaults_send_and_expect() {
        let defaults = CheckSpec {
            send: Some("PING".into()),
            expect_body: Some(ExpectBody::Text("PONG".into())),
            ..spec(CheckKind::Http)
        };
        let check = |own| CheckSpec::resolve(Some(&own), Some(&defaults)).expect("a check");
        assert_eq!(check(CheckSpec::default()).send.as_deref(), Some("PING"));
        let own = CheckSpec {
            path: Some("/ping".into()),
            expect_body: Some(ExpectBody::anything()),
            ..CheckSpec::default()
        };
        assert_eq!((check(own.clone()).send, check(own).expect_body), (None, None));
    }

    #[test]
    fn the_fast_interval_is_never_the_longer_one() {
        let own = CheckSpec { interval: Some(Span::from_millis(200)), ..spec(CheckKind::Tcp) };
        let check = CheckSpec::resolve(Some(&own), None).expect("a check");
        assert_eq!(check.fast_interval, Span::from_millis(200));
    }

    #[test]
    fn statuses_are_codes_or_classes() {
        let pattern = |text| StatusPattern::parse(text).expect("a pattern");
        assert!(pattern("2xx").matches(204) && !pattern("2xx").matches(300));
        assert!(pattern("204").matches(204) && !pattern("204").matches(200));
        for text in ["", "2x", "6xx", "0xx", "99", "600", "+20", "2xxx", "200 "] {
            assert!(StatusPattern::parse(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn bodies_are_found_by_text_or_pattern() {
        let body = |text| ExpectBody::parse(text).expect("it reads");
        assert!(body("").is_in(b"") && body("").is_in(b"x"));
        assert!(body("ok").is_in(b"all ok here") && !body("ok").is_in(b"o k"));
        assert!(body("~ ^o+k$").is_in(b"oook") && !body("~ ^o+k$").is_in(b"okay"));
        assert!(ExpectBody::parse("~ (").is_err());
    }

    #[test]
    fn only_the_question_decides_whether_a_finding_holds() {
        let one = CheckSpec::resolve(Some(&spec(CheckKind::Http)), None).expect("a check");
        let often = Check { interval: Span::from_secs(1), rise: 9, ..one.clone() };
        let other = Check { path: "/other".into(), ..one.clone() };
        assert!(one.asks_as(&often) && !one.asks_as(&other));
    }
}
