//! The head of a request on its way to a server: what the client sent and may go on, its framing, and
//! what is said of the client.

use httparse::Header;
use tidegate_h1::HeadWriter;
use tidegate_wire::{Body, Facts, is_hop_by_hop, named_by_connection, upgrade_tokens};

use super::told::{Forwarded, Told, tell, tell_trace};
use crate::{
    filled::Filled,
    head::{Marks, marked},
    lines::Lines,
};

/// How a request goes on.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'r> {
    pub(crate) target: &'r [u8],
    /// May hold marks for the server's name.
    pub(crate) host: &'r str,
    /// What its route changes.
    pub(crate) edits: Option<&'r Filled>,
}

/// Writes the request for the server and answers what belongs where in it. `source` is what the head
/// was read from.
pub(crate) fn request(
    out: &mut Vec<u8>,
    source: &[u8],
    facts: &Facts<'_>,
    headers: &[Header<'_>],
    told: &Told<'_>,
    outgoing: Outgoing<'_>,
) -> Marks {
    let mut marks = Marks::default();
    let mut head = HeadWriter::request(out, facts.method, outgoing.target);
    marked(&mut head, &mut marks.server, "Host", outgoing.host);
    let forwarded = match outgoing.edits {
        None => copy(&mut head, source, facts, headers, told, |_| false),
        Some(edits) => copy(&mut head, source, facts, headers, told, |name| edits.take(name)),
    };
    framing(&mut head, facts);
    tell(&mut head, facts, headers, told, &forwarded, outgoing.edits);
    marks.span = told.trace.and_then(|part| tell_trace(&mut head, part, outgoing.edits));
    if let Some(edits) = outgoing.edits {
        edits.write_marked(&mut head, &mut marks.server);
    }
    if let Some(tokens) = told.upgrade {
        head.field("Connection", b"Upgrade");
        head.field("Upgrade", tokens.as_bytes());
    }
    head.finish();
    marks
}

/// Passes on what the client sent, save for what is `dropped`.
fn copy(
    head: &mut HeadWriter<'_>,
    source: &[u8],
    facts: &Facts<'_>,
    headers: &[Header<'_>],
    told: &Told<'_>,
    dropped: impl Fn(&str) -> bool,
) -> Forwarded {
    let mut forwarded = Forwarded::default();
    let mut lines = Lines::of(source);
    for field in headers {
        match own(field.name) {
            _ if dropped(field.name) || is_double(field.name, &dropped) => (),
            _ if told.trace.is_some_and(|part| part.takes(field.name)) => (),
            Own::Not if is_hop_by_hop(field.name) => (),
            Own::Not if facts.connection_names && named_by_connection(headers, field.name) => (),
            Own::Not => lines.pass(head, field),
            Own::Expect if facts.expect_continue => lines.pass(head, field),
            Own::Expect | Own::Rewritten => (),
            Own::MaxForwards => {
                lines.flush(head);
                max_forwards(head, facts, field);
            }
            Own::Told if told.trusted => {
                lines.flush(head);
                forwarded.keep(head, field);
            }
            Own::Told => (),
        }
    }
    lines.flush(head);
    forwarded
}

/// Whether many servers would take a field for one that is not a client's to write: CGI, WSGI and
/// their like give both `X-Real-IP` and `X_Real_IP` to an application as `HTTP_X_REAL_IP`.
fn is_double(name: &str, dropped: impl Fn(&str) -> bool) -> bool {
    name.contains('_') && {
        let usual = name.replace('_', "-");
        own(&usual) != Own::Not || is_hop_by_hop(&usual) || dropped(&usual)
    }
}

/// Fields that are not simply passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Expect,
    MaxForwards,
    Not,
    /// From the facts: Host and the length.
    Rewritten,
    /// What is said of the client.
    Told,
}

fn own(name: &str) -> Own {
    let is = |other: &str, own| if name.eq_ignore_ascii_case(other) { own } else { Own::Not };
    match name.len() {
        4 => is("host", Own::Rewritten),
        6 => is("expect", Own::Expect),
        9 => is("forwarded", Own::Told),
        12 if name.as_bytes()[0] | 32 == b'x' => is("x-request-id", Own::Told),
        12 => is("max-forwards", Own::MaxForwards),
        14 => is("content-length", Own::Rewritten),
        15 => is("x-forwarded-for", Own::Told),
        16 => is("x-forwarded-host", Own::Told),
        17 => is("x-forwarded-proto", Own::Told),
        _ => Own::Not,
    }
}

/// Only of TRACE and OPTIONS, which nobody forwards with 0 left (RFC 9110 §7.6.2).
fn max_forwards(head: &mut HeadWriter<'_>, facts: &Facts<'_>, field: &Header<'_>) {
    if !matches!(facts.method, "OPTIONS" | "TRACE") {
        return head.field(field.name, field.value);
    }
    let hops = std::str::from_utf8(field.value).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(hops) = hops {
        head.field(field.name, itoa::Buffer::new().format(hops.saturating_sub(1)).as_bytes());
    }
}

fn framing(head: &mut HeadWriter<'_>, facts: &Facts<'_>) {
    match (facts.body, facts.declared_length) {
        (Body::Length(length), _) | (Body::None, Some(length)) => head.length(length),
        (Body::Chunked, _) => head.chunked(),
        // Some servers answer a POST without a length with 411.
        (Body::None, None) if matches!(facts.method, "POST" | "PUT" | "PATCH") => head.length(0),
        (Body::None, None) => (),
    }
}

/// The Upgrade tokens of a request that may go on, as one list; `None` without any.
pub(crate) fn allowed_upgrade(
    facts: &Facts<'_>,
    headers: &[Header<'_>],
    allowed: &[String],
) -> Option<String> {
    if !facts.upgrade {
        return None;
    }
    let may = |token: &&str| allowed.iter().any(|name| name.eq_ignore_ascii_case(token));
    let tokens: Vec<&str> = upgrade_tokens(headers).filter(may).collect();
    (!tokens.is_empty()).then(|| tokens.join(", "))
}

#[cfg(test)]
mod tests {
    use tidegate_wire::{TraceParent, judge_request};
    use tidegate_worker::{RequestId, SpanIds};

    use super::*;
    use crate::trace::Part;

    fn forwarded(head: &str, trusted: bool, upgrade: &[&str]) -> String {
        traced(head, trusted, upgrade, None)
    }

    fn traced(head: &str, trusted: bool, upgrade: &[&str], trace: Option<&Part>) -> String {
        let mut storage = [httparse::EMPTY_HEADER; 32];
        let mut request_head = httparse::Request::new(&mut storage);
        assert!(request_head.parse(head.as_bytes()).expect("it parses").is_complete());
        let facts = judge_request(&request_head).expect("it is sound");
        let id = RequestId::received(b"id").expect("an id");
        let allowed: Vec<String> = upgrade.iter().map(|token| (*token).to_owned()).collect();
        let tokens = allowed_upgrade(&facts, request_head.headers, &allowed);
        let told = Told {
            peer: "10.0.0.9".parse().ok(),
            trusted,
            id: &id,
            scheme: "http",
            upgrade: tokens.as_deref(),
            trace,
        };
        let mut out = Vec::new();
        let outgoing = Outgoing { target: facts.target, host: "s", edits: None };
        let marks =
            request(&mut out, head.as_bytes(), &facts, request_head.headers, &told, outgoing);
        assert!(marks.server.is_empty());
        let text = String::from_utf8(out).expect("text");
        if let Some(at) = marks.span {
            let told = trace.expect("a part").told.text();
            assert_eq!(text[at..at + 16], told[TraceParent::PARENT]);
        }
        let (line, rest) = text.split_once("Host: s\r\n").expect("a Host");
        assert!(line.ends_with("HTTP/1.1\r\n"));
        rest.to_owned()
    }

    const TOLD: &str = "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\nX-Request-Id: id\r\n";

    #[test]
    fn what_belongs_to_one_connection_stays_here() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\nConnection: a\r\nA: 1\r\nB: 2\r\nconnection: B, close\r\nTE: trailers\r\nC: 3\r\nKeep-Alive: 1\r\n\r\n";
        assert_eq!(forwarded(head, false, &[]), format!("C: 3\r\n{TOLD}\r\n"));
    }

    #[test]
    fn strangers_cannot_say_who_they_are_and_trusted_proxies_can() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: e\r\nForwarded: for=6.6.6.6\r\n\r\n";
        assert_eq!(forwarded(head, false, &[]), format!("{TOLD}\r\n"));
        assert_eq!(
            forwarded(head, true, &[]),
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: e\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6, 10.0.0.9\r\nX-Request-Id: id\r\n\r\n"
        );
    }

    #[test]
    fn only_allowed_upgrades_go_on() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, WebSocket\r\nHTTP2-Settings: x\r\n\r\n";
        assert_eq!(
            forwarded(head, false, &["websocket"]),
            format!("{TOLD}Connection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
        );
        assert_eq!(forwarded(head, false, &[]), format!("{TOLD}\r\n"));
    }

    #[test]
    fn framing_and_hop_counts_are_written_anew() {
        let post =
            "POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 007\r\nExpect: 100-continue\r\n\r\n";
        assert_eq!(forwarded(post, false, &[]), format!("Content-Length: 7\r\n{TOLD}\r\n"));
        let options = "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 3\r\n\r\n";
        assert_eq!(forwarded(options, false, &[]), format!("Max-Forwards: 2\r\n{TOLD}\r\n"));
    }

    #[test]
    fn what_is_said_of_a_trace_passes_unless_we_take_part() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\nTraceparent: x\r\nTracestate: y\r\n\r\n";
        let untouched = format!("Traceparent: x\r\nTracestate: y\r\n{TOLD}\r\n");
        assert_eq!(forwarded(head, false, &[]), untouched);
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let told = TraceParent::parse(text.as_bytes()).expect("it is valid");
        let span = SpanIds { id: told.parent, parent: Some(told.parent) };
        let joined = traced(head, false, &[], Some(&Part { span, told }));
        assert_eq!(joined, format!("Tracestate: y\r\n{TOLD}traceparent: {text}\r\n\r\n"));
        let span = SpanIds { parent: None, ..span };
        let begun = traced(head, false, &[], Some(&Part { span, told }));
        assert_eq!(begun, format!("{TOLD}traceparent: {text}\r\n\r\n"));
    }
}
