//! Sockets for datagrams. A listener has one per worker, shared by SO_REUSEPORT: the kernel leads a
//! client's datagrams to the same one each time. On a wildcard address it has to be asked which of
//! its addresses a datagram came to, for an answer from any other would not be taken.

use std::{
    cell::RefCell,
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    task::{Context, Poll, ready},
};

use nix::{
    cmsg_space, libc,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
        sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo},
    },
};
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, MsgHdr, Protocol, SockAddr, SockRef, Socket as RawSocket, Type};
use tokio::{
    io::{Interest, ReadBuf},
    net::UdpSocket,
};

use crate::{Bound, ListenAddress, ListenError, Options, connect::late_port, listen::unbound};

/// So much may wait for a worker that is busy with something else; the kernel caps it at
/// net.core.rmem_max.
const RECEIVE_BUFFER: usize = 4 << 20;

/// One worker's socket of a listener, on the worker's own runtime.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    /// Where the kernel writes what it knows of a datagram; `None` when nothing has to be asked.
    control: Option<RefCell<Vec<u8>>>,
}

/// A socket for the datagrams to and from one server.
#[derive(Debug)]
pub struct DatagramLink(UdpSocket);

/// Between whom a datagram goes: a client, and the address of ours that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Way {
    pub client: SocketAddr,
    /// `None`: the only one that there is.
    pub local: Option<IpAddr>,
}

/// Binds `address` once for each of `workers`.
///
/// # Errors
/// When it is taken, also by another process of our own that would share it, or cannot be had.
pub fn bind_datagrams(
    address: &ListenAddress,
    options: &Options,
    workers: usize,
) -> Result<Bound, ListenError> {
    let bind = || {
        let address = ip(address)?;
        // As for TCP: a socket that shares nothing finds the holder, and fixes the port when any
        // will do.
        let fixed = if options.beside {
            address
        } else {
            let probe = shared_socket(address, false)?;
            probe.local_addr()?.as_socket().unwrap_or(address)
        };
        let sockets = (0..workers).map(|_| shared_socket(fixed, true).map(OwnedFd::from));
        let sockets = sockets.collect::<io::Result<_>>()?;
        Ok(Bound { address: ListenAddress::Tcp(fixed), sockets })
    };
    bind().map_err(|error| unbound(address, error))
}

fn ip(address: &ListenAddress) -> io::Result<SocketAddr> {
    match address {
        ListenAddress::Tcp(ip) => Ok(*ip),
        ListenAddress::Unix(_) => {
            let error = "datagrams come to IP addresses only";
            Err(io::Error::new(io::ErrorKind::Unsupported, error))
        }
    }
}

/// Not with SO_REUSEADDR, which for datagrams means to take over whatever address somebody has.
fn shared_socket(address: SocketAddr, shared: bool) -> io::Result<RawSocket> {
    let socket = datagram_socket(address)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, Ipv6RecvPacketInfo, &true)?,
        }
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn datagram_socket(address: SocketAddr) -> io::Result<RawSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    RawSocket::new(Domain::for_address(address), kind, Some(Protocol::UDP))
}

impl DatagramLink {
    /// From `source` if one is given, which has to be of the same family. Nothing is sent and nothing
    /// is waited for.
    ///
    /// # Errors
    /// When this machine is short of something, or knows no way there.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(server: SocketAddr, source: Option<IpAddr>) -> io::Result<Self> {
        let socket = datagram_socket(server)?;
        if let Some(source) = source {
            late_port(&socket)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.connect(&server.into())?;
        UdpSocket::from_std(OwnedFd::from(socket).into()).map(Self)
    }

    /// Sends a datagram, if the kernel has room for it. What became of an earlier one may be told
    /// now.
    ///
    /// # Errors
    /// `WouldBlock` when it has none, `ConnectionRefused` when nobody listened.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        // Whether there is room is for the kernel to say: nobody waits for it, and the runtime does
        // not know it of a new socket yet.
        SockRef::from(&self.0).send(bytes)
    }

    /// Waits until there is something to receive, be it an error. Cancel safe.
    ///
    /// # Errors
    /// When the runtime ends.
    pub async fn receivable(&self) -> io::Result<()> {
        // An error alone does not make a socket readable.
        self.0.ready(Interest::READABLE | Interest::ERROR).await.map(drop)
    }

    /// The next datagram: how long it is.
    ///
    /// # Errors
    /// `WouldBlock` when there is none, `ConnectionRefused` when nobody listens to what was sent.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // The runtime takes one interest at a time here.
        let mut receive = |interest| {
            let once = || Ok(recv(&self.0, &mut *buffer, RecvFlags::empty())?.0);
            self.0.try_io(interest, once)
        };
        match receive(Interest::READABLE) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => receive(Interest::ERROR),
            received => received,
        }
    }
}

impl Datagrams {
    /// # Errors
    /// When the runtime cannot watch the socket.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(address: &ListenAddress, socket: OwnedFd) -> io::Result<Self> {
        let room = || cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let control = ip(address)?.ip().is_unspecified().then(|| RefCell::new(room()));
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, control })
    }

    /// The next datagram: how long it is, and its way. Cancel safe.
    pub fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, Way)>> {
        let Some(control) = &self.control else {
            let mut buffer = ReadBuf::new(buffer);
            let client = ready!(self.socket.poll_recv_from(cx, &mut buffer))?;
            return Poll::Ready(Ok((buffer.filled().len(), Way { client, local: None })));
        };
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            let receive = || receive(&self.socket, buffer, &mut control.borrow_mut());
            match self.socket.try_io(Interest::READABLE, receive) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                received => return Poll::Ready(received),
            }
        }
    }

    /// Sends a datagram to the client of that way, if the kernel has room for it.
    ///
    /// # Errors
    /// `WouldBlock` when it has none.
    pub fn try_send(&self, bytes: &[u8], way: &Way) -> io::Result<usize> {
        let (socket, client) = (SockRef::from(&self.socket), SockAddr::from(way.client));
        let Some(local) = way.local else {
            return socket.send_to(bytes, &client);
        };
        let ((control, length), parts) = (packet_info(local), [IoSlice::new(bytes)]);
        let message = MsgHdr::new().with_addr(&client).with_buffers(&parts);
        socket.sendmsg(&message.with_control(&control[..length]), 0)
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8], control: &mut [u8]) -> io::Result<(usize, Way)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(control),
        MsgFlags::empty(),
    )?;
    let local = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            // Kept in network order, which is that of the octets.
            Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    });
    let address = message.address.as_ref();
    let client = address.and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
    });
    let client = client.ok_or_else(|| io::Error::other("a datagram from nowhere"))?;
    Ok((message.bytes, Way { client, local }))
}

/// A control message (cmsg(3), ip(7), ipv6(7)) that makes the kernel send from that address, by
/// whatever interface leads to the client. How much of it counts is the second part.
fn packet_info(local: IpAddr) -> ([u8; 40], usize) {
    const HEADER: usize = size_of::<usize>() + 2 * size_of::<libc::c_int>();
    let any_interface = 0_u32.to_ne_bytes();
    let mut message = [0; 40];
    let mut at = size_of::<usize>();
    let mut put = |bytes: &[u8]| {
        message[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    match local {
        IpAddr::V4(ip) => {
            put(&libc::IPPROTO_IP.to_ne_bytes());
            put(&libc::IP_PKTINFO.to_ne_bytes());
            put(&any_interface);
            put(&ip.octets());
            put(&Ipv4Addr::UNSPECIFIED.octets());
        }
        IpAddr::V6(ip) => {
            put(&libc::IPPROTO_IPV6.to_ne_bytes());
            put(&libc::IPV6_PKTINFO.to_ne_bytes());
            put(&ip.octets());
            put(&any_interface);
        }
    }
    debug_assert!(at > HEADER && at <= message.len());
    message[..size_of::<usize>()].copy_from_slice(&at.to_ne_bytes());
    (message, at.next_multiple_of(size_of::<usize>()))
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, net::UdpSocket as Client, time::Duration};

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test);
    }

    fn listen_on(text: &str) -> ListenAddress {
        ListenAddress::Tcp(text.parse().expect("an address"))
    }

    fn one(address: &str) -> (SocketAddr, Datagrams) {
        let mut bound =
            bind_datagrams(&listen_on(address), &Options::default(), 1).expect("any port");
        let socket = bound.sockets.pop().expect("one");
        let datagrams = Datagrams::new(&bound.address, socket).expect("a runtime");
        (ip(&bound.address).expect("one"), datagrams)
    }

    #[test]
    fn workers_share_a_port_that_nobody_else_gets() {
        let bound =
            bind_datagrams(&listen_on("127.0.0.1:0"), &Options::default(), 3).expect("any port");
        assert_eq!(bound.sockets.len(), 3);
        let again = bind_datagrams(&bound.address, &Options::default(), 1);
        assert!(matches!(again, Err(ListenError::Taken(_))), "{again:?}");
    }

    /// Whatever address a client knows us by, the answer comes from there.
    #[test]
    fn an_answer_comes_from_where_the_datagram_went() {
        run(async {
            let ways = [
                ("127.0.0.1:0", "127.0.0.1", None),
                ("0.0.0.0:0", "127.0.0.7", Some("127.0.0.7")),
                ("[::]:0", "::1", Some("::1")),
            ];
            for (bound, asked, local) in ways {
                let (address, datagrams) = one(bound);
                let asked = SocketAddr::new(asked.parse().expect("an address"), address.port());
                let any: SocketAddr =
                    if asked.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().expect("any");
                let client = Client::bind(any).expect("any port");
                client.set_read_timeout(Some(Duration::from_secs(10))).expect("it is open");
                // A connected client takes answers from there alone.
                client.connect(asked).expect("a way");
                client.send(b"ask").expect("room");
                let mut buffer = [0; 100];
                let (length, way) =
                    poll_fn(|cx| datagrams.poll_receive(cx, &mut buffer)).await.expect("it comes");
                assert_eq!(&buffer[..length], b"ask");
                assert_eq!(way.local.map(|ip| ip.to_string()).as_deref(), local);
                datagrams.try_send(b"answer", &way).expect("room");
                let length = client.recv(&mut buffer).expect("the answer comes");
                assert_eq!(&buffer[..length], b"answer");
            }
        });
    }

    #[test]
    fn nobody_there_is_an_error_of_the_next_step() {
        run(async {
            let free = Client::bind("127.0.0.1:0").expect("any port");
            let server = free.local_addr().expect("an address");
            drop(free);
            let source = "127.0.0.9".parse().ok();
            let link = DatagramLink::connect(server, source).expect("local");
            assert_eq!(link.0.local_addr().expect("an address").ip().to_string(), "127.0.0.9");
            link.try_send(b"ask").expect("room");
            link.receivable().await.expect("it is said");
            let refused = link.try_receive(&mut [0; 10]).expect_err("nobody");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        });
    }
}
