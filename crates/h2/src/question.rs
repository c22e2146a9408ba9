//! A request that an engine has written in the words of HTTP/1, as HTTP/2 has it (RFC 9113 §8.3.1, RFC
//! 8441 §4). It was judged before it was written; what the change of words takes is judged here.

use h2::ext::Protocol;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{self, SEC_WEBSOCKET_KEY},
    uri::Scheme,
};
use tidegate_wire::ChunkDecoder;

use crate::{
    asking::{Unanswered, Why},
    outgoing::Framing,
    text::{self, number},
    websocket,
};

const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// A request, and what goes with it.
pub(crate) struct Question {
    pub(crate) request: Request<()>,
    pub(crate) framing: Framing,
    pub(crate) wanted: Wanted,
}

/// What an answer can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Answer,
    /// It has no body.
    Head,
    /// A tunnel, which is told to whoever asked with this proof.
    Tunnel([u8; 28]),
}

impl Question {
    pub(crate) fn read(
        head: &httparse::Request<'_, '_>,
        scheme: &Scheme,
    ) -> Result<Self, Unanswered> {
        let method = Method::from_bytes(head.method.unwrap_or_default().as_bytes())
            .map_err(|_| unsayable("the method"))?;
        let of = |name: &str| {
            let is = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
            head.headers.iter().find(is).map(|field| field.value)
        };
        let is_websocket = of("upgrade").is_some_and(asks_websocket) && method == Method::GET;
        let wanted = match of(SEC_WEBSOCKET_KEY.as_str()).filter(|_| is_websocket) {
            Some(key) => Wanted::Tunnel(websocket::accept(key)),
            None if method == Method::HEAD => Wanted::Head,
            None => Wanted::Answer,
        };
        let is_tunnel = matches!(wanted, Wanted::Tunnel(_));
        let framing = match of("content-length").map(number) {
            _ if is_tunnel => Framing::Raw,
            _ if of("transfer-encoding").is_some() => Framing::Chunked(ChunkDecoder::default()),
            Some(Some(length)) if length > 0 => Framing::Length(length),
            _ => Framing::Over,
        };
        let target = head.path.unwrap_or_default().as_bytes();
        let mut request = Request::new(());
        *request.uri_mut() = uri(scheme, of("host").unwrap_or_default(), target)?;
        *request.method_mut() = method;
        *request.headers_mut() = fields(head.headers, is_tunnel);
        if is_tunnel {
            *request.method_mut() = Method::CONNECT;
            request.extensions_mut().insert(Protocol::from_static("websocket"));
        }
        Ok(Self { request, framing, wanted })
    }
}

/// Upgrades to anything else are for HTTP/1 alone: a server may always answer as if they had not been
/// asked for.
fn asks_websocket(tokens: &[u8]) -> bool {
    tokens
        .split(|byte| *byte == b',')
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// The authority is the Host.
fn uri(scheme: &Scheme, host: &[u8], target: &[u8]) -> Result<Uri, Unanswered> {
    let uri = Uri::builder().path_and_query(target);
    let uri = if host.is_empty() { uri } else { uri.scheme(scheme.clone()).authority(host) };
    uri.build().map_err(|_| unsayable("the target or the host"))
}

fn fields(fields: &[httparse::Header<'_>], is_tunnel: bool) -> HeaderMap {
    const SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
    let mut map = text::map(fields, |name| {
        let is_of_http1 = [header::HOST, header::TE, SETTINGS].contains(name);
        !is_of_http1 && (!is_tunnel || *name != SEC_WEBSOCKET_KEY)
    });
    // It was between the client and us; here it is we who take trailers, and servers of gRPC want to
    // be told.
    if map.get(header::CONTENT_TYPE).is_some_and(is_grpc) {
        map.insert(header::TE, TRAILERS);
    }
    map
}

/// Whether that is the content type of gRPC, of whatever is within.
pub(crate) fn is_grpc(content_type: &HeaderValue) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let (start, rest) = content_type.as_bytes().split_at(TYPE.len().min(content_type.len()));
    start.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

fn unsayable(what: &str) -> Unanswered {
    Unanswered::new(Why::Unsayable, format!("{what} cannot be said in HTTP/2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(head: &str) -> Result<Question, Unanswered> {
        let mut storage = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Request::new(&mut storage);
        assert!(parsed.parse(head.as_bytes()).expect("a head").is_complete());
        Question::read(&parsed, &Scheme::HTTP)
    }

    fn sound(head: &str) -> Question {
        question(head).expect("it can be said")
    }

    #[test]
    fn the_host_is_the_authority_and_fields_of_a_connection_stay() {
        let asked = sound(
            "POST /a?b=c HTTP/1.1\r\nHost: x.example:81\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\
             TE: gzip\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 3\r\n\r\n",
        );
        assert_eq!(asked.request.uri(), "http://x.example:81/a?b=c");
        assert_eq!(asked.request.method(), Method::POST);
        let fields = asked.request.headers();
        let twice: Vec<_> = fields.get_all("x-a").iter().collect();
        assert!(twice == ["1", "2"] && fields.len() == 3, "{fields:?}");
        assert_eq!(fields[header::CONTENT_LENGTH], "3");
        assert!(matches!(asked.framing, Framing::Length(3)) && asked.wanted == Wanted::Answer);
    }

    #[test]
    fn bodies_are_framed_as_they_were() {
        let framing =
            |fields: &str| sound(&format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).framing;
        assert!(matches!(framing("Transfer-Encoding: chunked\r\n"), Framing::Chunked(_)));
        assert!(matches!(framing("Content-Length: 0\r\n"), Framing::Over));
        assert!(matches!(framing(""), Framing::Over));
    }

    #[test]
    fn grpc_is_told_that_trailers_are_taken() {
        let te = |kind: &str| {
            let asked =
                sound(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n\r\n"));
            asked.request.headers().get(header::TE).cloned()
        };
        assert_eq!(te("application/grpc"), Some(TRAILERS));
        assert_eq!(te("application/grpc+proto"), Some(TRAILERS));
        assert_eq!(te("application/grpc-web"), None);
        assert_eq!(te("text/plain"), None);
    }

    #[test]
    fn a_websocket_is_an_extended_connect() {
        let asked = sound(
            "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        );
        assert_eq!(asked.request.method(), Method::CONNECT);
        assert_eq!(asked.request.uri(), "http://a/chat");
        let protocol = asked.request.extensions().get::<Protocol>().map(Protocol::as_str);
        assert_eq!(protocol, Some("websocket"));
        assert_eq!(asked.wanted, Wanted::Tunnel(*b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let names: Vec<_> = asked.request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["sec-websocket-version"]);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let why = |head: &str| question(head).err().map(|unanswered| unanswered.why);
        assert_eq!(why("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), Some(Why::Unsayable));
        assert_eq!(why("GET / HTTP/1.1\r\nHost:\r\n\r\n"), None);
        assert_eq!(why("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    }
}
