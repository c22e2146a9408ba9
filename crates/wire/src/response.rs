//! What a response head says. Its rules are those of requests; in addition, the status and the
//! method of the request decide whether there is a body at all (RFC 9112 §6.3).

use httparse::Header;

use crate::{
    connection::Options,
    field::{lines, list},
    framing::{Body, Framing, Version},
    refusal::BadResponse,
};

/// How a response body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    None,
    /// Bytes.
    Length(u64),
    Chunked,
    /// Whatever comes until the server closes. A cut cannot be told from the end.
    UntilClose,
}

/// What a response head says, borrowed from the buffer it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseFacts<'b> {
    pub version: Version,
    /// 100 to 999.
    pub status: u16,
    /// Empty when absent or not ASCII.
    pub reason: &'b str,
    pub body: ResponseBody,
    /// The Content-Length as sent, where it may be forwarded: not of 1xx and 204. With
    /// [`ResponseBody::None`] it tells how long the body would be (HEAD, 304).
    pub declared_length: Option<u64>,
    /// The connection can take another request after this response.
    pub keep_alive: bool,
    /// The single token of a 101.
    pub upgrade: Option<&'b str>,
    /// Connection names fields besides those known by heart: ask
    /// [`named_by_connection`](crate::named_by_connection) about each.
    pub connection_names: bool,
    pub has_date: bool,
}

/// Judges a response head that `httparse` has read completely; `to_head`: it answers a HEAD.
///
/// # Errors
/// When the head is ambiguous or malformed.
pub fn judge_response<'b>(
    response: &httparse::Response<'_, 'b>,
    to_head: bool,
) -> Result<ResponseFacts<'b>, BadResponse> {
    let (Some(minor), Some(status)) = (response.version, response.code) else {
        return Err(BadResponse::Incomplete);
    };
    let version = Version::of_minor(minor).ok_or(BadResponse::Version)?;
    if status < 100 {
        return Err(BadResponse::Status);
    }
    let fields = Fields::read(response.headers)?;
    let framed = fields.framing.body(version)?;
    if status < 200 && fields.framing.is_coded() {
        return Err(BadResponse::CodingInInterim);
    }
    let body = body(status, to_head, framed);
    // Bodies are not declared where there can be none; who does it anyway may send one, too.
    let is_contradictory = status == 204 && !matches!(framed, Body::None | Body::Length(0));
    Ok(ResponseFacts {
        version,
        status,
        reason: response.reason.unwrap_or_default(),
        body,
        declared_length: fields
            .framing
            .declared_length()
            .filter(|_| status >= 200 && status != 204),
        keep_alive: fields.options.persists(version)
            && body != ResponseBody::UntilClose
            && !is_contradictory,
        upgrade: fields.switches_to(version, status, response.headers)?,
        connection_names: fields.options.names,
        has_date: fields.has_date,
    })
}

fn body(status: u16, to_head: bool, framed: Body) -> ResponseBody {
    match framed {
        _ if to_head || status < 200 || status == 204 || status == 304 => ResponseBody::None,
        Body::None => ResponseBody::UntilClose,
        Body::Length(length) => ResponseBody::Length(length),
        Body::Chunked => ResponseBody::Chunked,
    }
}

/// The fields that matter, collected.
#[derive(Default)]
struct Fields {
    framing: Framing,
    options: Options,
    has_date: bool,
}

impl Fields {
    fn read(headers: &[Header<'_>]) -> Result<Self, BadResponse> {
        let mut fields = Self::default();
        headers.iter().try_for_each(|header| fields.field(header))?;
        Ok(fields)
    }

    fn field(&mut self, header: &Header<'_>) -> Result<(), BadResponse> {
        let is = |other: &str| header.name.eq_ignore_ascii_case(other);
        match header.name.len() {
            4 if is("date") => self.has_date = true,
            10 if is("connection") => self.options.read(header.value),
            14 if is("content-length") => self.framing.content_length(header.value)?,
            17 if is("transfer-encoding") => self.framing.transfer_encoding(header.value)?,
            _ => {}
        }
        Ok(())
    }

    /// What a 101 switches to (RFC 9110 §15.2.2); RFC 6455 §4.2.2 asks for HTTP/1.1.
    fn switches_to<'b>(
        &self,
        version: Version,
        status: u16,
        headers: &[Header<'b>],
    ) -> Result<Option<&'b str>, BadResponse> {
        if status != 101 {
            return Ok(None);
        }
        let mut tokens = lines(headers, "upgrade").flat_map(list);
        match (tokens.next(), tokens.next()) {
            (Some(token), None) if self.options.upgrade && version == Version::Http11 => {
                std::str::from_utf8(token).map(Some).map_err(|_| BadResponse::Switching)
            }
            _ => Err(BadResponse::Switching),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::BadFraming;

    type Judged = Result<ResponseFacts<'static>, BadResponse>;

    fn judge_for(head: &'static str, to_head: bool) -> Judged {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        assert!(response.parse(head.as_bytes())?.is_complete(), "{head}");
        judge_response(&response, to_head)
    }

    fn judge(head: &'static str) -> Judged {
        judge_for(head, false)
    }

    fn framed(facts: Judged) -> Result<(ResponseBody, Option<u64>, bool), BadResponse> {
        facts.map(|facts| (facts.body, facts.declared_length, facts.keep_alive))
    }

    #[test]
    fn section_6_3_item_1_some_answers_have_no_body() {
        use ResponseBody::None as NoBody;
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(framed(judge_for(chunked, true)), Ok((NoBody, None, true)));
        assert_eq!(framed(judge_for(length, true)), Ok((NoBody, Some(5), true)));
        assert_eq!(framed(judge_for("HTTP/1.1 200 OK\r\n\r\n", true)), Ok((NoBody, None, true)));
        let cases = [
            ("HTTP/1.1 100 Continue\r\n\r\n", None, true),
            ("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 5\r\n\r\n", None, true),
            ("HTTP/1.1 204 No Content\r\n\r\n", None, true),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", None, true),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", None, false),
            ("HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", None, false),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", Some(5), true),
            ("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", None, true),
        ];
        for (head, declared, keep_alive) in cases {
            assert_eq!(framed(judge(head)), Ok((NoBody, declared, keep_alive)), "{head}");
        }
    }

    #[test]
    fn section_6_3_item_3_length_and_coding_are_never_both() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(judge(head), Err(BadFraming::Both.into()));
        assert_eq!(judge_for(head, true), Err(BadFraming::Both.into()));
    }

    #[test]
    fn section_6_3_item_4_only_chunked_is_understood() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n";
        assert_eq!(framed(judge(head)), Ok((ResponseBody::Chunked, None, true)));
        for (head, refusal) in [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", BadFraming::ChunkedNotLast),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                BadFraming::UnknownCoding,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
                BadFraming::ChunkedParameters,
            ),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BadFraming::CodingInHttp10),
            ("HTTP/1.1 204 OK\r\nTransfer-Encoding: gzip\r\n\r\n", BadFraming::ChunkedNotLast),
        ] {
            assert_eq!(judge(head), Err(refusal.into()), "{head}");
        }
    }

    #[test]
    fn section_6_3_items_5_and_6_one_valid_length() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(framed(judge(head)), Ok((ResponseBody::Length(5), Some(5), true)));
        let empty = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(framed(judge(empty)), Ok((ResponseBody::Length(0), Some(0), true)));
        let repeated = "HTTP/1.1 304 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(judge(repeated), Err(BadFraming::LengthRepeated.into()));
        let malformed = "HTTP/1.1 204 OK\r\ncontent-length: 5x\r\n\r\n";
        assert_eq!(judge(malformed), Err(BadFraming::Length.into()));
        assert_eq!(judge_for(malformed, true), Err(BadFraming::Length.into()));
    }

    #[test]
    fn section_6_3_item_8_else_until_close() {
        let until_close = Ok((ResponseBody::UntilClose, None, false));
        assert_eq!(framed(judge("HTTP/1.1 200\r\n\r\n")), until_close);
        assert_eq!(framed(judge("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\n")), until_close);
    }

    #[test]
    fn section_9_3_who_keeps_the_connection() {
        let keeps = |head| judge(head).map(|facts| facts.keep_alive);
        assert_eq!(
            keeps("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: x, Close\r\n\r\n"),
            Ok(false)
        );
        assert_eq!(keeps("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n"), Ok(false));
        assert_eq!(
            keeps("HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: Keep-Alive\r\n\r\n"),
            Ok(true)
        );
    }

    #[test]
    fn a_101_names_exactly_one_protocol() {
        let facts = judge("HTTP/1.1 101 S\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\r\n");
        assert_eq!(facts.map(|facts| facts.upgrade), Ok(Some("WebSocket")));
        for head in [
            "HTTP/1.1 101 S\r\n\r\n",
            "HTTP/1.1 101 S\r\nupgrade: websocket\r\n\r\n",
            "HTTP/1.1 101 S\r\nconnection: upgrade\r\n\r\n",
            "HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: a, b\r\n\r\n",
            "HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: a\r\nupgrade: b\r\n\r\n",
            "HTTP/1.0 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ] {
            assert_eq!(judge(head), Err(BadResponse::Switching), "{head}");
        }
        let ordinary =
            judge("HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        assert_eq!(ordinary.map(|facts| facts.upgrade), Ok(None));
    }

    #[test]
    fn an_interim_response_has_no_coding() {
        let head = "HTTP/1.1 103 E\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(judge(head), Err(BadResponse::CodingInInterim));
    }

    #[test]
    fn the_rest_of_the_head_is_told() {
        let facts =
            judge("HTTP/1.1 599 Odd One\nDATE: x\nconnection: x-hop, te\ncontent-length: 1\n\n")
                .expect("a lone LF ends a head line");
        assert_eq!((facts.status, facts.reason), (599, "Odd One"));
        assert!(facts.has_date && facts.connection_names && facts.keep_alive);
        assert_eq!(facts.version, Version::Http11);
    }

    #[test]
    fn what_httparse_refuses_is_refused() {
        assert_eq!(judge("HTTP/1.1 099 Low\r\n\r\n"), Err(BadResponse::Status));
        for head in [
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 200 O\0K\r\n\r\n",
            "HTTP/1.1 200 O\rK\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        ] {
            assert!(matches!(judge(head), Err(BadResponse::Syntax(_))), "{head:?}");
        }
    }

    #[test]
    fn a_head_not_yet_read_is_refused() {
        let mut fields = [];
        let response = httparse::Response::new(&mut fields);
        assert_eq!(judge_response(&response, false), Err(BadResponse::Incomplete));
    }
}
