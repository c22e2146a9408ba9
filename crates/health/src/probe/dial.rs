//! Connections for probes. They leave nothing behind: thousands a second would fill the kernel's
//! tables with connections in TIME_WAIT, so they end with a reset.

use std::path::Path;

pub(super) use tidegate_net::Socket;
use tidegate_table::Target;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, UnixStream},
};

use super::Fault;

/// A connection as the languages of checks see it.
pub(super) type Stream = Box<dyn Io>;

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Io for S {}

/// Connects. Cancel safe.
pub(super) async fn dial(target: &Target) -> Result<Socket, Fault> {
    let connected = match target {
        Target::Ip(address) => {
            async {
                let socket =
                    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                socket.set_zero_linger()?;
                socket.connect(*address).await.map(Socket::Tcp)
            }
            .await
        }
        Target::Unix(path) => UnixStream::connect(Path::new(&**path)).await.map(Socket::Unix),
    };
    connected.map_err(|error| Fault::io("cannot connect", &error))
}

/// Writes what the connection is to begin with.
pub(super) async fn greet(socket: &mut Socket, bytes: &[u8]) -> Result<(), Fault> {
    socket.write_all(bytes).await.map_err(|error| Fault::io("the connection broke", &error))
}

pub(super) fn stream(socket: Socket) -> Stream {
    Box::new(socket)
}
