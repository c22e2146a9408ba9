//! `[upstream.NAME.check]`. A probe is written to the wire as it stands here, so what could break
//! its lines is refused, and so is a key that the kind of check has no use for.

use std::collections::BTreeMap;

use tidegate_model::{
    Span,
    upstream::{CheckKind, CheckSpec, CheckStart, MIN_INTERVAL, StatusPattern},
};

use crate::{
    node::{FromToml, Node, Words, is_token, positive, within},
    reader::Reader,
};

/// More probes in a row than that are a typing error: at 5 s each, an hour and a half.
const MAX_IN_A_ROW: u32 = 1000;

/// What the probe itself says of its connection, its body and its handshake.
const OWN_HEADERS: [&str; 6] = [
    "connection",
    "content-length",
    "sec-websocket-key",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
];

/// Header fields, their names in lower case.
struct Headers(BTreeMap<String, String>);

pub(super) fn read(reader: &mut Reader<'_>) -> CheckSpec {
    let headers: Option<Headers> = reader.take("headers");
    let check = CheckSpec {
        kind: reader.take("type"),
        path: reader.take_if("path", is_path),
        method: reader.take_if("method", is_method),
        headers: headers.map(|Headers(fields)| fields),
        send: reader.take_if("send", some_text),
        service: reader.take_if("service", is_service),
        expect_status: reader.take_if("expect_status", some_status),
        expect_body: reader.take("expect_body"),
        port: reader.take("port"),
        interval: reader.take_if("interval", seldom_enough),
        fast_interval: reader.take_if("fast_interval", seldom_enough),
        timeout: reader.take_if("timeout", positive),
        rise: reader.take_if("rise", within(1..=MAX_IN_A_ROW)),
        fall: reader.take_if("fall", within(1..=MAX_IN_A_ROW)),
        start: reader.take("start"),
        when_all_down: reader.take("when_all_down"),
    };
    refuse_contradictions(reader, &check);
    warn_of_the_unlikely(reader, &check);
    check
}

/// The keys that mean nothing to a check of that kind. One that is off may keep its keys.
pub(super) fn idle_keys(check: &CheckSpec, kind: CheckKind) -> Vec<&'static str> {
    use CheckKind::{Grpc, Http, Tls, Websocket};
    // Of the others, these two know a host: the authority asked for, the name in the handshake.
    let only_host = check.headers.iter().flatten().all(|(name, _)| name == "host");
    let takes_headers: &[CheckKind] =
        if only_host { &[Http, Websocket, Grpc, Tls] } else { &[Http, Websocket] };
    let keys: [(_, _, &[CheckKind]); 7] = [
        ("path", check.path.is_some(), &[Http, Websocket]),
        ("method", check.method.is_some(), &[Http]),
        ("headers", check.headers.is_some(), takes_headers),
        ("send", check.send.is_some(), &[Http]),
        ("service", check.service.as_ref().is_some_and(|name| !name.is_empty()), &[Grpc]),
        ("expect_status", check.expect_status.is_some(), &[Http]),
        ("expect_body", check.expect_body.is_some(), &[Http]),
    ];
    let idle = |(_, given, kinds): &(_, bool, &[CheckKind])| *given && !kinds.contains(&kind);
    let idle = keys.into_iter().filter(|key| kind != CheckKind::Off && idle(key));
    idle.map(|(key, ..)| key).collect()
}

fn refuse_contradictions(reader: &Reader<'_>, check: &CheckSpec) {
    let refuse = |key: &str, message: String| reader.report.error(reader.place_of(key), message);
    for key in check.kind.map(|kind| idle_keys(check, kind)).unwrap_or_default() {
        let kind = check.kind.unwrap_or_default().word();
        refuse(key, format!("means nothing to a check of type \"{kind}\""));
    }
    if check.send.is_some()
        && check.path.is_some() | check.method.is_some() | check.headers.is_some()
    {
        refuse("send", "is the whole request: no path, method or headers beside it".into());
    }
    let expects_text = check.expect_body.as_ref().is_some_and(|body| !body.is_anything());
    if expects_text && check.method.as_deref() == Some("HEAD") {
        refuse("expect_body", "an answer to HEAD has no body".into());
    }
}

fn warn_of_the_unlikely(reader: &Reader<'_>, check: &CheckSpec) {
    let warn = |key: &str, message: String| reader.report.warn(reader.place_of(key), message);
    if let Some(method) = &check.method
        && method.bytes().any(|b| b.is_ascii_lowercase())
    {
        warn("method", format!("case counts: most servers know {}", method.to_ascii_uppercase()));
    }
    if let (Some(interval), Some(fast)) = (check.interval, check.fast_interval)
        && fast > interval
    {
        warn("fast_interval", format!("is never longer than interval: taken as {interval}"));
    }
}

#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn is_path(path: &String) -> Result<(), String> {
    match path.bytes().all(|b| b.is_ascii_graphic()) {
        true if path.starts_with('/') => Ok(()),
        true => Err("a path starts with '/'".into()),
        false => Err("may only hold visible ASCII characters".into()),
    }
}

#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn is_method(method: &String) -> Result<(), String> {
    match is_token(method) {
        true => Ok(()),
        false => Err(format!("\"{}\" is no method such as GET", method.escape_debug())),
    }
}

#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn some_text(text: &String) -> Result<(), String> {
    if text.is_empty() { Err("may not be empty".into()) } else { Ok(()) }
}

#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn is_service(name: &String) -> Result<(), String> {
    match name.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(()),
        false => Err("may only hold visible ASCII characters".into()),
    }
}

#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn some_status(patterns: &Vec<StatusPattern>) -> Result<(), String> {
    match patterns.is_empty() {
        true => Err("without a status no probe could ever pass".into()),
        false => Ok(()),
    }
}

fn seldom_enough(interval: &Span) -> Result<(), String> {
    match *interval >= MIN_INTERVAL {
        true => Ok(()),
        false => Err(format!("has to be at least {MIN_INTERVAL}")),
    }
}

impl FromToml for Headers {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let mut fields = BTreeMap::new();
        let mut all_good = true;
        for entry in node.entries()? {
            let field = header(&entry);
            all_good &= field.is_some();
            if let Some((name, value)) = field
                && fields.insert(name, value).is_some()
            {
                all_good = entry.fail::<()>("given twice: case does not count").is_some();
            }
        }
        all_good.then_some(Self(fields))
    }
}

fn header(entry: &Node<'_>) -> Option<(String, String)> {
    let value = entry.text("a string")?;
    let name = entry.key.to_ascii_lowercase();
    // RFC 9110 §5.5, without the bytes that no two servers read alike.
    let visible = |b: u8| b.is_ascii_graphic() || b == b' ' || b == b'\t';
    match &*name {
        _ if !is_token(&name) => entry.fail("this is no name of a header"),
        own if OWN_HEADERS.contains(&own) => entry.fail("the probe sets this header itself"),
        _ if value.trim() != value || !value.bytes().all(visible) => {
            entry.fail("may only hold visible ASCII characters, and blanks between them")
        }
        "host" if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) => {
            entry.fail("expected the name of a host, with a port if need be")
        }
        _ => Some((name, value.to_owned())),
    }
}

impl Words for CheckKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("http", Self::Http),
        ("tcp", Self::Tcp),
        ("tls", Self::Tls),
        ("websocket", Self::Websocket),
        ("grpc", Self::Grpc),
        ("off", Self::Off),
    ];
}

impl Words for CheckStart {
    const WORDS: &'static [(&'static str, Self)] = &[("up", Self::Up), ("down", Self::Down)];
}
