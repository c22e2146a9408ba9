//! What HTTP/2 reads from and writes to: the socket, with an eye on the frames that come. The h2 crate
//! bounds what each of them may hold; it does not mind how many come that carry nothing.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tidegate_net::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tally::Tally;

/// Length, type, flags and stream (RFC 9113 §4.1).
const FRAME_HEAD: usize = 9;

/// Bytes written that pay for one more frame: a client says one WINDOW_UPDATE for so many at most, or
/// it says too many.
const PAID: usize = 256;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;

/// A socket and what came of it ahead.
#[derive(Debug)]
pub(crate) struct Metered {
    /// Shared with who has the last word when HTTP/2 is over.
    socket: Rc<RefCell<Socket>>,
    ahead: Vec<u8>,
    frames: Frames,
    tally: Arc<Tally>,
    written: usize,
}

/// Follows the heads of frames.
#[derive(Debug)]
struct Frames {
    /// Bytes before the next head.
    skip: usize,
    head: [u8; FRAME_HEAD],
    have: usize,
}

impl Metered {
    /// `ahead` was read already; `preface` bytes of all are no frames.
    pub(crate) fn new(
        socket: Rc<RefCell<Socket>>,
        ahead: Vec<u8>,
        preface: usize,
        tally: Arc<Tally>,
    ) -> Self {
        let frames = Frames { skip: preface, head: [0; FRAME_HEAD], have: 0 };
        Self { socket, ahead, frames, tally, written: 0 }
    }

    fn wrote(&mut self, written: usize) {
        self.written += written;
        let frames = self.written / PAID;
        self.written %= PAID;
        self.tally.worked(u32::try_from(frames).unwrap_or(u32::MAX));
    }
}

impl Frames {
    fn follow(&mut self, mut bytes: &[u8], tally: &Tally) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (FRAME_HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < FRAME_HEAD {
                return;
            }
            self.have = 0;
            let [high, middle, low, kind, flags, ..] = self.head;
            self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            judge(kind, flags, self.skip, tally);
        }
    }
}

/// What a frame is worth. One that is cut short or out of place is for the h2 crate to refuse.
fn judge(kind: u8, flags: u8, length: usize, tally: &Tally) {
    match kind {
        DATA if length > 0 => tally.worked(1),
        HEADERS => tally.worked(2),
        RST_STREAM => tally.reset(),
        SETTINGS | PING if flags & ACK != 0 => (),
        _ => tally.idle_frame(),
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.tally.excess().is_some() {
            // Nothing more is heard; whoever drives the connection is about to see why.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if this.ahead.is_empty() {
            ready!(Pin::new(&mut *this.socket.borrow_mut()).poll_read(cx, buffer))?;
        } else {
            let taken = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead[..taken]);
            this.ahead.drain(..taken);
        }
        this.frames.follow(&buffer.filled()[before..], &this.tally);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut *this.socket.borrow_mut()).poll_write(cx, bytes))?;
        this.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written =
            ready!(Pin::new(&mut *this.socket.borrow_mut()).poll_write_vectored(cx, parts))?;
        this.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Excess;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("a short one");
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// Whatever the pieces it comes in.
    fn excess(bytes: &[u8], preface: usize) -> Option<Excess> {
        let follow = |size: usize| {
            let tally = Tally::new(3);
            let mut frames = Frames { skip: preface, head: [0; FRAME_HEAD], have: 0 };
            bytes.chunks(size).for_each(|piece| frames.follow(piece, &tally));
            tally.excess()
        };
        let whole = follow(bytes.len());
        assert!([1, 2, 7, 10].into_iter().all(|size| follow(size) == whole));
        whole
    }

    #[test]
    fn resets_are_counted_wherever_they_begin() {
        let resets = |count| [b"xy".to_vec(), frame(RST_STREAM, 0, &[0; 4]).repeat(count)].concat();
        assert_eq!(excess(&resets(3), 2), None);
        assert_eq!(excess(&resets(4), 2), Some(Excess::Resets));
        // The same bytes as payload are none.
        assert_eq!(excess(&frame(DATA, 0, &resets(10)), 0), None);
    }

    #[test]
    fn frames_that_carry_nothing_are_counted() {
        assert_eq!(excess(&frame(PING, 0, &[0; 8]).repeat(1_001), 0), Some(Excess::Frames));
        assert_eq!(excess(&frame(DATA, 0, &[]).repeat(1_001), 0), Some(Excess::Frames));
        assert_eq!(excess(&frame(PING, ACK, &[0; 8]).repeat(1_001), 0), None);
        assert_eq!(excess(&frame(DATA, 0, b"x").repeat(5_000), 0), None);
    }
}
