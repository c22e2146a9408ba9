//! One turn of a connection: a request, tries at servers until one answers, and the account of it.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tidegate_h1::{Conn, HeadError};
use tidegate_net::{Socket, coarse_millis};
use tidegate_table::{Attempt, Lease, NoServer, Pick, Pool};

use crate::{
    answer::{self, Answer},
    attempt::{Failure, Tried, attempt},
    begin::{Job, Refused, Seen, begin, unreadable},
    connection::{Client, Side},
    exchange::Answered,
    tunnel::Opened,
    worker::Line,
};

/// nginx's code for a client that left before its answer.
const CLIENT_GONE: u16 = 499;

/// A server is marked as gone an instant before the snapshot without it is there; a request that
/// falls in between waits so long for that, and so often at most.
const UNTIL_SWAPPED: Duration = Duration::from_millis(1);
const MAX_LEFT: usize = 1_000;

/// What becomes of the connection.
pub(crate) enum Turn {
    /// The next request.
    Next,
    /// The last answer is out; let it arrive.
    Close,
    /// It is out, to a client that was too slow: it gets little time to take it.
    CloseSoon,
    /// Nothing more to say.
    Cut,
    /// There was no request yet, though the socket seemed readable: tokio takes a new one to be.
    Nothing,
    Tunnel(Box<Opened>),
}

/// Serves one request.
pub(crate) async fn turn(mut client: Client<'_>) -> Turn {
    let started = Instant::now();
    match read(&mut client, started).await {
        Ok((job, at_once)) => {
            let now = at_once.then_some(started);
            Forwarding::new(client, job, now).run().await
        }
        Err(Unread::Refused(refused)) => Box::pin(refuse(client, *refused)).await,
        Err(Unread::Gone) => Turn::Cut,
        Err(Unread::Nothing) => Turn::Nothing,
    }
}

/// Why there is no request to serve.
enum Unread {
    Gone,
    Nothing,
    Refused(Box<Refused>),
}

/// Reads a head. `true`: it was all there at once.
async fn read(client: &mut Client<'_>, started: Instant) -> Result<(Box<Job>, bool), Unread> {
    let Client { side, conn } = client;
    let settings = &side.listener.settings;
    let mut armed = false;
    let head = poll_fn(|cx| {
        let parse = |_: &mut Context<'_>, bytes: &[u8]| begin(side, started, bytes);
        let polled = conn.poll_head(cx, &side.worker.scratch, settings.limits.head, parse);
        if let Poll::Ready(head) = polled {
            return Poll::Ready(Ok(head));
        }
        if conn.ahead().is_empty() {
            return Poll::Ready(Err(Unread::Nothing));
        }
        // From the first byte to the last, however many there are in between.
        if !armed {
            side.timer.set(settings.timeouts.header);
            armed = true;
        }
        let blank = conn.ahead().iter().all(|b| matches!(b, b'\r' | b'\n'));
        side.timer.poll_expired(cx).map(|()| {
            // An answer to no request would be taken for that to the next one.
            Err(if blank {
                Unread::Gone
            } else {
                unread(side, started, 408, "the head did not come in time")
            })
        })
    });
    let begun = head.await?.map_err(|error| match error {
        HeadError::Closed | HeadError::Io(_) => Unread::Gone,
        HeadError::Cut => unread(side, started, 400, "the head ends within"),
        HeadError::Refused(refused) => Unread::Refused(refused),
        HeadError::TooLarge(bytes) if is_one_line(&bytes) => {
            unread(side, started, 414, "an endless request line")
        }
        HeadError::TooLarge(_) => unread(side, started, 431, "the head is larger than allowed"),
    })?;
    begun.map(|job| (job, !armed)).map_err(Unread::Refused)
}

fn unread(side: &Side<'_>, started: Instant, status: u16, reason: &'static str) -> Unread {
    Unread::Refused(Box::new(unreadable(side, started, status, reason.into())))
}

fn is_one_line(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
    !bytes[start..].contains(&b'\n')
}

/// Answers a request that no server will see.
async fn refuse(client: Client<'_>, refused: Refused) -> Turn {
    let Refused { status, reason, keep_alive, to_head, mut seen } = refused;
    let Client { side, conn } = client;
    if side.worker.may_log(Line::Refusal) {
        let (request, listener) = (seen.id.as_str(), &*side.listener.live.name);
        tracing::info!(request, listener, peer = %side.peer, status, reason = &*reason, "request refused");
    }
    let keep_alive = keep_alive && !side.worker.is_stopping();
    let answer = Answer { status, keep_alive, to_head };
    let limit = side.listener.settings.timeouts.send;
    let sent = answer::send(side.worker, conn, side.timer, limit, answer, &seen.id).await;
    seen.account(&side, status, 0, sent.unwrap_or_default());
    after_refusal(sent.is_some(), keep_alive, status)
}

fn after_refusal(sent: bool, keep_alive: bool, status: u16) -> Turn {
    match (sent, keep_alive) {
        (true, true) => Turn::Next,
        (true, false) if status == 408 => Turn::CloseSoon,
        (true, false) => Turn::Close,
        (false, _) => Turn::Cut,
    }
}

impl Seen {
    /// Counts the request and hands its record to the access log.
    fn account(&mut self, side: &Side<'_>, status: u16, received: u64, sent: u64) {
        self.series.of(side.worker.index).count(status);
        if let (Some(mut record), Some(log)) = (self.record.take(), &side.worker.shared.access) {
            record.status = status;
            record.bytes_received = received;
            record.bytes_sent = sent;
            record.duration = self.started.elapsed();
            log.write(record);
        }
    }
}

/// A request between its first try and its answer.
struct Forwarding<'c> {
    client: Client<'c>,
    job: Box<Job>,
    /// What the clock said, as long as that is news.
    now: Option<Instant>,
    /// Identities of servers that have failed it.
    tried: Vec<u64>,
    last: Option<Failure>,
    /// Its server's kept connection was dead.
    fresh: bool,
}

impl<'c> Forwarding<'c> {
    fn new(client: Client<'c>, job: Box<Job>, now: Option<Instant>) -> Self {
        Self { client, job, now, tried: Vec::new(), last: None, fresh: false }
    }

    async fn run(&mut self) -> Turn {
        let mut left = 0;
        loop {
            let pool = Arc::clone(&self.job.pool);
            let pick = match pool.pick(&self.tried, &self.job.key, coarse_millis()) {
                Ok(pick) => pick,
                Err(none) => match self.fall_back() {
                    true => continue,
                    false => return Box::pin(self.give_up(&pool, none)).await,
                },
            };
            if let Some(failure) = self.last.take() {
                pool.live.cells.of(self.client.side.worker.index).retries(failure.cause).add(1);
            }
            let now = self.now.take();
            let tried = attempt(&mut self.client, &self.job, &pool, &pick, self.fresh, now).await;
            match self.judge(&pool, pick, tried) {
                Next::Turn(turn) => return turn,
                Next::Refuse(status, reason) => return Box::pin(self.refuse(status, reason)).await,
                Next::Server => (),
                Next::SameServer => {
                    left += 1;
                    tokio::time::sleep(UNTIL_SWAPPED).await;
                }
            }
            if left > MAX_LEFT || !self.renew() {
                return Box::pin(self.refuse(502, "its pool is gone".into())).await;
            }
        }
    }

    /// Every try picks from the newest snapshot; `false` when the pool is no longer there.
    fn renew(&mut self) -> bool {
        let name = self.job.pool.name.as_str();
        let newest = self.client.side.worker.with_snapshot(|snapshot| snapshot.pool(name).cloned());
        newest.map(|pool| self.job.pool = pool).is_some() || self.fall_back()
    }

    /// Goes over to the route's other pool, once.
    fn fall_back(&mut self) -> bool {
        let Some(name) = self.job.fallback.take() else {
            return false;
        };
        let other =
            self.client.side.worker.with_snapshot(|snapshot| snapshot.pool(name.as_str()).cloned());
        other.map(|pool| self.job.pool = pool).is_some()
    }

    /// Accounts for a try, and says what follows from it.
    fn judge(&mut self, pool: &Arc<Pool>, pick: Pick<'_>, tried: Tried) -> Next {
        match tried {
            Tried::Answered(answered) => self.answered(pool, &pick, answered),
            Tried::Cut(answered, reason) => self.cut(pool, &pick, answered, &reason),
            Tried::ClientGone(told) => {
                self.note(&pick, Attempt::Cancelled);
                match told {
                    Some(answered) => self.passed(pool, &pick, answered),
                    None => self.account(pool, CLIENT_GONE, 0, 0),
                }
                Next::Turn(Turn::Cut)
            }
            Tried::Failed(failure) => self.failed(pool, &pick, failure),
            Tried::Left => Next::SameServer,
            Tried::Local(reason) => self.local(&pick, reason),
            Tried::Refused(status, reason) => {
                self.note(&pick, Attempt::Cancelled);
                Next::Refuse(status, reason)
            }
            Tried::Switched(server, head) => self.switched(pool, pick, server, head),
        }
    }

    fn answered(&mut self, pool: &Pool, pick: &Pick<'_>, answered: Answered) -> Next {
        pick.server.state.answered();
        self.note(pick, Attempt::Answered);
        self.passed(pool, pick, answered);
        Next::Turn(if answered.keep_client { Turn::Next } else { Turn::Close })
    }

    /// The client must not take a broken answer for a whole one.
    fn cut(&mut self, pool: &Pool, pick: &Pick<'_>, answered: Answered, reason: &str) -> Next {
        self.note(pick, Attempt::Failed);
        self.log(pick, Attempt::Failed, reason, "the answer was cut");
        self.passed(pool, pick, answered);
        if answered.unframed {
            self.client.conn.end.reset_on_close(true);
        }
        Next::Turn(Turn::Cut)
    }

    fn passed(&mut self, pool: &Pool, pick: &Pick<'_>, answered: Answered) {
        let worker = self.client.side.worker.index;
        pick.server.state.cells.of(worker).codes.count(answered.status);
        pool.live.cells.of(worker).upstream_seconds.observe(answered.after);
        if let Some(record) = &mut self.job.seen.record {
            record.upstream_duration = Some(answered.after);
        }
        self.now = answered.ended;
        self.account(pool, answered.status, answered.received, answered.bytes);
    }

    fn failed(&mut self, pool: &Pool, pick: &Pick<'_>, failure: Failure) -> Next {
        let state = pick.lease.state();
        self.note(pick, failure.cause);
        self.fresh = failure.cause == Attempt::Stale;
        if self.fresh {
            tracing::debug!(upstream = %pool.name, server = &**state.label(), "a kept connection was dead");
        } else {
            self.tried.push(state.id());
            let out = state.failed(&pick.server.spec, coarse_millis());
            let what =
                if out && !pool.is_single() { "server failed and is out" } else { "server failed" };
            self.log(pick, failure.cause, &failure.reason, what);
        }
        if !failure.may_retry {
            return Next::Refuse(status_of(failure.cause), String::new());
        }
        self.last = Some(failure);
        Next::Server
    }

    fn local(&mut self, pick: &Pick<'_>, reason: String) -> Next {
        let side = self.client.side;
        if side.worker.may_log(Line::Failure) {
            let (server, request) = (&**pick.lease.state().label(), self.job.seen.id.as_str());
            tracing::error!(upstream = %self.job.pool.name, server, request, reason = &*reason, "no connection for want of local resources");
        }
        self.tried.push(pick.lease.state().id());
        self.last = Some(Failure { cause: Attempt::ConnectFailed, reason, may_retry: true });
        Next::Server
    }

    fn switched(
        &mut self,
        pool: &Arc<Pool>,
        pick: Pick<'_>,
        server: Conn<Socket>,
        mut head: Vec<u8>,
    ) -> Next {
        let Pick { server: picked, lease } = pick;
        picked.state.answered();
        let worker = self.client.side.worker.index;
        let cells = picked.state.cells.of(worker);
        cells.attempt(Attempt::Answered).add(1);
        cells.codes.count(101);
        cells.tunnels.add(1);
        self.note_record(&lease, Attempt::Answered);
        self.job.seen.series.of(worker).count(101);
        let mut server = server;
        head.append(&mut server.take_ahead());
        Next::Turn(Turn::Tunnel(Box::new(Opened {
            lease: lease.into_tunnel(),
            server: server.end,
            to_server: self.client.conn.take_ahead(),
            to_client: head,
            idle_timeout: pool.upstream.tunnel_idle_timeout.as_duration(),
            record: self.job.seen.record.take(),
            started: self.job.seen.started,
        })))
    }

    /// Nobody is left to try.
    async fn give_up(&mut self, pool: &Pool, none: NoServer) -> Turn {
        match self.last.take() {
            Some(failure) => {
                self.refuse(status_of(failure.cause), "every server was tried".into()).await
            }
            None => {
                let reason = match none {
                    NoServer::Empty => "the pool has no server that takes requests",
                    NoServer::AllOut => "every server is failed or at its limit",
                };
                self.refuse(502, format!("{}: {reason}", pool.name)).await
            }
        }
    }

    async fn refuse(&mut self, status: u16, reason: String) -> Turn {
        let side = self.client.side;
        if !reason.is_empty() && side.worker.may_log(Line::Failure) {
            let request = self.job.seen.id.as_str();
            tracing::warn!(request, upstream = %self.job.pool.name, status, reason, "no answer from a server");
        }
        let whole = self.job.body == tidegate_wire::Body::None;
        let keep_alive =
            self.job.keep_alive && whole && status >= 500 && !side.worker.is_stopping();
        let answer = Answer { status, keep_alive, to_head: self.job.to_head };
        let limit = side.listener.settings.timeouts.send;
        let id = self.job.seen.id;
        let sent =
            Box::pin(answer::send(side.worker, self.client.conn, side.timer, limit, answer, &id))
                .await;
        let pool = Arc::clone(&self.job.pool);
        self.account(&pool, status, 0, sent.unwrap_or_default());
        after_refusal(sent.is_some(), keep_alive, status)
    }

    fn account(&mut self, pool: &Pool, status: u16, received: u64, sent: u64) {
        let side = self.client.side;
        let now = self.now.take().unwrap_or_else(Instant::now);
        let took = now.saturating_duration_since(self.job.seen.started);
        pool.live.cells.of(side.worker.index).request_seconds.observe(took);
        if let Some(record) = &mut self.job.seen.record {
            record.upstream = pool.name.to_string();
        }
        self.job.seen.account(&side, status, received, sent);
    }

    fn note(&mut self, pick: &Pick<'_>, outcome: Attempt) {
        let cells = pick.server.state.cells.of(self.client.side.worker.index);
        cells.attempt(outcome).add(1);
        self.note_record(&pick.lease, outcome);
    }

    fn note_record(&mut self, lease: &Lease, outcome: Attempt) {
        let pool = &self.job.pool.name;
        if let Some(record) = &mut self.job.seen.record {
            record.upstream = pool.to_string();
            record.attempts.push((Arc::clone(lease.state().label()), outcome.label()));
        }
    }

    fn log(&self, pick: &Pick<'_>, cause: Attempt, reason: &str, what: &'static str) {
        if self.client.side.worker.may_log(Line::Failure) {
            let (server, cause) = (&**pick.lease.state().label(), cause.label());
            let request = self.job.seen.id.as_str();
            tracing::warn!(upstream = %self.job.pool.name, server, cause, reason, request, "{what}");
        }
    }
}

/// What follows a try.
enum Next {
    Refuse(u16, String),
    /// Another try counts.
    Server,
    /// It was no try.
    SameServer,
    Turn(Turn),
}

fn status_of(cause: Attempt) -> u16 {
    match cause {
        Attempt::TimedOut | Attempt::ConnectTimedOut => 504,
        _ => 502,
    }
}
