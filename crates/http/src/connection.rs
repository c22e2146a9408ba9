//! A client's connection: it waits for a request without a buffer, serves it in a future of its
//! own that is dropped afterwards, and waits again. Kept small, for most of them only wait.

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll, time::Duration};

use tidegate_h1::Conn;
use tidegate_net::{End, Peer, Socket, Timer};
use tidegate_worker::{
    Accepted, Encryption, Ends, Full, Introduction, Line, Listener, Open, RequestId, Worker, carry,
    no_route,
};

use crate::{
    answer,
    linger::Linger,
    opening::{Opened, opened},
    turn::{Turn, turn},
};

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(crate) struct Side<'c> {
    pub(crate) worker: &'c Rc<Worker>,
    pub(crate) listener: &'c Rc<Listener>,
    pub(crate) from: &'c Introduction,
    pub(crate) timer: &'c Timer,
    /// `None`: it came in plain text.
    pub(crate) encryption: Option<&'c Arc<Encryption>>,
    /// It came by HTTP/2.
    pub(crate) http2: bool,
}

impl Side<'_> {
    pub(crate) fn scheme(&self) -> &'static str {
        if self.encryption.is_some() { "https" } else { "http" }
    }
}

/// A client, as everything that serves its requests sees it.
pub(crate) struct Client<'c> {
    pub(crate) side: Side<'c>,
    pub(crate) conn: &'c mut Conn<Socket>,
}

/// Begins to serve a connection, or to turn it away.
pub fn take(accepted: Accepted) {
    let Accepted { worker, listener, socket, peer, open, full } = accepted;
    let Some(full) = full else {
        tokio::task::spawn_local(serve(worker, listener, socket, peer, open));
        return;
    };
    if listener.settings.tls.is_some() {
        // To tell it why would take a handshake.
        count_full(&worker, &listener, &peer, full, &worker.request_id());
    } else {
        tokio::task::spawn_local(turn_away(worker, listener, (socket, peer), full, open));
    }
}

/// Serves one connection to its end.
async fn serve(
    worker: Rc<Worker>,
    listener: Rc<Listener>,
    socket: Socket,
    peer: Peer,
    mut open: Open,
) {
    let timer = worker.timers.timer();
    let settings = &listener.settings;
    let opens = settings.accept_proxy || settings.tls.is_some() || settings.h2c;
    let Opened { mut conn, from, encryption } = if opens {
        match Box::pin(opened(&worker, &listener, socket, peer, &timer, &mut open)).await {
            Some(opened) => opened,
            None => return,
        }
    } else {
        let from = Introduction::of(peer);
        Opened { conn: Conn::new(socket), from, encryption: None }
    };
    if listener.settings.accept_proxy
        && let Err(full) = open.count_client(&listener, &from.peer)
    {
        let whom = (conn.end, from.peer);
        return Box::pin(turn_away(worker, listener, whom, full, open)).await;
    }
    let mut patience = listener.settings.timeouts.header;
    loop {
        if conn.ahead().is_empty() && !wait(&mut conn, &timer, &listener, patience).await {
            return;
        }
        let side = Side {
            worker: &worker,
            listener: &listener,
            from: &from,
            timer: &timer,
            encryption: encryption.as_ref(),
            http2: false,
        };
        let client = Client { side, conn: &mut conn };
        // In a box, so that a connection that waits does not carry the room for a request.
        match Box::pin(turn(client)).await {
            Turn::Next if listener.is_closing() && conn.ahead().is_empty() => return,
            Turn::Next => patience = listener.settings.timeouts.keepalive,
            Turn::Nothing => (),
            Turn::Close => {
                return Box::pin(Linger::LONG.run(&worker, conn, &timer)).await;
            }
            Turn::CloseSoon => {
                return Box::pin(Linger::SHORT.run(&worker, conn, &timer)).await;
            }
            Turn::Cut => return,
            Turn::Tunnel(opened) => {
                // The tunnel's own small task replaces this one.
                carry(worker, Ends { client: conn.end, peer: from.peer, timer, open }, *opened);
                return;
            }
        }
    }
}

/// Waits for the first byte of a request; `false` when there will be none.
async fn wait(
    conn: &mut Conn<Socket>,
    timer: &Timer,
    listener: &Listener,
    patience: Duration,
) -> bool {
    timer.set(listener.patience(patience));
    timer.set_idle(Some(listener.group()));
    let came = poll_fn(|cx| match conn.end.poll_readable(cx) {
        Poll::Ready(readable) => Poll::Ready(readable.is_ok()),
        Poll::Pending => timer.poll_expired(cx).map(|()| false),
    });
    let came = came.await;
    timer.set_idle(None);
    came
}

/// Tells a client that there are enough of them.
async fn turn_away(
    worker: Rc<Worker>,
    listener: Rc<Listener>,
    (socket, peer): (Socket, Peer),
    full: Full,
    _open: Open,
) {
    let timer = worker.timers.timer();
    let mut conn = Conn::new(socket);
    let id = worker.request_id();
    count_full(&worker, &listener, &peer, full, &id);
    let answer = answer::Answer { status: 503, ..answer::Answer::default() };
    if answer::send(&worker, &mut conn, &timer, listener.settings.timeouts.send, answer, &id)
        .await
        .is_some()
    {
        Linger::SHORT.run(&worker, conn, &timer).await;
    }
}

/// Accounts for a client of which there are enough.
pub(crate) fn count_full(
    worker: &Worker,
    listener: &Listener,
    peer: &Peer,
    full: Full,
    id: &RequestId,
) {
    if worker.may_log(Line::Refusal) {
        let (request, listener) = (id.as_str(), &*listener.live.name);
        tracing::info!(request, listener, %peer, reason = full.reason(), "connection refused");
    }
    let series = worker.series(listener, &no_route(), worker.shared.table.nowhere());
    series.of(worker.index).count(503);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// Most connections wait, and a million of them wait at once.
    #[test]
    fn a_connection_that_waits_is_small() {
        let size = size(serve);
        assert!(size <= 400, "{size} bytes");
    }
}
