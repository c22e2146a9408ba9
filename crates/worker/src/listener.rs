//! Accepting connections: what a listener is to a worker, and the loop that takes what comes.

use std::{
    future::poll_fn,
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use crate::{
    door::{Door, Stay},
    full::Full,
    ledger::{Ledger, Tunnels},
    secure::Handshake,
    worker::{Line, Worker},
};
use ipnet::IpNet;
use tidegate_h2::Fault;
use tidegate_limit::{Counts, Held, Who};
use tidegate_metrics::{Counter, Gauge, PerWorker};
use tidegate_net::{Acceptor, Peer, Socket, TlsServer, is_local_error};

/// When descriptors have run out, so long nothing is accepted.
const BACK_OFF: Duration = Duration::from_millis(50);

/// What clients of a listener may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request target; above: 414.
    pub target: usize,
    /// Bytes of a head; above: 431.
    pub head: usize,
    /// Fields of a head; above: 431.
    pub fields: usize,
}

/// How long clients of a listener are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a whole head.
    pub header: Duration,
    /// For the next request.
    pub keepalive: Duration,
    /// Between two reads of a body.
    pub body: Duration,
    /// Between two writes.
    pub send: Duration,
}

/// What one connection of HTTP/2 may ask for at once.
#[derive(Clone, Copy, Debug)]
pub struct Http2 {
    /// Streams open at once.
    pub max_streams: u32,
    /// Streams that the client resets before their answer, at once; ten more come back every second.
    /// Beyond, the connection is closed.
    pub max_resets: u32,
    /// Bytes that the client may send ahead of one stream's body; four times that of all.
    pub window: u32,
}

/// The settings of a listener.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// Whose X-Forwarded-For, -Proto, -Host, X-Request-Id and PROXY headers are believed.
    pub trusted: Vec<IpNet>,
    /// Whether those begin every connection with a PROXY header.
    pub accept_proxy: bool,
    /// Connections at once, of all workers; 0: no limit.
    pub max_connections: u32,
    /// Of one client; 0: no limit.
    pub max_connections_per_client: u32,
    /// Whether HTTP/2 is spoken in plain text, by prior knowledge. Over TLS, ALPN says so.
    pub h2c: bool,
    pub http2: Http2,
    /// `None`: plain text.
    pub tls: Option<TlsServer>,
}

/// What is counted about a listener.
#[derive(Debug)]
pub struct ListenerLive {
    pub name: Arc<str>,
    pub cells: PerWorker<ListenerCells>,
    open: AtomicU32,
    /// How often its certificates had changed and could not be taken.
    pub bad_certificates: AtomicU64,
    /// Those of each client, while there is a limit for that.
    clients: Arc<Counts>,
}

/// One worker's counts about one listener.
#[derive(Debug, Default)]
pub struct ListenerCells {
    /// Connections, or sessions of a udp listener.
    pub accepted: Counter,
    pub active: Gauge,
    refused: [Counter; Full::ALL.len()],
    pub tunnels: Ledger,
    /// By [`Handshake`].
    pub handshakes: [Counter; Handshake::ALL.len()],
    pub http2: Http2Cells,
    pub udp: UdpCells,
}

/// One worker's counts about what of HTTP/2 comes to one listener.
#[derive(Debug, Default)]
pub struct Http2Cells {
    /// Connections that speak it.
    pub connections: Counter,
    pub streams: Counter,
    faulty: [Counter; Fault::ALL.len()],
}

/// One worker's counts about the datagrams of one listener.
#[derive(Debug, Default)]
pub struct UdpCells {
    /// Sessions that gave way to others.
    pub evicted: Counter,
    pub to_server: Counter,
    pub to_client: Counter,
    /// Datagrams, either way, that were not passed on.
    pub dropped: Counter,
}

/// A listener as one worker knows it, and as it was set when a connection came in.
#[derive(Debug)]
pub struct Listener {
    pub live: Arc<ListenerLive>,
    pub settings: Settings,
    pub stay: Rc<Stay>,
}

/// A connection, or a session, counted while it lasts.
#[derive(Debug)]
pub struct Open {
    live: Arc<ListenerLive>,
    /// Narrow: every connection keeps room for it.
    worker: u32,
    /// As one of its client's; in a box, for hardly any listener counts them.
    of_client: Option<Box<Held>>,
    /// One of many within a connection, which is counted itself.
    is_within: bool,
}

impl Settings {
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// Whether a connection of that peer's has to begin with a PROXY header.
    pub(crate) fn awaits_proxy(&self, peer: &Peer) -> bool {
        self.accept_proxy && peer.ip().is_some_and(|ip| self.trusts(ip))
    }
}

impl Listener {
    /// From now on connections end with their current request; those that wait for one, within a
    /// moment.
    pub fn is_closing(&self) -> bool {
        self.stay.is_over()
    }

    /// How long a connection may wait for a request, of the time it has as a rule.
    pub fn patience(&self, usual: Duration) -> Duration {
        self.stay.patience(usual)
    }

    /// The group of its connections' timers while they wait for a request.
    pub fn group(&self) -> u32 {
        self.stay.number()
    }
}

impl ListenerCells {
    /// Connections that were turned away so.
    pub fn refused(&self, full: Full) -> &Counter {
        &self.refused[full as usize]
    }
}

impl Http2Cells {
    /// Connections that were closed for that.
    pub fn faulty(&self, fault: Fault) -> &Counter {
        &self.faulty[fault as usize]
    }
}

impl ListenerLive {
    pub fn new(name: &str, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            cells: PerWorker::new(workers),
            open: AtomicU32::new(0),
            bad_certificates: AtomicU64::new(0),
            clients: Counts::new(),
        })
    }

    /// Connections open now, tunnels among them.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Its tunnels, of all workers.
    pub fn tunnels(&self) -> Tunnels {
        self.cells.all().fold(Tunnels::default(), |sum, cells| sum.plus(&cells.tunnels.read()))
    }
}

impl Open {
    pub fn new(listener: &Listener, worker: usize) -> Self {
        let live = Arc::clone(&listener.live);
        live.open.fetch_add(1, Relaxed);
        let cells = live.cells.of(worker);
        cells.accepted.add(1);
        cells.active.raise();
        let worker = u32::try_from(worker).expect("there are not that many cores");
        Self { live, worker, of_client: None, is_within: false }
    }

    /// For what is carried within this connection and lasts no longer: it is not counted again.
    pub fn within(&self) -> Self {
        Self { live: Arc::clone(&self.live), worker: self.worker, of_client: None, is_within: true }
    }

    /// Counts it as one of that client's, if the listener limits those and it is not counted yet.
    ///
    /// # Errors
    /// When the client has as many as it may have.
    pub fn count_client(&mut self, listener: &Listener, client: &Peer) -> Result<(), Full> {
        let limit = listener.settings.max_connections_per_client;
        let (true, Some(ip), None) = (limit > 0, client.ip(), &self.of_client) else {
            return Ok(());
        };
        match self.live.clients.take(Who::client(ip), limit) {
            Some(held) => {
                self.of_client = Some(Box::new(held));
                Ok(())
            }
            None => {
                self.refused(Full::Client);
                Err(Full::Client)
            }
        }
    }

    fn refused(&self, full: Full) {
        self.live.cells.of(self.worker as usize).refused(full).add(1);
    }

    pub(crate) fn live(&self) -> &ListenerLive {
        &self.live
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.live.cells.of(self.worker as usize).tunnels
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.is_within {
            return;
        }
        self.live.open.fetch_sub(1, Relaxed);
        self.live.cells.of(self.worker as usize).active.lower();
    }
}

/// A connection that has just come.
#[derive(Debug)]
pub struct Accepted {
    pub worker: Rc<Worker>,
    pub listener: Rc<Listener>,
    pub socket: Socket,
    pub peer: Peer,
    pub open: Open,
    /// Why it is to be turned away, if it is.
    pub full: Option<Full>,
}

/// Accepts until the door is closed, then takes what is still in the queue for whoever served last.
/// `take` begins to serve a connection and returns at once.
pub async fn accept<E>(
    worker: Rc<Worker>,
    acceptor: Rc<Acceptor>,
    door: Rc<Door<E>>,
    take: impl Fn(&E, Accepted),
) {
    let Some(mut service) = door.service() else { return };
    loop {
        let mut changed = std::pin::pin!(door.changed());
        let next = poll_fn(|cx| match acceptor.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => changed.as_mut().poll(cx).map(|()| None),
        });
        let accepted = next.await;
        let newest = door.service();
        let is_closed = newest.is_none();
        if let Some(newest) = newest {
            service = newest;
        }
        let listener = &service.listener;
        match accepted {
            Some(Ok((socket, peer))) => {
                let number = socket.number();
                take(&service.engine, admitted(&worker, listener, socket, peer));
                if !worker.shared.room.has_more_for_clients(number) {
                    rest(&worker, listener, &acceptor, || door.service().is_some()).await;
                }
            }
            Some(Err(error)) => refused(&worker, listener, &error).await,
            None if is_closed => return,
            None => (),
        }
    }
}

/// Counts a connection and looks whether there is room for it.
fn admitted(worker: &Rc<Worker>, listener: &Rc<Listener>, socket: Socket, peer: Peer) -> Accepted {
    let limit = listener.settings.max_connections;
    let is_full = limit > 0 && listener.live.open() >= limit;
    let mut open = Open::new(listener, worker.index);
    let full = if is_full {
        open.refused(Full::Listener);
        Some(Full::Listener)
    } else if listener.settings.awaits_proxy(&peer) {
        // Who it is from is still to be said.
        None
    } else {
        open.count_client(listener, &peer).err()
    };
    let (worker, listener) = (Rc::clone(worker), Rc::clone(listener));
    Accepted { worker, listener, socket, peer, open, full }
}

/// Waits until there is room for clients again, as long as the door is open. Idle connections to
/// servers are given up for it.
async fn rest(
    worker: &Worker,
    listener: &Listener,
    acceptor: &Acceptor,
    is_open: impl Fn() -> bool,
) {
    worker.totals().accept_errors.add(1);
    if worker.may_log(Line::Failure) {
        tracing::error!(listener = %listener.live.name, "descriptors are running out: clients have to wait");
    }
    worker.idle.borrow_mut().clear();
    while !worker.shared.room.looks_free(acceptor) && is_open() {
        tokio::time::sleep(BACK_OFF).await;
        worker.idle.borrow_mut().clear();
    }
}

/// Running out of descriptors must not become a busy loop: idle connections to servers are given
/// up, and the queue waits a little.
async fn refused(worker: &Worker, listener: &Listener, error: &std::io::Error) {
    if !is_local_error(error) {
        // The client left the queue before its turn (ECONNABORTED and its like).
        return;
    }
    worker.totals().accept_errors.add(1);
    worker.idle.borrow_mut().clear();
    if worker.may_log(Line::Failure) {
        tracing::error!(listener = %listener.live.name, %error, "cannot accept connections for want of local resources");
    }
    tokio::time::sleep(BACK_OFF).await;
}
