//! What is asked about: the parameters of the query made into the head of a request, which is then
//! judged as one from a client is, so that nothing is explained that would never be routed.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use axum::http::StatusCode;
use httparse::Header;
use tidegate_wire::{Facts, Refusal, is_field_value_ok, is_token, judge_request};

use crate::{ListenerTotals, problem::Problem};

/// Headers, and cookies, that may be given.
const MAX_FIELDS: usize = 100;

/// So many faults are told at once: an answer may not be far longer than its question.
const MOST_FAULTS: usize = 32;

/// A request that somebody asks about.
pub(super) struct Question {
    pub(super) listener: String,
    pub(super) client: IpAddr,
    /// By which the client comes.
    pub(super) scheme: &'static str,
    /// As it would come over a connection.
    head: Vec<u8>,
}

/// The parameters as they came.
#[derive(Default)]
struct Draft {
    /// Those that are given once.
    single: BTreeMap<&'static str, String>,
    headers: Vec<(String, String)>,
    cookies: Vec<String>,
    faults: Vec<(Cow<'static, str>, String)>,
}

const SINGLE: [&str; 6] = ["client", "host", "listener", "method", "path", "query"];

impl Question {
    /// # Errors
    /// When something is wrong with the parameters: everything that is.
    pub(super) fn read(
        parameters: Vec<(String, String)>,
        listeners: &[ListenerTotals],
    ) -> Result<Self, Problem> {
        let mut draft = Draft::default();
        for (name, value) in parameters {
            if let Err(reason) = draft.parameter(&name, value) {
                draft.faults.push((name.into(), reason));
            }
        }
        let listener = draft.checked("listener", |named| listener(listeners, named));
        let client = draft.checked("client", |ip| match ip {
            None => Ok(Ipv4Addr::LOCALHOST.into()),
            Some(ip) => ip.parse().map_err(|_| "this is no IP address".into()),
        });
        let head = draft.head();
        match (listener, client, draft.faults.is_empty()) {
            (Some((listener, scheme)), Some(client), true) => {
                Ok(Self { listener, client, scheme, head })
            }
            _ => Err(draft
                .faults
                .into_iter()
                .take(MOST_FAULTS)
                .fold(bad(), |problem, (field, reason)| problem.with_fault(field, reason))),
        }
    }

    /// Hands the request over as it is understood.
    ///
    /// # Errors
    /// When a client would be refused for it, or what `then` says.
    pub(super) fn judged<T>(
        &self,
        then: impl FnOnce(&Facts<'_>, &[Header<'_>]) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        // Host, and one line of cookies.
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS + 2];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(&self.head);
        let facts = parsed
            .map_err(|error| Refusal::of_syntax(error, &self.head))
            .and_then(|_| judge_request(&request));
        then(&facts.map_err(refused)?, request.headers)
    }
}

/// What a refusal of the request means for the parameters.
pub(super) fn refused(refusal: Refusal) -> Problem {
    let field = match refusal {
        Refusal::Connect | Refusal::TraceBody => "method",
        Refusal::Host | Refusal::HostMismatch | Refusal::HostMissing | Refusal::HostRepeated => {
            "host"
        }
        Refusal::Expectation | Refusal::Framing(_) | Refusal::TooManyFields => "header",
        _ => "path",
    };
    bad().with_fault(field, refusal.to_string())
}

fn bad() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "this is not a request that could be routed")
}

/// The listener of that name, else the first that speaks HTTP; and by which scheme it does.
fn listener(
    listeners: &[ListenerTotals],
    named: Option<&str>,
) -> Result<(String, &'static str), String> {
    let speaks_http = |listener: &&ListenerTotals| listener.protocol == "http";
    let found = match named {
        Some(name) => listeners.iter().find(|listener| listener.name == name),
        None => listeners.iter().find(speaks_http),
    };
    match (found, named) {
        (Some(listener), _) if speaks_http(&listener) => {
            let scheme = if listener.tls.is_some() { "https" } else { "http" };
            Ok((listener.name.clone(), scheme))
        }
        (Some(_), _) => Err("requests are not routed there: it is no http listener".into()),
        (None, Some(_)) => {
            let names: Vec<_> = listeners.iter().map(|listener| listener.name.as_str()).collect();
            Err(format!("there is no such listener; there are: {}", names.join(", ")))
        }
        (None, None) => Err("there is no http listener".into()),
    }
}

impl Draft {
    fn parameter(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "header" => self.header(&value),
            "cookie" => self.cookie(value),
            _ => {
                let known = SINGLE.into_iter().find(|known| *known == name);
                let known = known.ok_or_else(|| {
                    format!("unknown; there are: {}, and header and cookie", SINGLE.join(", "))
                })?;
                let before = self.single.insert(known, value);
                before.map_or(Ok(()), |_| Err("given twice".into()))
            }
        }
    }

    fn header(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once(':').ok_or("a header is NAME:VALUE")?;
        if name.eq_ignore_ascii_case("host") {
            return Err("the host has a parameter of its own".into());
        }
        if !is_token(name.as_bytes()) || !is_field_value_ok(value.as_bytes()) {
            return Err("a character that no header may hold".into());
        }
        if self.headers.len() == MAX_FIELDS {
            return Err(format!("more than {MAX_FIELDS} headers"));
        }
        self.headers.push((name.into(), value.into()));
        Ok(())
    }

    fn cookie(&mut self, text: String) -> Result<(), String> {
        if !text.contains('=') {
            return Err("a cookie is NAME=VALUE".into());
        }
        if text.contains(';') || !is_field_value_ok(text.as_bytes()) {
            return Err("a character that no cookie may hold".into());
        }
        if self.cookies.len() == MAX_FIELDS {
            return Err(format!("more than {MAX_FIELDS} cookies"));
        }
        self.cookies.push(text);
        Ok(())
    }

    /// One parameter as it is meant; its fault is kept.
    fn checked<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Option<&str>) -> Result<T, String>,
    ) -> Option<T> {
        let read = read(self.single.get(name).map(String::as_str));
        read.map_err(|reason| self.faults.push((name.into(), reason))).ok()
    }

    /// The head. What would break its lines is a fault; what remains is judged with the whole.
    fn head(&mut self) -> Vec<u8> {
        let mut part = |name: &'static str, usual: &str, is_ok: fn(&str) -> bool, wanted: &str| {
            let text = self.single.get(name).map_or(usual, String::as_str).to_owned();
            if !is_ok(&text) {
                self.faults.push((name.into(), wanted.into()));
            }
            text
        };
        let method = part("method", "GET", |text| is_token(text.as_bytes()), "this is no method");
        let path = part(
            "path",
            "/",
            |text| is_visible(text) && !text.contains('?'),
            "a path as it stands in a request: escaped, and its query in a parameter of its own",
        );
        let query = part("query", "", is_visible, "a query as it stands in a request: escaped");
        let host = part("host", "localhost", is_visible, "this is no host");
        let mark = if query.is_empty() { "" } else { "?" };
        let mut head = format!("{method} {path}{mark}{query} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in &self.headers {
            head.extend([name, ":", value, "\r\n"]);
        }
        if !self.cookies.is_empty() {
            head.extend(["Cookie: ", &self.cookies.join("; "), "\r\n"]);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// No space and no control character.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|b| b > b' ' && b != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners() -> Vec<ListenerTotals> {
        let listener = |name: &str, protocol| ListenerTotals {
            name: name.into(),
            address: String::new(),
            protocol,
            is_closed: false,
            connections_active: 0,
            connections_total: 0,
            refused: Vec::new(),
            tunnels: tidegate_worker::Tunnels::default(),
            tls: None,
            http2: crate::Http2Totals { connections: 0, streams: 0, faulty: Vec::new() },
            datagrams: None,
        };
        vec![listener("mqtt", "tcp"), listener("edge", "http"), listener("inner", "http")]
    }

    fn read(parameters: &[(&str, &str)]) -> Result<Question, Problem> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Question::read(parameters.iter().map(owned).collect(), &listeners())
    }

    #[test]
    fn what_is_not_said_is_usual() {
        let question = read(&[]).unwrap_or_else(|problem| panic!("{problem:?}"));
        assert_eq!(
            (&*question.listener, question.client.to_string()),
            ("edge", "127.0.0.1".into())
        );
        assert_eq!(question.head, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }

    #[test]
    fn a_head_says_what_was_asked() {
        let parameters = [
            ("path", "/a%20b"),
            ("query", "x=1&y"),
            ("header", "X-User: 7"),
            ("cookie", "a=b"),
            ("cookie", "c=d"),
            ("host", "Chat.example.com:81"),
        ];
        let question = read(&parameters).unwrap_or_else(|problem| panic!("{problem:?}"));
        let judged = question.judged(|facts, headers| {
            assert_eq!((facts.host, facts.path), ("Chat.example.com", &b"/a%20b"[..]));
            assert_eq!(facts.query, Some(&b"x=1&y"[..]));
            let lines: Vec<_> = headers.iter().map(|h| (h.name, h.value)).collect();
            assert_eq!(lines[1..], [("X-User", &b"7"[..]), ("Cookie", b"a=b; c=d")]);
            Ok(())
        });
        assert!(judged.is_ok());
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        for (parameter, field) in [
            (("client", "localhost"), "client"),
            (("listener", "nope"), "listener"),
            (("listener", "mqtt"), "listener"),
            (("host", "a b"), "host"),
            (("host", "a/b"), "host"),
            (("path", "/a b"), "path"),
            (("path", "/a?b"), "path"),
            (("path", "a"), "path"),
            (("query", "a#b"), "path"),
            (("method", "G T"), "method"),
            (("method", "CONNECT"), "method"),
            (("header", "x"), "header"),
            (("header", "x y: 1"), "header"),
            (("header", "x: 1\r\ny: 2"), "header"),
            (("header", "Host: a"), "header"),
            (("header", "Content-Length: x"), "header"),
            (("cookie", "a"), "cookie"),
            (("cookie", "a=b; c=d"), "cookie"),
            (("hots", "a"), "hots"),
        ] {
            let judged = read(&[parameter]).and_then(|question| question.judged(|_, _| Ok(())));
            let said = serde_json::to_value(judged.expect_err("it is wrong")).expect("JSON");
            assert_eq!(said["errors"][0]["field"], field, "{parameter:?}: {said}");
        }
        let twice = read(&[("host", "a"), ("host", "b"), ("client", "x")]);
        let said = serde_json::to_value(twice.err()).expect("JSON");
        assert_eq!(said["errors"].as_array().map(Vec::len), Some(2), "{said}");
    }
}
