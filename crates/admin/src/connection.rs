//! An admin connection's socket as hyper wants it, and what hyper does not do: a peer that takes
//! nothing of its answer is given up, and a connection is closed without losing the answer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tidegate_net::{End, Socket};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep, sleep, timeout},
};

/// How long a peer may take nothing of what is sent to it (nginx, `send_timeout`: 60 s).
const STALLED: Duration = Duration::from_secs(30);
/// How long, and for how many bytes, what a peer still sends is read after the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 2 << 20;

/// A socket that fails when its peer takes nothing for [`STALLED`].
pub(crate) struct Stream {
    socket: Socket,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, stalled: None }
    }

    /// Ends the connection. To close a socket with unread bytes (dyups clients send a line feed
    /// after the body) resets it, and a reset may overtake the answer: so first say that nothing
    /// more comes, then read until the peer closes, within bounds.
    pub(crate) async fn close(mut self) {
        if self.shutdown().await.is_err() {
            return;
        }
        let mut rest = self.take(LINGER_BYTES);
        let mut nowhere = tokio::io::sink();
        // However it ends, the connection is over.
        let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut nowhere)).await;
    }

    /// Passes on what a write said, and watches for writes that get nowhere.
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        ready!(stalled.as_mut().poll(cx));
        stalled.as_mut().reset(Instant::now() + STALLED);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.get_mut().socket.poll_read(cx, buffer.initialize_unfilled()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.socket.poll_write(cx, bytes);
        this.watched(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets keep nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket.poll_close_write(cx)
    }
}
