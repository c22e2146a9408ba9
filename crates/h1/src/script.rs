//! An end that follows a script, for tests: reads come in the pieces it is given and wait in
//! between, writes take as little as it likes. No socket and no clock, so every run is the same.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    task::{Context, Poll, Waker},
};

use tidegate_net::End;

/// More polls than any script needs.
const ROUNDS: u32 = 1_000_000;

/// What the next read finds.
#[derive(Clone, Debug)]
pub(crate) enum Read {
    Bytes(Vec<u8>),
    /// Nothing yet; more the next time.
    Wait,
    /// The end of the stream, from now on.
    End,
    Fail(io::ErrorKind),
}

/// Silent for ever when its reads have all been read.
#[derive(Debug)]
pub(crate) struct Script {
    reads: VecDeque<Read>,
    pub(crate) written: Vec<u8>,
    /// Writes that took something.
    pub(crate) writes: usize,
    /// How often it let a reader or writer wait.
    pub(crate) waits: usize,
    at_most: usize,
    hesitates: bool,
    /// The last write had to wait.
    hesitated: bool,
    broken: bool,
}

impl Script {
    pub(crate) fn new(reads: impl IntoIterator<Item = Read>) -> Self {
        Self {
            reads: reads.into_iter().collect(),
            written: Vec::new(),
            writes: 0,
            waits: 0,
            at_most: usize::MAX,
            hesitates: false,
            hesitated: false,
            broken: false,
        }
    }

    /// Takes what it is given.
    pub(crate) fn sink() -> Self {
        Self::new([])
    }

    /// Takes so many bytes in one write, and makes every other one wait.
    pub(crate) fn slow(at_most: usize) -> Self {
        Self { at_most, hesitates: true, ..Self::sink() }
    }

    /// Takes nothing and says so, which no sane socket does.
    pub(crate) fn refusing() -> Self {
        Self { at_most: 0, ..Self::sink() }
    }

    /// Fails every write.
    pub(crate) fn broken() -> Self {
        Self { broken: true, ..Self::sink() }
    }

    /// What has not been read, waits left out.
    pub(crate) fn unread(&self) -> Vec<u8> {
        let bytes = |read: &Read| match read {
            Read::Bytes(bytes) => bytes.clone(),
            _ => Vec::new(),
        };
        self.reads.iter().flat_map(bytes).collect()
    }

    fn waiting<T>(&mut self) -> Poll<T> {
        self.waits += 1;
        Poll::Pending
    }
}

impl End for Script {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.reads.pop_front() {
            None | Some(Read::Wait) => self.waiting(),
            Some(Read::Fail(kind)) => Poll::Ready(Err(kind.into())),
            Some(Read::End) => {
                self.reads.push_front(Read::End);
                Poll::Ready(Ok(0))
            }
            Some(Read::Bytes(mut bytes)) => {
                let size = bytes.len().min(buffer.len());
                buffer[..size].copy_from_slice(&bytes[..size]);
                if size < bytes.len() {
                    self.reads.push_front(Read::Bytes(bytes.split_off(size)));
                }
                Poll::Ready(Ok(size))
            }
        }
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match once(|cx| self.poll_read(cx, buffer)) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        &mut self,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.hesitated = self.hesitates && !self.hesitated;
        if self.hesitated {
            return self.waiting();
        }
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let size = bytes.len().min(self.at_most);
        self.written.extend_from_slice(&bytes[..size]);
        self.writes += 1;
        Poll::Ready(Ok(size))
    }

    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.reads.front() {
            None => self.waiting(),
            Some(Read::Wait) => {
                self.reads.pop_front();
                self.waiting()
            }
            Some(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_close_write(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// `bytes` in pieces of these sizes, over and over, with a wait before each.
pub(crate) fn pieces(bytes: &[u8], sizes: &[usize]) -> Vec<Read> {
    let mut reads = Vec::new();
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
        let (piece, after) = rest.split_at(rest.len().min(*size));
        reads.extend([Read::Wait, Read::Bytes(piece.to_vec())]);
        rest = after;
    }
    reads
}

/// Polls until it is ready.
pub(crate) fn drive<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    (0..ROUNDS)
        .find_map(|_| match once(&mut poll) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
        .expect("it gets ready one day")
}

/// Polls once.
pub(crate) fn once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}
