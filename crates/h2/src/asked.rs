//! A stream to a server, as an end: a request is written to it, and its answer read from it, as to and
//! from a connection of HTTP/1 that serves no other.

use std::{
    future::Future,
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use h2::{Reason, RecvStream, client::ResponseFuture};
use http::Response;
use tidegate_net::{End, Within};

use crate::{
    answer,
    asking::{Asking, Unanswered, Why},
    incoming::Incoming,
    outgoing::{Outgoing, poll_parts},
    question::{Question, Wanted},
};

/// More fields than a request can have: those of a client, and those of a route.
const MAX_FIELDS: usize = 512;

/// One stream.
#[derive(Debug)]
pub(crate) struct Asked {
    asking: Asking,
    stage: Stage,
    answer: Answer,
    /// To be read before the answer.
    interim: Vec<u8>,
}

/// How far the request is.
#[derive(Debug)]
enum Stage {
    /// What came of its head.
    Head(Vec<u8>),
    Body(Outgoing),
    /// It went nowhere; whoever reads is told why.
    Over,
}

/// How far the answer is.
#[derive(Debug)]
enum Answer {
    /// Nothing was asked.
    None,
    Awaited(ResponseFuture, Wanted),
    Comes(Incoming),
    Never(Unanswered),
}

impl Asked {
    pub(crate) fn new(asking: Asking) -> Self {
        let stage = Stage::Head(Vec::new());
        Self { asking, stage, answer: Answer::None, interim: Vec::new() }
    }

    /// Takes what it can of the head from the front of `bytes`.
    fn head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Stage::Head(kept) = &mut self.stage else { return Ok(0) };
        let mut kept = std::mem::take(kept);
        let before = kept.len();
        kept.extend_from_slice(bytes);
        let mut storage = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let size = httparse::ParserConfig::default()
            .parse_request_with_uninit_headers(&mut parsed, &kept, &mut storage)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let httparse::Status::Complete(size) = size else {
            self.stage = Stage::Head(kept);
            return Ok(bytes.len());
        };
        let asked = Question::read(&parsed, self.asking.scheme());
        (self.stage, self.answer) = match asked.and_then(|question| self.ask(question)) {
            Ok((body, answer)) => (Stage::Body(body), answer),
            Err(unanswered) => (Stage::Over, Answer::Never(unanswered)),
        };
        Ok(size - before)
    }

    fn ask(&mut self, question: Question) -> Result<(Outgoing, Answer), Unanswered> {
        let Question { request, framing, wanted } = question;
        if matches!(wanted, Wanted::Tunnel(_)) && !self.asking.takes_tunnels() {
            let reason = "the server does not take WebSockets over HTTP/2 (RFC 8441)";
            return Err(Unanswered::new(Why::NoTunnels, reason.into()));
        }
        let (future, stream) = self.asking.ask(request, framing.is_over())?;
        Ok((Outgoing::new(stream, framing), Answer::Awaited(future, wanted)))
    }

    /// Ready when there is something to be read of a head, or the answer has begun.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.interim.is_empty() {
            let (future, wanted) = match &mut self.answer {
                Answer::None => return Poll::Pending,
                Answer::Comes(_) => return Poll::Ready(Ok(())),
                Answer::Never(unanswered) => return Poll::Ready(Err(failed(unanswered))),
                Answer::Awaited(future, wanted) => (future, *wanted),
            };
            match ready!(future.poll_informational(cx)) {
                Some(Ok(response)) => self.interim = answer::interim(&response),
                Some(Err(error)) => self.answer = Answer::Never(Unanswered::of(&error)),
                None => match ready!(Pin::new(future).poll(cx)) {
                    Ok(response) => self.begin(response, wanted),
                    Err(error) => self.answer = Answer::Never(Unanswered::of(&error)),
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    fn begin(&mut self, response: Response<RecvStream>, wanted: Wanted) {
        let (parts, stream) = response.into_parts();
        if let Stage::Body(body) = &mut self.stage
            && body.is_tunnel()
            && !parts.status.is_success()
        {
            // There will be no tunnel; who has given the stream up needs not be told so.
            let _ = body.end();
        }
        let (head, told, length) = answer::answer(&parts, wanted, stream.is_end_stream());
        self.answer = Answer::Comes(match length {
            Some(length) => Incoming::to_its_end(stream, head, told, length),
            None => Incoming::new(stream, head, told),
        });
    }

    /// Gives out what there is of an interim head.
    fn give_interim(&mut self, buffer: &mut [u8]) -> usize {
        let size = self.interim.len().min(buffer.len());
        buffer[..size].copy_from_slice(&self.interim[..size]);
        self.interim.drain(..size);
        size
    }
}

fn failed(unanswered: &Unanswered) -> io::Error {
    io::Error::other(unanswered.clone())
}

impl End for Asked {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(cx))?;
        match &mut self.answer {
            Answer::Comes(incoming) if self.interim.is_empty() => incoming.poll_read(cx, buffer),
            _ => Poll::Ready(Ok(self.give_interim(buffer))),
        }
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.answer {
            _ if !self.interim.is_empty() => Ok(self.give_interim(buffer)),
            Answer::Comes(incoming) => incoming.try_read(buffer),
            Answer::Never(unanswered) => Err(failed(unanswered)),
            Answer::None | Answer::Awaited(..) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let used = self.head(bytes)?;
        match &mut self.stage {
            Stage::Body(body) if used < bytes.len() => match body.poll_write(cx, &bytes[used..]) {
                Poll::Pending if used > 0 => Poll::Ready(Ok(used)),
                polled => polled.map_ok(|sent| used + sent),
            },
            Stage::Body(_) | Stage::Head(_) => Poll::Ready(Ok(used)),
            Stage::Over => Poll::Ready(Ok(bytes.len())),
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
        ready!(self.poll_answer(cx))?;
        match &mut self.answer {
            Answer::Comes(incoming) if self.interim.is_empty() => incoming.poll_readable(cx),
            _ => Poll::Ready(Ok(())),
        }
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

impl Within for Asked {
    fn local_ip(&self) -> Option<SocketAddr> {
        self.asking.local()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let answered = matches!(&self.answer, Answer::Comes(incoming) if incoming.is_ended());
        if let Stage::Body(body) = &mut self.stage
            && !(answered && body.is_over())
        {
            body.reset(Reason::CANCEL);
        }
        self.asking.ended();
    }
}
