//! Shaking hands, on either side, and what was agreed on.

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    task::{Poll, ready},
};

use tidegate_wire::tls_hello;
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
        let session = Session::server(server.config())?;
        Shaking::new(self, session, ahead).run().await
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
        Shaking::new(self, session, Vec::new()).run().await
    }

    /// What was agreed on; `None` for a plain connection.
    pub fn tls(&self) -> Option<&TlsFacts> {
        match self {
            Self::Tls(end) => Some(end.facts()),
            Self::Tcp(_) | Self::Unix(_) | Self::Within(_) => None,
        }
    }
}

/// A handshake on its way.
struct Shaking {
    socket: Socket,
    session: Session,
    incoming: Vec<u8>,
    /// The ClientHello has been read: whom the client asked for.
    asked: Option<Option<Box<str>>>,
}

impl Shaking {
    fn new(socket: Socket, session: Session, ahead: Vec<u8>) -> Self {
        Self { socket, session, incoming: ahead, asked: None }
    }

    async fn run(mut self) -> Result<Socket, TlsError> {
        let mut plain = Vec::new();
        loop {
            self.note_name();
            let mut out = Vec::new();
            let take = |bytes: &[u8]| plain.extend_from_slice(bytes);
            let (used, progress) = match self.session.take(&mut self.incoming, take, &mut out) {
                Ok(taken) => taken,
                Err((used, error)) => {
                    self.session.last_words(&mut self.incoming[used..], &mut out);
                    let _ = self.send(&out).await;
                    return Err(error.into());
                }
            };
            self.incoming.drain(..used);
            self.send(&out).await?;
            if progress != Progress::Shaking {
                return Ok(self.done(&plain, progress));
            }
            self.read().await?;
            // A step takes as long as many a request: whoever waits is served in between.
            tokio::task::yield_now().await;
        }
    }

    /// rustls tells nobody whom the client asked for but the one who chooses the certificate.
    fn note_name(&mut self) {
        if self.asked.is_none()
            && matches!(self.session, Session::Server(_))
            && let Ok(Some(hello)) = tls_hello::server_name(&self.incoming)
        {
            self.asked = Some(hello.name.map(Into::into));
        }
    }

    async fn read(&mut self) -> Result<(), TlsError> {
        if self.incoming.len() >= MAX_WAITING {
            return Err(TlsError::Failed("a message that is too long".into()));
        }
        let Self { socket, incoming, .. } = self;
        let read = poll_fn(|cx| {
            let mut room = [0; ROOM];
            let read = socket.poll_read(cx, &mut room);
            read.map_ok(|read| {
                incoming.extend_from_slice(&room[..read]);
                read
            })
        });
        match read.await {
            Ok(0) if self.asked.is_none() && self.incoming.is_empty() => Err(TlsError::Gone),
            Ok(0) => Err(TlsError::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
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

    fn done(self, plain: &[u8], progress: Progress) -> Socket {
        let facts = self.session.facts(self.asked.flatten());
        let mut end = TlsEnd::new(self.socket, self.session, facts);
        end.held.put(plain);
        end.incoming = self.incoming;
        if progress == Progress::Ended {
            end.ended = Some(Ended::Cleanly);
        }
        Socket::Tls(Box::new(end))
    }
}
