//! Heads of a server's answers in the words of HTTP/1. They are judged afterwards as any other
//! server's.

use http::{HeaderMap, Response, StatusCode, header, response::Parts};

use crate::{
    question::{Wanted, is_grpc},
    text::{Told, field, is_of_connection, number, put},
};

/// The head of an answer before the one that counts.
pub(crate) fn interim(response: &Response<()>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    status(&mut out, response.status());
    fields(&mut out, response.headers(), false);
    out.extend_from_slice(b"\r\n");
    out
}

/// The head of the answer, how its body is told, and how long that is, if it is known. `ended`: nothing
/// follows it.
pub(crate) fn answer(parts: &Parts, wanted: Wanted, ended: bool) -> (Vec<u8>, Told, Option<u64>) {
    let mut out = Vec::with_capacity(512);
    if let Wanted::Tunnel(proof) = wanted
        && parts.status.is_success()
    {
        tunnel(&mut out, &parts.headers, &proof);
        return (out, Told::Tunnel, None);
    }
    let (told, length) = told(parts, wanted, ended);
    status(&mut out, parts.status);
    fields(&mut out, &parts.headers, told != Told::Chunks);
    match told {
        Told::Chunks => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // Without it, the end of the connection would be the end of the body.
        Told::Nothing
            if may_have_body(parts, wanted)
                && !parts.headers.contains_key(header::CONTENT_LENGTH) =>
        {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        Told::Nothing | Told::Length | Told::Tunnel => (),
    }
    out.extend_from_slice(b"\r\n");
    (out, told, length)
}

/// Trailers need chunks: gRPC has some whatever the length says.
fn told(parts: &Parts, wanted: Wanted, ended: bool) -> (Told, Option<u64>) {
    let length = parts.headers.get(header::CONTENT_LENGTH).map(|value| number(value.as_bytes()));
    match length {
        _ if ended || !may_have_body(parts, wanted) => (Told::Nothing, Some(0)),
        Some(Some(length)) if !parts.headers.get(header::CONTENT_TYPE).is_some_and(is_grpc) => {
            (Told::Length, Some(length))
        }
        _ => (Told::Chunks, None),
    }
}

fn may_have_body(parts: &Parts, wanted: Wanted) -> bool {
    wanted != Wanted::Head
        && ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&parts.status)
}

/// RFC 8441 §5: the success of HTTP/2 is the 101 of HTTP/1.
fn tunnel(out: &mut Vec<u8>, headers: &HeaderMap, proof: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    for (name, value) in headers {
        let is_ours = [header::CONTENT_LENGTH, header::SEC_WEBSOCKET_ACCEPT].contains(name);
        if !is_ours && !is_of_connection(name) {
            field(out, name.as_str(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"upgrade: websocket\r\nconnection: upgrade\r\n");
    field(out, "sec-websocket-accept", proof);
    out.extend_from_slice(b"\r\n");
}

fn status(out: &mut Vec<u8>, status: StatusCode) {
    let reason = status.canonical_reason().unwrap_or_default();
    put(out, &[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
}

fn fields(out: &mut Vec<u8>, headers: &HeaderMap, with_length: bool) {
    for (name, value) in headers {
        if !is_of_connection(name) && (with_length || *name != header::CONTENT_LENGTH) {
            field(out, name.as_str(), value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_as(
        status: u16,
        fields: &[(&str, &str)],
        wanted: Wanted,
        ended: bool,
    ) -> (String, Told) {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let (parts, ()) = response.body(()).expect("an answer").into_parts();
        let (text, told, _) = answer(&parts, wanted, ended);
        (String::from_utf8(text).expect("text"), told)
    }

    fn after_status(text: &str) -> &str {
        text.split_once("\r\n").expect("a line").1
    }

    #[test]
    fn an_answer_is_told_in_the_words_of_http1() {
        let (text, told) = told_as(200, &[("x", "1"), ("set-cookie", "a")], Wanted::Answer, false);
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nx: 1\r\nset-cookie: a\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        assert_eq!(told, Told::Chunks);
        let (text, told) = told_as(299, &[("content-length", "5")], Wanted::Answer, false);
        assert_eq!(text, "HTTP/1.1 299 \r\ncontent-length: 5\r\n\r\n");
        assert_eq!(told, Told::Length);
    }

    #[test]
    fn an_answer_without_a_body_says_so_where_it_could_have_one() {
        let rest = |status, fields: &[_], wanted| {
            let (text, told) = told_as(status, fields, wanted, true);
            assert_eq!(told, Told::Nothing);
            after_status(&text).to_owned()
        };
        assert_eq!(rest(200, &[], Wanted::Answer), "content-length: 0\r\n\r\n");
        assert_eq!(rest(204, &[], Wanted::Answer), "\r\n");
        assert_eq!(rest(200, &[], Wanted::Head), "\r\n");
        let length = [("content-length", "9")];
        assert_eq!(rest(200, &length, Wanted::Head), "content-length: 9\r\n\r\n");
        assert_eq!(rest(304, &length, Wanted::Answer), "content-length: 9\r\n\r\n");
        let only_trailers = [("content-type", "application/grpc"), ("grpc-status", "5")];
        assert!(rest(200, &only_trailers, Wanted::Answer).contains("grpc-status: 5\r\n"));
    }

    #[test]
    fn what_has_trailers_is_told_in_chunks() {
        let fields = [("content-type", "application/grpc"), ("content-length", "5")];
        let (text, told) = told_as(200, &fields, Wanted::Answer, false);
        assert_eq!(told, Told::Chunks);
        assert!(!text.contains("content-length"), "{text}");
    }

    #[test]
    fn a_tunnel_is_a_101_with_the_proof() {
        let wanted = Wanted::Tunnel(*b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let (text, told) = told_as(200, &[("sec-websocket-protocol", "chat")], wanted, false);
        assert_eq!(told, Told::Tunnel);
        assert_eq!(
            text,
            "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-protocol: chat\r\n\
             upgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
        let (text, told) = told_as(403, &[], wanted, true);
        assert_eq!((after_status(&text), told), ("content-length: 0\r\n\r\n", Told::Nothing));
    }

    #[test]
    fn interim_answers_have_no_framing() {
        let early = Response::builder().status(103).header("link", "</a>").body(());
        let text = interim(&early.expect("an answer"));
        assert_eq!(text, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    }
}
