//! A body on its way from one end to another. Framing is taken off and put on anew; payload goes
//! straight through the scratch buffer, and only what the sink would not take is kept.

mod transforming;

use std::{
    io::{self, IoSlice, Write as _},
    task::{Context, Poll},
};

use tidegate_net::{End, ROOM, SIZE, Scratch};
use tidegate_wire::{BadChunk, ChunkDecoder, Step, may_trail, parse_trailers};

use crate::Conn;
use transforming::Transforming;

/// Payload up to this size is copied behind what is pending, and leaves with it in one write.
const COPIED: usize = 8 * 1024;

/// A trailer section larger than this is refused.
const MAX_TRAILERS: usize = 8 * 1024;

const MAX_TRAILER_FIELDS: usize = 32;

/// After so much of a body the others on its worker have their turn. Hundreds may begin at once, and
/// whoever asks for little must not wait until each of them has filled its socket.
const TURN: usize = 256 * 1024;

/// How a body is framed where it comes from.
#[derive(Debug)]
pub enum Decoder {
    Chunked(ChunkDecoder),
    /// Ended, or there never was one.
    Done,
    /// Bytes still to come.
    Length(u64),
    /// The part of a trailer section that came so far.
    Trailers(Vec<u8>),
    UntilClose,
}

/// How it is framed where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Chunked,
    /// By its length, or by the end of the connection.
    Plain,
}

/// What a flow that made no progress waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    Sink,
    Source,
}

/// Why a body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    #[error("the body ended before its time")]
    Cut,
    #[error("malformed chunked coding: {0}")]
    Malformed(#[from] BadChunk),
    #[error("writing the body failed: {0}")]
    Sink(#[source] io::Error),
    #[error("reading the body failed: {0}")]
    Source(#[source] io::Error),
    #[error("the body is larger than allowed")]
    TooLarge,
}

/// A body in motion.
#[derive(Debug)]
pub struct Flow {
    decoder: Decoder,
    coding: Coding,
    /// Payload bytes still allowed.
    allowance: u64,
    pending: Vec<u8>,
    written: usize,
    payload: u64,
    moves: u64,
    sent: bool,
    waiting: Waiting,
    transform: Option<Transforming>,
}

impl Flow {
    /// A body that follows `head`, which has not been written yet.
    pub fn new(decoder: Decoder, coding: Coding, head: Vec<u8>) -> Self {
        let is_empty = matches!(decoder, Decoder::Length(0));
        let mut flow = Self {
            decoder,
            coding,
            allowance: u64::MAX,
            pending: head,
            written: 0,
            payload: 0,
            moves: 0,
            sent: false,
            waiting: Waiting::Source,
            transform: None,
        };
        if is_empty {
            flow.write_end(&[]);
        }
        flow
    }

    /// Refuses more than `bytes` of payload.
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.allowance = bytes;
        self
    }

    /// Payload bytes seen so far; of a body that is transformed, those that came out.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// Grows whenever a byte was read or written: who sees it stand still sees the flow stand still.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// Whether the sink has taken anything.
    pub fn is_sent(&self) -> bool {
        self.sent
    }

    /// Of the last poll that was not ready.
    pub fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Whether the source has given all of it; some may still have to be written.
    pub fn is_read(&self) -> bool {
        matches!(self.decoder, Decoder::Done)
    }

    pub fn is_done(&self) -> bool {
        self.is_read() && self.written == self.pending.len()
    }

    /// Takes what it needs from the front of `bytes`, writes what the sink takes, keeps the rest.
    /// Answers how many bytes were taken; fewer than all only when the body ends among them.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn absorb<K: End>(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        sink: &mut K,
    ) -> Result<usize, FlowError> {
        let mut used = 0;
        while used < bytes.len() && !self.is_read() {
            used += self.step(cx, &bytes[used..], sink)?;
        }
        // Pending or not, the answer is the same: poll goes on with it.
        let _ = self.flush(cx, sink)?;
        Ok(used)
    }

    /// Moves bytes until one side would wait. Ready when everything is written. Cancel safe.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn poll<S: End, K: End>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Conn<S>,
        sink: &mut K,
        scratch: &Scratch,
    ) -> Poll<Result<(), FlowError>> {
        self.poll_seen(cx, source, sink, scratch, |_| ())
    }

    /// As [`poll`](Self::poll); `seen` is shown the source's bytes, framing and all, as they are used
    /// up. When the sink fails, those it was not shown are still ahead in the source: together they
    /// are the whole body so far, to be sent again.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn poll_seen<S: End, K: End>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Conn<S>,
        sink: &mut K,
        scratch: &Scratch,
        mut seen: impl FnMut(&[u8]),
    ) -> Poll<Result<(), FlowError>> {
        let mut turn = 0;
        loop {
            // What lies ready goes out together with what is pending, a head above all.
            if !source.ahead().is_empty() && !self.is_read() && self.pending.len() <= COPIED {
                self.take_ahead(cx, source, sink, &mut seen)?;
            }
            if self.flush(cx, sink)?.is_pending() {
                return self.wait_for(Waiting::Sink);
            }
            if self.is_read() {
                return Poll::Ready(Ok(()));
            }
            if !source.ahead().is_empty() {
                continue;
            }
            match sink.poll_room(cx) {
                Poll::Ready(room) => room.map_err(FlowError::Sink)?,
                Poll::Pending => return self.wait_for(Waiting::Sink),
            }
            let mut lent = scratch.lend();
            let buffer = &mut lent[ROOM..ROOM + self.appetite()];
            match source.end.poll_read(cx, buffer) {
                Poll::Pending if self.holds() => self.let_go()?,
                Poll::Pending => return self.wait_for(Waiting::Source),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(FlowError::Source(error))),
                Poll::Ready(Ok(0)) => self.source_closed()?,
                Poll::Ready(Ok(read)) => {
                    self.moves += 1;
                    self.take_read(cx, &buffer[..read], source, sink, &mut seen)?;
                    turn += read;
                    if turn >= TURN && !self.is_read() {
                        cx.waker().wake_by_ref();
                        return self.wait_for(Waiting::Source);
                    }
                }
            }
        }
    }

    #[inline]
    fn wait_for(&mut self, side: Waiting) -> Poll<Result<(), FlowError>> {
        self.waiting = side;
        Poll::Pending
    }

    /// Takes what it needs of what was read before.
    #[inline]
    fn take_ahead<S: End, K: End>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Conn<S>,
        sink: &mut K,
        seen: &mut impl FnMut(&[u8]),
    ) -> Result<(), FlowError> {
        let mut ahead = source.take_ahead();
        let absorbed = self.absorb(cx, &ahead, sink);
        if let Ok(used) = absorbed {
            seen(&ahead[..used]);
            ahead.drain(..used);
            ahead.shrink_to_fit();
        }
        source.put_back(ahead);
        absorbed.map(|_| ())
    }

    /// Takes what it needs of what was read now; the rest is ahead in the source.
    #[inline]
    fn take_read<S: End, K: End>(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        source: &mut Conn<S>,
        sink: &mut K,
        seen: &mut impl FnMut(&[u8]),
    ) -> Result<(), FlowError> {
        let absorbed = self.absorb(cx, bytes, sink);
        let used = *absorbed.as_ref().unwrap_or(&0);
        if absorbed.is_ok() {
            seen(&bytes[..used]);
        }
        if used < bytes.len() {
            source.put_back(bytes[used..].to_vec());
        }
        absorbed.map(|_| ())
    }

    /// How much to ask for: never beyond a body whose length is known.
    fn appetite(&self) -> usize {
        match self.decoder {
            Decoder::Length(left) => usize::try_from(left).unwrap_or(SIZE).min(SIZE),
            _ => SIZE,
        }
    }

    fn source_closed(&mut self) -> Result<(), FlowError> {
        if !matches!(self.decoder, Decoder::UntilClose) {
            return Err(FlowError::Cut);
        }
        self.end_with(&[])
    }

    /// One step of the decoder; answers how many bytes it took.
    fn step<K: End>(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        sink: &mut K,
    ) -> Result<usize, FlowError> {
        match &mut self.decoder {
            Decoder::Done => Ok(0),
            Decoder::UntilClose => self.pass(cx, bytes, sink).map(|()| bytes.len()),
            Decoder::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= take as u64;
                let is_last = *left == 0;
                self.pass(cx, &bytes[..take], sink)?;
                if is_last {
                    self.end_with(&[])?;
                }
                Ok(take)
            }
            Decoder::Chunked(chunks) => match chunks.step(bytes)? {
                Step::Skip(skipped) => Ok(skipped),
                Step::Data(size) => self.pass(cx, &bytes[..size], sink).map(|()| size),
                Step::Trailers(skipped) => {
                    self.decoder = Decoder::Trailers(Vec::new());
                    Ok(skipped)
                }
            },
            Decoder::Trailers(_) => self.trailers(bytes),
        }
    }

    /// Gathers the trailer section. Its end is the body's.
    fn trailers(&mut self, bytes: &[u8]) -> Result<usize, FlowError> {
        let Decoder::Trailers(mut section) = std::mem::replace(&mut self.decoder, Decoder::Done)
        else {
            return Ok(0);
        };
        let before = section.len();
        section.extend_from_slice(&bytes[..bytes.len().min(MAX_TRAILERS - before)]);
        let mut storage = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
        if let Some((fields, size)) = parse_trailers(&section, &mut storage)? {
            self.end_with(fields)?;
            return Ok(size.saturating_sub(before));
        }
        if section.len() >= MAX_TRAILERS {
            return Err(FlowError::TooLarge);
        }
        self.decoder = Decoder::Trailers(section);
        Ok(bytes.len())
    }

    /// The end of the body, with the trailers that may go on.
    fn end_with(&mut self, trailers: &[httparse::Header<'_>]) -> Result<(), FlowError> {
        self.finish_transform()?;
        self.write_end(trailers);
        Ok(())
    }

    fn write_end(&mut self, trailers: &[httparse::Header<'_>]) {
        self.decoder = Decoder::Done;
        if self.coding == Coding::Plain {
            return;
        }
        self.pending.extend_from_slice(b"0\r\n");
        for field in trailers.iter().filter(|field| may_trail(field.name)) {
            self.pending.extend_from_slice(field.name.as_bytes());
            self.pending.extend_from_slice(b": ");
            self.pending.extend_from_slice(field.value);
            self.pending.extend_from_slice(b"\r\n");
        }
        self.pending.extend_from_slice(b"\r\n");
    }

    /// Sends payload on: a little is copied, much goes straight from where it lies.
    fn pass<K: End>(
        &mut self,
        cx: &mut Context<'_>,
        payload: &[u8],
        sink: &mut K,
    ) -> Result<(), FlowError> {
        if payload.is_empty() {
            return Ok(());
        }
        if self.transform.is_some() {
            return self.take_in(payload);
        }
        self.payload += payload.len() as u64;
        if self.payload > self.allowance {
            return Err(FlowError::TooLarge);
        }
        let tail = self.begin_piece(payload.len());
        if payload.len() <= COPIED {
            self.pending.extend_from_slice(payload);
            self.pending.extend_from_slice(tail);
            return Ok(());
        }
        let parts = [&self.pending[self.written..], payload, tail];
        let sent = match sink.poll_write_vectored(cx, &parts.map(IoSlice::new)) {
            Poll::Ready(Ok(sent)) => sent,
            Poll::Ready(Err(error)) => return Err(FlowError::Sink(error)),
            Poll::Pending => 0,
        };
        self.moves += u64::from(sent > 0);
        self.sent |= sent > 0;
        self.keep_unsent(sent, payload, tail);
        Ok(())
    }

    /// Frames a piece of payload: what is written before it, and what follows it.
    fn begin_piece(&mut self, size: usize) -> &'static [u8] {
        match self.coding {
            Coding::Chunked => {
                // Writing to a Vec cannot fail.
                let _ = write!(self.pending, "{size:x}\r\n");
                b"\r\n"
            }
            Coding::Plain => b"",
        }
    }

    fn keep_unsent(&mut self, sent: usize, payload: &[u8], tail: &[u8]) {
        let before = self.pending.len() - self.written;
        self.written += sent.min(before);
        if self.written == self.pending.len() {
            self.pending = Vec::new();
            self.written = 0;
        }
        let mut sent = sent.saturating_sub(before);
        for part in [payload, tail] {
            let gone = sent.min(part.len());
            sent -= gone;
            self.pending.reserve_exact(part.len() - gone);
            self.pending.extend_from_slice(&part[gone..]);
        }
    }

    fn flush<K: End>(&mut self, cx: &mut Context<'_>, sink: &mut K) -> Result<Poll<()>, FlowError> {
        while self.written < self.pending.len() {
            match sink.poll_write(cx, &self.pending[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(FlowError::Sink(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(sent)) => {
                    self.written += sent;
                    self.moves += 1;
                    self.sent = true;
                }
                Poll::Ready(Err(error)) => return Err(FlowError::Sink(error)),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        if !self.pending.is_empty() {
            self.pending = Vec::new();
            self.written = 0;
        }
        Ok(Poll::Ready(()))
    }
}

#[cfg(test)]
mod tests;
