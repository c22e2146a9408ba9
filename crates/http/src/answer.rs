//! Answers of our own: one plain line with the request's id. The reason in full is in the log.

use std::{
    future::poll_fn,
    task::{Poll, ready},
    time::Duration,
};

use tidegate_h1::{Conn, HeadWriter};
use tidegate_net::{End, Socket, Timer};

use tidegate_worker::{RequestId, Worker};

use crate::{connection::Side, said::Said};

/// An answer without a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) keep_alive: bool,
    /// To a HEAD: no body.
    pub(crate) to_head: bool,
    /// What its route says; `None`: a line of our own.
    pub(crate) said: Option<&'a Said>,
}

/// Sends it, and says how long its body was; `None` when the client did not take it.
pub(crate) async fn send(
    worker: &Worker,
    conn: &mut Conn<Socket>,
    timer: &Timer,
    limit: Duration,
    answer: Answer<'_>,
    id: &RequestId,
) -> Option<u64> {
    let (bytes, body) = worker.with_date(|date| render(answer, id, date));
    timer.set(limit);
    write_all(conn, timer, &bytes).await.then_some(body)
}

/// Tells a client that speaks plain HTTP to a listener of TLS so, as nginx does; the rest as of
/// [`send`].
pub(crate) async fn send_plain(
    side: &Side<'_>,
    conn: &mut Conn<Socket>,
    id: &RequestId,
    to_head: bool,
) -> Option<u64> {
    let answer = Answer { status: 400, keep_alive: false, to_head, said: None };
    let text = "The plain HTTP request was sent to HTTPS port";
    let (bytes, body) = side.worker.with_date(|date| render_saying(answer, text, id, date));
    side.timer.set(side.listener.settings.timeouts.send);
    write_all(conn, side.timer, &bytes).await.then_some(body)
}

/// Writes all of it before the timer expires; `false` when that fails.
async fn write_all(conn: &mut Conn<Socket>, timer: &Timer, bytes: &[u8]) -> bool {
    let mut at = 0;
    let write = poll_fn(|cx| {
        while at < bytes.len() {
            if timer.poll_expired(cx).is_ready() {
                return Poll::Ready(false);
            }
            match ready!(conn.end.poll_write(cx, &bytes[at..])) {
                Ok(0) | Err(_) => return Poll::Ready(false),
                Ok(written) => at += written,
            }
        }
        Poll::Ready(true)
    });
    write.await
}

/// The bytes, and how many of them are the body.
fn render(answer: Answer<'_>, id: &RequestId, date: &str) -> (Vec<u8>, u64) {
    render_saying(answer, reason(answer.status), id, date)
}

/// The same with another text than the status has of its own.
fn render_saying(answer: Answer<'_>, text: &str, id: &RequestId, date: &str) -> (Vec<u8>, u64) {
    let reason = reason(answer.status);
    let line;
    let body = match answer.said.and_then(|said| said.body.as_deref()) {
        Some(body) => body,
        None => {
            line = format!("{} {text} (request {})\n", answer.status, id.as_str());
            line.as_bytes()
        }
    };
    let mut out = Vec::with_capacity(256 + body.len());
    let mut head = HeadWriter::response(&mut out, answer.status, reason);
    head.field("Date", date.as_bytes());
    match answer.said {
        Some(said) => said.fields.iter().for_each(|(n, value)| head.field(n, value.as_bytes())),
        None => head.field("Content-Type", b"text/plain; charset=utf-8"),
    }
    // RFC 9110 §8.6 and §15.4.5: neither has content.
    if !matches!(answer.status, 204 | 304) {
        head.length(body.len() as u64);
    }
    head.field("Connection", if answer.keep_alive { b"keep-alive" } else { b"close" });
    head.finish();
    let head_size = out.len();
    if !answer.to_head {
        out.extend_from_slice(body);
    }
    let body_size = out.len() - head_size;
    (out, body_size as u64)
}

/// The phrases of RFC 9110 §15, for what is answered here; no phrase is one, too.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        205 => "Reset Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_answer_is_one_line_and_a_head_has_none() {
        let answer = Answer { status: 502, keep_alive: true, to_head: false, said: None };
        let text = String::from_utf8(render(answer, &RequestId::random(1), "now").0).expect("text");
        assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\nDate: now\r\n"));
        assert!(
            text.ends_with("\r\n\r\n502 Bad Gateway (request 00000000000000000000000000000001)\n")
        );
        assert!(text.contains("Connection: keep-alive\r\n"));
        let head = render(Answer { to_head: true, ..answer }, &RequestId::random(1), "now").0;
        assert!(head.ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn a_route_says_what_it_says() {
        let said =
            Said { fields: vec![("X-A".into(), "1".into())], body: Some((&b"closed"[..]).into()) };
        let answer = Answer { status: 299, keep_alive: true, to_head: false, said: Some(&said) };
        let text = |answer| {
            String::from_utf8(render(answer, &RequestId::random(1), "now").0).expect("text")
        };
        assert_eq!(
            text(answer),
            "HTTP/1.1 299 \r\nDate: now\r\nX-A: 1\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\nclosed"
        );
        assert!(text(Answer { to_head: true, ..answer }).contains("Content-Length: 6\r\n"));
        let empty = Said { fields: Vec::new(), body: Some(Arc::default()) };
        let empty = text(Answer { status: 204, said: Some(&empty), ..answer });
        assert!(empty.ends_with("keep-alive\r\n\r\n") && !empty.contains("Length"), "{empty}");
    }
}
