//! Listeners. The control thread binds, and what it binds is shared out: a TCP address is one
//! SO_REUSEPORT socket per worker, a unix path one descriptor that all of them accept from.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::FileTypeExt,
    },
    path::{Path, PathBuf},
    task::{Context, Poll},
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::Socket;

/// Connections the kernel may complete ahead of us; it caps this at net.core.somaxconn.
const BACKLOG: i32 = 4_096;

/// Bytes for a client that the kernel takes ahead of sending them. It would take up to 4 MiB for one
/// that hardly reads, of a memory that all connections of the machine share.
const UNSENT: u32 = 128 << 10;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Socket options that accepted connections inherit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Zero: none.
    pub keepalive: Duration,
    /// Zero: the system's own.
    pub user_timeout: Duration,
    /// A unix socket for its owner alone (mode 0600) instead of everybody.
    pub private: bool,
    /// A listener of our own is at an address that includes this one, or is included by it, and gives
    /// way to it.
    pub beside: bool,
}

/// A bound address, with a socket for each worker.
#[derive(Debug)]
pub struct Bound {
    /// With the port that port 0 became.
    pub address: ListenAddress,
    pub sockets: Vec<OwnedFd>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0} is taken: another process listens on it")]
    Taken(ListenAddress),
    #[error("cannot listen on {address}: {error}")]
    Other {
        address: ListenAddress,
        #[source]
        error: io::Error,
    },
}

/// Binds `address` once for each of `workers`.
///
/// # Errors
/// When it is taken, also by another process of our own that would share it, or cannot be had.
pub fn bind(
    address: &ListenAddress,
    options: &Options,
    workers: usize,
) -> Result<Bound, ListenError> {
    let bound = match address {
        ListenAddress::Tcp(ip) => bind_tcp(*ip, options, workers),
        ListenAddress::Unix(path) => bind_unix(path, options, workers),
    };
    bound.map_err(|error| unbound(address, error))
}

pub(crate) fn unbound(address: &ListenAddress, error: io::Error) -> ListenError {
    match error.kind() {
        ErrorKind::AddrInUse => ListenError::Taken(address.clone()),
        _ => ListenError::Other { address: address.clone(), error },
    }
}

fn bind_tcp(address: SocketAddr, options: &Options, workers: usize) -> io::Result<Bound> {
    // SO_REUSEPORT would let two processes share a port in silence: a socket without it finds the
    // holder, and fixes the port when any will do.
    let fixed = if options.beside {
        address
    } else {
        let probe = tcp_socket(address, options, false)?;
        probe.listen(1)?;
        probe.local_addr()?.as_socket().unwrap_or(address)
    };
    let one = |_| -> io::Result<OwnedFd> {
        let socket = tcp_socket(fixed, options, true)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let sockets = (0..workers).map(one).collect::<io::Result<_>>()?;
    Ok(Bound { address: ListenAddress::Tcp(fixed), sockets })
}

fn tcp_socket(address: SocketAddr, options: &Options, shared: bool) -> io::Result<RawSocket> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    options.set_on(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Options {
    fn set_on(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_keepalive(!self.keepalive.is_zero())?;
        if !self.keepalive.is_zero() {
            let probe_every = (self.keepalive / 4).max(Duration::from_secs(1));
            socket.set_tcp_keepalive(
                &TcpKeepalive::new().with_time(self.keepalive).with_interval(probe_every),
            )?;
        }
        // Zero is the system's own.
        socket.set_tcp_user_timeout(Some(self.user_timeout))
    }
}

fn bind_unix(path: &Path, options: &Options, workers: usize) -> io::Result<Bound> {
    remove_dead_socket(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let mode = if options.private { 0o600 } else { 0o666 };
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    let first: OwnedFd = socket.into();
    let mut sockets = (1..workers).map(|_| first.try_clone()).collect::<io::Result<Vec<_>>>()?;
    sockets.push(first);
    Ok(Bound { address: ListenAddress::Unix(path.into()), sockets })
}

/// A socket file outlives its process. One that nobody answers on is in the way; one that somebody
/// does, or a file that is no socket, is not ours to remove.
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {
            match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
                _ => Err(ErrorKind::AddrInUse.into()),
            }
        }
        Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is no socket is there")),
        Err(_) => Ok(()),
    }
}

/// One worker's socket of a listener, on the worker's own runtime.
#[derive(Debug)]
pub enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Who is at the other end of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Ip(SocketAddr),
    /// The user id of the process, where the system tells.
    Unix(Option<u32>),
}

impl Acceptor {
    /// # Errors
    /// When the runtime cannot watch the socket.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(address: &ListenAddress, socket: OwnedFd) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(_) => TcpListener::from_std(socket.into()).map(Self::Tcp),
            ListenAddress::Unix(_) => UnixListener::from_std(socket.into()).map(Self::Unix),
        }
    }

    /// Connections that come from now on inherit these.
    ///
    /// # Errors
    /// When the system does not take them.
    pub fn set_options(&self, options: &Options) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => options.set_on(&SockRef::from(listener)),
            Self::Unix(_) => Ok(()),
        }
    }

    /// The next connection. Cancel safe.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        match self {
            Self::Tcp(listener) => listener
                .poll_accept(cx)
                .map_ok(|(stream, peer)| (Socket::Tcp(stream), Peer::Ip(peer))),
            Self::Unix(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| {
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                (Socket::Unix(stream), Peer::Unix(uid))
            }),
        }
    }
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Peer {
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }
}

impl Socket {
    /// The number of its descriptor, which was the lowest free one when it was made; -1: it has none of
    /// its own.
    pub fn number(&self) -> RawFd {
        match self.below() {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tls(_) | Self::Within(_) => -1,
        }
    }

    /// The address the client connected to, when it is one.
    pub fn local_ip(&self) -> Option<SocketAddr> {
        match self.below() {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Within(end) => end.local_ip(),
            Self::Unix(_) | Self::Tls(_) => None,
        }
    }

    /// Whether closing it says RST instead of FIN, and nothing by TLS: how a cut is told from an end.
    /// A stream within a connection tells them apart by itself.
    pub fn reset_on_close(&mut self, reset: bool) {
        if let Self::Tls(end) = self {
            end.cut_on_close(reset);
        }
        if let Self::Tcp(stream) = self.below() {
            // A socket that is gone already needs no such mark.
            let _ = SockRef::from(stream).set_linger(reset.then_some(Duration::ZERO));
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(Some(uid)) => write!(f, "unix uid {uid}"),
            Self::Unix(None) => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> ListenAddress {
        ListenAddress::Tcp("127.0.0.1:0".parse().expect("an address"))
    }

    #[test]
    fn workers_share_a_port_that_nobody_else_gets() {
        let bound = bind(&any_port(), &Options::default(), 3).expect("any port");
        assert_eq!(bound.sockets.len(), 3);
        let again = bind(&bound.address, &Options::default(), 1);
        assert!(matches!(again, Err(ListenError::Taken(_))), "{again:?}");
    }

    #[test]
    fn an_address_of_our_own_can_be_had_beside_one_that_includes_it() {
        let ListenAddress::Tcp(part) =
            bind(&any_port(), &Options::default(), 1).expect("any port").address
        else {
            panic!("asked for an IP address")
        };
        let whole = ListenAddress::Tcp(([0, 0, 0, 0], part.port()).into());
        let part = ListenAddress::Tcp(part);
        let _whole = bind(&whole, &Options::default(), 2).expect("it was free a moment ago");
        assert!(matches!(bind(&part, &Options::default(), 2), Err(ListenError::Taken(_))));
        let beside = Options { beside: true, ..Options::default() };
        assert_eq!(bind(&part, &beside, 2).expect("it is ours").sockets.len(), 2);
    }

    #[test]
    fn the_kernel_takes_little_for_a_client_that_does_not_read() {
        let bound = bind(&any_port(), &Options::default(), 1).expect("a free port");
        let socket = RawSocket::from(bound.sockets.into_iter().next().expect("one for the worker"));
        let address = socket.local_addr().expect("an address");
        let client = RawSocket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        client.connect(&address).expect("it listens");
        socket.set_nonblocking(false).expect("it may block");
        let (accepted, _) = socket.accept().expect("a connection");
        assert_eq!(accepted.tcp_notsent_lowat().expect("an option"), UNSENT);
    }

    #[test]
    fn a_dead_unix_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let address = ListenAddress::Unix(folder.path().join("s"));
        let bound = bind(&address, &Options::default(), 2).expect("a free path");
        assert!(matches!(bind(&address, &Options::default(), 1), Err(ListenError::Taken(_))));
        drop(bound);
        assert!(bind(&address, &Options::default(), 1).is_ok(), "nobody answers there any more");
        let file = folder.path().join("file");
        fs::write(&file, "precious").expect("a file");
        assert!(bind(&ListenAddress::Unix(file.clone()), &Options::default(), 1).is_err());
        assert_eq!(fs::read_to_string(file).expect("still there"), "precious");
    }
}
