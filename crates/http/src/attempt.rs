//! One try at one server: a connection, kept or new, and an exchange over it.

use std::{
    borrow::Cow,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tidegate_h1::Conn;
use tidegate_model::upstream::SendProxy;
use tidegate_net::{ConnectError, Socket, Timer};
use tidegate_pool::{Keep, Upstream};
use tidegate_table::{Attempt, Pick, Pool};
use tidegate_tunnel::Kind;
use tidegate_worker::Worker;

use crate::{
    begin::Job,
    connection::{Client, Side},
    exchange::{Answered, Exchange, Exchanged},
    going::{Going, Progress, Verdict, left_for},
    replay::Replay,
    sending::Sending,
};

/// How a try ended.
pub(crate) enum Tried {
    Answered(Answered),
    ClientGone(Option<Answered>),
    Cut(Answered, String),
    Failed(Failure),
    /// The server left its pool before a byte was sent: this was no try.
    Left,
    /// Its answer, of that status, is left for another server's.
    LeftAnswer(Failure, u16),
    /// Ports or descriptors ran out; the server is not to blame.
    Local(Failure),
    Refused(u16, String),
    /// The server's connection, and the head of the 101 for the client.
    Switched(Conn<Socket>, Vec<u8>, Kind),
}

/// A try that came to nothing.
pub(crate) struct Failure {
    pub(crate) cause: Attempt,
    pub(crate) reason: String,
    /// Whether nginx would go on to the next server.
    pub(crate) verdict: Verdict,
}

/// One try.
pub(crate) struct Try<'t> {
    pub(crate) job: &'t Job,
    pub(crate) pool: &'t Arc<Pool>,
    pub(crate) pick: &'t Pick<'t>,
    pub(crate) going: Going<'t>,
    /// A kept connection has failed already: take a new one.
    pub(crate) fresh: bool,
    pub(crate) began: Instant,
}

impl Try<'_> {
    fn connect_timeout(&self) -> Duration {
        self.job.timeout(|own| own.connect, self.pool.upstream.connect_timeout)
    }

    /// Between two writes to the server.
    pub(crate) fn send_timeout(&self) -> Duration {
        self.job.timeout(|own| own.send, self.pool.upstream.send_timeout)
    }

    /// Between two reads from the server.
    pub(crate) fn read_timeout(&self) -> Duration {
        self.job.timeout(|own| own.read, self.pool.upstream.read_timeout)
    }
}

impl Failure {
    /// What follows, for the log.
    pub(crate) fn then(&self) -> &'static str {
        match self.verdict {
            Verdict::GoesOn => "another server is asked",
            Verdict::Ends(why) => why,
        }
    }
}

/// Makes one try.
pub(crate) async fn attempt(
    client: &mut Client<'_>,
    this: Try<'_>,
    replay: &mut Replay<'_>,
) -> Tried {
    let Try { job, pool, pick, going, fresh, .. } = this;
    let state = pick.lease.state();
    if state.is_gone() {
        return Tried::Left;
    }
    let kept = || client.side.worker.idle.borrow_mut().take(&pool.live, state.id());
    // A connection that was introduced as one client's is not for another one.
    let introduces = pool.upstream.send_proxy != SendProxy::Off;
    let (mut upstream, reused) = match if fresh || introduces { None } else { kept() } {
        Some(upstream) => (upstream, true),
        None => match Box::pin(dial(client, &this)).await {
            Ok(socket) => (Upstream::new(socket), false),
            Err(tried) => return tried,
        },
    };
    if state.is_gone() {
        return Tried::Left;
    }
    if introduces && let Err(tried) = told(client, &this, &mut upstream).await {
        return tried;
    }
    let head: Cow<'_, [u8]> = job.head.for_server(pick.server.spec.address.as_str());
    let sending = Sending::new(&head, job.body, job.max_body, replay);
    let mut exchange = Exchange::new(client, &mut upstream.conn, &this, sending);
    match exchange.run().await {
        Exchanged::Answered(answered) => {
            if answered.keep_server && !introduces {
                client.side.worker.idle.borrow_mut().put(&pool.live, state, upstream, &keep(pool));
            }
            Tried::Answered(answered)
        }
        Exchanged::Switched(head, kind) => Tried::Switched(upstream.conn, head, kind),
        Exchanged::Failed(cause, reason) => {
            let cause = if reused && cause == Attempt::Failed { Attempt::Stale } else { cause };
            let verdict = going.after(cause, exchange.progress());
            exchange.count_unkept(verdict);
            exchange.give_back(verdict);
            Tried::Failed(Failure { cause, reason, verdict })
        }
        Exchanged::Left(status) => {
            let (cause, verdict) = (left_for(status), Verdict::GoesOn);
            exchange.give_back(verdict);
            let reason = format!("it answered {status}");
            Tried::LeftAnswer(Failure { cause, reason, verdict }, status)
        }
        Exchanged::Cut(answered, reason) => Tried::Cut(answered, reason),
        Exchanged::ClientGone(told) => Tried::ClientGone(told),
        Exchanged::Refused(status, reason) => Tried::Refused(status, reason),
    }
}

/// A new connection, unless the client leaves meanwhile.
async fn dial(client: &mut Client<'_>, this: &Try<'_>) -> Result<Socket, Tried> {
    let Client { side: Side { worker, timer, .. }, conn } = client;
    let mut connecting = pin!(connected(worker, timer, this));
    poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(connected) => Poll::Ready(connected),
        Poll::Pending => conn.poll_gone(cx, &worker.scratch).map(|_| Err(Tried::ClientGone(None))),
    })
    .await
}

async fn connected(worker: &Worker, timer: &Timer, this: &Try<'_>) -> Result<Socket, Tried> {
    tidegate_worker::dial(worker, this.pool, this.pick.server, timer, this.connect_timeout())
        .await
        .map_err(|error| unconnected(this, error))
}

/// Tells a new connection whom it is for.
async fn told(
    client: &mut Client<'_>,
    this: &Try<'_>,
    upstream: &mut Upstream,
) -> Result<(), Tried> {
    let Client { side, conn } = client;
    let ends = side.from.addresses(&conn.end);
    let (end, limit) = (&mut upstream.conn.end, this.connect_timeout());
    tidegate_worker::announce(this.pool, end, ends.as_ref(), side.timer, limit)
        .await
        .map_err(|error| unconnected(this, error))
}

fn unconnected(this: &Try<'_>, error: ConnectError) -> Tried {
    let cause = match error {
        ConnectError::TimedOut(_) => Attempt::ConnectTimedOut,
        ConnectError::Local(_) | ConnectError::Refused(_) => Attempt::ConnectFailed,
    };
    let verdict = this.going.after(cause, Progress { begun: false, spent: false });
    let failure = Failure { cause, reason: error.to_string(), verdict };
    match error {
        ConnectError::Local(_) => Tried::Local(failure),
        ConnectError::Refused(_) | ConnectError::TimedOut(_) => Tried::Failed(failure),
    }
}

fn keep(pool: &Pool) -> Keep {
    Keep {
        capacity: pool.upstream.keepalive,
        timeout: pool.upstream.keepalive_timeout.as_duration(),
        requests: pool.upstream.keepalive_requests,
        time: pool.upstream.keepalive_time.as_duration(),
    }
}
