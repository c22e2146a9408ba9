//! `http` for a pool that speaks HTTP/2: over TLS, or by prior knowledge. The verdict is the same as
//! over HTTP/1: that of the status, and where a body is expected, of its first 64 KiB.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, Uri, body::Incoming};
use tidegate_model::Check;
use tokio::time::Instant;

use super::{
    AGENT, Fault, Found, Subject,
    dial::Stream,
    exchange::{self, broken},
    http::{LONGEST_BODY, judge_body},
};

pub(super) async fn ask(stream: Stream, subject: &Subject<'_>, deadline: Instant) -> Found {
    let request = request(subject)?;
    let judge = async |response| judge(subject.check, response).await;
    exchange::ask(stream, request, deadline, judge).await
}

fn request(subject: &Subject<'_>) -> Result<Request<Full<Bytes>>, Fault> {
    let (check, authority) = (subject.check, subject.authority());
    let uri = Uri::builder().scheme(subject.scheme()).authority(authority);
    let uri = uri.path_and_query(&*check.path).build();
    let unspeakable = |error| Fault::check(format_args!("\"{authority}{}\": {error}", check.path));
    let method = Method::from_bytes(check.method.as_bytes()).map_err(Fault::check)?;
    let mut request = Request::builder().method(method).uri(uri.map_err(unspeakable)?);
    if !check.headers.contains_key("user-agent") {
        request = request.header("user-agent", AGENT);
    }
    for (name, value) in check.headers.iter().filter(|(name, _)| *name != "host") {
        request = request.header(name, value);
    }
    request.body(Full::default()).map_err(Fault::check)
}

async fn judge(check: &Check, response: Response<Incoming>) -> Found {
    let status = response.status().as_u16();
    let seen = format!("status {status}");
    if !check.expects(status) {
        return Err(Fault::server(format!("{seen} is not expected")));
    }
    match &check.expect_body {
        None => Ok(seen),
        Some(expected) => judge_body(expected, &body(response.into_body()).await?, seen),
    }
}

/// As much of the body as is looked at.
async fn body(mut body: Incoming) -> Result<Vec<u8>, Fault> {
    let mut seen = Vec::new();
    while seen.len() < LONGEST_BODY
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
            let room = LONGEST_BODY - seen.len();
            seen.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{server::conn::http2 as server, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tidegate_model::upstream::{CheckKind, ExpectBody};
    use tokio::{io::AsyncWriteExt, net::TcpStream};

    use super::*;
    use crate::probe::{
        exchange::Tasks,
        kit::{Asking, SOON, run, serve},
    };

    /// Says of every request what it was, with that status.
    async fn answer(stream: TcpStream, status: u16) {
        let service = service_fn(move |request: Request<Incoming>| async move {
            let (head, _) = request.into_parts();
            let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
            let said = [
                head.method.as_str(),
                &head.uri.to_string(),
                field("user-agent").unwrap_or("nobody"),
                field("x-token").unwrap_or("no token"),
            ];
            let response = Response::builder().status(status);
            let response = response.body(Full::new(Bytes::from(said.join(" "))));
            Ok::<_, Infallible>(response.expect("a response"))
        });
        let _ = server::Builder::new(Tasks::default())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    fn asked(status: u16, alter: impl FnOnce(&mut Check)) -> Result<String, String> {
        run(async {
            let address = serve(move |stream| answer(stream, status)).await;
            let mut asking = Asking::new(CheckKind::Http, &address);
            asking.http2 = true;
            alter(&mut asking.check);
            asking.ask().await.map_err(|fault| fault.to_string())
        })
    }

    fn expects(text: &str) -> impl FnOnce(&mut Check) + use<> {
        let body = ExpectBody::parse(text).expect("it reads");
        move |check| check.expect_body = Some(body)
    }

    #[test]
    fn the_status_decides() {
        assert_eq!(asked(204, |_| ()).as_deref(), Ok("status 204"));
        assert_eq!(asked(503, |_| ()), Err("status 503 is not expected".to_owned()));
    }

    #[test]
    fn a_body_is_looked_at() {
        let found =
            asked(200, expects(&format!("~ ^GET http://127.0.0.1:[0-9]+/ {AGENT} no token$")));
        assert_eq!(found.as_deref(), Ok("status 200, with the expected body"));
        assert!(asked(200, expects("not there")).is_err());
    }

    #[test]
    fn the_request_says_who_asks_whom() {
        let found = asked(200, |check| {
            check.method = "POST".into();
            check.path = "/ping?a=b".into();
            for (name, value) in [("host", "im.example"), ("user-agent", "me"), ("x-token", "t")] {
                check.headers.insert(name.into(), value.into());
            }
            expects("POST http://im.example/ping?a=b me t")(check);
        });
        assert_eq!(found.as_deref(), Ok("status 200, with the expected body"));
    }

    #[test]
    fn who_does_not_speak_http2_does_not_pass() {
        run(async {
            let http1 = serve(|mut stream| async move {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            });
            let mut asking = Asking::new(CheckKind::Http, &http1.await);
            asking.http2 = true;
            assert!(asking.ask().await.is_err());
            let silent = serve(|stream| async move {
                std::future::pending::<()>().await;
                drop(stream);
            });
            let mut asking = Asking::new(CheckKind::Http, &silent.await);
            asking.http2 = true;
            asking.check.timeout = SOON;
            assert!(asking.ask().await.is_err());
        });
    }
}
