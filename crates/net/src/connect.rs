//! Connecting to a server.

use std::{future::poll_fn, io, net::SocketAddr, path::Path, pin::pin, task::Poll, time::Duration};

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, UnixStream};

use crate::{Socket, Timer};

/// The defaults of a listener's `tcp_keepalive` and `tcp_user_timeout`, towards servers.
const KEEPALIVE: Duration = Duration::from_secs(60);
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where to connect to.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    Ip(SocketAddr),
    Unix(&'a str),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// This process or machine ran out of something: never the server's failure.
    #[error("cannot connect for want of local resources: {0}")]
    Local(#[source] io::Error),
    #[error("cannot connect: {0}")]
    Refused(#[source] io::Error),
    #[error("no connection within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// Connects within `limit`, told by `timer`. Cancel safe: dropped, it closes what it opened.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    place: Place<'_>,
    timer: &Timer,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    timer.set(limit);
    let mut connecting = pin!(dial(place));
    let connected = poll_fn(|cx| {
        if let Poll::Ready(done) = connecting.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        timer.poll_expired(cx).map(|()| None)
    });
    match connected.await {
        Some(Ok(socket)) => Ok(socket),
        Some(Err(error)) if is_local_error(&error) => Err(ConnectError::Local(error)),
        Some(Err(error)) => Err(ConnectError::Refused(error)),
        None => Err(ConnectError::TimedOut(limit)),
    }
}

async fn dial(place: Place<'_>) -> io::Result<Socket> {
    match place {
        Place::Ip(address) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_nodelay(true)?;
            find_dead_peers(&socket)?;
            socket.connect(address).await.map(Socket::Tcp)
        }
        Place::Unix(path) => UnixStream::connect(Path::new(path)).await.map(Socket::Unix),
    }
}

/// A server whose machine is gone says nothing: the kernel has to ask, or a tunnel to it would stay
/// for as long as it may idle.
fn find_dead_peers(socket: &TcpSocket) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4),
    )?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// Whether an error tells of this process or machine (descriptors, ports, memory), not of the
/// other side.
pub fn is_local_error(error: &io::Error) -> bool {
    let local = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| local.iter().any(|errno| errno.raw_os_error() == code))
}
