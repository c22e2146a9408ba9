//! A connection that has shaken hands, as an [`End`]. Ciphertext passes through buffers of its thread;
//! kept are only an incomplete record, plaintext that nobody wanted yet, and what the socket would not
//! take.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use super::{
    handshake::TlsFacts,
    session::{Progress, Session},
};
use crate::{End, Socket};

/// Ciphertext that is read at once: some records of full size, and what is left of another.
const ROOM: usize = 80 * 1024;

/// Plaintext that is written at once.
const BATCH: usize = 64 * 1024;

/// How much is read to find out whether there is anything: enough for what idle connections say.
const PROBE: usize = 4 * 1024;

thread_local! {
    static BUFFERS: RefCell<Buffers> = const {
        RefCell::new(Buffers { incoming: Vec::new(), outgoing: Vec::new(), gathered: Vec::new() })
    };
}

/// What passes through while a connection is polled.
struct Buffers {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    gathered: Vec<u8>,
}

/// A connection that has shaken hands.
#[derive(Debug)]
pub struct TlsEnd {
    /// A plain one.
    pub(super) inner: Socket,
    pub(super) session: Session,
    pub(super) facts: TlsFacts,
    /// An incomplete record.
    pub(super) incoming: Vec<u8>,
    /// Plaintext that nobody wanted yet.
    pub(super) held: Held,
    /// Records on their way out, and how many bytes of them have left.
    outgoing: Vec<u8>,
    left: usize,
    /// Plaintext that they stand for, and that nobody was told of yet.
    owed: usize,
    /// The other side has said its last word, or broke off.
    pub(super) ended: Option<Ended>,
    said_goodbye: bool,
    /// It is to end as if it broke.
    cut: bool,
}

/// Bytes that are taken from the front.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    taken: usize,
}

/// How reading came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Cleanly,
    /// Without a goodbye: what came may be less than what was sent.
    Cut,
    /// What came was not sound.
    Broken,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let length = buffer.len().min(self.bytes.len() - self.taken);
        buffer[..length].copy_from_slice(&self.bytes[self.taken..self.taken + length]);
        self.taken += length;
        if self.is_empty() {
            *self = Self::default();
        }
        length
    }
}

impl TlsEnd {
    /// `outgoing` are records that need not be sent before others follow.
    pub(super) fn new(inner: Socket, session: Session, facts: TlsFacts, outgoing: Vec<u8>) -> Self {
        Self {
            inner,
            session,
            facts,
            incoming: Vec::new(),
            held: Held::default(),
            outgoing,
            left: 0,
            owed: 0,
            ended: None,
            said_goodbye: false,
            cut: false,
        }
    }

    pub(crate) fn facts(&self) -> &TlsFacts {
        &self.facts
    }

    pub(crate) fn inner(&self) -> &Socket {
        &self.inner
    }

    /// Whether it is to end as if it broke.
    pub(crate) fn cut_on_close(&mut self, cut: bool) {
        self.cut = cut;
    }

    /// Reads what is there; `read` reads from the socket. Ready with 0 at the end.
    fn read(
        &mut self,
        buffer: &mut [u8],
        mut read: impl FnMut(&mut Socket, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.held.is_empty() {
                return Poll::Ready(Ok(self.held.take(buffer)));
            }
            if let Some(ended) = self.ended {
                return Poll::Ready(self.end(ended));
            }
            let count = ready!(self.fill(buffer, &mut read));
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// One read of the socket: its plaintext goes to `buffer`, and what does not fit is held. Says how
    /// much went to `buffer`.
    fn fill(
        &mut self,
        buffer: &mut [u8],
        read: &mut impl FnMut(&mut Socket, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<usize> {
        BUFFERS.with_borrow_mut(|buffers| {
            let Buffers { incoming, outgoing, .. } = buffers;
            incoming.resize(ROOM, 0);
            let kept = self.incoming.len();
            incoming[..kept].copy_from_slice(&self.incoming);
            let limit = (kept + buffer.len().max(PROBE)).min(ROOM);
            let come = match ready!(read(&mut self.inner, &mut incoming[kept..limit])) {
                Ok(0) => {
                    // Browsers leave without a goodbye between two records; within one nobody does.
                    self.ended = Some(if kept == 0 { Ended::Cleanly } else { Ended::Cut });
                    if kept == 0 && matches!(self.session, Session::Client(_)) {
                        self.ended = Some(Ended::Cut);
                    }
                    return Poll::Ready(0);
                }
                Ok(come) => come,
                Err(_) => {
                    self.ended = Some(Ended::Cut);
                    return Poll::Ready(0);
                }
            };
            let mut count = 0;
            let held = &mut self.held;
            outgoing.clear();
            let taken = self.session.take(
                &mut incoming[..kept + come],
                |plain| {
                    let fits = plain.len().min(buffer.len() - count);
                    buffer[count..count + fits].copy_from_slice(&plain[..fits]);
                    count += fits;
                    held.put(&plain[fits..]);
                },
                outgoing,
            );
            self.keep(&mut incoming[..kept + come], taken, outgoing);
            Poll::Ready(count)
        })
    }

    /// Keeps what records left over, and sends what is to be said about them.
    fn keep(
        &mut self,
        incoming: &mut [u8],
        taken: Result<(usize, Progress), (usize, tokio_rustls::rustls::Error)>,
        outgoing: &mut Vec<u8>,
    ) {
        match taken {
            Ok((used, progress)) => {
                let rest = &incoming[used..];
                if self.incoming != rest {
                    self.incoming = rest.to_vec();
                }
                if self.incoming.len() >= ROOM {
                    self.ended = Some(Ended::Broken);
                }
                if progress == Progress::Ended {
                    self.ended = Some(Ended::Cleanly);
                }
            }
            Err((used, _)) => {
                self.session.last_words(&mut incoming[used..], outgoing);
                self.incoming = Vec::new();
                self.ended = Some(Ended::Broken);
                self.said_goodbye = true;
            }
        }
        if !outgoing.is_empty() {
            self.outgoing.extend_from_slice(outgoing);
            self.flush_now();
        }
    }

    fn end(&self, ended: Ended) -> io::Result<usize> {
        match ended {
            Ended::Cleanly => Ok(0),
            Ended::Cut => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the TLS connection broke off without a goodbye",
            )),
            Ended::Broken => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "what came over the TLS connection was not sound",
            )),
        }
    }

    /// Writes what the socket takes at once.
    fn flush_now(&mut self) {
        while self.left < self.outgoing.len() {
            match self.inner.try_write(&self.outgoing[self.left..]) {
                Ok(written) if written > 0 => self.left += written,
                _ => return,
            }
        }
        (self.outgoing, self.left) = (Vec::new(), 0);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left < self.outgoing.len() {
            match ready!(self.inner.poll_write(cx, &self.outgoing[self.left..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.left += written,
            }
        }
        if !self.outgoing.is_empty() {
            (self.outgoing, self.left) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Whoever was told to wait comes again with the same bytes in front, and gets what was done with
    /// them then; of fewer than those, it is told of as many as it came with, and of the rest next time.
    fn poll_send(&mut self, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        if self.owed > 0 {
            ready!(self.poll_flush(cx))?;
            let told = self.owed.min(plain.len());
            self.owed -= told;
            return Poll::Ready(Ok(told));
        }
        if self.said_goodbye {
            ready!(self.poll_flush(cx))?;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let plain = &plain[..plain.len().min(BATCH)];
        if plain.is_empty() {
            return Poll::Ready(Ok(0));
        }
        BUFFERS.with_borrow_mut(|Buffers { outgoing, .. }| {
            outgoing.clear();
            // What could wait goes out in the same write.
            outgoing.extend_from_slice(&self.outgoing[self.left..]);
            let encrypted = self.session.encrypt(plain, &mut self.incoming, outgoing);
            let (used, _) = encrypted.map_err(|(_, error)| io::Error::other(error))?;
            (self.outgoing, self.left) = (Vec::new(), 0);
            self.incoming.drain(..used);
            let mut left = 0;
            while left < outgoing.len() {
                match self.inner.poll_write(cx, &outgoing[left..]) {
                    Poll::Ready(Ok(written)) if written > 0 => left += written,
                    Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.outgoing = outgoing[left..].to_vec();
                        self.owed = plain.len();
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Ok(plain.len()))
        })
    }

    fn say_goodbye(&mut self) {
        if self.said_goodbye || self.ended == Some(Ended::Broken) {
            return;
        }
        self.said_goodbye = true;
        // One that cannot be said any more need not be.
        let _ = self.session.close(&mut self.incoming, &mut self.outgoing);
    }
}

impl End for TlsEnd {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.read(buffer, |socket, room| socket.poll_read(cx, room))
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let polled = self.read(buffer, |socket, room| match socket.try_read(room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            read => Poll::Ready(read),
        });
        match polled {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut some = bytes.iter().filter(|slice| !slice.is_empty());
        let (Some(first), second) = (some.next(), some.next()) else { return Poll::Ready(Ok(0)) };
        if second.is_none() || first.len() >= BATCH {
            return self.poll_send(cx, first);
        }
        // In one record rather than one each.
        let mut gathered = BUFFERS.with_borrow_mut(|buffers| std::mem::take(&mut buffers.gathered));
        gathered.clear();
        for slice in bytes {
            let fits = slice.len().min(BATCH - gathered.len());
            gathered.extend_from_slice(&slice[..fits]);
        }
        let sent = self.poll_send(cx, &gathered);
        BUFFERS.with_borrow_mut(|buffers| buffers.gathered = gathered);
        sent
    }

    /// Ready when there is plaintext, or an end of it: what else comes is seen to here.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.is_empty() && self.ended.is_none() {
            ready!(self.fill(&mut [], &mut |socket, room| socket.poll_read(cx, room)));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.say_goodbye();
        ready!(self.poll_flush(cx))?;
        self.inner.poll_close_write(cx)
    }
}

impl Drop for TlsEnd {
    fn drop(&mut self) {
        // Behind a part of what was to be sent, a goodbye would make it the whole.
        if !self.cut && (self.owed == 0 || self.outgoing.is_empty()) {
            self.say_goodbye();
            self.flush_now();
        }
    }
}
