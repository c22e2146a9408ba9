//! Sockets as the rest of the house sees them: ends to read from and write to, with TLS or without,
//! listeners, connects, the scratch buffers lent while bytes pass through, and a worker's timers.
#![forbid(unsafe_code)]

mod clock;
mod connect;
mod datagram;
mod descriptors;
mod end;
mod listen;
mod pipe;
mod scratch;
mod stream;
mod timer;
mod tls;

pub use clock::{LAG, coarse, coarse_millis};
pub use connect::{ConnectError, Place, SecureBy, connect, greet, in_time, is_local_error, secure};
pub use datagram::{DatagramLink, Datagrams, Way, bind_datagrams};
pub use descriptors::{Descriptors, raise_limit};
pub use end::{End, Socket, Within, poll_drain, poll_fill};
pub use listen::{Acceptor, Bound, ListenAddress, ListenError, Options, Peer, bind};
pub use pipe::Pipe;
pub use scratch::{Lent, ROOM, SIZE, Scratch};
pub use timer::{Timer, Timers};
pub use tls::{
    Certificate, CertificateFiles, ClientAuth, TlsClient, TlsConnecting, TlsEnd, TlsError,
    TlsFacts, TlsFault, TlsHandshake, TlsInquiry, TlsServer, TlsServing, TlsVersion,
};
