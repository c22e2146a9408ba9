//! `websocket`: a handshake, a ping and its pong. A gateway whose listener still answers while its
//! event loop is stuck does not pass this one.

use std::fmt;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::client::Request,
        http::{HeaderName, HeaderValue, Uri, header},
        protocol::WebSocketConfig,
    },
};

use super::{Fault, Found, Subject, dial::Stream, farewell};

/// Memory for a probe is small and short-lived.
const BUFFER: usize = 4 * 1024;
const LONGEST_MESSAGE: usize = 64 * 1024;
/// So many messages a server may have to say before it answers a ping.
const BEFORE_PONG: usize = 64;
const AGENT: HeaderValue = HeaderValue::from_static(super::AGENT);

type Socket = WebSocketStream<Stream>;

pub(super) async fn ask(stream: Stream, subject: &Subject<'_>, deadline: Instant) -> Found {
    let request = request(subject)?;
    let opening = client_async_with_config(request, stream, Some(small())).await;
    let (mut socket, _) = opening.map_err(|error| refused(&error))?;
    let payload = Bytes::copy_from_slice(&fastrand::u64(..).to_be_bytes());
    socket.send(Message::Ping(payload.clone())).await.map_err(|error| broken(&error))?;
    wait_for_pong(&mut socket, &payload).await?;
    farewell(deadline, close(socket)).await;
    Ok("101, and a pong for a ping".into())
}

fn small() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(LONGEST_MESSAGE)
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE))
}

fn request(subject: &Subject<'_>) -> Result<Request, Fault> {
    let text = format!("ws://{}{}", subject.authority(), subject.check.path);
    let uri: Uri = text.parse().map_err(|error| unspeakable(&text, &error))?;
    let mut request = uri.into_client_request().map_err(|error| unspeakable(&text, &error))?;
    for (name, value) in &subject.check.headers {
        let key = HeaderName::try_from(name).map_err(|error| unspeakable(name, &error))?;
        let value = HeaderValue::try_from(value).map_err(|error| unspeakable(name, &error))?;
        // The authority is in the URI already, but the field is to be as it was given.
        request.headers_mut().insert(key, value);
    }
    request.headers_mut().entry(header::USER_AGENT).or_insert(AGENT);
    Ok(request)
}

async fn wait_for_pong(socket: &mut Socket, payload: &Bytes) -> Result<(), Fault> {
    for _ in 0..BEFORE_PONG {
        match socket.next().await {
            Some(Ok(Message::Pong(echo))) if echo == payload => return Ok(()),
            Some(Ok(Message::Close(_))) | None => {
                return Err(Fault::server("closed instead of a pong"));
            }
            Some(Ok(_)) => (),
            Some(Err(error)) => return Err(broken(&error)),
        }
    }
    Err(Fault::server(format!("no pong among {BEFORE_PONG} messages")))
}

async fn close(mut socket: Socket) {
    // The verdict stands, whatever comes now.
    if socket.close(None).await.is_ok() {
        while let Some(Ok(_)) = socket.next().await {}
    }
}

fn refused(error: &Error) -> Fault {
    match error {
        Error::Http(response) => {
            Fault::server(format!("status {} instead of 101", response.status().as_u16()))
        }
        other => fault("no WebSocket handshake", other),
    }
}

fn broken(error: &Error) -> Fault {
    fault("the connection broke before the pong", error)
}

fn fault(what: &str, error: &Error) -> Fault {
    match error {
        Error::Io(error) => Fault::io(what, error),
        other => Fault::server(format!("{what}: {other}")),
    }
}

fn unspeakable(what: &str, error: &dyn fmt::Display) -> Fault {
    Fault::check(format_args!("\"{what}\": {error}"))
}

#[cfg(test)]
mod tests {
    use tidegate_model::upstream::CheckKind;
    use tokio::io::AsyncWriteExt;
    use tokio_tungstenite::{accept_async, tungstenite::handshake::server};

    use super::*;
    use crate::probe::kit::{Asking, SOON, run, serve};

    #[test]
    fn a_pong_passes_after_other_messages_too() {
        run(async {
            let address = serve(|stream| async move {
                let mut socket = accept_async(stream).await.expect("a handshake");
                for _ in 0..3 {
                    socket.send(Message::text("hello")).await.expect("room");
                    socket.send(Message::Pong(Bytes::new())).await.expect("room");
                }
                // Reading answers the ping, and the close.
                while let Some(Ok(_)) = socket.next().await {}
            });
            let found = Asking::new(CheckKind::Websocket, &address.await).ask().await;
            assert!(found.is_ok(), "{found:?}");
        });
    }

    #[test]
    #[expect(clippy::result_large_err, reason = "the callback's type")]
    fn the_handshake_is_the_one_that_was_asked_for() {
        run(async {
            let address = serve(|stream| async move {
                let judge = |request: &server::Request, response| {
                    let field = |name| request.headers().get(name).map(HeaderValue::as_bytes);
                    assert_eq!(request.uri(), "/ws?probe=1");
                    assert_eq!(field("host"), Some(&b"im.example"[..]));
                    assert_eq!(field("x-token"), Some(&b"t"[..]));
                    assert_eq!(field("user-agent"), Some(AGENT.as_bytes()));
                    Ok(response)
                };
                let socket = tokio_tungstenite::accept_hdr_async(stream, judge).await;
                let mut socket = socket.expect("a handshake");
                while let Some(Ok(_)) = socket.next().await {}
            });
            let mut asking = Asking::new(CheckKind::Websocket, &address.await);
            asking.check.path = "/ws?probe=1".into();
            asking.check.headers.insert("host".into(), "im.example".into());
            asking.check.headers.insert("x-token".into(), "t".into());
            let found = asking.ask().await;
            assert!(found.is_ok(), "{found:?}");
        });
    }

    #[test]
    fn one_that_never_answers_a_ping_does_not_pass() {
        run(async {
            let address = serve(|stream| async move {
                let socket = accept_async(stream).await;
                std::future::pending::<()>().await;
                drop(socket);
            });
            let mut asking = Asking::new(CheckKind::Websocket, &address.await);
            asking.check.timeout = SOON;
            let late = asking.ask().await.expect_err("no pong");
            assert!(late.to_string().contains("within"), "{late}");
        });
    }

    #[test]
    fn endless_talk_is_no_pong() {
        run(async {
            let address = serve(|stream| async move {
                let mut socket = accept_async(stream).await.expect("a handshake");
                while socket.send(Message::text("on and on")).await.is_ok() {}
            });
            let talk = Asking::new(CheckKind::Websocket, &address.await).ask().await;
            assert!(talk.expect_err("no pong").to_string().contains("64 messages"));
        });
    }

    #[test]
    fn refusals_are_told_by_their_status() {
        run(async {
            let address = serve(|mut stream| async move {
                crate::probe::kit::read_head(&mut stream).await;
                let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(refusal).await.expect("room");
            });
            let refused = Asking::new(CheckKind::Websocket, &address.await).ask().await;
            let refused = refused.expect_err("a refusal").to_string();
            assert_eq!(refused, "status 403 instead of 101");
        });
    }
}
