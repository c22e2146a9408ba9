//! Connecting to a server.

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    path::Path,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, UnixStream};

use crate::{End, Socket, Timer, TlsClient, TlsError};

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
    #[error("connected, but no HTTP/2: {0}")]
    Http2(#[source] io::Error),
    #[error("no connection within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("no TLS: {0}")]
    Tls(String),
    #[error("connected, but no TLS handshake within {} ms", .0.as_millis())]
    TlsTimedOut(Duration),
    /// It is known beforehand that there can be none. Never the server's failure.
    #[error("{0}")]
    Unready(Arc<str>),
}

impl ConnectError {
    /// Whether it is a failure of ours, and tells nothing of the server.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Local(_) | Self::Unready(_))
    }
}

/// How a connection is made secure.
#[derive(Clone, Copy, Debug)]
pub struct SecureBy<'a> {
    pub client: &'a TlsClient,
    /// Which name the server has to prove itself by.
    pub name: &'a str,
    /// Whose sessions may be taken up again.
    pub sessions: &'a str,
}

/// Connects within `limit`, told by `timer`; from `source` if one is given, which has to be of the
/// same family. Cancel safe: dropped, it closes what it opened.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    place: Place<'_>,
    source: Option<IpAddr>,
    timer: &Timer,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    timer.set(limit);
    within(timer, limit, dial(place, source)).await
}

/// Writes what a new connection begins with, within what is left of the `limit` for connecting.
///
/// # Errors
/// See [`ConnectError`].
pub async fn greet(
    socket: &mut Socket,
    mut bytes: &[u8],
    timer: &Timer,
    limit: Duration,
) -> Result<(), ConnectError> {
    let writing = async {
        while !bytes.is_empty() {
            match poll_fn(|cx| socket.poll_write(cx, bytes)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = &bytes[written..],
            }
        }
        Ok(())
    };
    within(timer, limit, writing).await
}

/// Shakes hands over a new connection, within what is left of the `limit` for connecting. Cancel safe:
/// dropped, it closes the connection.
///
/// # Errors
/// See [`ConnectError`].
pub async fn secure(
    socket: Socket,
    by: SecureBy<'_>,
    timer: &Timer,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    let shaking = socket.connect_tls(by.client, by.name, by.sessions);
    match in_time(timer, shaking).await {
        Some(Ok(socket)) => Ok(socket),
        Some(Err(TlsError::Io(error))) if is_local_error(&error) => Err(ConnectError::Local(error)),
        Some(Err(error)) => Err(ConnectError::Tls(error.to_string())),
        None => Err(ConnectError::TlsTimedOut(limit)),
    }
}

async fn within<T>(
    timer: &Timer,
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, ConnectError> {
    match in_time(timer, work).await {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) if is_local_error(&error) => Err(ConnectError::Local(error)),
        Some(Err(error)) => Err(ConnectError::Refused(error)),
        None => Err(ConnectError::TimedOut(limit)),
    }
}

/// What comes of `work`; `None`: the timer was faster.
pub async fn in_time<T>(timer: &Timer, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let done = poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        timer.poll_expired(cx).map(|()| None)
    });
    done.await
}

async fn dial(place: Place<'_>, source: Option<IpAddr>) -> io::Result<Socket> {
    match place {
        Place::Ip(address) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_nodelay(true)?;
            find_dead_peers(&socket)?;
            if let Some(source) = source {
                late_port(&socket)?;
                socket.bind(SocketAddr::new(source, 0))?;
            }
            socket.connect(address).await.map(Socket::Tcp)
        }
        Place::Unix(path) => UnixStream::connect(Path::new(path)).await.map(Socket::Unix),
    }
}

/// A port that is chosen while binding is taken from everybody; one that is chosen while connecting
/// has to differ only from those of connections to the same server.
pub(crate) fn late_port(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, IpBindAddressNoPort, &true)?)
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
