//! What an http connection may begin with before its first request: a PROXY header, TLS, and word that
//! it is HTTP/2. It runs in a box of its own that is gone afterwards.

use std::{convert::Infallible, rc::Rc, sync::Arc, time::Instant};

use tidegate_h1::Conn;
use tidegate_h2::PREFACE;
use tidegate_net::{Peer, Socket, Timer};
use tidegate_worker::{
    Encryption, Introduction, Listener, Open, Opening, Securing, Unsecured, Worker, introduce,
};

use crate::{
    answer, begin,
    connection::{Side, count_full},
    linger::Linger,
    multiplex::{Carrier, multiplex},
};

/// A connection whose first request may come.
pub(crate) struct Opened {
    pub(crate) conn: Conn<Socket>,
    pub(crate) from: Introduction,
    pub(crate) encryption: Option<Arc<Encryption>>,
}

/// Reads the PROXY header and shakes hands, whichever there has to be; `None` when that comes to
/// nothing, or when it was a connection of HTTP/2, which is over then. All of the beginning has the time
/// of one head.
pub(crate) async fn opened(
    worker: &Rc<Worker>,
    listener: &Rc<Listener>,
    mut socket: Socket,
    peer: Peer,
    timer: &Timer,
    open: &mut Open,
) -> Option<Opened> {
    let (started, mut opening) = (Instant::now(), Opening::default());
    let introduced = introduce(worker, listener, &mut socket, peer, timer, &mut opening).await;
    let from = match introduced {
        Ok(from) => from,
        Err(unopened) => {
            // Whoever speaks is not the proxy that was trusted, and is told nothing.
            let (status, reason) = unopened.refusal()?;
            let from = &Introduction::of(peer);
            let side = Side { worker, listener, from, timer, encryption: None, http2: false };
            let mut refused = begin::unreadable(&side, started, status, reason.into());
            refused.tell(&side);
            refused.seen.account(&side, status, 0, 0);
            return None;
        }
    };
    let Some(server) = &listener.settings.tls else {
        let http2 = listener.settings.h2c
            && begins_http2(worker, listener, &mut socket, timer, &mut opening).await?;
        let mut conn = Conn::new(socket);
        conn.put_back(opening.into_bytes());
        let opened = Opened { conn, from, encryption: None };
        return if http2 {
            opened.multiplexed(worker, listener, timer, open).await
        } else {
            Some(opened)
        };
    };
    let securing = Securing { worker, listener, timer, peer: from.peer };
    match securing.run(server, socket, opening).await {
        Ok((socket, encryption)) => {
            let http2 = socket.tls().is_some_and(|facts| facts.http2);
            let opened = Opened { conn: Conn::new(socket), from, encryption: Some(encryption) };
            if http2 {
                opened.multiplexed(worker, listener, timer, open).await
            } else {
                Some(opened)
            }
        }
        Err(Unsecured::Plain(socket, said)) => {
            let side =
                Side { worker, listener, from: &from, timer, encryption: None, http2: false };
            refuse_plain(&side, started, socket, &said).await;
            None
        }
        Err(Unsecured::Over) => None,
    }
}

impl Opened {
    /// Serves it to its end: no request of HTTP/1 comes.
    async fn multiplexed(
        self,
        worker: &Rc<Worker>,
        listener: &Rc<Listener>,
        timer: &Timer,
        open: &mut Open,
    ) -> Option<Self> {
        let Self { conn, from, encryption } = self;
        if listener.settings.accept_proxy
            && let Err(full) = open.count_client(listener, &from.peer)
        {
            count_full(worker, listener, &from.peer, full, &worker.request_id());
            return None;
        }
        let (worker, listener) = (Rc::clone(worker), Rc::clone(listener));
        let by = Carrier { worker, listener, from, encryption, open: open.within() };
        multiplex(by, conn, timer).await;
        None
    }
}

/// Whether the client says the preface of HTTP/2, without waiting for more than it takes to tell;
/// `None`: it has left, or its time is up.
async fn begins_http2(
    worker: &Worker,
    listener: &Listener,
    socket: &mut Socket,
    timer: &Timer,
    opening: &mut Opening,
) -> Option<bool> {
    let is_preface = |bytes: &[u8]| {
        let common = bytes.iter().zip(PREFACE).take_while(|(came, known)| came == known).count();
        let is_told = common == PREFACE.len() || common < bytes.len();
        Ok::<_, Infallible>(is_told.then_some(common == PREFACE.len()))
    };
    timer.set_idle(Some(listener.group()));
    let told = opening.read(socket, &worker.scratch, timer, PREFACE.len(), is_preface).await;
    timer.set_idle(None);
    told.ok()
}

/// Answers who speaks plain HTTP where TLS is spoken, as nginx does.
async fn refuse_plain(side: &Side<'_>, started: Instant, socket: Socket, said: &[u8]) {
    let mut conn = Conn::new(socket);
    let reason = "plain HTTP where TLS is spoken";
    let mut refused = begin::unreadable(side, started, 400, reason.into());
    refused.tell(side);
    let to_head = said.starts_with(b"HEAD ");
    let sent = answer::send_plain(side, &mut conn, &refused.seen.id, to_head).await;
    refused.seen.account(side, 400, 0, sent.unwrap_or_default());
    if sent.is_some() {
        Linger::SHORT.run(side.worker, conn, side.timer).await;
    }
}
