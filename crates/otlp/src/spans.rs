//! Records as spans, in OTLP's JSON form: one of a server for each request, and below it one of a client
//! for each attempt. Names and attributes are those of the semantic conventions for HTTP; what they do
//! not know is called `tidegate.`.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tidegate_worker::{Attempted, Record};

use crate::Settings;

/// Longer texts of a client's are cut.
const MAX_TEXT: usize = 1_024;

/// Of the protocol's `SpanKind` and `StatusCode`.
const KIND_SERVER: u8 = 2;
const KIND_CLIENT: u8 = 3;
const STATUS_ERROR: u8 = 2;

/// The body of a request that exports these records.
pub(crate) fn encode(settings: &Settings, records: &[Record]) -> Vec<u8> {
    let spans = records.iter().flat_map(spans).collect();
    let resource = Resource {
        attributes: vec![
            text("service.name", &settings.service),
            text("service.version", settings.version),
        ],
    };
    let scope = Scope { name: "tidegate", version: settings.version };
    let scope_spans = [ScopeSpans { scope, spans }];
    let request = Request { resource_spans: [ResourceSpans { resource, scope_spans }] };
    // Texts and numbers always serialise.
    serde_json::to_vec(&request).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'r> {
    resource_spans: [ResourceSpans<'r>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'r> {
    resource: Resource<'r>,
    scope_spans: [ScopeSpans<'r>; 1],
}

#[derive(Serialize)]
struct Resource<'r> {
    attributes: Vec<Attribute<'r>>,
}

#[derive(Serialize)]
struct ScopeSpans<'r> {
    scope: Scope<'r>,
    spans: Vec<Span<'r>>,
}

#[derive(Serialize)]
struct Scope<'r> {
    name: &'r str,
    version: &'r str,
}

/// Ids are hexadecimal in this form, and numbers of 64 bits are strings.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'r> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: String,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

#[derive(Serialize)]
struct Attribute<'r> {
    key: &'static str,
    value: Value<'r>,
}

#[derive(Serialize)]
enum Value<'r> {
    #[serde(rename = "stringValue")]
    Text(Cow<'r, str>),
    #[serde(rename = "intValue")]
    Number(String),
    #[serde(rename = "doubleValue")]
    Fraction(f64),
}

/// The spans of a request; none of one that is not to be exported.
fn spans(record: &Record) -> Vec<Span<'_>> {
    let (Some(trace), Some(ids)) = (record.trace, record.span) else { return Vec::new() };
    let trace = format!("{trace:032x}");
    let began = record.at;
    let mut spans = Vec::with_capacity(record.spans());
    spans.push(Span {
        trace_id: trace.clone(),
        span_id: format!("{:016x}", ids.id),
        parent_span_id: ids.parent.map(|parent| format!("{parent:016x}")),
        name: name(record),
        kind: KIND_SERVER,
        start_time_unix_nano: nanos(began),
        end_time_unix_nano: nanos(began + record.duration),
        attributes: of_request(record),
        status: (record.status >= 500).then_some(Status { code: STATUS_ERROR }),
    });
    spans.extend(record.spanned().map(|(id, tried)| Span {
        trace_id: trace.clone(),
        span_id: format!("{id:016x}"),
        parent_span_id: Some(format!("{:016x}", ids.id)),
        name: method(&record.texts.method()).unwrap_or("HTTP").to_owned(),
        kind: KIND_CLIENT,
        start_time_unix_nano: nanos(began + tried.after),
        end_time_unix_nano: nanos(began + tried.after + tried.took.unwrap_or_default()),
        attributes: of_attempt(record, tried),
        status: has_failed(tried).then_some(Status { code: STATUS_ERROR }),
    }));
    spans
}

/// A method that everybody knows; strangers may invent others.
fn method(text: &str) -> Option<&'static str> {
    const KNOWN: [&str; 9] =
        ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == text)
}

fn name(record: &Record) -> String {
    let method = method(&record.texts.method()).unwrap_or("HTTP");
    match &*record.route {
        "" => method.to_owned(),
        route => format!("{method} {route}"),
    }
}

/// As the conventions write it: `1.1`, but `2`.
fn version(protocol: &str) -> &str {
    match protocol.trim_start_matches("HTTP/") {
        "2.0" => "2",
        version => version,
    }
}

fn of_request(record: &Record) -> Vec<Attribute<'_>> {
    let texts = &record.texts;
    let uri = texts.uri();
    let path = uri.split('?').next().unwrap_or_default();
    let host = texts.host();
    let (address, port) = address(&host);
    let mut attributes = method_of(record);
    attributes.extend([
        text("url.path", cut(path)).owned(),
        text("url.scheme", if record.encryption.is_some() { "https" } else { "http" }),
        text("server.address", cut(address)).owned(),
        number("http.response.status_code", record.status.into()),
        text("http.route", &record.route),
        text("network.protocol.name", "http"),
        text("network.protocol.version", version(record.protocol)),
        text("user_agent.original", cut(&texts.user_agent())).owned(),
        text("tidegate.listener", &record.listener),
        text("tidegate.request_id", record.request_id.as_str()),
        text("tidegate.upstream", record.upstream()),
        number("tidegate.attempts", record.attempts.count() as u64),
    ]);
    attributes.extend(port.map(|port| number("server.port", port.into())));
    attributes.extend(record.client.map(|ip| text("client.address", &ip.to_string()).owned()));
    attributes.extend(record.refused.map(|refused| text("tidegate.refused", refused)));
    attributes.retain(|attribute| !attribute.is_empty());
    attributes
}

fn of_attempt<'r>(record: &'r Record, tried: &'r Attempted) -> Vec<Attribute<'r>> {
    let (address, port) = address(&tried.server);
    let mut attributes = method_of(record);
    attributes.extend([
        text("server.address", address),
        text("tidegate.upstream", record.upstream()),
        text("tidegate.server", &tried.server),
        text("tidegate.outcome", tried.outcome),
    ]);
    attributes.extend(port.map(|port| number("server.port", port.into())));
    attributes.extend(has_failed(tried).then(|| text("error.type", tried.outcome)));
    let is_last = record.attempts.last().is_some_and(|last| last.span == tried.span);
    if is_last && tried.outcome == "answered" {
        attributes.push(number("http.response.status_code", record.status.into()));
    }
    attributes.extend(tried.connect.map(|after| Attribute {
        key: "tidegate.connect_seconds",
        value: Value::Fraction(after.as_secs_f64()),
    }));
    attributes
}

/// An attempt that the client broke off is not the server's failure.
fn has_failed(tried: &Attempted) -> bool {
    !matches!(tried.outcome, "answered" | "cancelled")
}

fn method_of(record: &Record) -> Vec<Attribute<'_>> {
    const KEY: &str = "http.request.method";
    let asked = record.texts.method();
    match method(&asked) {
        Some(known) => vec![text(KEY, known)],
        None if asked.is_empty() => Vec::new(),
        None => {
            let original = text("http.request.method_original", cut(&asked)).owned();
            vec![text(KEY, "_OTHER"), original]
        }
    }
}

/// A host and its port, if one is named; brackets and what tells equal servers apart are left out.
fn address(text: &str) -> (&str, Option<u16>) {
    let text = text.split('#').next().unwrap_or_default();
    let split = text.rsplit_once(':');
    let (host, port) = match split.map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, Some(port)),
        _ => (text, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

fn text<'r>(key: &'static str, value: &'r str) -> Attribute<'r> {
    Attribute { key, value: Value::Text(value.into()) }
}

fn number<'r>(key: &'static str, value: u64) -> Attribute<'r> {
    Attribute { key, value: Value::Number(value.to_string()) }
}

impl Attribute<'_> {
    /// The same, of a text that does not last.
    fn owned<'r>(self) -> Attribute<'r> {
        let value = match self.value {
            Value::Text(text) => Value::Text(text.into_owned().into()),
            Value::Number(number) => Value::Number(number),
            Value::Fraction(fraction) => Value::Fraction(fraction),
        };
        Attribute { key: self.key, value }
    }

    fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Text(text) if text.is_empty())
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

fn nanos(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU64, NonZeroU128};

    use serde_json::json;
    use tidegate_model::Name;
    use tidegate_worker::{RequestId, Said, SpanIds, Texts};

    use super::*;

    fn record() -> Record {
        let mut record =
            Record::new(&"edge".into(), "10.0.0.1".parse().ok(), RequestId::random(0xab));
        record.at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        record.duration = Duration::from_millis(30);
        record.protocol = "HTTP/1.1";
        record.texts = Texts::of(Said {
            method: b"GET",
            host: b"shop.test:8443",
            uri: b"/a/b?token=secret",
            user_agent: b"",
            referer: b"",
        });
        record.route = "shop".into();
        record.upstream = Name::new("app").ok();
        record.status = 200;
        record.trace = NonZeroU128::new(0xfe);
        record.span = NonZeroU64::new(2).map(|id| SpanIds { id, parent: NonZeroU64::new(1) });
        record.attempts.push(tried("10.0.0.2:80", "connect_failed", 3));
        record.attempts.push(tried("[::1]:81#2", "answered", 4));
        record
    }

    fn tried(server: &str, outcome: &'static str, span: u64) -> Attempted {
        Attempted {
            server: server.into(),
            outcome,
            after: Duration::from_millis(span),
            took: Some(Duration::from_millis(1)),
            connect: Some(Duration::from_micros(500)),
            span: NonZeroU64::new(span),
        }
    }

    fn encoded(record: Record) -> serde_json::Value {
        let settings = Settings {
            host: "h".into(),
            port: 1,
            authority: "h:1".into(),
            path: "/".into(),
            service: "edge".into(),
            version: "1.2",
        };
        serde_json::from_slice(&encode(&settings, &[record])).expect("JSON")
    }

    fn attribute(span: &serde_json::Value, key: &str) -> serde_json::Value {
        let attributes = span["attributes"].as_array().expect("a list");
        let found = attributes.iter().find(|attribute| attribute["key"] == key);
        found.map(|attribute| attribute["value"].clone()).unwrap_or_default()
    }

    #[test]
    fn a_request_is_a_span_of_a_server_and_its_attempts_are_below_it() {
        let body = encoded(record());
        let whole = &body["resourceSpans"][0];
        assert_eq!(attribute(&whole["resource"], "service.name"), json!({ "stringValue": "edge" }));
        let spans = whole["scopeSpans"][0]["spans"].as_array().expect("a list");
        let told = |key: &str| spans.iter().map(|span| span[key].clone()).collect::<Vec<_>>();
        assert_eq!(told("traceId"), vec!["000000000000000000000000000000fe"; 3]);
        assert_eq!(told("spanId"), ["0000000000000002", "0000000000000003", "0000000000000004"]);
        let parents = ["0000000000000001", "0000000000000002", "0000000000000002"];
        assert_eq!(told("parentSpanId"), parents);
        assert_eq!(told("name"), ["GET shop", "GET", "GET"]);
        assert_eq!(told("kind"), [2, 3, 3]);
        let starts = ["1000000000000", "1000003000000", "1000004000000"];
        assert_eq!(told("startTimeUnixNano"), starts);
        let ends = ["1000030000000", "1000004000000", "1000005000000"];
        assert_eq!(told("endTimeUnixNano"), ends);
        assert_eq!(spans[1]["status"], json!({ "code": 2 }));
        assert_eq!((spans[0].get("status"), spans[2].get("status")), (None, None));
    }

    #[test]
    fn attributes_follow_the_conventions() {
        let body = encoded(record());
        let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
        for (span, key, value) in [
            (0, "http.request.method", json!({ "stringValue": "GET" })),
            (0, "url.path", json!({ "stringValue": "/a/b" })),
            (0, "server.address", json!({ "stringValue": "shop.test" })),
            (0, "server.port", json!({ "intValue": "8443" })),
            (0, "http.response.status_code", json!({ "intValue": "200" })),
            (0, "http.route", json!({ "stringValue": "shop" })),
            (0, "client.address", json!({ "stringValue": "10.0.0.1" })),
            (0, "network.protocol.version", json!({ "stringValue": "1.1" })),
            (0, "tidegate.upstream", json!({ "stringValue": "app" })),
            (0, "tidegate.attempts", json!({ "intValue": "2" })),
            (0, "user_agent.original", serde_json::Value::Null),
            (1, "error.type", json!({ "stringValue": "connect_failed" })),
            (1, "http.response.status_code", json!(null)),
            (2, "error.type", json!(null)),
            (2, "http.response.status_code", json!({ "intValue": "200" })),
            (2, "server.address", json!({ "stringValue": "::1" })),
            (2, "server.port", json!({ "intValue": "81" })),
            (2, "tidegate.connect_seconds", json!({ "doubleValue": 0.0005 })),
        ] {
            assert_eq!(attribute(&spans[span], key), value, "{key} of {span}");
        }
        assert!(!body.to_string().contains("secret"), "the query is not exported");
    }

    #[test]
    fn what_strangers_invent_names_no_span() {
        let mut record = record();
        let path = [b'x'; 3 * MAX_TEXT];
        record.texts = Texts::of(Said { method: b"BREW", uri: &path, ..Said::default() });
        record.route = "".into();
        let body = encoded(record);
        let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["name"], "HTTP");
        assert_eq!(attribute(span, "http.request.method"), json!({ "stringValue": "_OTHER" }));
        let original = attribute(span, "http.request.method_original");
        assert_eq!(original, json!({ "stringValue": "BREW" }));
        let path = attribute(span, "url.path")["stringValue"].as_str().map(str::len);
        assert_eq!(path, Some(MAX_TEXT));
    }
}
