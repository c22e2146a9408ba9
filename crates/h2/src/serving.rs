//! A client's connection of HTTP/2: streams come from it one by one, each an end of its own. Whoever
//! drives it has to go on doing so while any of them lasts.

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, ext::Protocol, server};
use http::{Method, Request};
use tidegate_net::{Socket, Within};
use tidegate_wire::is_token;

use crate::{fault::Fault, meter::Metered, served::Served, tally::Tally};

/// What a client that speaks HTTP/2 says first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Windows of streams that the connection's own makes up: what a client may send ahead is bounded by
/// that, however many its streams are.
const WINDOWS: u32 = 4;

/// What a frame of data that waits to be read costs beside its bytes is counted, too: so often the window
/// of a stream. That is all of it in frames of eight bytes, which clients of gRPC and WebSocket do
/// say in one breath, before whoever reads them has had a chance.
const IN_SMALL_FRAMES: usize = 32;

/// What an engine has written and the socket has not taken, of each stream at most.
const SEND_BUFFER: usize = 64 * 1024;

/// What a client may do with a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams at once.
    pub streams: u32,
    /// Streams that it resets before they are answered: so many at once, and ten more a second.
    pub resets: u32,
    /// Bytes of a body that it may send ahead on one stream.
    pub window: u32,
    /// Bytes of a head, by RFC 9113 §6.5.2: 32 more for each field.
    pub head: u32,
}

/// A connection.
pub struct Serving {
    connection: server::Connection<Metered, Bytes>,
    socket: Rc<RefCell<Socket>>,
    tally: Arc<Tally>,
    local: Option<SocketAddr>,
    streams: u32,
    told: bool,
}

impl Serving {
    /// Begins one. `ahead` was read from the socket already. Cancel safe: dropped, it closes the
    /// connection.
    ///
    /// # Errors
    /// When the client is gone, or what it says is not [`PREFACE`].
    pub async fn begin(socket: Socket, ahead: Vec<u8>, limits: &Limits) -> io::Result<Self> {
        let tally = Arc::new(Tally::new(limits.resets));
        let local = socket.local_ip();
        let socket = Rc::new(RefCell::new(socket));
        let metered = Metered::new(Rc::clone(&socket), ahead, PREFACE.len(), Arc::clone(&tally));
        let resets = usize::try_from(limits.resets).unwrap_or(usize::MAX);
        let window = usize::try_from(limits.window).unwrap_or(usize::MAX);
        let connection = server::Builder::new()
            .max_concurrent_streams(limits.streams)
            .initial_window_size(limits.window)
            .initial_connection_window_size(limits.window.saturating_mul(WINDOWS))
            .data_frame_budget(window.saturating_mul(IN_SMALL_FRAMES))
            .max_header_list_size(limits.head)
            .max_send_buffer_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(resets)
            // Those that we have to reset for what the client does are of its making (CVE-2025-8671).
            .max_local_error_reset_streams(Some(resets))
            .enable_connect_protocol()
            .handshake(metered);
        let connection = connection.await.map_err(io::Error::other)?;
        Ok(Self { connection, socket, tally, local, streams: limits.streams, told: false })
    }

    /// Drives the connection until the next stream comes; `None`: it is over. Cancel safe.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Box<dyn Within>>> {
        loop {
            self.tell();
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, mut respond)))) if is_malformed(&request) => {
                    self.tally.reset();
                    respond.send_reset(Reason::PROTOCOL_ERROR);
                }
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.tally.begin(self.streams);
                    let tally = Arc::clone(&self.tally);
                    let served = Served::new(request, respond, self.local, tally);
                    return Poll::Ready(Some(Box::new(served)));
                }
                Poll::Ready(Some(Err(error))) => {
                    if let Some(fault) = Fault::of(&error) {
                        self.tally.fail(fault);
                    }
                    return Poll::Ready(None);
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending if self.tally.fault().is_some() && !self.told => (),
                Poll::Pending if self.tally.cuts.reset(cx) => (),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Has the client told, once, what it did.
    fn tell(&mut self) {
        if let Some(fault) = self.tally.fault().filter(|_| !self.told) {
            self.told = true;
            self.connection.abrupt_shutdown(fault.reason());
        }
    }

    /// What it is being closed for, or was; `None`: it goes on, or ended as it should.
    pub fn fault(&self) -> Option<Fault> {
        self.tally.fault()
    }

    /// Takes no new streams; the connection is over when those that there are have ended.
    pub fn end_soon(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Streams that there are.
    pub fn streams(&self) -> u32 {
        self.tally.streams()
    }

    /// For how long there has been none.
    pub fn idle(&self) -> Duration {
        self.tally.idle()
    }

    /// The socket, of a connection that is over.
    pub fn into_socket(self) -> Option<Socket> {
        let Self { connection, socket, .. } = self;
        drop(connection);
        Rc::into_inner(socket).map(RefCell::into_inner)
    }
}

/// What the h2 crate lets pass of pseudo fields: no path, where there is no authority either (RFC 9113
/// §8.3.1), and a protocol that is no token, which could end its line in the words of HTTP/1 (§10.3).
fn is_malformed<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    protocol.is_some_and(|protocol| !is_token(protocol.as_str().as_bytes()))
        || (request.method() != Method::CONNECT && request.uri().path().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_one_word() {
        let bad = |protocol: &'static str| {
            let request = Request::builder().method("CONNECT").uri("https://a/");
            let request = request.extension(Protocol::from_static(protocol)).body(());
            is_malformed(&request.expect("a request"))
        };
        assert!(!bad("websocket") && !bad("connect-udp"));
        assert!(bad("websocket\r\nx: y") && bad("a b") && bad(""));
    }
}
