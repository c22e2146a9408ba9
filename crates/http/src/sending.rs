//! A request on its way out: the rendered head, and a body that streams behind it.

use std::task::{Context, Poll};

use tidegate_h1::{Coding, Conn, Decoder, Flow, FlowError, Waiting};
use tidegate_net::{End, Scratch, Socket};
use tidegate_wire::Body;

/// The sending half of an exchange. A server may answer, and stop listening, before it has
/// everything: then the sending is broken and the answer is still read.
#[derive(Debug)]
pub(crate) struct Sending<'h> {
    /// What is left of the head of a request without a body.
    head: &'h [u8],
    /// In a box: most requests have none, and wait all the same.
    body: Option<Box<Flow>>,
    /// What of the body was read ahead, as long as it may have to be given back: a kept connection
    /// may turn out to be dead before a byte is written.
    copy: Option<Vec<u8>>,
    may_copy: bool,
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

impl<'h> Sending<'h> {
    /// `reused`: over a connection that may be dead already.
    pub(crate) fn new(head: &'h [u8], body: Body, max_body: u64, reused: bool) -> Self {
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
            copy: None,
            may_copy: reused,
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
        if std::mem::take(&mut self.may_copy) {
            self.copy = Some(client.ahead().to_vec());
        }
        let polled = flow.poll(cx, client, server, scratch);
        if flow.moves() > 0 {
            self.copy = None;
        }
        match polled {
            Poll::Ready(Err(FlowError::Sink(_))) => {
                self.broken = true;
                self.give_back(client);
            }
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

    /// Nothing was written: the client's bytes are there for another try.
    fn give_back(&mut self, client: &mut Conn<Socket>) {
        if let Some(copy) = self.copy.take() {
            drop(client.take_ahead());
            client.put_back(copy);
            self.body = None;
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
        self.moves() > 0
    }

    /// Whether some of the client's body is used up, so that the request cannot be sent again.
    pub(crate) fn is_spent(&self) -> bool {
        self.body.as_ref().is_some_and(|flow| flow.is_touched())
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
