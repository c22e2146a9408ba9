//! A connection of HTTP/2 to a server: each request over it is a stream, and an end of its own. Whoever
//! has made it drives it; whoever has a handle asks over it. When the last handle and the last stream
//! are gone, it is closed.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, SendStream,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use http::{Request, uri::Scheme};
use tidegate_net::{Socket, Within, coarse_millis};

use crate::asked::Asked;

/// Streams at once, however many more a server allows.
const STREAMS: u32 = 256;

/// What a server may send ahead on one stream.
const WINDOW: u32 = 128 * 1024;

/// The same on all of them: so much that no stream, however slowly its client reads, keeps another one
/// waiting.
const CONNECTION_WINDOW: u32 = STREAMS * WINDOW;

/// What an engine has written and the socket has not taken, of each stream at most.
const SEND_BUFFER: usize = 64 * 1024;

/// Bytes of an answer's head, by RFC 9113 §6.5.2: 32 more for each field.
const HEAD: u32 = 64 * 1024;

/// Streams that were reset here are remembered for so long, and so many: what still comes for them then
/// counts as no fault of the server's.
const REMEMBERED: usize = 4_096;
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// Faults of single streams that a server may make before its connection is closed.
const FAULTS: usize = 10_000;

/// A handle of a connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Asking {
    send: SendRequest<Bytes>,
    load: Arc<Load>,
    scheme: Scheme,
    local: Option<SocketAddr>,
}

/// How busy a connection is.
#[derive(Debug)]
struct Load {
    streams: AtomicU32,
    /// When there last were some, in milliseconds of the coarse clock.
    busy: AtomicU64,
}

/// A connection as whoever drives it has it.
#[must_use = "nothing moves on a connection that is not driven"]
#[derive(Debug)]
pub struct Driving(Connection<Socket, Bytes>);

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Unanswered {
    pub(crate) why: Why,
    reason: String,
}

/// The same, as it matters to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The server has not looked at it: it may be sent again, whatever it is.
    Unseen,
    /// The connection is gone, with all of its streams.
    Gone,
    /// The server has given up this stream.
    Reset,
    /// The server takes no tunnels (RFC 8441), and is not to blame for that.
    NoTunnels,
    /// It cannot be said in HTTP/2, whoever is asked.
    Unsayable,
}

impl Asking {
    /// Begins a connection, and waits until the server has said what it allows. Cancel safe: dropped, it
    /// closes the connection.
    ///
    /// # Errors
    /// When the server is gone or does not speak HTTP/2.
    pub async fn begin(socket: Socket) -> io::Result<(Self, Driving)> {
        let scheme = if socket.tls().is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let local = socket.local_ip();
        let begun = Builder::new()
            .enable_push(false)
            // None before its settings are there, which say how many.
            .initial_max_send_streams(0)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(REMEMBERED)
            .reset_stream_duration(REMEMBERED_FOR)
            .max_local_error_reset_streams(Some(FAULTS))
            .handshake(socket)
            .await;
        let (send, mut connection) = begun.map_err(io::Error::other)?;
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(over) => Poll::Ready(Err(unsettled(over))),
            Poll::Pending if send.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let load = Load { streams: AtomicU32::new(0), busy: AtomicU64::new(coarse_millis()) };
        Ok((Self { send, load: Arc::new(load), scheme, local }, Driving(connection)))
    }

    /// Whether new streams may still begin.
    pub fn is_usable(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(self.send.clone().poll_ready(&mut context), Poll::Ready(Ok(())))
    }

    /// Whether one more may begin now.
    pub fn has_room(&self) -> bool {
        let allowed = u32::try_from(self.send.current_max_send_streams()).unwrap_or(u32::MAX);
        self.streams() < allowed.min(STREAMS)
    }

    /// Streams that there are.
    pub fn streams(&self) -> u32 {
        self.load.streams.load(Relaxed)
    }

    /// Since when, by the coarse clock, there is none.
    pub fn idle_since(&self) -> Duration {
        Duration::from_millis(self.load.busy.load(Relaxed))
    }

    /// An end for one request. Its stream begins with the request's head.
    pub fn stream(&self) -> Box<dyn Within> {
        self.load.streams.fetch_add(1, Relaxed);
        Box::new(Asked::new(self.clone()))
    }

    /// The end of that.
    pub(crate) fn ended(&self) {
        self.load.streams.fetch_sub(1, Relaxed);
        self.load.busy.store(coarse_millis(), Relaxed);
    }

    pub(crate) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    pub(crate) fn takes_tunnels(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    pub(crate) fn ask(
        &mut self,
        request: Request<()>,
        ended: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Unanswered> {
        let asked = self.send.send_request(request, ended);
        asked.map_err(|error| Unanswered::new(Why::Unseen, error.to_string()))
    }
}

impl Driving {
    /// Drives the connection to its end.
    ///
    /// # Errors
    /// When that is not in good order.
    pub async fn run(self) -> Result<(), h2::Error> {
        self.0.await
    }
}

impl Unanswered {
    pub(crate) fn new(why: Why, reason: String) -> Self {
        Self { why, reason }
    }

    /// Of a stream that ended without a head.
    pub(crate) fn of(error: &h2::Error) -> Self {
        let refused = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        let why = match () {
            () if error.is_remote() && refused => Why::Unseen,
            () if error.is_reset() => Why::Reset,
            () => Why::Gone,
        };
        Self::new(why, error.to_string())
    }
}

/// Why, where an end of [`Asking::stream`] has said so.
pub fn why(error: &io::Error) -> Option<Why> {
    error.get_ref()?.downcast_ref().map(|unanswered: &Unanswered| unanswered.why)
}

fn unsettled(over: Result<(), h2::Error>) -> io::Error {
    match over {
        Ok(()) => io::Error::other("closed before it said what it allows"),
        Err(error) => io::Error::other(error),
    }
}
