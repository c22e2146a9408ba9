//! An end of a connection. The engines know no sockets, only this: TCP and unix sockets, TLS over
//! them, and streams of HTTP/2 within either.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::{Pipe, tls::TlsEnd};

/// One end of a connection. All methods are cancel safe: what is not ready has not happened.
pub trait End {
    /// Reads into a lent buffer. 0 bytes: the other side has said its last word.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Reads what is there without waiting, also when the task has used up its turn.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, not even an end.
    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes what is taken. Whoever has to wait comes again with the same bytes in front: under TLS
    /// they may be on their way already.
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

    /// Ready when a write would take something, as far as that can be told without one. Whoever reads
    /// elsewhere for this end need not do so before.
    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The socket behind it, when bytes may pass through that unseen.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

/// An end that has no socket of its own: it is one of many within a connection, as a stream of HTTP/2
/// is. It speaks HTTP/1 all the same, so that the engines need not know. Dropped before its time, it
/// tells the other side that it was cut.
pub trait Within: End + fmt::Debug + Send {
    /// Where the connection leads to, on this side.
    fn local_ip(&self) -> Option<SocketAddr>;
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

/// A connection, plain or not.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Made by [`Socket::accept_tls`] and [`Socket::connect_tls`].
    Tls(Box<TlsEnd>),
    Within(Box<dyn Within>),
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr, $layer:ident => $layer_call:expr) => {
        match $self {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
            Socket::Tls($layer) => $layer_call,
            Socket::Within($layer) => $layer_call,
        }
    };
}

impl Socket {
    /// Waits until the other side has broken off. One that has only said its last word has not, and
    /// what it has said stays unread. Cancel safe.
    pub async fn broken(&self) {
        let plain = self.below();
        // An error of the wait itself is as good an end; below TLS there is none.
        let _ = match plain {
            Self::Tcp(stream) => stream.ready(Interest::ERROR).await,
            Self::Unix(stream) => stream.ready(Interest::ERROR).await,
            Self::Tls(_) | Self::Within(_) => std::future::pending().await,
        };
    }

    /// Writes what is taken without waiting; ciphertext, below TLS.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_write(bytes), _layer => Err(io::ErrorKind::WouldBlock.into()))
    }

    /// The socket itself.
    pub(crate) fn below(&self) -> &Self {
        match self {
            Self::Tls(end) => end.inner(),
            Self::Tcp(_) | Self::Unix(_) | Self::Within(_) => self,
        }
    }
}

impl End for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(buffer);
        // tokio's own poll_read, unlike try_read, forgets the readiness after a short read: the
        // next wait costs no system call that says EAGAIN.
        let polled = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut room),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut room),
            Self::Tls(end) => return end.poll_read(cx, buffer),
            Self::Within(end) => return end.poll_read(cx, buffer),
        };
        polled.map_ok(|()| room.filled().len())
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_read(buffer), tls => tls.try_read(buffer))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, bytes), tls => tls.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(
            self,
            stream => Pin::new(stream).poll_write_vectored(cx, bytes),
            tls => tls.poll_write_vectored(cx, bytes)
        )
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read_ready(cx), tls => tls.poll_readable(cx))
    }

    fn poll_close_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx), tls => tls.poll_close_write(cx))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Within(end) => end.poll_room(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) | Self::Tls(_) | Self::Within(_) => None,
        }
    }
}
