//! Servers and clients of datagrams, on plain blocking sockets.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::{DEADLINE, eventually};

/// The most that a datagram over IPv4 can hold.
pub const LARGEST: usize = 65_507;

/// A server that answers each datagram with those its script makes of it.
pub struct UdpOrigin {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A client that talks to one address.
pub struct UdpClient(UdpSocket);

impl UdpOrigin {
    pub fn new(script: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::over(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), script)
    }

    /// The same on a port of the test's choice.
    pub fn over(
        socket: UdpSocket,
        script: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let address = socket.local_addr().unwrap();
        let (stopped, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Vec<u8>>>>::default());
        let (ends, notes) = (Arc::clone(&stopped), Arc::clone(&seen));
        thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let datagram = &buffer[..length];
                notes.lock().unwrap().push(datagram.to_vec());
                for answer in script(datagram) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Self { address, stopped, seen }
    }

    /// Says who it is and what it was asked.
    pub fn named(name: &'static str) -> Self {
        Self::new(move |asked| vec![[name.as_bytes(), b" ", asked].concat()])
    }

    pub fn silent() -> Self {
        Self::new(|_| Vec::new())
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The datagrams that have come.
    pub fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }

    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        eventually(&format!("{count} datagrams"), || self.seen().len() >= count);
    }
}

impl Drop for UdpOrigin {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes its thread.
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(b"", self.address);
        }
    }
}

/// A port where nobody listens for datagrams, and that nobody else can take meanwhile: its socket
/// hears one peer alone.
pub fn refusing() -> (String, UdpSocket) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, 9)).unwrap();
    (socket.local_addr().unwrap().to_string(), socket)
}

impl UdpClient {
    pub fn of(server: SocketAddr) -> Self {
        Self::from(Ipv4Addr::LOCALHOST.into(), server)
    }

    /// From one of the many addresses of the loopback network.
    pub fn from(source: IpAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((source, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(socket)
    }

    #[track_caller]
    pub fn send(&self, datagram: impl AsRef<[u8]>) {
        self.0.send(datagram.as_ref()).expect("room");
    }

    #[track_caller]
    pub fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let length = self.0.recv(&mut buffer).expect("an answer");
        buffer[..length].to_vec()
    }

    /// The answer to a datagram, as text.
    #[track_caller]
    pub fn ask(&self, datagram: impl AsRef<[u8]>) -> String {
        self.send(datagram);
        String::from_utf8(self.receive()).unwrap()
    }

    /// Whether no answer comes for that long.
    pub fn is_quiet_for(&self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).unwrap();
        let quiet = self.0.recv(&mut [0; 16]).is_err();
        self.0.set_read_timeout(Some(DEADLINE)).unwrap();
        quiet
    }
}
