//! A stream of a client's, as an end: a request is read from it, and an answer written to it, as from
//! and to a connection of HTTP/1 that serves no other.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use tidegate_net::{End, Within};
use tidegate_wire::ChunkDecoder;

use crate::{
    incoming::{Incoming, broken},
    outgoing::{Framing, Outgoing, poll_parts},
    tally::Tally,
    text::{self, Told, number},
};

/// More fields than an answer can have: those of a server, and those of a route.
const MAX_FIELDS: usize = 512;

const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// One stream.
#[derive(Debug)]
pub(crate) struct Served {
    incoming: Incoming,
    respond: SendResponse<Bytes>,
    stage: Stage,
    /// Its answer has no body.
    to_head: bool,
    /// It asks for a tunnel (RFC 8441).
    asks_tunnel: bool,
    local: Option<SocketAddr>,
    tally: Arc<Tally>,
}

/// How far the answer is.
#[derive(Debug)]
enum Stage {
    /// What came of its head.
    Head(Vec<u8>),
    Body(Outgoing),
    /// It went out with its head.
    Over,
}

/// What an answer's head leads to.
enum Next {
    Interim,
    Body(Framing),
    Nothing,
    /// A tunnel was asked for, and something else was opened.
    Unfit,
}

impl Served {
    pub(crate) fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        local: Option<SocketAddr>,
        tally: Arc<Tally>,
    ) -> Self {
        let (parts, stream) = request.into_parts();
        let (head, told) = text::request(&parts, stream.is_end_stream());
        Self {
            incoming: Incoming::new(stream, head, told),
            respond,
            stage: Stage::Head(Vec::new()),
            to_head: parts.method == Method::HEAD,
            asks_tunnel: told == Told::Tunnel,
            local,
            tally,
        }
    }

    fn is_tunnel(&self) -> bool {
        self.asks_tunnel && matches!(&self.stage, Stage::Body(body) if body.is_tunnel())
    }

    fn is_answered(&self) -> bool {
        match &self.stage {
            Stage::Head(_) => false,
            Stage::Body(body) => body.is_over(),
            Stage::Over => true,
        }
    }

    /// Who has asked for something has not left by saying nothing more, as it were in HTTP/1.
    fn waits_for_answer(&self) -> bool {
        self.incoming.is_over() && !self.is_tunnel() && !self.is_answered()
    }

    /// Ready when the client wants no answer any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stage {
            Stage::Head(_) => ready!(self.respond.poll_reset(cx).map(drop)),
            Stage::Body(body) => ready!(body.poll_reset(cx)),
            Stage::Over => return Poll::Pending,
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    /// Takes what it can of the head from the front of `bytes`.
    fn head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Stage::Head(kept) = &mut self.stage else { return Ok(0) };
        let mut kept = std::mem::take(kept);
        let before = kept.len();
        kept.extend_from_slice(bytes);
        let mut storage = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let size = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, &kept, &mut storage)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let httparse::Status::Complete(size) = size else {
            self.stage = Stage::Head(kept);
            return Ok(bytes.len());
        };
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
        let next = self.next(status, parsed.headers);
        let fields = text::map(parsed.headers, |name| !self.asks_tunnel || *name != ACCEPT);
        self.answer(status, fields, next)?;
        Ok(size - before)
    }

    fn next(&self, status: StatusCode, fields: &[httparse::Header<'_>]) -> Next {
        let of = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        match status {
            StatusCode::SWITCHING_PROTOCOLS => Next::Body(Framing::Raw),
            _ if status.is_informational() => Next::Interim,
            _ if status.is_success() && self.asks_tunnel => Next::Unfit,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Next::Nothing,
            _ if self.to_head => Next::Nothing,
            _ if of("transfer-encoding").is_some() => {
                Next::Body(Framing::Chunked(ChunkDecoder::default()))
            }
            _ => match of("content-length").map(|length| number(length.value)) {
                Some(Some(0)) => Next::Nothing,
                Some(Some(length)) => Next::Body(Framing::Length(length)),
                _ => Next::Body(Framing::Raw),
            },
        }
    }

    fn answer(&mut self, status: StatusCode, fields: HeaderMap, next: Next) -> io::Result<()> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        self.stage = match next {
            Next::Interim => {
                self.respond.send_informational(response).map_err(broken)?;
                Stage::Head(Vec::new())
            }
            Next::Nothing => {
                self.respond.send_response(response, true).map_err(broken)?;
                Stage::Over
            }
            Next::Body(framing) => {
                if status == StatusCode::SWITCHING_PROTOCOLS {
                    *response.status_mut() = StatusCode::OK;
                }
                let stream = self.respond.send_response(response, false).map_err(broken)?;
                Stage::Body(Outgoing::new(stream, framing))
            }
            Next::Unfit => {
                // A success would open the tunnel (RFC 9110 §9.3.6).
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response.headers_mut().clear();
                self.respond.send_response(response, true).map_err(broken)?;
                Stage::Over
            }
        };
        Ok(())
    }
}

impl End for Served {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.waits_for_answer() {
            return self.poll_gone(cx).map_ok(|()| 0);
        }
        self.incoming.poll_read(cx, buffer)
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.try_read(buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut used = 0;
        loop {
            match &mut self.stage {
                Stage::Head(_) if used < bytes.len() => used += self.head(&bytes[used..])?,
                Stage::Body(body) if used < bytes.len() => {
                    let sent = match body.poll_write(cx, &bytes[used..]) {
                        Poll::Pending if used > 0 => return Poll::Ready(Ok(used)),
                        polled => ready!(polled)?,
                    };
                    self.tally.moved();
                    return Poll::Ready(Ok(used + sent));
                }
                // Whatever follows an answer that has no body in HTTP/2 is not sent.
                _ => return Poll::Ready(Ok(bytes.len())),
            }
        }
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_parts(parts, |part| self.poll_write(cx, part))
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waits_for_answer() {
            return self.poll_gone(cx);
        }
        self.incoming.poll_readable(cx)
    }

    fn poll_close_write(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match &mut self.stage {
            Stage::Body(body) if body.is_tunnel() => body.end(),
            _ => Ok(()),
        })
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stage {
            Stage::Body(body) => body.poll_room(cx),
            Stage::Head(_) | Stage::Over => Poll::Ready(Ok(())),
        }
    }
}

impl Within for Served {
    fn local_ip(&self) -> Option<SocketAddr> {
        self.local
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let answered = self.is_answered();
        if let Stage::Body(body) = std::mem::replace(&mut self.stage, Stage::Over) {
            if body.waits() {
                self.tally.stalled();
            }
            if !answered {
                self.tally.cuts.leave(body.into_stream());
            }
        }
        self.tally.end(answered);
    }
}
