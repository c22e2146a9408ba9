//! An end of a connection. The engines know no sockets, only this: TCP and unix sockets today, TLS
//! and HTTP/2 streams later, and nothing above has to change for them.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::Pipe;

/// One end of a connection. All methods are cancel safe: what is not ready has not happened.
pub trait End {
    /// Reads into a lent buffer. 0 bytes: the other side has said its last word.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Reads what is there without waiting, also when the task has used up its turn.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, not even an end.
    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Ready when a read would not wait, without lending a buffer.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says that nothing more will be written; reading goes on.
    fn poll_close_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The socket behind it, when bytes may pass through that unseen.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

/// Fills an empty pipe from a socket. 0 bytes: the other side has said its last word. Cancel safe.
pub fn poll_fill(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    pipe: &mut Pipe,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match stream.try_io(Interest::READABLE, || pipe.fill(stream)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            filled => return Poll::Ready(filled),
        }
    }
}

/// Empties a pipe into a socket, as far as that takes it. Cancel safe: the rest stays in the pipe.
pub fn poll_drain(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    pipe: &mut Pipe,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_io(Interest::WRITABLE, || pipe.drain(stream)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            drained => return Poll::Ready(drained),
        }
    }
}

/// A plain socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! both {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl Socket {
    /// Waits until the other side has broken off. One that has only said its last word has not, and
    /// what it has said stays unread. Cancel safe.
    pub async fn broken(&self) {
        // An error of the wait itself is as good an end.
        let _ = both!(self, stream => stream.ready(Interest::ERROR).await);
    }
}

impl End for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        // tokio's own poll_read, unlike try_read, forgets the readiness after a short read: the
        // next wait costs no system call that says EAGAIN.
        let polled = both!(self, stream => Pin::new(stream).poll_read(cx, &mut buffer));
        polled.map_ok(|()| buffer.filled().len())
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        both!(self, stream => stream.try_read(buffer))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        both!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        both!(self, stream => Pin::new(stream).poll_write_vectored(cx, bytes))
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        both!(self, stream => stream.poll_read_ready(cx))
    }

    fn poll_close_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        both!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) => None,
        }
    }
}
