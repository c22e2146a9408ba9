//! What an engine writes after its head, in the words of HTTP/1, on its way out as frames. Room for it
//! is asked for when there is something to send, and never kept while there is nothing: what one stream
//! has of a connection's window the others have not.

use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_wire::{ChunkDecoder, Step, parse_trailers};

use crate::incoming::broken;

/// Asked for at once.
const AT_ONCE: usize = 64 * 1024;

/// As large as a trailer section of an engine's gets.
const MAX_TRAILERS: usize = 16 * 1024;
const MAX_TRAILER_FIELDS: usize = 64;

/// The end of a chunk and of its body, without trailers.
const LAST: &[u8] = b"\r\n0\r\n\r\n";

/// How the end of a body is told.
#[derive(Debug)]
pub(crate) enum Framing {
    Length(u64),
    Chunked(ChunkDecoder),
    /// The part of a trailer section that came so far.
    Trailers(Vec<u8>),
    /// By closing for writing, as a tunnel does.
    Raw,
    /// It has been told.
    Over,
}

impl Framing {
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }
}

/// One direction of a stream.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: SendStream<Bytes>,
    framing: Framing,
    /// The last write had to wait for room.
    waits: bool,
}

impl Outgoing {
    pub(crate) fn new(stream: SendStream<Bytes>, framing: Framing) -> Self {
        Self { stream, framing, waits: false }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.framing.is_over()
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self.framing, Framing::Raw)
    }

    /// Whether a write waits for room.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Sends what there is room for; what follows the end is not sent. Cancel safe.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut used = 0;
        while used < bytes.len() {
            match self.poll_step(cx, &bytes[used..]) {
                Poll::Ready(Ok(taken)) => used += taken,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if used > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(used))
    }

    /// Ready when there is room for more.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over() {
            return Poll::Ready(Ok(()));
        }
        self.poll_capacity(cx, 1).map_ok(drop)
    }

    /// Ready when the other side has reset the stream.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(drop)
    }

    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    pub(crate) fn into_stream(self) -> SendStream<Bytes> {
        self.stream
    }

    /// Says that nothing more follows.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if self.is_over() {
            return Ok(());
        }
        self.framing = Framing::Over;
        self.stream.send_data(Bytes::new(), true).map_err(broken)
    }

    /// Takes at least one byte from the front of `bytes`, which are not empty.
    fn poll_step(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &self.framing {
            Framing::Over => Poll::Ready(Ok(bytes.len())),
            Framing::Raw => {
                let room = ready!(self.poll_capacity(cx, bytes.len()))?;
                Poll::Ready(self.send(&bytes[..room], false))
            }
            Framing::Length(left) => {
                let left = *left;
                let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let room = ready!(self.poll_capacity(cx, wanted))?;
                let is_last = left == room as u64;
                self.framing =
                    if is_last { Framing::Over } else { Framing::Length(left - room as u64) };
                Poll::Ready(self.send(&bytes[..room], is_last))
            }
            Framing::Chunked(chunks) => {
                let chunks = chunks.clone();
                self.poll_chunked(cx, chunks, bytes)
            }
            Framing::Trailers(_) => Poll::Ready(self.trailers(bytes)),
        }
    }

    fn poll_chunked(
        &mut self,
        cx: &mut Context<'_>,
        before: ChunkDecoder,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut chunks = before.clone();
        let size = match chunks.step(bytes).map_err(malformed)? {
            Step::Skip(skipped) => {
                self.framing = Framing::Chunked(chunks);
                return Poll::Ready(Ok(skipped));
            }
            Step::Trailers(skipped) => {
                self.framing = Framing::Trailers(Vec::new());
                return Poll::Ready(Ok(skipped));
            }
            Step::Data(size) => size,
        };
        let room = ready!(self.poll_capacity(cx, size))?;
        if room < size {
            chunks = before;
            chunks.step(&bytes[..room]).map_err(malformed)?;
        }
        if room == size && bytes[size..] == *LAST {
            self.framing = Framing::Over;
            return Poll::Ready(self.send(&bytes[..size], true).map(|sent| sent + LAST.len()));
        }
        self.framing = Framing::Chunked(chunks);
        Poll::Ready(self.send(&bytes[..room], false))
    }

    fn trailers(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Framing::Trailers(mut section) = std::mem::replace(&mut self.framing, Framing::Over)
        else {
            return Ok(0);
        };
        let before = section.len();
        section.extend_from_slice(bytes);
        let mut storage = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
        let parsed = parse_trailers(&section, &mut storage).map_err(malformed)?;
        if let Some((fields, size)) = parsed {
            let trailers = fields.iter().filter_map(trailer).collect::<HeaderMap>();
            let sent = if trailers.is_empty() {
                self.stream.send_data(Bytes::new(), true)
            } else {
                self.stream.send_trailers(trailers)
            };
            return sent.map_err(broken).map(|()| size - before);
        }
        if section.len() > MAX_TRAILERS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many trailers"));
        }
        self.framing = Framing::Trailers(section);
        Ok(bytes.len())
    }

    /// How much of that can be sent now.
    fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let wanted = wanted.min(AT_ONCE);
        self.waits = true;
        self.stream.reserve_capacity(wanted);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(capacity) => drop(capacity.map_err(broken)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        self.waits = false;
        Poll::Ready(Ok(self.stream.capacity().min(wanted)))
    }

    fn send(&mut self, bytes: &[u8], is_last: bool) -> io::Result<usize> {
        let sent = self.stream.send_data(Bytes::copy_from_slice(bytes), is_last);
        sent.map_err(broken).map(|()| bytes.len())
    }
}

/// Writes parts one by one with `write`, as far as that goes.
pub(crate) fn poll_parts(
    parts: &[IoSlice<'_>],
    mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
) -> Poll<io::Result<usize>> {
    let mut used = 0;
    for part in parts.iter().filter(|part| !part.is_empty()) {
        match write(part) {
            Poll::Ready(Ok(sent)) => {
                used += sent;
                if sent < part.len() {
                    break;
                }
            }
            Poll::Pending if used > 0 => break,
            polled => return polled,
        }
    }
    Poll::Ready(Ok(used))
}

fn trailer(field: &httparse::Header<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
    Some((name, HeaderValue::from_bytes(field.value).ok()?))
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
