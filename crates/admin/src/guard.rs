//! Who may ask (interface §3). A browser must not be able to drive the proxy, neither by a foreign
//! page nor by a name that is made to point here, so Host and Origin are checked before anything
//! else; where tokens are set, every path but the probes' wants one.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::{Choice, ConstantTimeEq};

use crate::{
    Token,
    caller::{Caller, Ends},
    context::Context,
    problem::Problem,
};

/// Lets a request through that may be answered, with its [`Caller`] as an extension.
pub(crate) async fn guard(
    State(context): State<Arc<Context>>,
    mut request: Request,
    next: Next,
) -> Response {
    match judge(&context, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => refuse(*problem),
    }
}

fn refuse(problem: Problem) -> Response {
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"tidegate\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn judge(context: &Context, request: &Request) -> Result<Caller, Box<Problem>> {
    let ends = request.extensions().get::<Ends>().copied();
    let ends = ends.ok_or_else(|| forbidden("Host", "the connection is not known"))?;
    check_host(context, request, &ends)?;
    check_origin(request.headers())?;
    let path = request.uri().path();
    let token = if path == "/healthz" || path == "/readyz" {
        None
    } else {
        check_token(&context.admin.settings.tokens, request.headers())?
    };
    Ok(Caller { peer: ends.peer, token })
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
                || context.admin.settings.hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
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

/// The name of the token the request brought, if there are any to bring.
fn check_token(tokens: &[Token], headers: &HeaderMap) -> Result<Option<Arc<str>>, Box<Problem>> {
    if tokens.is_empty() {
        return Ok(None);
    }
    let offered = headers.get(header::AUTHORIZATION).and_then(bearer);
    let reason = match offered {
        None => "\"Bearer\" and a token are wanted",
        Some(offered) => match find(tokens, offered) {
            Some(token) => return Ok(Some(token.name.as_str().into())),
            None => "not a token of this process",
        },
    };
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "this path wants a token");
    Err(Box::new(problem.with_fault("Authorization", reason)))
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

/// Looks at every token whatever the first ones say, so that the time tells nothing but lengths.
fn find<'t>(tokens: &'t [Token], offered: &[u8]) -> Option<&'t Token> {
    let mut found = None;
    for token in tokens {
        let same: Choice = token.secret.as_bytes().ct_eq(offered);
        if bool::from(same) {
            found = Some(token);
        }
    }
    found
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
    fn a_token_is_known_by_all_of_its_bytes() {
        let token = |name: &str, secret: &str| Token { name: name.into(), secret: secret.into() };
        let tokens = [token("ops", "s3cret"), token("ci", "other")];
        let name = |offered: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(offered));
            check_token(&tokens, &headers).ok().flatten().map(|name| name.to_string())
        };
        assert_eq!(name("Bearer s3cret").as_deref(), Some("ops"));
        assert_eq!(name("bearer other").as_deref(), Some("ci"));
        for wrong in
            ["Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crett", "Basic s3cret", "s3cret"]
        {
            assert_eq!(name(wrong), None, "{wrong:?}");
        }
        assert!(check_token(&[], &HeaderMap::new()).is_ok());
    }
}
