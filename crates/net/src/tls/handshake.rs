//! Shaking hands, on either side, and what was agreed on.

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    task::{Poll, ready},
};

use tidegate_wire::tls_hello::{Hello, client_hello};
use tokio_rustls::rustls::{Error, pki_types::ServerName};

use super::{
    connecting::TlsClient,
    end::{Ended, TlsEnd},
    serving::TlsServer,
    session::{Progress, Session},
};
use crate::{End, Socket};

/// What is read at once.
const ROOM: usize = 16 * 1024;

/// A handshake's message is 64 KiB at most (rustls sees to that), and comes in records with heads.
const MAX_WAITING: usize = 128 * 1024;

/// What was agreed on with the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// As nginx's `$ssl_protocol` has it: `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name of the cipher suite.
    pub cipher: &'static str,
    /// Whom the client asked for (SNI, RFC 6066 §3), in lower case.
    pub server_name: Option<Box<str>>,
    /// Whether HTTP/2 is spoken (ALPN, RFC 7301).
    pub http2: bool,
    /// Whom the client's certificate, which was verified, is for (RFC 4514).
    pub client_subject: Option<Box<str>>,
    /// An earlier session goes on: nothing was signed or verified anew.
    pub resumed: bool,
}

/// Why nothing came of a handshake.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The other side left without a word: a balancer that looks whether anybody listens does so.
    #[error("closed before the TLS handshake")]
    Gone,
    #[error("the connection broke in the TLS handshake: {0}")]
    Io(#[from] io::Error),
    #[error("TLS handshake failed: {0}")]
    Failed(String),
}

impl TlsError {
    /// A word for it, as the metrics have it.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Io(_) => "io",
            Self::Failed(_) => "failed",
        }
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Socket {
    /// Shakes hands with a client; `ahead` is what was read of it already. How long that may take is the
    /// caller's to say. Cancel safe: dropped, it closes the connection.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub async fn accept_tls(self, server: &TlsServer, ahead: Vec<u8>) -> Result<Self, TlsError> {
        let mut line = Line { socket: self, incoming: ahead };
        let hello = line.hello().await?;
        let session = Session::server(server.config(hello.as_ref()))?;
        let asked = hello.and_then(|hello| hello.name).map(Into::into);
        Shaking { line, session, asked }.run().await
    }

    /// Shakes hands with a server that is to be `name`; an address is verified as one, and not sent.
    /// Sessions of the same `server` are resumed. How long that may take is the caller's to say. Cancel
    /// safe: dropped, it closes the connection.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub async fn connect_tls(
        self,
        client: &TlsClient,
        name: &str,
        server: &str,
    ) -> Result<Self, TlsError> {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let name = match bare.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(name.to_owned())
                .map_err(|_| TlsError::Failed(format!("\"{name}\" is no name of a server")))?,
        };
        let session = Session::client(client.config(server), name)?;
        let line = Line { socket: self, incoming: Vec::new() };
        Shaking { line, session, asked: None }.run().await
    }

    /// What was agreed on; `None` for a plain connection.
    pub fn tls(&self) -> Option<&TlsFacts> {
        match self {
            Self::Tls(end) => Some(end.facts()),
            Self::Tcp(_) | Self::Unix(_) | Self::Within(_) => None,
        }
    }
}

/// A connection, and what has come of it.
struct Line {
    socket: Socket,
    incoming: Vec<u8>,
}

/// A handshake on its way.
struct Shaking {
    line: Line,
    session: Session,
    /// Whom a client asked for.
    asked: Option<Box<str>>,
}

impl Shaking {
    async fn run(mut self) -> Result<Socket, TlsError> {
        let mut plain = Vec::new();
        loop {
            let Self { line, session, .. } = &mut self;
            let mut out = Vec::new();
            let take = |bytes: &[u8]| plain.extend_from_slice(bytes);
            let (used, progress) = match session.take(&mut line.incoming, take, &mut out) {
                Ok(taken) => taken,
                Err((used, error)) => {
                    session.last_words(&mut line.incoming[used..], &mut out);
                    let _ = line.send(&out).await;
                    return Err(error.into());
                }
            };
            line.incoming.drain(..used);
            if progress != Progress::Shaking {
                return self.done(&plain, progress, out).await;
            }
            line.send(&out).await?;
            if !line.read().await? {
                let silent = line.incoming.is_empty() && matches!(session, Session::Client(_));
                return Err(Line::ended(silent));
            }
            // A step takes as long as many a request: whoever waits is served in between.
            tokio::task::yield_now().await;
        }
    }

    /// `out` is what was to be said last. A server's last word in TLS 1.3 are tickets (RFC 8446 §4.6.1), for
    /// which nobody waits: they go out with what comes first.
    async fn done(
        mut self,
        plain: &[u8],
        progress: Progress,
        mut out: Vec<u8>,
    ) -> Result<Socket, TlsError> {
        let facts = self.session.facts(self.asked);
        if facts.version != "TLSv1.3" || matches!(self.session, Session::Client(_)) {
            self.line.send(&std::mem::take(&mut out)).await?;
        }
        let mut end = TlsEnd::new(self.line.socket, self.session, facts, out);
        end.held.put(plain);
        end.incoming = self.line.incoming;
        if progress == Progress::Ended {
            end.ended = Some(Ended::Cleanly);
        }
        Ok(Socket::Tls(Box::new(end)))
    }
}

impl Line {
    /// Waits for what a client says first: rustls tells of it only whoever chooses the certificate.
    /// `None`: it is none that can be read here, and rustls will know why.
    async fn hello(&mut self) -> Result<Option<Hello>, TlsError> {
        loop {
            match client_hello(&self.incoming) {
                Ok(Some(hello)) => return Ok(Some(hello)),
                Err(_) => return Ok(None),
                Ok(None) if self.read().await? => (),
                Ok(None) => return Err(Self::ended(self.incoming.is_empty())),
            }
        }
    }

    /// Reads more; `false`: the other side has said all.
    async fn read(&mut self) -> Result<bool, TlsError> {
        if self.incoming.len() >= MAX_WAITING {
            return Err(TlsError::Failed("a message that is too long".into()));
        }
        let Self { socket, incoming } = self;
        let read = poll_fn(|cx| {
            let mut room = [0; ROOM];
            let read = socket.poll_read(cx, &mut room);
            read.map_ok(|read| {
                incoming.extend_from_slice(&room[..read]);
                read > 0
            })
        });
        read.await.map_err(TlsError::Io)
    }

    /// What it is that the other side has said all; `silent`: it had not begun anything.
    fn ended(silent: bool) -> TlsError {
        if silent { TlsError::Gone } else { TlsError::Io(io::ErrorKind::UnexpectedEof.into()) }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        let (socket, mut left) = (&mut self.socket, bytes);
        let sent = poll_fn(|cx| {
            while !left.is_empty() {
                match ready!(socket.poll_write(cx, left))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => left = &left[written..],
                }
            }
            Poll::Ready(Ok(()))
        });
        sent.await.map_err(TlsError::Io)
    }
}
