//! An end and what was read from it ahead of need: the bytes after a head, a pipelined request, an
//! incomplete head. Nothing is held while there is nothing.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tidegate_net::{End, ROOM, SIZE, Scratch};

/// How much is read ahead while a client waits for its answer: enough to see a pipelined request,
/// too little to be worth an attack.
pub const MAX_AHEAD: usize = 16 * 1024;

/// Up to this size a head is parsed at every read, so that garbage is refused at once; above it
/// only when its end may have come, so that a head that drips in costs no more than its bytes.
const EAGER: usize = 2_048;

/// An end with its read-ahead.
#[derive(Debug)]
pub struct Conn<E> {
    pub end: E,
    ahead: Vec<u8>,
    /// So many bytes of it are known to hold no whole head.
    seen: usize,
}

/// Why there is no head. `X` is what the parser says.
#[derive(Debug)]
pub enum HeadError<X> {
    /// The other side closed before the first byte of a head.
    Closed,
    /// The other side closed within a head.
    Cut,
    Io(io::Error),
    Refused(X),
    /// Larger than the limit; holds what came, for the parser's last word on why.
    TooLarge(Vec<u8>),
}

impl<E: End> Conn<E> {
    pub fn new(end: E) -> Self {
        Self { end, ahead: Vec::new(), seen: 0 }
    }

    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Takes what was read ahead.
    pub fn take_ahead(&mut self) -> Vec<u8> {
        self.seen = 0;
        std::mem::take(&mut self.ahead)
    }

    /// Puts back what was taken or read and not used.
    pub fn put_back(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.ahead.is_empty(), "something was read meanwhile");
        self.ahead = bytes;
    }

    /// Reads until `parse` has what it wants. It is given everything that came so far and answers
    /// with a value and how many bytes that took, or `None` when it needs more; what it leaves is
    /// read-ahead afterwards. It never sees more than `limit` bytes. Cancel safe.
    pub fn poll_head<T, X>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        limit: usize,
        mut parse: impl FnMut(&mut Context<'_>, &[u8]) -> Result<Option<(T, usize)>, X>,
    ) -> Poll<Result<T, HeadError<X>>> {
        debug_assert!(limit <= SIZE, "a head fits into a scratch buffer");
        let mut lent = scratch.lend();
        let buffer = &mut lent[ROOM..ROOM + SIZE];
        let mut have = self.ahead.len().min(SIZE);
        buffer[..have].copy_from_slice(&self.ahead[..have]);
        let mut seen = std::mem::take(&mut self.seen);
        loop {
            if have > seen && may_be_whole(&buffer[..have], seen) {
                match parse(cx, &buffer[..have.min(limit)]) {
                    Ok(Some((value, used))) => {
                        self.ahead = buffer[used..have].to_vec();
                        return Poll::Ready(Ok(value));
                    }
                    Ok(None) => (),
                    Err(refusal) => {
                        // What came cannot be told apart any more: nobody must read on from it.
                        self.ahead = Vec::new();
                        return Poll::Ready(Err(HeadError::Refused(refusal)));
                    }
                }
            }
            if have >= limit {
                return Poll::Ready(Err(HeadError::TooLarge(buffer[..have].to_vec())));
            }
            seen = have;
            match self.end.poll_read(cx, &mut buffer[have..]) {
                Poll::Ready(Ok(0)) if have == 0 => return Poll::Ready(Err(HeadError::Closed)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(HeadError::Cut)),
                Poll::Ready(Ok(read)) => have += read,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(HeadError::Io(error))),
                Poll::Pending => {
                    self.seen = seen;
                    if have != self.ahead.len() {
                        self.ahead = buffer[..have].to_vec();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Watches a client that has nothing to say: ready when it is gone. What it says all the same
    /// is kept, up to [`MAX_AHEAD`]; after that it is no longer watched.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, scratch: &Scratch) -> Poll<io::Result<()>> {
        loop {
            if self.ahead.len() >= MAX_AHEAD {
                return Poll::Pending;
            }
            ready!(self.end.poll_readable(cx))?;
            let mut lent = scratch.lend();
            let room = MAX_AHEAD - self.ahead.len();
            match ready!(self.end.poll_read(cx, &mut lent[..room]))? {
                0 => return Poll::Ready(Ok(())),
                read => {
                    self.ahead.reserve_exact(read);
                    self.ahead.extend_from_slice(&lent[..read]);
                }
            }
        }
    }

    /// Whether a kept connection is still usable: nothing has come, not even its end.
    pub fn is_quiet(&mut self) -> bool {
        let quiet =
            |read: io::Result<usize>| read.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
        self.ahead.is_empty() && quiet(self.end.try_read(&mut [0]))
    }
}

/// Whether the end of a head may lie in `bytes`, of which the first `seen` did not hold it.
fn may_be_whole(bytes: &[u8], seen: usize) -> bool {
    let fresh = &bytes[seen.saturating_sub(3)..];
    bytes.len() <= EAGER
        || seen == 0
        || fresh.windows(2).any(|pair| pair == b"\n\n")
        || fresh.windows(3).any(|three| three == b"\n\r\n")
}

#[cfg(test)]
mod tests;
