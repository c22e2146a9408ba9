//! A client's connection: it waits for a request without a buffer, serves it in a future of its
//! own that is dropped afterwards, and waits again. Kept small, for most of them only wait.

use std::{
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use tidegate_h1::Conn;
use tidegate_net::{End, Peer, Socket, Timer, coarse};
use tidegate_worker::{
    Accepted, Ends, Full, Introduction, Line, Listener, Open, Opening, Worker, carry, introduce,
    no_route,
};

use crate::{
    answer, begin,
    turn::{Turn, turn},
};

/// A client is still read after its last answer while it has something to say, so long between two
/// reads and so long in all (nginx, `lingering_timeout` and `lingering_time`). Closing at once would
/// send RST for what it has sent meanwhile, and the RST may overtake the answer.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_IN_ALL: Duration = Duration::from_secs(30);

/// Both, for a client that was given up because it was slow.
const LINGER_SHORTLY: Duration = Duration::from_secs(1);

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(crate) struct Side<'c> {
    pub(crate) worker: &'c Rc<Worker>,
    pub(crate) listener: &'c Rc<Listener>,
    pub(crate) from: &'c Introduction,
    pub(crate) timer: &'c Timer,
}

/// A client, as everything that serves its requests sees it.
pub(crate) struct Client<'c> {
    pub(crate) side: Side<'c>,
    pub(crate) conn: &'c mut Conn<Socket>,
}

/// Begins to serve a connection, or to turn it away.
pub fn take(accepted: Accepted) {
    let Accepted { worker, listener, socket, peer, open, full } = accepted;
    if let Some(full) = full {
        tokio::task::spawn_local(turn_away(worker, listener, (socket, peer), full, open));
    } else {
        tokio::task::spawn_local(serve(worker, listener, socket, peer, open));
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
    let mut conn = Conn::new(socket);
    let mut from = Introduction::of(peer);
    if listener.settings.accept_proxy {
        match Box::pin(introduced(&worker, &listener, &mut conn, &from, &timer)).await {
            Some(introduced) => from = introduced,
            None => return,
        }
        if let Err(full) = open.count_client(&listener, &from.peer) {
            let whom = (conn.end, from.peer);
            return Box::pin(turn_away(worker, listener, whom, full, open)).await;
        }
    }
    let mut patience = listener.settings.timeouts.header;
    loop {
        if conn.ahead().is_empty() && !wait(&mut conn, &timer, &listener, patience).await {
            return;
        }
        let side = Side { worker: &worker, listener: &listener, from: &from, timer: &timer };
        let client = Client { side, conn: &mut conn };
        // In a box, so that a connection that waits does not carry the room for a request.
        match Box::pin(turn(client)).await {
            Turn::Next if listener.is_closing() && conn.ahead().is_empty() => return,
            Turn::Next => patience = listener.settings.timeouts.keepalive,
            Turn::Nothing => (),
            Turn::Close => {
                return Box::pin(linger(&worker, conn, &timer, LINGER_IN_ALL)).await;
            }
            Turn::CloseSoon => {
                return Box::pin(linger(&worker, conn, &timer, LINGER_SHORTLY)).await;
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

/// Reads the PROXY header, if there has to be one. Where it should be and is not, whoever speaks is
/// not the proxy that was trusted, and is told nothing.
async fn introduced(
    worker: &Rc<Worker>,
    listener: &Rc<Listener>,
    conn: &mut Conn<Socket>,
    from: &Introduction,
    timer: &Timer,
) -> Option<Introduction> {
    let (started, mut opening) = (Instant::now(), Opening::default());
    let introduced =
        introduce(worker, listener, &mut conn.end, from.peer, timer, &mut opening).await;
    conn.put_back(opening.into_bytes());
    let (status, reason) = match introduced {
        Ok(introduced) => return Some(introduced),
        Err(unopened) => unopened.refusal()?,
    };
    let side = Side { worker, listener, from, timer };
    let mut refused = begin::unreadable(&side, started, status, reason.into());
    refused.tell(&side);
    refused.seen.account(&side, status, 0, 0);
    None
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

/// Closes for writing and reads the client out, so that the answer reaches it.
async fn linger(worker: &Worker, mut conn: Conn<Socket>, timer: &Timer, in_all: Duration) {
    let until = coarse() + in_all;
    let between = LINGER.min(in_all);
    timer.set(between);
    poll_fn(|cx| {
        if conn.end.poll_close_write(cx).is_pending() {
            return timer.poll_expired(cx);
        }
        let mut lent = worker.scratch.lend();
        loop {
            match conn.end.poll_read(cx, &mut lent) {
                Poll::Ready(Ok(read)) if read > 0 && coarse() < until => timer.set(between),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return timer.poll_expired(cx),
            }
        }
    })
    .await;
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
    if worker.may_log(Line::Refusal) {
        let (request, listener) = (id.as_str(), &*listener.live.name);
        tracing::info!(request, listener, %peer, reason = full.reason(), "connection refused");
    }
    let route = no_route();
    worker.series(&listener, &route, worker.shared.table.nowhere()).of(worker.index).count(503);
    let answer = answer::Answer { status: 503, ..answer::Answer::default() };
    if answer::send(&worker, &mut conn, &timer, listener.settings.timeouts.send, answer, &id)
        .await
        .is_some()
    {
        linger(&worker, conn, &timer, LINGER_SHORTLY).await;
    }
}
