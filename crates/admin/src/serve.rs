//! Accepts admin connections and speaks HTTP/1 on them, within bounds: so many connections, so
//! long for a head, so long without progress.

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tidegate_net::{Acceptor, ListenAddress, Peer, Socket};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{Admin, caller::Ends, connection::Stream, router};

/// Connections at once over all admin listeners, and again over all metrics listeners.
const MAX_CONNECTIONS: usize = 512;
/// The time for a head; also how long a connection may wait for its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// How long requests may go on once the process stops.
const GRACE: Duration = Duration::from_secs(5);
/// Rest after a failed accept, which mostly means that descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound admin or metrics listener.
#[derive(Debug)]
pub struct AdminListener {
    pub address: ListenAddress,
    acceptor: Acceptor,
}

impl AdminListener {
    /// Takes over a socket that [`tidegate_net::bind`] made; a unix one should be `private`.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(address: ListenAddress, socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { acceptor: Acceptor::new(&address, socket)?, address })
    }
}

/// Serves the admin API until `stop` turns true or its sender is gone; requests then get 5 s to
/// end, and whoever follows the events is told no more. Not cancel safe: dropping it cuts what is being answered.
pub async fn serve(listeners: Vec<AdminListener>, admin: Arc<Admin>, stop: watch::Receiver<bool>) {
    let (events, mut stopping) = (Arc::clone(&admin.events), stop.clone());
    let router = router::admin(admin, addresses(&listeners));
    let last = async {
        stopped(&mut stopping).await;
        events.close();
    };
    tokio::join!(accept_all(listeners, router, stop), last);
}

/// Serves `/metrics`, `/healthz` and `/readyz` alone, to anybody; else like [`serve`].
pub async fn serve_metrics(
    listeners: Vec<AdminListener>,
    admin: Arc<Admin>,
    stop: watch::Receiver<bool>,
) {
    accept_all(listeners, router::metrics(admin), stop).await;
}

/// The addresses that a Host header may name. Of a wildcard that is each connection's own.
fn addresses(listeners: &[AdminListener]) -> Vec<IpAddr> {
    let ip = |listener: &AdminListener| match &listener.address {
        ListenAddress::Tcp(address) => Some(address.ip()).filter(|ip| !ip.is_unspecified()),
        ListenAddress::Unix(_) => None,
    };
    listeners.iter().filter_map(ip).collect()
}

async fn accept_all(listeners: Vec<AdminListener>, router: Router, stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let places = Arc::clone(&places);
        accepting.spawn(accept(listener, places, router.clone(), stop.clone()));
    }
    accepting.join_all().await;
}

async fn accept(
    listener: AdminListener,
    places: Arc<Semaphore>,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    let mut stopping = stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stopping) => break,
            Some(_) = connections.join_next() => {}
            accepted = next(&listener, &places) => match accepted {
                Ok((socket, peer, place)) => {
                    let conversation = converse(socket, peer, router.clone(), stop.clone());
                    connections.spawn(async move {
                        conversation.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(listener = %listener.address, %error, "cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    // What is left is cut when the set is dropped.
    let _ = timeout(GRACE, finish).await;
}

/// Waits until the process stops, or nobody is left who could say so. Cancel safe.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits for a place, then for a connection of somebody who may connect. Cancel safe.
async fn next(
    listener: &AdminListener,
    places: &Arc<Semaphore>,
) -> io::Result<(Socket, Peer, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    loop {
        let (socket, peer) = poll_fn(|cx| listener.acceptor.poll_accept(cx)).await?;
        if may_connect(&peer) {
            return Ok((socket, peer, place));
        }
        tracing::warn!(listener = %listener.address, %peer, "not our user, nor root: refused");
    }
}

/// On a unix socket only this process' own user and root.
fn may_connect(peer: &Peer) -> bool {
    match peer {
        Peer::Ip(_) => true,
        Peer::Unix(uid) => {
            uid.is_some_and(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw())
        }
    }
}

async fn converse(socket: Socket, peer: Peer, router: Router, mut stop: watch::Receiver<bool>) {
    let ends = Ends { peer, local: socket.local_ip() };
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ends);
        service.call(request)
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        // A client may say that it sends nothing more and still wait for the answer.
        .half_close(true)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(Stream::new(socket)), service);
    let mut stopping = pin!(stopped(&mut stop));
    let mut asked = false;
    let ended = poll_fn(|cx| {
        if !asked && stopping.as_mut().poll(cx).is_ready() {
            asked = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%peer, %error, "admin connection");
    }
    connection.into_parts().io.into_inner().close().await;
}
