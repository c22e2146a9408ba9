//! `grpc`: the standard health protocol (`grpc.health.v1.Health/Check`) over HTTP/2 with prior
//! knowledge, or over TLS. Its two messages have one field each, so they are written and read here by hand.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri, body::Incoming};
use tokio::time::Instant;

use super::{
    AGENT, Fault, Found, Subject,
    dial::Stream,
    exchange::{self, broken},
};

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// `ServingStatus.SERVING`
const SERVING: u64 = 1;
/// The answer is a few bytes.
const LONGEST_ANSWER: usize = 4 * 1024;
/// A flag and a length go before a message.
const PREFIX: usize = 5;
/// The tag of `service`: field 1, with a length before it.
const SERVICE_FIELD: u8 = 0x0a;
/// `grpc-timeout` has eight digits at most.
const MOST_MILLIS: u64 = 99_999_999;

pub(super) async fn ask(stream: Stream, subject: &Subject<'_>, deadline: Instant) -> Found {
    let request = request(subject)?;
    exchange::ask(stream, request, deadline, judge).await
}

fn request(subject: &Subject<'_>) -> Result<Request<Full<Bytes>>, Fault> {
    let authority = subject.authority();
    let uri =
        Uri::builder().scheme(subject.scheme()).authority(authority).path_and_query(METHOD).build();
    let uri = uri.map_err(|error| Fault::check(format_args!("\"{authority}\": {error}")))?;
    let millis = subject.check.timeout.as_millis().min(MOST_MILLIS);
    let mut request = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("grpc-timeout", format!("{millis}m"))
        .header("te", "trailers")
        .header("user-agent", AGENT);
    for (name, value) in subject.check.headers.iter().filter(|(name, _)| *name != "host") {
        request = request.header(name, value);
    }
    request.body(Full::new(message(&subject.check.service))).map_err(Fault::check)
}

/// A `HealthCheckRequest` with its length before it.
fn message(service: &str) -> Bytes {
    let mut field = BytesMut::new();
    // An empty one is the default, which protobuf leaves out.
    if !service.is_empty() {
        field.put_u8(SERVICE_FIELD);
        put_varint(&mut field, service.len());
        field.put_slice(service.as_bytes());
    }
    let mut message = BytesMut::with_capacity(PREFIX + field.len());
    message.put_u8(0);
    // Names of services are no longer than a configuration file.
    message.put_u32(u32::try_from(field.len()).unwrap_or(u32::MAX));
    message.put_slice(&field);
    message.freeze()
}

fn put_varint(buffer: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        buffer.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

async fn judge(response: Response<Incoming>) -> Found {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(Fault::server(format!("status {} instead of 200", head.status.as_u16())));
    }
    let (message, trailers) = collect(body).await?;
    // Where there is no message, the head is all there is.
    judge_status(trailers.as_ref().unwrap_or(&head.headers))?;
    match serving_status(&message) {
        Some(SERVING) => Ok("SERVING".into()),
        Some(0) => Err(Fault::server("UNKNOWN")),
        Some(2) => Err(Fault::server("NOT_SERVING")),
        Some(3) => Err(Fault::server("SERVICE_UNKNOWN")),
        Some(other) => Err(Fault::server(format!("status {other}, which is not defined"))),
        None => Err(Fault::server("the answer is no HealthCheckResponse")),
    }
}

async fn collect(mut body: Incoming) -> Result<(Vec<u8>, Option<HeaderMap>), Fault> {
    let (mut message, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| broken(&error))?.into_data() {
            Ok(data) if message.len() + data.len() > LONGEST_ANSWER => {
                return Err(Fault::server("the answer is longer than any HealthCheckResponse"));
            }
            Ok(data) => message.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((message, trailers))
}

fn judge_status(fields: &HeaderMap) -> Result<(), Fault> {
    let text = |name| fields.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        Some("5") => Err(Fault::server("grpc-status 5: it knows no such service")),
        Some("12") => Err(Fault::server("grpc-status 12: it does not speak the health protocol")),
        Some(code) => {
            let message = text("grpc-message").unwrap_or("no reason given");
            Err(Fault::server(format!("grpc-status {code}: {message}")))
        }
        None => Err(Fault::server("the answer has no grpc-status")),
    }
}

/// The `status` of a `HealthCheckResponse` with its length before it; `None` when it is none.
fn serving_status(message: &[u8]) -> Option<u64> {
    let (prefix, mut fields) = message.split_first_chunk::<PREFIX>()?;
    let [0, length @ ..] = *prefix else { return None };
    if u32::from_be_bytes(length) as usize != fields.len() {
        return None;
    }
    let mut status = 0;
    while !fields.is_empty() {
        let tag = take_varint(&mut fields)?;
        match (tag >> 3, tag & 7) {
            (0, _) => return None,
            (1, 0) => status = take_varint(&mut fields)?,
            (1, _) => return None,
            // Fields of later versions, by their wire types.
            (_, 0) => drop(take_varint(&mut fields)?),
            (_, 1) => skip(&mut fields, 8)?,
            (_, 2) => {
                let length = take_varint(&mut fields)?;
                skip(&mut fields, usize::try_from(length).ok()?)?;
            }
            (_, 5) => skip(&mut fields, 4)?,
            _ => return None,
        }
    }
    Some(status)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn skip(bytes: &mut &[u8], count: usize) -> Option<()> {
    *bytes = bytes.get(count..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::{body::Frame, server::conn::http2 as server, service::service_fn};
    use hyper_util::rt::TokioIo;
    use proptest::prelude::*;
    use tidegate_model::upstream::CheckKind;
    use tokio::{io::AsyncWriteExt, net::TcpStream};

    use super::*;
    use crate::probe::{
        exchange::Tasks,
        kit::{Asking, SOON, run, serve},
    };

    type Frames = Vec<Result<Frame<Bytes>, Infallible>>;

    /// Answers every call on a connection alike: with that message, and that status behind it.
    async fn answer(stream: TcpStream, message: &'static [u8], status: &'static str) {
        let service = service_fn(move |request: Request<Incoming>| async move {
            assert_eq!(request.uri().path(), METHOD);
            assert_eq!(request.uri().authority().map(|it| it.as_str()), Some("im.example"));
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["te"], "trailers");
            let asked = request.into_body().collect().await.expect("a message").to_bytes();
            assert_eq!(asked, super::message("im"));
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().expect("a value"));
            let mut response = Response::builder().header("content-type", "application/grpc");
            let mut frames = Frames::new();
            if message.is_empty() {
                response = response.header("grpc-status", status);
            } else {
                frames.push(Ok(Frame::data(Bytes::from_static(message))));
                frames.push(Ok(Frame::trailers(trailers)));
            }
            response.body(StreamBody::new(futures_util::stream::iter(frames)))
        });
        let tasks = Tasks::default();
        let _ = server::Builder::new(tasks).serve_connection(TokioIo::new(stream), service).await;
    }

    fn asking(address: &str) -> Asking {
        let mut asking = Asking::new(CheckKind::Grpc, address);
        asking.check.service = "im".into();
        asking.check.headers.insert("host".into(), "im.example".into());
        asking
    }

    fn ask_who_answers(message: &'static [u8], status: &'static str) -> Result<String, String> {
        run(async {
            let address = serve(move |stream| answer(stream, message, status)).await;
            asking(&address).ask().await.map_err(|fault| fault.to_string())
        })
    }

    #[test]
    fn only_who_serves_passes() {
        let serving = ask_who_answers(b"\0\0\0\0\x02\x08\x01", "0");
        assert_eq!(serving.as_deref(), Ok("SERVING"));
        let refused = |message, status| ask_who_answers(message, status).expect_err("no pass");
        assert_eq!(refused(b"\0\0\0\0\x02\x08\x02", "0"), "NOT_SERVING");
        assert_eq!(refused(b"\0\0\0\0\0", "0"), "UNKNOWN");
        assert!(refused(b"\0\0\0\0\x09", "0").contains("no HealthCheckResponse"));
        assert!(refused(b"\0\0\0\0\x02\x08\x01", "13").starts_with("grpc-status 13"));
    }

    #[test]
    fn a_status_without_a_message_is_in_the_head() {
        let refused = |status| ask_who_answers(b"", status).expect_err("no pass");
        assert!(refused("12").contains("does not speak the health protocol"));
        assert!(refused("5").contains("no such service"));
    }

    #[test]
    fn who_does_not_speak_http2_does_not_pass() {
        run(async {
            let http1 = serve(|mut stream| async move {
                let refusal = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
                stream.write_all(refusal).await.expect("room");
            });
            assert!(asking(&http1.await).ask().await.is_err());
            let silent = serve(|stream| async move {
                std::future::pending::<()>().await;
                drop(stream);
            });
            let mut asking = asking(&silent.await);
            asking.check.timeout = SOON;
            assert!(asking.ask().await.is_err());
        });
    }

    #[test]
    fn a_service_is_field_1_with_its_length() {
        assert_eq!(message("").as_ref(), b"\0\0\0\0\0");
        assert_eq!(message("im").as_ref(), b"\0\0\0\0\x04\x0a\x02im");
        let long = message(&"x".repeat(300));
        assert_eq!(long[..8], *b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn only_a_whole_and_known_answer_has_a_status() {
        assert_eq!(serving_status(b"\0\0\0\0\x02\x08\x01"), Some(SERVING));
        assert_eq!(serving_status(b"\0\0\0\0\0"), Some(0));
        assert_eq!(serving_status(b"\0\0\0\0\x06\x12\x02ab\x08\x02"), Some(2));
        let bad: [&[u8]; 8] = [
            b"",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x03\x08\x01",
            b"\0\0\0\0\x01\x08",
            b"\0\0\0\0\x02\x0a\x01",
            b"\0\0\0\0\x02\x0b\x01",
            b"\0\0\0\0\x03\x12\x05a",
            b"\0\0\0\0\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ];
        for bytes in bad {
            assert_eq!(serving_status(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let framed = [&[0, 0, 0, 0, bytes.len() as u8][..], &bytes].concat();
            let _ = serving_status(&framed);
            let _ = serving_status(&bytes);
        }
    }
}
