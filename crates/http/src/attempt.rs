//! One try at one server: a connection, kept or new, and an exchange over it.

use std::{borrow::Cow, sync::Arc, time::Instant};

use tidegate_h1::Conn;
use tidegate_net::{ConnectError, Place, Socket, Timer, connect};
use tidegate_pool::{Keep, Upstream};
use tidegate_table::{Attempt, Pick, Pool, Server, Target};

use crate::{
    begin::Job,
    connection::Client,
    exchange::{Answered, Exchange, Exchanged},
    sending::Sending,
    worker::Worker,
};

/// How a try ended.
pub(crate) enum Tried {
    Answered(Answered),
    ClientGone(Option<Answered>),
    Cut(Answered, String),
    Failed(Failure),
    /// The server left its pool before a byte was sent: this was no try.
    Left,
    /// Ports or descriptors ran out; the server is not to blame.
    Local(String),
    Refused(u16, String),
    /// The server's connection, and the head of the 101 for the client.
    Switched(Conn<Socket>, Vec<u8>),
}

/// A try that came to nothing.
pub(crate) struct Failure {
    pub(crate) cause: Attempt,
    pub(crate) reason: String,
    /// Whether nginx would go on to the next server.
    pub(crate) may_retry: bool,
}

/// Makes one try. `fresh`: a kept connection has failed already, take a new one. `began`: what the
/// clock says, if it was just asked.
pub(crate) async fn attempt(
    client: &mut Client<'_>,
    job: &Job,
    pool: &Arc<Pool>,
    pick: &Pick<'_>,
    fresh: bool,
    began: Option<Instant>,
) -> Tried {
    let state = pick.lease.state();
    if state.is_gone() {
        return Tried::Left;
    }
    let began = began.unwrap_or_else(Instant::now);
    let kept = || client.side.worker.idle.borrow_mut().take(&pool.live, state.id());
    let (mut upstream, reused) = match if fresh { None } else { kept() } {
        Some(upstream) => (upstream, true),
        None => {
            match Box::pin(dial(client.side.worker, client.side.timer, pool, pick.server)).await {
                Ok(socket) => (Upstream::new(socket), false),
                Err(tried) => return tried,
            }
        }
    };
    if state.is_gone() {
        return Tried::Left;
    }
    let head: Cow<'_, [u8]> = job.head.for_server(pick.server.spec.address.as_str());
    let sending = Sending::new(&head, job.body, job.max_body, reused);
    let conn = &mut upstream.conn;
    let mut exchange = Exchange::new(client, conn, job, sending, &pool.upstream, began);
    match exchange.run().await {
        Exchanged::Answered(answered) => {
            if answered.keep_server {
                client.side.worker.idle.borrow_mut().put(&pool.live, state, upstream, &keep(pool));
            }
            Tried::Answered(answered)
        }
        Exchanged::Switched(head) => Tried::Switched(upstream.conn, head),
        Exchanged::Failed(cause, reason) => {
            let sending = exchange.sending();
            Tried::Failed(failure(
                job,
                cause,
                reason,
                reused,
                sending.is_begun(),
                sending.is_spent(),
            ))
        }
        Exchanged::Cut(answered, reason) => Tried::Cut(answered, reason),
        Exchanged::ClientGone(told) => Tried::ClientGone(told),
        Exchanged::Refused(status, reason) => Tried::Refused(status, reason),
    }
}

/// nginx's rules: what may have been acted upon is not repeated unless the method is harmless, and
/// a kept connection that broke says nothing of its server.
fn failure(
    job: &Job,
    cause: Attempt,
    reason: String,
    reused: bool,
    begun: bool,
    spent: bool,
) -> Failure {
    let cause = if reused && cause == Attempt::Failed { Attempt::Stale } else { cause };
    let may_retry = match cause {
        Attempt::Malformed => false,
        _ => !spent && (!begun || job.repeatable),
    };
    Failure { cause, reason, may_retry }
}

async fn dial(
    worker: &Worker,
    timer: &Timer,
    pool: &Pool,
    server: &Server,
) -> Result<Socket, Tried> {
    let limit = pool.upstream.connect_timeout.as_duration();
    let place = match &server.target {
        Target::Ip(address) => Place::Ip(*address),
        Target::Unix(path) => Place::Unix(path),
    };
    let mut connected = connect(place, timer, limit).await;
    if matches!(connected, Err(ConnectError::Local(_))) {
        // Idle connections are what can be given up for a request.
        worker.totals().connect_errors.add(1);
        worker.idle.borrow_mut().clear();
        connected = connect(place, timer, limit).await;
    }
    let failed = |cause, error: ConnectError| {
        Tried::Failed(Failure { cause, reason: error.to_string(), may_retry: true })
    };
    connected.map_err(|error| match error {
        ConnectError::Local(_) => Tried::Local(error.to_string()),
        ConnectError::Refused(_) => failed(Attempt::ConnectFailed, error),
        ConnectError::TimedOut(_) => failed(Attempt::ConnectTimedOut, error),
    })
}

fn keep(pool: &Pool) -> Keep {
    Keep {
        capacity: pool.upstream.keepalive,
        timeout: pool.upstream.keepalive_timeout.as_duration(),
        requests: pool.upstream.keepalive_requests,
        time: pool.upstream.keepalive_time.as_duration(),
    }
}
