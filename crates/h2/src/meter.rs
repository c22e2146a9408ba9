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

use crate::{fault::Fault, tally::Tally};

/// Length, type, flags and stream (RFC 9113 §4.1).
const FRAME_HEAD: usize = 9;

/// Bytes written that pay for one more frame that carries nothing.
const PAID: usize = 256;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const PADDED: u8 = 8;
const PRIORITISED: u8 = 32;

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
    /// The highest stream that had a head; `None`: there has been no frame yet.
    last: Option<u32>,
    trailers: Option<Trailers>,
}

/// The beginning of a block of trailers.
#[derive(Debug)]
struct Trailers {
    /// Bytes before it.
    before: usize,
    first: [u8; 3],
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
        let frames = Frames::after(preface);
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
    fn after(preface: usize) -> Self {
        Self { skip: preface, head: [0; FRAME_HEAD], have: 0, last: None, trailers: None }
    }

    /// # Errors
    /// What the h2 crate lets pass and RFC 9113 does not: another first frame than SETTINGS (§3.4), trailers
    /// that begin with a pseudo field (§8.1); and what it has another code for.
    fn follow(&mut self, mut bytes: &[u8], tally: &Tally) -> Result<(), Fault> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.look_at_trailers(&bytes[..skipped])?;
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = (FRAME_HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < FRAME_HEAD {
                return Ok(());
            }
            self.have = 0;
            self.begin(tally)?;
        }
    }

    /// A whole head of a frame is there.
    fn begin(&mut self, tally: &Tally) -> Result<(), Fault> {
        let [high, middle, low, kind, flags, stream @ ..] = self.head;
        self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let Some(last) = self.last else {
            self.last = Some(0);
            return if kind == SETTINGS && flags & ACK == 0 {
                Ok(())
            } else {
                Err(Fault::Protocol)
            };
        };
        if !is_sized(kind, flags, self.skip) {
            return Err(Fault::FrameSize);
        }
        let stream = u32::from_be_bytes(stream);
        if kind == HEADERS && stream <= last {
            let padded = usize::from(flags & PADDED != 0);
            let prioritised = if flags & PRIORITISED != 0 { 5 } else { 0 };
            let before = padded + prioritised;
            self.trailers = Some(Trailers { before, first: [0; 3], have: 0 });
        } else if kind == HEADERS {
            self.last = Some(stream);
        }
        judge(kind, flags, self.skip, tally);
        Ok(())
    }

    fn look_at_trailers(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let Some(trailers) = &mut self.trailers else { return Ok(()) };
        let passed = trailers.before.min(payload.len());
        trailers.before -= passed;
        for byte in payload[passed..].iter().take(trailers.first.len() - trailers.have) {
            trailers.first[trailers.have] = *byte;
            trailers.have += 1;
        }
        if trailers.have < trailers.first.len() && payload.len() < self.skip {
            return Ok(());
        }
        let is_bad = is_pseudo(&trailers.first[..trailers.have]);
        self.trailers = None;
        if is_bad { Err(Fault::Protocol) } else { Ok(()) }
    }
}

/// Whether a frame of one size has that (RFC 9113 §6.3 to §6.9).
fn is_sized(kind: u8, flags: u8, length: usize) -> bool {
    match kind {
        PRIORITY => length == 5,
        RST_STREAM | WINDOW_UPDATE => length == 4,
        SETTINGS if flags & ACK != 0 => length == 0,
        SETTINGS => length.is_multiple_of(6),
        PING => length == 8,
        _ => true,
    }
}

/// Whether a block begins with a pseudo field: one of the static table, in each of the forms that a field
/// may have, or a name of its own (RFC 7541 §6, Appendix A), of which ':' is the first byte, or the
/// first seven bits where it is compressed (Appendix B).
fn is_pseudo(block: &[u8]) -> bool {
    match block {
        [0x81..=0x8e | 0x41..=0x4e | 0x11..=0x1e | 0x01..=0x0e, ..] => true,
        [0x40 | 0x10 | 0x00, 0..=0x7f, b':', ..] => true,
        [0x40 | 0x10 | 0x00, 0x80..=0xff, begin, ..] => begin >> 1 == 0x5c,
        _ => false,
    }
}

/// What a frame is worth. One that is cut short or out of place is for the h2 crate to refuse.
fn judge(kind: u8, flags: u8, length: usize, tally: &Tally) {
    match kind {
        DATA if length > 0 => tally.worked(1),
        HEADERS => tally.worked(2),
        RST_STREAM => tally.reset(),
        SETTINGS | PING if flags & ACK != 0 => (),
        // Whoever reads little pieces, as gRPC does, says as many; they cost nothing to speak of.
        WINDOW_UPDATE => (),
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
        if this.tally.fault().is_some() {
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
        if let Err(fault) = this.frames.follow(&buffer.filled()[before..], &this.tally) {
            this.tally.fail(fault);
            buffer.set_filled(before);
            return Poll::Pending;
        }
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

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("a short one");
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// Whatever the pieces it comes in.
    fn fault(bytes: &[u8], preface: usize) -> Option<Fault> {
        let follow = |size: usize| {
            let tally = Tally::new(3);
            let mut frames = Frames { last: Some(0), ..Frames::after(preface) };
            bytes.chunks(size).for_each(|piece| frames.follow(piece, &tally).expect("it began"));
            tally.fault()
        };
        let whole = follow(bytes.len());
        assert!([1, 2, 7, 10].into_iter().all(|size| follow(size) == whole));
        whole
    }

    #[test]
    fn resets_are_counted_wherever_they_begin() {
        let resets = |count| [b"xy".to_vec(), frame(RST_STREAM, 0, &[0; 4]).repeat(count)].concat();
        assert_eq!(fault(&resets(3), 2), None);
        assert_eq!(fault(&resets(4), 2), Some(Fault::Resets));
        // The same bytes as payload are none.
        assert_eq!(fault(&frame(DATA, 0, &resets(10)), 0), None);
    }

    #[test]
    fn trailers_have_no_pseudo_fields() {
        let head = frame(HEADERS, 4, &[0x82, 0x84]);
        let trailers = |flags: u8, payload: &[u8]| {
            let bytes = [head.clone(), frame(HEADERS, flags, payload)].concat();
            let in_pieces = |size: usize| {
                let mut frames = Frames { last: Some(0), ..Frames::after(0) };
                let tally = Tally::new(1);
                bytes.chunks(size).try_for_each(|piece| frames.follow(piece, &tally)).is_ok()
            };
            let whole = in_pieces(bytes.len());
            assert!([1, 3, 10].into_iter().all(|size| in_pieces(size) == whole));
            whole
        };
        assert!(trailers(5, &[0x40, 1, b'x', 1, b'y']));
        assert!(!trailers(5, &[0x42, 1, b'x']) && !trailers(5, &[0x82]));
        assert!(
            !trailers(5, b"\x00\x07:method\x01x") && !trailers(5, b"\x40\x85\xb9\x58\xd3\x3f\x01x")
        );
        assert!(!trailers(5 | PADDED | PRIORITISED, &[0, 0, 0, 0, 0, 9, 0x82]));
        assert!(trailers(5 | PRIORITISED, &[0, 0, 0, 0, 0]) && trailers(5, &[]));
    }

    #[test]
    fn settings_come_first() {
        let begin = |kind, flags| Frames::after(0).follow(&frame(kind, flags, &[]), &Tally::new(1));
        assert!(begin(SETTINGS, 0).is_ok());
        assert!(begin(SETTINGS, ACK).is_err() && begin(HEADERS, 0).is_err());
    }

    #[test]
    fn frames_that_carry_nothing_are_counted() {
        assert_eq!(fault(&frame(PING, 0, &[0; 8]).repeat(1_001), 0), Some(Fault::Frames));
        assert_eq!(fault(&frame(DATA, 0, &[]).repeat(1_001), 0), Some(Fault::Frames));
        assert_eq!(fault(&frame(PING, ACK, &[0; 8]).repeat(1_001), 0), None);
        assert_eq!(fault(&frame(DATA, 0, b"x").repeat(5_000), 0), None);
    }
}
