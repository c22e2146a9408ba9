//! One direction of a tunnel: what a source says goes to a sink as it comes, and what the sink
//! would not take waits in a buffer of exactly its size, while reading pauses.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tidegate_net::{End, Pipe, ROOM, SIZE, Scratch, poll_drain, poll_fill};

use super::frames::Passage;

/// After moving so much without waiting, a tunnel lets the others have their turn.
const TURN: usize = 1 << 20;

/// Who has moved so much in one turn, and has more, is moving bulk.
const BULK: usize = 4 * SIZE;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// What the sink would not take, or did not before it broke.
    remainder: Vec<u8>,
    /// While it moves bulk between plain sockets, what is under way in the kernel.
    pipe: Option<Box<Pipe>>,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Read after nothing more was to go on.
    pub(super) dropped: u64,
    /// The source has said its last word.
    pub(super) ended: bool,
    /// Nothing more of the source's goes on.
    pub(super) drops: bool,
    /// The source's last word is kept from the sink: somebody has something to add.
    pub(super) holds: bool,
    /// The sink is to be told that nothing more comes, once it has taken what waits.
    pub(super) finishes: bool,
    /// It has been.
    pub(super) closed: bool,
}

/// The side of a direction that failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Broken {
    Sink,
    Source,
}

impl Direction {
    /// Its first bytes were read already.
    pub(super) fn new(first: Vec<u8>) -> Self {
        Self { received: first.len() as u64, remainder: first, ..Self::default() }
    }

    /// Bytes that wait for the sink.
    pub(super) fn waiting(&self) -> u64 {
        let piped = self.pipe.as_ref().map_or(0, |pipe| pipe.held());
        (self.remainder.len() + piped) as u64
    }

    /// Whether the sink has taken everything, FIN too if it is to get one.
    pub(super) fn is_through(&self) -> bool {
        self.remainder.is_empty() && (self.closed || !self.finishes)
    }

    /// Puts bytes of our own behind what waits. There has to be room between two frames.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.remainder.extend_from_slice(bytes);
    }

    /// Moves what can be moved. `pass` says what goes on of so many bytes that stand in a buffer
    /// behind [`ROOM`]; where it `splices`, all goes on and need not be seen. Ready once the source
    /// has ended and the sink has been told.
    pub(super) fn poll<A: End, B: End>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut A,
        sink: &mut B,
        scratch: &Scratch,
        splices: bool,
        mut pass: impl FnMut(&mut [u8], usize) -> Passage,
    ) -> Poll<Result<(), Broken>> {
        let mut turn = 0;
        loop {
            ready!(self.flush(cx, sink))?;
            if self.pipe.is_some() {
                ready!(self.poll_bulk(cx, source, sink, scratch, &mut turn))?;
            }
            let passes_end = self.ended && !self.drops && !self.holds;
            if (self.finishes || passes_end) && !self.closed {
                ready!(self.close(cx, sink))?;
            }
            if self.ended {
                return if self.closed { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            if turn >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut lent = scratch.lend();
            let Ok(read) = ready!(source.poll_read(cx, &mut lent[ROOM..ROOM + SIZE])) else {
                return Poll::Ready(Err(Broken::Source));
            };
            turn += read;
            self.ended = read == 0;
            self.received += read as u64;
            if self.drops {
                self.dropped += read as u64;
                continue;
            }
            let Passage { range, end } = pass(&mut lent, read);
            let is_bulk = turn >= BULK && read == SIZE && end.is_none();
            let (written, wrote) = self.write(cx, sink, &lent[range.clone()]);
            self.remainder = lent[range.start + written..range.end].to_vec();
            if let Some(end) = end {
                self.append(end.as_bytes());
                self.drops = true;
            }
            wrote?;
            if is_bulk && splices && source.plain().is_some() && sink.plain().is_some() {
                self.pipe = scratch.pipe().map(Box::new);
            }
        }
    }

    /// Moves bulk through a pipe. Ready when there is no more of it for now: the pipe is given back.
    fn poll_bulk<A: End, B: End>(
        &mut self,
        cx: &mut Context<'_>,
        source: &A,
        sink: &B,
        scratch: &Scratch,
        turn: &mut usize,
    ) -> Poll<Result<(), Broken>> {
        let (Some(from), Some(to)) = (source.plain(), sink.plain()) else {
            return Poll::Ready(Ok(()));
        };
        while let Some(pipe) = &mut self.pipe {
            if pipe.held() > 0 {
                match ready!(poll_drain(to, cx, pipe)) {
                    Ok(moved) if moved > 0 => self.sent += moved as u64,
                    _ => return Poll::Ready(Err(Broken::Sink)),
                }
                continue;
            }
            if *turn >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let filled = if self.drops { Poll::Pending } else { poll_fill(from, cx, pipe) };
            match filled {
                Poll::Ready(Ok(moved)) if moved > 0 => {
                    self.received += moved as u64;
                    *turn += moved;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Source)),
                // Nothing more for now, or the end: reading will tell.
                Poll::Ready(Ok(_)) | Poll::Pending => {
                    if let Some(pipe) = self.pipe.take() {
                        scratch.give_back(*pipe);
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing waits any more.
    fn flush<B: End>(&mut self, cx: &mut Context<'_>, sink: &mut B) -> Poll<Result<(), Broken>> {
        while !self.remainder.is_empty() {
            let remainder = std::mem::take(&mut self.remainder);
            let (written, wrote) = self.write(cx, sink, &remainder);
            // Not copied again for a sink that takes nothing.
            self.remainder = if written == 0 { remainder } else { remainder[written..].to_vec() };
            wrote?;
            if written == 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what the sink takes, and answers how much that was and whether it broke.
    fn write<B: End>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut B,
        bytes: &[u8],
    ) -> (usize, Result<(), Broken>) {
        let mut at = 0;
        while at < bytes.len() {
            match sink.poll_write(cx, &bytes[at..]) {
                Poll::Ready(Ok(0) | Err(_)) => return (at, Err(Broken::Sink)),
                Poll::Ready(Ok(written)) => {
                    at += written;
                    self.sent += written as u64;
                }
                Poll::Pending => break,
            }
        }
        (at, Ok(()))
    }

    fn close<B: End>(&mut self, cx: &mut Context<'_>, sink: &mut B) -> Poll<Result<(), Broken>> {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotConnected;
        // A side that has gone altogether needs not be told; reading from it will tell us.
        self.closed = ready!(sink.poll_close_write(cx)).as_ref().err().is_none_or(gone);
        Poll::Ready(if self.closed { Ok(()) } else { Err(Broken::Sink) })
    }
}
