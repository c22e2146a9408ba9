//! The head of an answer on its way to the client, interim ones among them: what the server sent and
//! may go on, what its route and we add, and its framing.

use httparse::Header;
use tidegate_h1::HeadWriter;
use tidegate_wire::{ResponseBody, ResponseFacts, Version, is_hop_by_hop, named_by_connection};

use crate::{compress::Recoding, filled::Filled, lines::Lines};

/// What comes into a head that a server did not write.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Additions<'a> {
    /// A cookie of ours to set.
    pub(crate) cookie: Option<&'a str>,
    /// What its route changes, and whose answer it is: the pool's and the server's name.
    pub(crate) edits: Option<(&'a Filled, &'a str, &'a str)>,
}

/// How an answer goes on to its client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answering<'a> {
    pub(crate) client: Version,
    pub(crate) keep_alive: bool,
    pub(crate) chunked: bool,
    pub(crate) own: Additions<'a>,
    /// Of an answer that is compressed, or would be for another client.
    pub(crate) recoding: Option<Recoding>,
}

/// Writes a response for the client; `source` is what the head was read from.
pub(crate) fn response(
    out: &mut Vec<u8>,
    source: &[u8],
    facts: &ResponseFacts<'_>,
    headers: &[Header<'_>],
    answering: Answering<'_>,
    date: impl FnOnce(&mut HeadWriter<'_>),
) {
    let mut head = HeadWriter::response(out, facts.status, facts.reason);
    pass(&mut head, source, facts, headers, answering.own, answering.recoding);
    if let Some(recoding) = answering.recoding {
        recoding.write(&mut head, headers);
    }
    if !facts.has_date {
        date(&mut head);
    }
    let is_coded = answering.recoding.is_some_and(Recoding::is_coded);
    match (facts.body, facts.declared_length) {
        // Nobody knows how long the answer to a GET would be.
        (ResponseBody::None, _) if is_coded => (),
        _ if is_coded => head.chunked(),
        (ResponseBody::Length(length), _) | (ResponseBody::None, Some(length)) => {
            head.length(length);
        }
        _ if answering.chunked => head.chunked(),
        _ => (),
    }
    match (answering.keep_alive, answering.client) {
        (false, _) => head.field("Connection", b"close"),
        (true, Version::Http10) => head.field("Connection", b"keep-alive"),
        (true, Version::Http11) => (),
    }
    head.finish();
}

/// Writes an interim response (1xx), 101 among them.
pub(crate) fn interim(
    out: &mut Vec<u8>,
    source: &[u8],
    facts: &ResponseFacts<'_>,
    headers: &[Header<'_>],
    own: Additions<'_>,
) {
    let mut head = HeadWriter::response(out, facts.status, facts.reason);
    pass(&mut head, source, facts, headers, own, None);
    if let Some(token) = facts.upgrade {
        head.field("Connection", b"Upgrade");
        head.field("Upgrade", token.as_bytes());
    }
    head.finish();
}

/// Passes on what the server sent, with what comes into it and without what is taken out.
fn pass(
    head: &mut HeadWriter<'_>,
    source: &[u8],
    facts: &ResponseFacts<'_>,
    headers: &[Header<'_>],
    own: Additions<'_>,
    recoding: Option<Recoding>,
) {
    let recoded = |name: &str| recoding.is_some_and(|recoding| recoding.takes(name));
    match own.edits {
        None => pass_kept(head, source, facts, headers, recoded),
        Some((edits, upstream, server)) => {
            pass_kept(head, source, facts, headers, |name| edits.take(name) || recoded(name));
            edits.write(head, upstream, server);
        }
    }
    if let Some(cookie) = own.cookie {
        head.field("Set-Cookie", cookie.as_bytes());
    }
}

fn pass_kept(
    head: &mut HeadWriter<'_>,
    source: &[u8],
    facts: &ResponseFacts<'_>,
    headers: &[Header<'_>],
    dropped: impl Fn(&str) -> bool,
) {
    let mut lines = Lines::of(source);
    for field in headers {
        let length = field.name.len() == 14 && field.name.eq_ignore_ascii_case("content-length");
        let named = facts.connection_names && named_by_connection(headers, field.name);
        if !length && !is_hop_by_hop(field.name) && !named && !dropped(field.name) {
            lines.pass(head, field);
        }
    }
    lines.flush(head);
}

#[cfg(test)]
mod tests {
    use tidegate_wire::judge_response;

    use super::*;

    #[test]
    fn responses_get_their_framing_and_a_date() {
        let head = b"HTTP/1.0 200 Fine\r\nConnection: X\r\nX: 1\r\nServer: s\r\n\r\n";
        let mut storage = [httparse::EMPTY_HEADER; 8];
        let mut parsed = httparse::Response::new(&mut storage);
        assert!(parsed.parse(head).expect("it parses").is_complete());
        let facts = judge_response(&parsed, false).expect("it is sound");
        let mut out = Vec::new();
        let answering = Answering {
            client: Version::Http11,
            keep_alive: true,
            chunked: true,
            own: Additions::default(),
            recoding: None,
        };
        response(&mut out, head, &facts, parsed.headers, answering, |head| {
            head.field("Date", b"now");
        });
        assert_eq!(
            out,
            b"HTTP/1.1 200 Fine\r\nServer: s\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
    }
}
