//! A request on its way out: the rendered head, and a body that streams behind it.

use std::task::{Context, Poll};

use tidegate_h1::{Coding, Conn, Decoder, Flow, FlowError, Waiting};
use tidegate_net::{End, Scratch, Socket};
use tidegate_wire::Body;

use crate::replay::Replay;

/// The sending half of an exchange. A server may answer, and stop listening, before it has
/// everything: then the sending is broken and the answer is still read.
#[derive(Debug)]
pub(crate) struct Sending<'h, 'm> {
    /// What is left of the head of a request without a body.
    head: &'h [u8],
    /// In a box: most requests have none, and wait all the same.
    body: Option<Box<Flow>>,
    /// What was used up of it.
    replay: &'h mut Replay<'m>,
    moves: u64,
    broken: bool,
}

/// What is wrong with a request whose head was sound.
#[derive(Debug)]
pub(crate) enum ClientFault {
    Gone,
    /// The status that tells it, and the reason.
    Refused(u16, String),
}

impl<'h, 'm> Sending<'h, 'm> {
    pub(crate) fn new(
        head: &'h [u8],
        body: Body,
        max_body: u64,
        replay: &'h mut Replay<'m>,
    ) -> Self {
        let flow = |decoder, coding| {
            Some(Box::new(Flow::new(decoder, coding, head.to_vec()).with_limit(max_body)))
        };
        let body = match body {
            Body::None => None,
            Body::Length(length) => flow(Decoder::Length(length), Coding::Plain),
            Body::Chunked => {
                flow(Decoder::Chunked(tidegate_wire::ChunkDecoder::default()), Coding::Chunked)
            }
        };
        Self {
            head: if body.is_some() { &[] } else { head },
            body,
            replay,
            moves: 0,
            broken: false,
        }
    }

    /// Sends what can be sent now.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Conn<Socket>,
        server: &mut Socket,
        scratch: &Scratch,
    ) -> Result<(), ClientFault> {
        if self.broken {
            return Ok(());
        }
        while !self.head.is_empty() {
            match server.poll_write(cx, self.head) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(sent)) if sent > 0 => {
                    self.head = &self.head[sent..];
                    self.moves += 1;
                }
                Poll::Ready(_) => {
                    self.broken = true;
                    return Ok(());
                }
            }
        }
        let Some(flow) = self.body.as_mut().filter(|flow| !flow.is_done()) else {
            return Ok(());
        };
        let replay = &mut *self.replay;
        match flow.poll_seen(cx, client, server, scratch, |bytes| replay.keep(bytes)) {
            Poll::Ready(Err(FlowError::Sink(_))) => self.broken = true,
            Poll::Ready(Err(FlowError::Cut | FlowError::Source(_))) => {
                return Err(ClientFault::Gone);
            }
            Poll::Ready(Err(error @ FlowError::TooLarge)) => {
                return Err(ClientFault::Refused(413, error.to_string()));
            }
            Poll::Ready(Err(error @ FlowError::Malformed(_))) => {
                return Err(ClientFault::Refused(400, error.to_string()));
            }
            Poll::Ready(Ok(())) | Poll::Pending => (),
        }
        Ok(())
    }

    /// The client's bytes are there for another try.
    pub(crate) fn give_back(&mut self, client: &mut Conn<Socket>) {
        let mut body = self.replay.take();
        if !body.is_empty() {
            body.append(&mut client.take_ahead());
            client.put_back(body);
        }
    }

    /// Everything was sent.
    pub(crate) fn is_done(&self) -> bool {
        !self.broken && self.head.is_empty() && self.body.as_ref().is_none_or(|flow| flow.is_done())
    }

    /// Nothing more will be sent.
    pub(crate) fn is_over(&self) -> bool {
        self.broken || self.is_done()
    }

    /// Whether the server may have seen any of it.
    pub(crate) fn is_begun(&self) -> bool {
        self.moves > 0 || self.body.as_ref().is_some_and(|flow| flow.is_sent())
    }

    /// Whether some of the client's body is used up for good: the request cannot be sent again.
    pub(crate) fn is_spent(&self) -> bool {
        !self.replay.is_complete()
    }

    /// Whether it could be, had there been memory to keep its body.
    pub(crate) fn found_no_memory(&self) -> bool {
        self.replay.found_no_memory()
    }

    /// The answer is on its way to the client: there will be no other try.
    pub(crate) fn settle(&mut self) {
        self.replay.discard();
    }

    pub(crate) fn moves(&self) -> u64 {
        self.moves + self.body.as_ref().map_or(0, |flow| flow.moves())
    }

    pub(crate) fn payload(&self) -> u64 {
        self.body.as_ref().map_or(0, |flow| flow.payload())
    }

    /// Whether it is the client that is waited for.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.head.is_empty()
            && self.body.as_ref().is_some_and(|flow| flow.waiting() == Waiting::Source)
    }
}
