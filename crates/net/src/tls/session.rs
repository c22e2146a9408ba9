//! The cryptographic side of a connection: records go in, plaintext and records come out. It owns keys
//! and a state, and no buffer.

use std::{fmt, sync::Arc};

use tokio_rustls::rustls::{
    CipherSuite, ClientConfig, CommonState, Error, HandshakeKind, ProtocolVersion, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::ServerName,
    server::UnbufferedServerConnection,
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
        UnbufferedStatus, WriteTraffic,
    },
};

use super::{certificates::subject, handshake::TlsFacts};

/// The plaintext of a record (RFC 8446 §5.1), and the most that encrypting it adds.
const RECORD: usize = 16 * 1024;
const OVERHEAD: usize = 64;

/// One side of a connection.
pub(super) enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What records came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The handshake goes on when there is more.
    Shaking,
    /// Plaintext may go both ways.
    Open,
    /// The other side has said its last word.
    Ended,
}

/// An error, and how many bytes of the records were done with before.
pub(super) type Broken = (usize, Error);

/// What is to be written once a connection is open.
enum Word<'a> {
    Nothing,
    Plain(&'a [u8]),
    Goodbye,
}

/// Drives a connection of either side as far as `$incoming` goes, and has `$word` written once it is
/// open. The two sides have no trait in common.
macro_rules! drive {
    ($connection:expr, $incoming:expr, $plain:expr, $out:expr, $word:expr) => {{
        let (mut used, mut ended) = (0, false);
        loop {
            let UnbufferedStatus { discard, state } =
                $connection.process_tls_records(&mut $incoming[used..]);
            let state = match state {
                Ok(state) => state,
                Err(error) => return Err((used + discard, error)),
            };
            let progress = match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        $plain(record.payload);
                    }
                    None
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut data, $out);
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                ConnectionState::PeerClosed => {
                    ended = true;
                    None
                }
                ConnectionState::BlockedHandshake => Some(Progress::Shaking),
                ConnectionState::Closed => Some(Progress::Ended),
                ConnectionState::WriteTraffic(mut traffic) => match $word.put(&mut traffic, $out) {
                    Ok(()) if ended => Some(Progress::Ended),
                    Ok(()) => Some(Progress::Open),
                    Err(error) => return Err((used + discard, error)),
                },
                // Early data is never offered, nor asked for.
                _ => return Err((used, Error::General("an unknown state".into()))),
            };
            used += discard;
            if let Some(progress) = progress {
                return Ok((used, progress));
            }
        }
    }};
}

impl Word<'_> {
    fn put<D>(&self, to: &mut WriteTraffic<'_, D>, out: &mut Vec<u8>) -> Result<(), Error> {
        match *self {
            Self::Nothing => Ok(()),
            Self::Plain(plain) => {
                let guess = plain.len() + (plain.len() / RECORD + 1) * OVERHEAD;
                put(out, guess, |room| to.encrypt(plain, room))
            }
            Self::Goodbye => put(out, OVERHEAD, |room| to.queue_close_notify(room)),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "Client",
            Self::Server(_) => "Server",
        })
    }
}

impl Session {
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        UnbufferedServerConnection::new(config).map(Self::Server)
    }

    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Error> {
        UnbufferedClientConnection::new(config, name).map(Self::Client)
    }

    /// Takes records from the front of `incoming` and says how many bytes of them are done with; an
    /// incomplete one has to come again with its rest. Records for the other side, of an error too, are
    /// put behind `out`.
    pub(super) fn take(
        &mut self,
        incoming: &mut [u8],
        plain: impl FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<(usize, Progress), Broken> {
        self.drive(incoming, plain, out, &Word::Nothing)
    }

    /// Puts behind `out` what the other side is to be told of an error. `incoming` is what was not done
    /// with then: it would fail again, so nothing else is asked for.
    pub(super) fn last_words(&mut self, incoming: &mut [u8], out: &mut Vec<u8>) {
        macro_rules! tell {
            ($connection:expr) => {
                while $connection.wants_write() {
                    match $connection.process_tls_records(incoming).state {
                        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                        _ => return,
                    }
                }
            };
        }
        match self {
            Self::Client(connection) => tell!(connection),
            Self::Server(connection) => tell!(connection),
        }
    }

    /// Encrypts `plain` and puts the records behind `out`. `incoming` is what `take` left.
    pub(super) fn encrypt(
        &mut self,
        plain: &[u8],
        incoming: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Progress), Broken> {
        self.drive(incoming, |_| (), out, &Word::Plain(plain))
    }

    /// Says that nothing more will come (RFC 8446 §6.1). `incoming` is what `take` left.
    pub(super) fn close(
        &mut self,
        incoming: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Progress), Broken> {
        self.drive(incoming, |_| (), out, &Word::Goodbye)
    }

    fn drive(
        &mut self,
        incoming: &mut [u8],
        mut plain: impl FnMut(&[u8]),
        out: &mut Vec<u8>,
        word: &Word<'_>,
    ) -> Result<(usize, Progress), Broken> {
        match self {
            Self::Client(connection) => drive!(connection, incoming, plain, out, word),
            Self::Server(connection) => drive!(connection, incoming, plain, out, word),
        }
    }

    /// What was agreed on; `server_name` is what a client asked for.
    pub(super) fn facts(&self, server_name: Option<Box<str>>) -> TlsFacts {
        let (state, is_server): (&CommonState, _) = match self {
            Self::Client(connection) => (connection, false),
            Self::Server(connection) => (connection, true),
        };
        let suite = state.negotiated_cipher_suite();
        let shown = state.peer_certificates().filter(|_| is_server).and_then(<[_]>::first);
        TlsFacts {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: suite.map(|suite| name(suite.suite())).unwrap_or_default(),
            server_name,
            http2: state.alpn_protocol() == Some(b"h2"),
            client_subject: shown.and_then(subject),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

/// As the registry of IANA has it, and nginx for TLS 1.3; rustls has another prefix for that.
fn name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or_default(),
    }
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) {
    // It can only fail for want of room, of which there is as much as it wants.
    let _ = put(out, 0, |room| {
        data.encode(room).map_err(|error| match error {
            EncodeError::InsufficientSize(wanted) => EncryptError::InsufficientSize(wanted),
            EncodeError::AlreadyEncoded => EncryptError::EncryptExhausted,
        })
    });
}

/// Has something written behind `out`, into so much room or as much as it wants.
fn put(
    out: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), Error> {
    let begin = out.len();
    out.resize(begin + guess, 0);
    let mut written = write(&mut out[begin..]);
    if let Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) = written {
        out.resize(begin + required_size, 0);
        written = write(&mut out[begin..]);
    }
    out.truncate(begin + written.as_ref().map_or(0, |written| *written));
    written.map(|_| ()).map_err(|error| Error::General(error.to_string()))
}
