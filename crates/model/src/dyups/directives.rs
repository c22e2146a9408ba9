//! The directives of an `upstream` block: which are applied, and what is said about the rest.

use super::{
    MAX_SERVERS,
    check::{self, Checking},
    method::Method,
    quoted,
    server::{self, number},
    time::{self, Precision},
    tokens::Directive,
};
use crate::{ServerSpec, Size, Span, UpstreamSpec};

/// Directives that nginx or Tengine take here and Tidegate does not have.
const NOT_AVAILABLE: [&str; 21] = [
    "check_fastcgi_param",
    "consistent_hash",
    "dynamic_resolve",
    "health_check",
    "iwrr",
    "least_time",
    "multi",
    "ntlm",
    "queue",
    "resolver",
    "resolver_timeout",
    "session_sticky",
    "session_sticky_hide_cookie",
    "state",
    "sticky",
    "sticky_cookie_insert",
    "upstream_conf",
    "upsync",
    "upsync_dump_path",
    "upsync_lb",
    "vnswrr",
];

/// What has been read of a body so far.
#[derive(Default)]
pub(super) struct Reading {
    /// All but the servers and the check.
    pub(super) spec: UpstreamSpec,
    pub(super) servers: Vec<ServerSpec>,
    pub(super) checking: Checking,
}

impl Reading {
    /// # Errors
    /// When nginx would refuse the directive, or Tidegate does not have it.
    pub(super) fn apply(&mut self, directive: &Directive) -> Result<(), String> {
        let Some((name, arguments)) = directive.words.split_first() else {
            return Ok(());
        };
        match name.as_slice() {
            b"server" => self.server(arguments),
            b"hash" | b"ip_hash" | b"least_conn" | b"random" => self.method(name, arguments),
            b"check" => self.checking.check(arguments),
            b"check_http_send" => self.checking.send(directive.line, arguments),
            b"check_http_expect_alive" => self.checking.expect(directive.line, arguments),
            b"check_keepalive_requests" => check::keepalive_requests(arguments),
            b"keepalive" => self.keepalive(arguments),
            b"keepalive_requests" => {
                // nginx's 0 gives every connection one request, ours any number.
                let requests = single("keepalive_requests", arguments, number::<u64>)?.max(1);
                once("keepalive_requests", &mut self.spec.keepalive_requests, requests)
            }
            b"keepalive_time" => {
                let time = single("keepalive_time", arguments, span)?;
                once("keepalive_time", &mut self.spec.keepalive_time, time)
            }
            b"keepalive_timeout" => {
                let time = single("keepalive_timeout", arguments, span)?;
                once("keepalive_timeout", &mut self.spec.keepalive_timeout, time)
            }
            b"zone" => zone(arguments),
            b"include" => Err("include: refused, a body may not read files".into()),
            other => Err(refuse(other)),
        }
    }

    fn server(&mut self, arguments: &[Vec<u8>]) -> Result<(), String> {
        if self.servers.len() == MAX_SERVERS {
            return Err(format!("more than {MAX_SERVERS} servers"));
        }
        self.servers.push(server::parse(arguments, self.spec.balance)?);
        Ok(())
    }

    /// nginx warns of a second method, and goes by it.
    fn method(&mut self, name: &[u8], arguments: &[Vec<u8>]) -> Result<(), String> {
        let method = Method::parse(name, arguments)?;
        self.spec.balance = Some(method.balance);
        self.spec.hash_key = method.hash_key;
        Ok(())
    }

    /// `keepalive N [local]`; our idle connections always belong to one pool alone.
    fn keepalive(&mut self, arguments: &[Vec<u8>]) -> Result<(), String> {
        arity("keepalive", arguments, 1, 2)?;
        if let Some(unknown) = arguments.get(1).filter(|word| *word != b"local") {
            return Err(format!("invalid keepalive parameter {}", quoted(unknown)));
        }
        let connections = value("keepalive", arguments, number::<u32>)?;
        once("keepalive", &mut self.spec.keepalive, connections)
    }
}

fn span(text: &str) -> Option<Span> {
    time::parse(text, Precision::Millis)
}

/// `zone NAME [SIZE]`: checked, and that is all.
fn zone(arguments: &[Vec<u8>]) -> Result<(), String> {
    arity("zone", arguments, 1, 2)?;
    value("zone", arguments, |name| (!name.is_empty()).then_some(()))?;
    match arguments.get(1..) {
        Some(size @ [_]) => value("zone", size, |text| Size::parse(text).ok()).map(|_| ()),
        _ => Ok(()),
    }
}

fn refuse(name: &[u8]) -> String {
    let known = NOT_AVAILABLE.iter().find(|known| known.as_bytes() == name);
    known.map_or_else(
        || format!("unknown directive {}", quoted(name)),
        |known| format!("{known}: not available yet"),
    )
}

pub(super) fn arity(
    name: &str,
    arguments: &[Vec<u8>],
    least: usize,
    most: usize,
) -> Result<(), String> {
    if (least..=most).contains(&arguments.len()) {
        return Ok(());
    }
    Err(format!("invalid number of arguments in \"{name}\" directive"))
}

/// The value of a directive with exactly one argument.
pub(super) fn single<T>(
    name: &str,
    arguments: &[Vec<u8>],
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, String> {
    arity(name, arguments, 1, 1)?;
    value(name, arguments, read)
}

/// The value of the first argument.
pub(super) fn value<T>(
    name: &str,
    arguments: &[Vec<u8>],
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, String> {
    let word = arguments.first().map(Vec::as_slice).unwrap_or_default();
    let value = std::str::from_utf8(word).ok().and_then(read);
    value.ok_or_else(|| format!("invalid value {} in \"{name}\" directive", quoted(word)))
}

fn once<T>(name: &str, slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("\"{name}\" directive is duplicate")),
    }
}
