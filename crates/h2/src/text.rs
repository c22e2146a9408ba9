//! Heads of HTTP/2 in the words of HTTP/1. They are judged afterwards as any other head; here no
//! judgement is made but what the change of words takes (RFC 9113 §8.2.3, §8.3.1, RFC 8441 §5).

use bytes::Bytes;
use h2::ext::Protocol;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request};

use crate::websocket;

/// How a body will be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// There is none.
    Nothing,
    /// By its Content-Length.
    Length,
    Chunks,
    /// There is none, but a tunnel instead.
    Tunnel,
}

/// Whether a field has no place in HTTP/2 (RFC 9113 §8.2.2).
pub(crate) fn is_of_connection(name: &HeaderName) -> bool {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY: HeaderName = HeaderName::from_static("proxy-connection");
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE].contains(name)
        || [KEEP_ALIVE, PROXY].contains(name)
}

/// Fields in the words of HTTP/1 as HTTP/2 has them, without a copy of each; `kept` says which go on of
/// those that have a place there.
pub(crate) fn map(
    fields: &[httparse::Header<'_>],
    kept: impl Fn(&HeaderName) -> bool,
) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    let size = fields.iter().map(|field| field.value.len()).sum();
    let mut values = Vec::with_capacity(size);
    fields.iter().for_each(|field| values.extend_from_slice(field.value));
    let mut values = Bytes::from(values);
    for field in fields {
        let value = values.split_to(field.value.len());
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(value)) else { continue };
        if !is_of_connection(&name) && kept(&name) {
            map.append(name, value);
        }
    }
    map
}

/// The head of a request, and how its body is told. `ended`: nothing follows it.
pub(crate) fn request(parts: &request::Parts, ended: bool) -> (Vec<u8>, Told) {
    let mut out = Vec::with_capacity(512);
    let protocol = parts.extensions.get::<Protocol>();
    let told = match protocol {
        Some(_) => Told::Tunnel,
        None if ended => Told::Nothing,
        None if parts.headers.contains_key(header::CONTENT_LENGTH) => Told::Length,
        None => Told::Chunks,
    };
    let method = if protocol.is_some() { &Method::GET } else { &parts.method };
    put(&mut out, &[method.as_str().as_bytes(), b" ", target(parts), b" HTTP/1.1\r\n"]);
    host(&mut out, parts);
    fields(&mut out, &parts.headers);
    if told == Told::Chunks {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if let Some(protocol) = protocol {
        field(&mut out, "upgrade", protocol.as_str().as_bytes());
        out.extend_from_slice(b"connection: upgrade\r\n");
        field(&mut out, "sec-websocket-key", &websocket::key());
    }
    out.extend_from_slice(b"\r\n");
    (out, told)
}

/// The fields after a chunked body, and the end of it.
pub(crate) fn trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    trailers.iter().for_each(|(name, value)| field(out, name.as_str(), value.as_bytes()));
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn target(parts: &request::Parts) -> &[u8] {
    let authority = || parts.uri.authority().map(|authority| authority.as_str());
    let path = parts.uri.path_and_query().map(|path| path.as_str());
    path.or_else(authority).unwrap_or("/").as_bytes()
}

/// The authority is the Host. One beside it that differs is left for whoever judges the head: two are
/// refused there.
fn host(out: &mut Vec<u8>, parts: &request::Parts) {
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    if let Some(authority) = authority {
        field(out, "host", authority);
    }
    let same = |value: &&HeaderValue| {
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(value.as_bytes()))
    };
    let others = parts.headers.get_all(header::HOST).iter().filter(|value| !same(value));
    others.for_each(|value| field(out, "host", value.as_bytes()));
}

/// All but Host; crumbs of the Cookie are put together again.
fn fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        if *name != header::HOST && *name != header::COOKIE {
            field(out, name.as_str(), value.as_bytes());
        }
    }
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if let Some(first) = crumbs.next() {
        put(out, &[b"cookie: ", first.as_bytes()]);
        crumbs.for_each(|crumb| put(out, &[b"; ", crumb.as_bytes()]));
        out.extend_from_slice(b"\r\n");
    }
}

pub(crate) fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put(out, &[name.as_bytes(), b": ", value, b"\r\n"]);
}

pub(crate) fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn text(request: Request<()>, ended: bool) -> (String, Told) {
        let (bytes, told) = super::request(&request.into_parts().0, ended);
        (String::from_utf8(bytes).expect("text"), told)
    }

    #[test]
    fn a_request_is_told_in_the_words_of_http1() {
        let request = Request::builder()
            .method("POST")
            .uri("https://a.example/x?y=1")
            .header("cookie", "a=1")
            .header("x", "1")
            .header("cookie", "b=2")
            .header("host", "A.example");
        let (text, told) = text(request.body(()).expect("a request"), false);
        assert_eq!(
            text,
            "POST /x?y=1 HTTP/1.1\r\nhost: a.example\r\nx: 1\r\ncookie: a=1; b=2\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        assert_eq!(told, Told::Chunks);
    }

    #[test]
    fn a_host_that_differs_is_not_hidden() {
        let request = Request::builder().uri("https://a/").header("host", "b");
        let (text, told) = text(request.body(()).expect("a request"), true);
        assert_eq!(text, "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n");
        assert_eq!(told, Told::Nothing);
    }

    #[test]
    fn a_known_length_needs_no_chunks() {
        let request = Request::builder().uri("https://a/").header("content-length", "3");
        let (text, told) = text(request.body(()).expect("a request"), false);
        assert!(text.ends_with("content-length: 3\r\n\r\n"), "{text}");
        assert_eq!(told, Told::Length);
    }

    #[test]
    fn an_extended_connect_is_an_upgrade() {
        let request = Request::builder().method("CONNECT").uri("https://a/chat");
        let request = request.extension(Protocol::from_static("websocket"));
        let (text, told) = text(request.body(()).expect("a request"), false);
        assert!(
            text.starts_with("GET /chat HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nconnection: upgrade\r\nsec-websocket-key: "));
        assert_eq!(told, Told::Tunnel);
    }
}
