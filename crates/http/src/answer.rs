//! Answers of our own: one plain line with the request's id, or the page that the route shows in its
//! place. The reason in full is in the log.

use std::{
    future::poll_fn,
    task::{Poll, ready},
    time::Duration,
};

use tidegate_h1::{Conn, HeadWriter};
use tidegate_model::route::{Page, Policy};
use tidegate_net::{End, Socket, Timer};
use tidegate_worker::{RequestId, Worker};

use crate::{connection::Side, said::Said};

/// A page up to this size goes out in one piece with its head; a larger one is not copied.
const COPIED: usize = 16 * 1024;

/// An answer without a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) keep_alive: bool,
    /// To a HEAD: no body.
    pub(crate) to_head: bool,
    /// What its route says; `None`: a line of our own.
    pub(crate) said: Option<&'a Said>,
    /// Of the route, if there is one: it may have a page for that.
    pub(crate) policy: Option<&'a Policy>,
    /// In seconds.
    pub(crate) retry_after: Option<u64>,
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
    let (bytes, body) = worker.with_date(|date| render(&answer, id, date));
    let rest = answer.body_apart();
    let patience = (timer, limit);
    let sent = write_all(conn, patience, &bytes).await && write_all(conn, patience, rest).await;
    sent.then_some(body + rest.len() as u64)
}

/// Tells a client that speaks plain HTTP to a listener of TLS so, as nginx does; the rest as of
/// [`send`].
pub(crate) async fn send_plain(
    side: &Side<'_>,
    conn: &mut Conn<Socket>,
    id: &RequestId,
    to_head: bool,
) -> Option<u64> {
    let answer = Answer { status: 400, to_head, ..Answer::default() };
    let text = "The plain HTTP request was sent to HTTPS port";
    let (bytes, body) = side.worker.with_date(|date| render_saying(&answer, text, id, date));
    let patience = (side.timer, side.listener.settings.timeouts.send);
    write_all(conn, patience, &bytes).await.then_some(body)
}

impl<'a> Answer<'a> {
    fn page(&self) -> Option<&'a Page> {
        self.policy.filter(|_| self.said.is_none())?.error_pages.of(self.status)
    }

    /// A body that does not go out with the head.
    fn body_apart(&self) -> &'a [u8] {
        match self.page() {
            Some(page) if !self.to_head && page.body.len() > COPIED => &page.body,
            _ => &[],
        }
    }
}

/// Writes all of it, with so much time between two writes; `false` when that fails.
async fn write_all(
    conn: &mut Conn<Socket>,
    (timer, limit): (&Timer, Duration),
    bytes: &[u8],
) -> bool {
    let mut at = 0;
    timer.set(limit);
    let write = poll_fn(|cx| {
        while at < bytes.len() {
            if timer.poll_expired(cx).is_ready() {
                return Poll::Ready(false);
            }
            match ready!(conn.end.poll_write(cx, &bytes[at..])) {
                Ok(0) | Err(_) => return Poll::Ready(false),
                Ok(written) => at += written,
            }
            if at < bytes.len() {
                timer.set(limit);
            }
        }
        Poll::Ready(true)
    });
    write.await
}

/// The bytes, and how many of them are the body; without a large one.
fn render(answer: &Answer<'_>, id: &RequestId, date: &str) -> (Vec<u8>, u64) {
    render_saying(answer, reason(answer.status), id, date)
}

/// The same with another text than the status has of its own.
fn render_saying(answer: &Answer<'_>, text: &str, id: &RequestId, date: &str) -> (Vec<u8>, u64) {
    let line;
    let (content_type, body) =
        match (answer.said.and_then(|said| said.body.as_deref()), answer.page()) {
            (Some(body), _) => ("", body),
            (None, Some(page)) => (page.content_type, &*page.body),
            (None, None) => {
                line = format!("{} {text} (request {})\n", answer.status, id.as_str());
                ("text/plain; charset=utf-8", line.as_bytes())
            }
        };
    let apart = answer.body_apart();
    let mut out = Vec::with_capacity(256 + body.len() - apart.len());
    let mut head = HeadWriter::response(&mut out, answer.status, reason(answer.status));
    head.field("Date", date.as_bytes());
    match answer.said {
        Some(said) => said.fields.iter().for_each(|(n, value)| head.field(n, value.as_bytes())),
        None => head.field("Content-Type", content_type.as_bytes()),
    }
    // RFC 9110 §8.6 and §15.4.5: neither has content.
    if !matches!(answer.status, 204 | 304) {
        head.length(body.len() as u64);
    }
    if let Some(seconds) = answer.retry_after {
        head.field("Retry-After", seconds.to_string().as_bytes());
    }
    head.field("Connection", if answer.keep_alive { b"keep-alive" } else { b"close" });
    head.finish();
    let head_size = out.len();
    if !answer.to_head && apart.is_empty() {
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

    use tidegate_model::{route::ErrorPages, upstream::StatusPattern};

    use super::*;

    fn rendered(answer: &Answer<'_>) -> (String, u64) {
        let (bytes, body) = render(answer, &RequestId::random(1), "now");
        (String::from_utf8(bytes).expect("text"), body)
    }

    #[test]
    fn an_answer_is_one_line_and_a_head_has_none() {
        let answer = Answer { status: 502, keep_alive: true, ..Answer::default() };
        let (text, _) = rendered(&answer);
        assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\nDate: now\r\n"));
        assert!(
            text.ends_with("\r\n\r\n502 Bad Gateway (request 00000000000000000000000000000001)\n")
        );
        assert!(text.contains("Connection: keep-alive\r\n"));
        let (head, _) = rendered(&Answer { to_head: true, ..answer });
        assert!(head.ends_with("\r\n\r\n"));
        let (soon, _) = rendered(&Answer { retry_after: Some(3), ..answer });
        assert!(soon.contains("\r\nRetry-After: 3\r\n"));
    }

    #[test]
    fn a_page_takes_the_place_of_the_line() {
        let page = |body: Vec<u8>| Arc::new(Page { content_type: "text/html", body: body.into() });
        let pages = ErrorPages::new(vec![
            (StatusPattern::Code(502), page(b"<p>soon".to_vec())),
            (StatusPattern::Class(5), page(vec![b'x'; COPIED + 1])),
        ]);
        let policy = Policy { error_pages: pages, ..Policy::default() };
        let answer = Answer { status: 502, policy: Some(&policy), ..Answer::default() };
        let (text, size) = rendered(&answer);
        assert!(text.contains("Content-Type: text/html\r\nContent-Length: 7\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n<p>soon"));
        assert_eq!((size, answer.body_apart().len()), (7, 0));
        let head = Answer { to_head: true, ..answer };
        assert!(rendered(&head).0.contains("Content-Length: 7\r\n"));
        assert!(rendered(&head).0.ends_with("\r\n\r\n"));
        let large = Answer { status: 504, ..answer };
        assert_eq!((rendered(&large).1, large.body_apart().len()), (0, COPIED + 1));
        assert!(Answer { to_head: true, ..large }.body_apart().is_empty());
        let (plain, _) = rendered(&Answer { status: 404, ..answer });
        assert!(plain.contains("404 Not Found (request"));
    }

    #[test]
    fn a_route_says_what_it_says() {
        let said =
            Said { fields: vec![("X-A".into(), "1".into())], body: Some((&b"closed"[..]).into()) };
        let answer =
            Answer { status: 299, keep_alive: true, said: Some(&said), ..Answer::default() };
        let text = |answer: Answer<'_>| rendered(&answer).0;
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
