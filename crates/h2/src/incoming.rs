//! What comes on a stream, told as HTTP/1: a head, then a body by its length or in chunks, and the
//! trailers. Nothing is kept but the piece that is being read.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;

use crate::text::{self, Told};

/// One direction of a stream.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: RecvStream,
    /// To be read before the piece.
    text: Vec<u8>,
    at: usize,
    piece: Bytes,
    /// After the piece comes the end of a chunk.
    closes_chunk: bool,
    told: Told,
    rest: Rest,
    /// Bytes of the body before nothing more is given out until its end has come.
    left: Option<u64>,
    waits_for_end: bool,
}

/// What is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Data,
    Trailers,
    Nothing,
}

impl Incoming {
    pub(crate) fn new(stream: RecvStream, head: Vec<u8>, told: Told) -> Self {
        let rest = if told == Told::Nothing { Rest::Nothing } else { Rest::Data };
        Self {
            stream,
            text: head,
            at: 0,
            piece: Bytes::new(),
            closes_chunk: false,
            told,
            rest,
            left: None,
            waits_for_end: false,
        }
    }

    /// The same, of a body of `length` bytes whose last word is not given out before the other side has
    /// ended the stream: whoever has that lets go of it, and what is let go before its end is reset.
    pub(crate) fn to_its_end(stream: RecvStream, head: Vec<u8>, told: Told, length: u64) -> Self {
        let waits_for_end = length == 0 && !stream.is_end_stream();
        let this = Self::new(stream, head, told);
        let rest = if waits_for_end { Rest::Data } else { this.rest };
        Self { left: Some(length), waits_for_end, rest, ..this }
    }

    /// The other side has said its last word, heard or not.
    pub(crate) fn is_ended(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// Everything was read.
    pub(crate) fn is_over(&self) -> bool {
        self.rest == Rest::Nothing && self.has_nothing()
    }

    /// Reads what there is, as much as fits. 0 bytes: that was all.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        loop {
            filled += self.give(&mut buffer[filled..])?;
            if filled == buffer.len() || self.is_over() {
                return Poll::Ready(Ok(filled));
            }
            match self.poll_more(cx) {
                Poll::Ready(Ok(())) => (),
                // It is said again the next time.
                Poll::Ready(Err(_)) | Poll::Pending if filled > 0 => {
                    return Poll::Ready(Ok(filled));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads what lies ready, and asks nobody for more.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.give(buffer)? {
            0 if !self.is_over() => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }

    /// Ready when a read would not wait.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_over() && (self.waits_for_end || self.has_nothing()) {
            ready!(self.poll_more(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn has_nothing(&self) -> bool {
        self.at == self.text.len() && self.piece.is_empty()
    }

    /// Hands out what lies ready.
    fn give(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.waits_for_end {
            return Ok(0);
        }
        let told = (self.text.len() - self.at).min(buffer.len());
        buffer[..told].copy_from_slice(&self.text[self.at..self.at + told]);
        self.at += told;
        if self.at < self.text.len() {
            return Ok(told);
        }
        let size = self.piece.len().min(buffer.len() - told);
        if size == 0 {
            return Ok(told);
        }
        buffer[told..told + size].copy_from_slice(&self.piece.split_to(size));
        self.stream.flow_control().release_capacity(size).map_err(broken)?;
        Ok(told + size)
    }

    /// Fetches what comes next, when nothing lies ready.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waits_for_end {
            return self.poll_end(cx);
        }
        if self.rest == Rest::Data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(piece)) => self.take(piece),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => self.rest = Rest::Trailers,
            }
        } else if self.rest == Rest::Trailers {
            let trailers = ready!(self.stream.poll_trailers(cx)).map_err(broken)?;
            self.rest = Rest::Nothing;
            self.begin_text();
            if self.told == Told::Chunks {
                text::trailers(&mut self.text, &trailers.unwrap_or_default());
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What comes after the end of the body is nobody's.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(piece)) => {
                self.stream.flow_control().release_capacity(piece.len()).map_err(broken)?;
            }
            Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            None => {
                self.waits_for_end = false;
                self.rest = Rest::Nothing;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, piece: Bytes) {
        self.begin_text();
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(piece.len() as u64);
            self.waits_for_end = *left == 0 && !self.stream.is_end_stream();
        }
        if self.told == Told::Chunks && !piece.is_empty() {
            let mut size = [0; 16];
            self.text.extend_from_slice(hexadecimal(piece.len(), &mut size));
            self.text.extend_from_slice(b"\r\n");
            self.closes_chunk = true;
        }
        self.piece = piece;
    }

    fn begin_text(&mut self) {
        // A head is much longer than what comes between pieces.
        if self.text.capacity() > 64 {
            self.text = Vec::new();
        }
        self.text.clear();
        self.at = 0;
        if std::mem::take(&mut self.closes_chunk) {
            self.text.extend_from_slice(b"\r\n");
        }
    }
}

fn hexadecimal(mut number: usize, room: &mut [u8; 16]) -> &[u8] {
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = b"0123456789abcdef"[number & 15];
        number >>= 4;
        if number == 0 {
            return &room[at..];
        }
    }
}

/// A stream that was reset, or whose connection is gone.
pub(crate) fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hexadecimal() {
        let text = |number| String::from_utf8_lossy(hexadecimal(number, &mut [0; 16])).into_owned();
        assert_eq!([0, 9, 255, 16_384].map(text), ["0", "9", "ff", "4000"]);
        assert_eq!(text(usize::MAX), "ffffffffffffffff");
    }
}
