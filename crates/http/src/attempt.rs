//! One try at one server: a connection, kept or new, and an exchange over it.

use std::{
    borrow::Cow,
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tidegate_h1::Conn;
use tidegate_h2::Asking;
use tidegate_model::upstream::{Protocol, SendProxy};
use tidegate_net::{ConnectError, Scratch, Socket};
use tidegate_pool::{Keep, Upstream, Via, via};
use tidegate_table::{Attempt, Pick, Pool};
use tidegate_tunnel::Kind;
use tidegate_worker::{Dial, Worker};

use crate::{
    begin::Job,
    connection::Client,
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
    /// How long it took to have a connection, if a new one was made.
    pub(crate) connected: &'t Cell<Option<Duration>>,
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
    // A connection that was introduced as one client's is not for another one.
    let introduces = pool.upstream.send_proxy != SendProxy::Off;
    let shares = pool.upstream.protocol == Protocol::Http2;
    let kept = || kept(client.side.worker, pool, state.id());
    let (mut upstream, reused) = match if fresh || introduces { None } else { kept() } {
        Some(upstream) => (upstream, true),
        None => match Box::pin(open(client, &this)).await {
            Ok(upstream) => {
                this.connected.set(Some(this.began.elapsed()));
                (upstream, false)
            }
            Err(tried) => return tried,
        },
    };
    if state.is_gone() {
        return Tried::Left;
    }
    let head: Cow<'_, [u8]> = job.head.for_server(pick.server.spec.address.as_str());
    let sending = Sending::new(&head, job.body, job.max_body, replay);
    let mut exchange = Exchange::new(client, &mut upstream.conn, &this, sending);
    match exchange.run().await {
        Exchanged::Answered(answered) => {
            if answered.keep_server && !introduces && !shares {
                client.side.worker.idle.borrow_mut().put(&pool.live, state, upstream, &keep(pool));
            }
            Tried::Answered(answered)
        }
        Exchanged::Switched(head, kind) => Tried::Switched(upstream.conn, head, kind),
        Exchanged::Failed(cause, reason) => {
            let cause = match cause {
                Attempt::Failed if reused && !shares => Attempt::Stale,
                Attempt::Stale if !reused => Attempt::Failed,
                cause => cause,
            };
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

/// A connection that is there already, or a stream of one that requests share.
fn kept(worker: &Worker, pool: &Arc<Pool>, server: u64) -> Option<Upstream> {
    let (mut idle, via) = (worker.idle.borrow_mut(), via(pool));
    match pool.upstream.protocol {
        Protocol::Http1 => idle.take(&pool.live, server, via),
        Protocol::Http2 => {
            let stream = idle.sharing.take(&pool.live, server, via, &keep(pool))?;
            Some(Upstream::new(Socket::Within(stream), via))
        }
    }
}

/// A new connection that has been told and agreed on what its pool wants, unless the client leaves
/// meanwhile.
async fn open(client: &mut Client<'_>, this: &Try<'_>) -> Result<Upstream, Tried> {
    let Client { side, conn } = client;
    let Try { pool, pick, .. } = this;
    let (worker, timer, scratch) = (side.worker, side.timer, &side.worker.scratch);
    let dial = Dial { worker, pool, server: pick.server, timer, limit: this.connect_timeout() };
    let dialed = unless_gone(conn, scratch, dial.connect()).await?;
    let mut socket = dialed.map_err(|error| unconnected(this, &error))?;
    if pick.lease.state().is_gone() {
        return Err(Tried::Left);
    }
    if pool.upstream.send_proxy != SendProxy::Off {
        let ends = side.from.addresses(&conn.end);
        let told = dial.announce(&mut socket, ends.as_ref()).await;
        told.map_err(|error| unconnected(this, &error))?;
    }
    if pool.upstream.protocol == Protocol::Http2 {
        let shared = unless_gone(conn, scratch, dial.share(socket)).await?;
        let (asking, via) = shared.map_err(|error| unconnected(this, &error))?;
        return Ok(first_stream(worker, this, asking, via));
    }
    if pool.upstream.tls.is_none() {
        return Ok(Upstream::new(socket, Via::default()));
    }
    let shaken = unless_gone(conn, scratch, dial.secure(socket)).await?;
    let (socket, via) = shaken.map_err(|error| unconnected(this, &error))?;
    Ok(Upstream::new(socket, via))
}

/// The first stream of a connection that others may share from now on.
fn first_stream(worker: &Worker, this: &Try<'_>, asking: Asking, via: Via) -> Upstream {
    let (pool, stream) = (this.pool, asking.stream());
    if pool.upstream.send_proxy == SendProxy::Off {
        let (mut idle, state) = (worker.idle.borrow_mut(), this.pick.lease.state());
        idle.sharing.put(&pool.live, state, asking, via, &keep(pool));
    }
    Upstream::new(Socket::Within(stream), via)
}

/// What comes of `work`, unless the client leaves before it is done.
async fn unless_gone<T>(
    conn: &mut Conn<Socket>,
    scratch: &Scratch,
    work: impl Future<Output = T>,
) -> Result<T, Tried> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => conn.poll_gone(cx, scratch).map(|_| Err(Tried::ClientGone(None))),
    })
    .await
}

fn unconnected(this: &Try<'_>, error: &ConnectError) -> Tried {
    let cause = tidegate_worker::unconnected(error);
    let verdict = match error {
        ConnectError::Unready(_) => Verdict::Ends("no server of its pool can be asked"),
        _ => this.going.after(cause, Progress { begun: false, spent: false }),
    };
    let failure = Failure { cause, reason: error.to_string(), verdict };
    if error.is_ours() { Tried::Local(failure) } else { Tried::Failed(failure) }
}

fn keep(pool: &Pool) -> Keep {
    Keep {
        capacity: pool.upstream.keepalive,
        timeout: pool.upstream.keepalive_timeout.as_duration(),
        requests: pool.upstream.keepalive_requests,
        time: pool.upstream.keepalive_time.as_duration(),
    }
}
