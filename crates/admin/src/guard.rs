//! Who may ask (interface §3). A browser must not be able to drive the proxy, neither by a foreign
//! page nor by a name that is made to point here, so Host and Origin are checked before anything
//! else; where tokens are set, every path but the probes' wants one, and it wants enough of a role.
//!
//! Every request passes through here twice, so here is also where the audit log is written.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tidegate_model::{Access, Role};

use crate::{
    audit::{Asked, is_refusal},
    caller::{Caller, Ends},
    context::Context,
    problem::Problem,
    rates::Who,
    tokens::identify,
};

/// Lets a request through that may be answered, with its [`Caller`] as an extension.
pub(crate) async fn guard(
    State(context): State<Arc<Context>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(ends) = request.extensions().get::<Ends>().copied() else {
        return forbidden("Host", "the connection is not known").into_response();
    };
    let asked = Asked::new(ends.peer, request.method(), request.uri());
    let known = who(&context, &ends, request.headers());
    match admit(&context, &request, &ends, known.as_ref()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller.clone());
            if reads(request.method()) {
                let response = next.run(request).await;
                return if is_refusal(response.status()) {
                    recorded(context, asked, Some(caller), async { response }).await
                } else {
                    response
                };
            }
            // Of its own, too: a handler that panics has left no word of what it did.
            let answer = async {
                let answering = tokio::spawn(next.run(request)).await;
                answering.unwrap_or_else(|_| panicked())
            };
            recorded(context, asked, Some(caller), answer).await
        }
        Err(problem) => {
            let response = refuse(*problem);
            recorded(context, asked, known.ok(), async { response }).await
        }
    }
}

/// Waits for the answer and writes the line about it, in a task of its own: a client that goes away
/// neither undoes a change nor keeps it out of the audit log.
async fn recorded(
    context: Arc<Context>,
    asked: Asked,
    caller: Option<Caller>,
    answer: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let Ok(place) = Arc::clone(&context.recording).acquire_owned().await else {
        return panicked();
    };
    let recording = tokio::spawn(async move {
        let response = answer.await;
        context.admin.refused.count(response.status());
        context.admin.audit.write(asked.line(caller.as_ref(), &response)).await;
        drop(place);
        response
    });
    recording.await.unwrap_or_else(|_| panicked())
}

fn panicked() -> Response {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug; the log has more")
        .into_response()
}

fn refuse(problem: Problem) -> Response {
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"tidegate\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Who asks. Where there are no tokens, whoever gets here may everything.
///
/// # Errors
/// Why it is not known, when there are tokens.
fn who(context: &Context, ends: &Ends, headers: &HeaderMap) -> Result<Caller, &'static str> {
    let settings = context.admin.settings.load();
    let caller = |token, access| Caller { peer: ends.peer, token, access };
    if settings.tokens.is_empty() {
        return Ok(caller(None, Access::default()));
    }
    let token = identify(&settings.tokens, headers)?;
    Ok(caller(Some(Arc::clone(&token.name)), token.access.clone()))
}

/// A good token is looked for before anything is counted: whatever others do at its address, its
/// bearer is counted apart from them, and only those without one can fail too often.
fn admit(
    context: &Context,
    request: &Request,
    ends: &Ends,
    known: Result<&Caller, &&'static str>,
) -> Result<Caller, Box<Problem>> {
    let has_token = known.is_ok_and(|caller| caller.token.is_some());
    let (who, now) = (Who::new(&ends.peer, has_token), Instant::now());
    let too_often = |detail| move |wait| Box::new(Problem::too_often(detail, wait));
    context.rates.requests.count(who, now).map_err(too_often("too many requests"))?;
    check_host(context, request, ends)?;
    check_origin(request.headers())?;
    let (method, path) = (request.method(), request.uri().path());
    let caller = match known {
        Ok(caller) => caller.clone(),
        Err(_) if reads(method) && (path == "/healthz" || path == "/readyz") => {
            Caller { peer: ends.peer, token: None, access: Access::of(Role::Read) }
        }
        Err(reason) => {
            let too_often = too_often("too many requests without a good token");
            context.rates.failures.count(who, now).map_err(too_often)?;
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "this path wants a token");
            return Err(Box::new(problem.with_fault("Authorization", *reason)));
        }
    };
    caller.may(needed(method, path))?;
    Ok(caller)
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The role that a request takes, whatever it concerns.
fn needed(method: &Method, path: &str) -> Role {
    let restores = || {
        let generation = path.strip_prefix("/api/v1/generations/")?.strip_suffix("/restore")?;
        Some(!generation.contains('/'))
    };
    if reads(method) {
        Role::Read
    } else if path == "/api/v1/reload" || restores() == Some(true) {
        Role::Admin
    } else {
        Role::Operate
    }
}

fn forbidden(field: &'static str, reason: &str) -> Box<Problem> {
    let detail = "this is not a request that the admin API answers";
    Box::new(Problem::new(StatusCode::FORBIDDEN, detail).with_fault(field, reason))
}

/// Host, and the authority of an absolute target, must name this process.
fn check_host(context: &Context, request: &Request, ends: &Ends) -> Result<(), Box<Problem>> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let header = hosts.next().map(|host| host.to_str().unwrap_or_default());
    if hosts.next().is_some() {
        return Err(forbidden("Host", "there are several"));
    }
    if header.is_none() && request.version() > Version::HTTP_10 {
        return Err(forbidden("Host", "there is none"));
    }
    let authority = request.uri().authority().map(Authority::as_str);
    for host in header.into_iter().chain(authority) {
        if !is_ours(context, host, ends) {
            return Err(forbidden("Host", "not a name of this process; admin.hosts adds some"));
        }
    }
    Ok(())
}

fn is_ours(context: &Context, authority: &str, ends: &Ends) -> bool {
    let Some(host) = without_port(authority) else { return false };
    match literal(host) {
        Some(ip) => {
            ip.is_loopback()
                || context.addresses.contains(&ip)
                || ends.local.is_some_and(|local| local.ip() == ip)
        }
        None => {
            host.eq_ignore_ascii_case("localhost")
                || context
                    .admin
                    .settings
                    .load()
                    .hosts
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(host))
        }
    }
}

/// The host of `host[:port]`; `None` when what follows it is no port.
fn without_port(authority: &str) -> Option<&str> {
    let end_of_literal = authority.rfind(']').map_or(0, |at| at + 1);
    let colon = authority.get(end_of_literal..)?.find(':').map(|at| end_of_literal + at);
    let (host, port) = colon.map_or((authority, ""), |at| authority.split_at(at));
    let digits = port.strip_prefix(':').unwrap_or_default();
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(host)
}

fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok().filter(IpAddr::is_ipv4),
    }
}

/// What a browser says about the page that asks: only our own pages may.
fn check_origin(headers: &HeaderMap) -> Result<(), Box<Problem>> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_ascii_lowercase();
    let host = headers.get(header::HOST).map(text);
    for origin in headers.get_all(header::ORIGIN).iter().map(text) {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if authority.is_none() || authority != host.as_deref() {
            return Err(forbidden("Origin", "pages from elsewhere may not ask"));
        }
    }
    let site = headers.get("sec-fetch-site").map(text);
    if site.as_deref() == Some("cross-site") {
        return Err(forbidden("Sec-Fetch-Site", "pages from elsewhere may not ask"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_cut_from_its_port() {
        for (authority, host) in [
            ("a.example", Some("a.example")),
            ("a.example:80", Some("a.example")),
            ("a.example:", Some("a.example")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("a:80:90", None),
            ("a:b", None),
            ("", Some("")),
        ] {
            assert_eq!(without_port(authority), host, "{authority:?}");
        }
        assert_eq!(literal("[::1]"), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(literal("::1"), None);
        assert_eq!(literal("127.1"), None);
    }

    #[test]
    fn only_pages_of_our_own_may_ask() {
        let asks = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            check_origin(&headers).is_ok()
        };
        assert!(asks(&[("host", "localhost:1")]));
        assert!(asks(&[("host", "localhost:1"), ("origin", "http://LOCALHOST:1")]));
        assert!(!asks(&[("host", "localhost:1"), ("origin", "http://localhost:2")]));
        assert!(!asks(&[("host", "localhost:1"), ("origin", "null")]));
        assert!(!asks(&[("origin", "http://a")]));
        assert!(!asks(&[("host", "a"), ("sec-fetch-site", "Cross-Site")]));
        assert!(asks(&[("host", "a"), ("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn what_a_request_takes() {
        for (method, path, role) in [
            (Method::GET, "/api/v1/reload", Role::Read),
            (Method::HEAD, "/list", Role::Read),
            (Method::POST, "/upstream/a", Role::Operate),
            (Method::DELETE, "/api/v1/drains/1", Role::Operate),
            (Method::OPTIONS, "/list", Role::Operate),
            (Method::POST, "/api/v1/reload", Role::Admin),
            (Method::POST, "/api/v1/generations/7/restore", Role::Admin),
            (Method::PUT, "/api/v1/generations/x/restore", Role::Admin),
            (Method::POST, "/api/v1/generations/restore", Role::Operate),
            (Method::POST, "/api/v1/upstreams/a/restore", Role::Operate),
        ] {
            assert_eq!(needed(&method, path), role, "{method} {path}");
        }
    }
}
