//! A request between its head and its answer: tries at servers until one answers, and the account
//! of them.

mod account;

use std::{
    cell::Cell,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tidegate_h1::Conn;
use tidegate_net::{Socket, coarse_millis};
use tidegate_table::{Ask, Attempt, NoServer, Pick, Pool, PoolLive};
use tidegate_tunnel::{Kind, Start};
use tidegate_worker::{Line, Opened};

use crate::{
    answer::{self, Answer},
    attempt::{Failure, Tried, Try, attempt},
    begin::Job,
    connection::Client,
    exchange::Answered,
    going::{Going, Tries, Verdict},
    replay::Replay,
    turn::{Turn, after_refusal},
};

use account::Newest;

/// nginx's code for a client that left before its answer.
const CLIENT_GONE: u16 = 499;

/// A server is marked as gone an instant before the snapshot without it is there; a request that
/// falls in between waits so long for that, and so often at most.
const UNTIL_SWAPPED: Duration = Duration::from_millis(1);
const MAX_LEFT: usize = 1_000;

/// A request on its way.
pub(crate) struct Forwarding<'c> {
    client: Client<'c>,
    job: Box<Job>,
    /// What the clock said, as long as that is news.
    now: Option<Instant>,
    tries: Tries,
    /// What is kept of its body for another try.
    replay: Replay<'c>,
    /// The last try that came to nothing, and what counts its pool.
    last: Option<(Arc<PoolLive>, Failure)>,
    /// Its server's kept connection was dead.
    fresh: bool,
    /// The newest try.
    newest: Newest,
}

impl<'c> Forwarding<'c> {
    pub(crate) fn new(client: Client<'c>, job: Box<Job>, now: Option<Instant>) -> Self {
        let replay = Replay::new(&client.side.worker.shared.replay, job.replay_limit());
        let newest = Newest { began: job.seen.started, connected: None, span: None };
        let tries = Tries::default();
        Self { client, job, now, tries, replay, last: None, fresh: false, newest }
    }

    pub(crate) async fn run(&mut self) -> Turn {
        let mut left = 0;
        let worker = self.client.side.worker;
        self.job.pool.live.cells.of(worker.index).begin(coarse_millis());
        loop {
            let pool = Arc::clone(&self.job.pool);
            let ask = Ask {
                tried: &self.tries.failed,
                affinity: &self.job.affinity,
                now: coarse_millis(),
                random: &worker.random,
            };
            let pick = match pool.pick(&ask) {
                Ok(pick) => pick,
                Err(none) => match self.fall_back() {
                    true => continue,
                    false => return Box::pin(self.give_up(&pool, none)).await,
                },
            };
            if let Some((failed, failure)) = self.last.take() {
                failed.cells.of(worker.index).retries(failure.cause).add(1);
                if self.client_is_gone().await {
                    self.account(&pool, CLIENT_GONE, 0, 0);
                    return Turn::Cut;
                }
            }
            let tried = self.attempt(&pool, &pick).await;
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

    async fn attempt(&mut self, pool: &Arc<Pool>, pick: &Pick<'_>) -> Tried {
        let began = self.now.take().unwrap_or_else(Instant::now);
        self.tries.began.get_or_insert(began);
        self.tries.count += 1;
        let span = self.tell_span();
        let connected = Cell::new(None);
        let going = Going {
            worker: self.client.side.worker,
            pool,
            affinity: &self.job.affinity,
            tries: &self.tries,
            pick,
            next: self.job.next(pool),
            repeatable: self.job.repeatable,
        };
        let (job, fresh, cell) = (&self.job, self.fresh, &connected);
        let this = Try { job, pool, pick, going, fresh, began, connected: cell };
        let tried = attempt(&mut self.client, this, &mut self.replay).await;
        self.newest = Newest { began, connected: connected.get(), span };
        tried
    }

    /// Every try picks from the newest snapshot; `false` when the pool is no longer there.
    fn renew(&mut self) -> bool {
        let name = self.job.pool.name.as_str();
        let newest = self.client.side.worker.with_snapshot(|snapshot| snapshot.pool(name).cloned());
        newest.map(|pool| self.job.pool = pool).is_some() || self.fall_back()
    }

    /// Goes over to the route's other pool, once. Its rules begin anew there.
    fn fall_back(&mut self) -> bool {
        let Some(name) = self.job.fallback.take() else {
            return false;
        };
        let worker = self.client.side.worker;
        let other = worker.with_snapshot(|snapshot| snapshot.pool(name.as_str()).cloned());
        let Some(pool) = other else { return false };
        pool.live.cells.of(worker.index).begin(coarse_millis());
        self.tries.count = 0;
        self.tries.began = None;
        self.tries.failed.go_over();
        self.job.pool = pool;
        true
    }

    /// Whether the client has left while a server was asked: nobody wants another's answer.
    async fn client_is_gone(&mut self) -> bool {
        let Client { side, conn } = &mut self.client;
        let gone =
            |cx: &mut Context<'_>| Poll::Ready(conn.poll_gone(cx, &side.worker.scratch).is_ready());
        poll_fn(gone).await
    }

    /// Accounts for a try, and says what follows from it.
    fn judge(&mut self, pool: &Arc<Pool>, pick: Pick<'_>, tried: Tried) -> Next {
        match tried {
            Tried::Answered(answered) => self.answered(pool, &pick, answered),
            Tried::Cut(answered, reason) => self.cut(pool, &pick, answered, reason),
            Tried::ClientGone(told) => {
                pick.give_back();
                self.note(&pick, Attempt::Cancelled);
                match told {
                    Some(answered) => self.passed(pool, &pick, answered),
                    None => self.account(pool, CLIENT_GONE, 0, 0),
                }
                Next::Turn(Turn::Cut)
            }
            Tried::Failed(failure) => self.failed(pool, &pick, failure),
            Tried::Left => {
                pick.give_back();
                self.tries.count -= 1;
                Next::SameServer
            }
            Tried::LeftAnswer(failure, status) => self.left_answer(pool, &pick, failure, status),
            Tried::Local(failure) => self.local(pool, &pick, failure),
            Tried::Refused(status, reason) => {
                pick.give_back();
                self.note(&pick, Attempt::Cancelled);
                Next::Refuse(status, reason)
            }
            Tried::Switched(server, head, kind) => self.switched(pool, pick, server, (head, kind)),
        }
    }

    fn answered(&mut self, pool: &Pool, pick: &Pick<'_>, answered: Answered) -> Next {
        self.now = answered.ended;
        self.has_answered(pool, pick, answered.status >= 500);
        self.note(pick, Attempt::Answered);
        self.passed(pool, pick, answered);
        Next::Turn(if answered.keep_client { Turn::Next } else { Turn::Close })
    }

    /// The client must not take a broken answer for a whole one.
    fn cut(&mut self, pool: &Pool, pick: &Pick<'_>, answered: Answered, reason: String) -> Next {
        let drained = pick.lease.state().is_cut();
        let cause = if drained { Attempt::Drained } else { Attempt::Failed };
        self.note(pick, cause);
        let verdict = Verdict::Ends("some of the answer had been passed on");
        let failure = Failure { cause, reason, verdict };
        self.log(pick, &failure, "the answer was cut");
        self.passed(pool, pick, answered);
        if answered.unframed {
            self.client.conn.end.reset_on_close(true);
        }
        Next::Turn(Turn::Cut)
    }

    fn failed(&mut self, pool: &Pool, pick: &Pick<'_>, failure: Failure) -> Next {
        let state = pick.lease.state();
        self.note(pick, failure.cause);
        self.fresh = failure.cause == Attempt::Stale;
        if failure.cause == Attempt::Drained {
            // It did nothing wrong.
            pick.give_back();
            self.tries.failed.add(state.id());
            self.log(pick, &failure, "a request was cut");
        } else if self.fresh {
            // The server is not to blame, and this was no try (nginx gives it back, too).
            self.tries.count -= 1;
            pick.give_back();
            if failure.verdict == Verdict::GoesOn {
                tracing::debug!(upstream = %pool.name, server = &**state.label(), "a kept connection was dead");
            } else {
                self.log(pick, &failure, "a kept connection was dead");
            }
        } else {
            self.blame(pool, pick, &failure);
        }
        self.go_on(pool, failure)
    }

    fn go_on(&mut self, pool: &Pool, failure: Failure) -> Next {
        if failure.verdict != Verdict::GoesOn {
            return Next::Refuse(status_of(failure.cause), String::new());
        }
        self.last = Some((Arc::clone(&pool.live), failure));
        Next::Server
    }

    /// A failure of the server in nginx's sense: it is passed over by whoever picks next, and asked
    /// by its check, if it has one, how it really is.
    fn blame(&mut self, pool: &Pool, pick: &Pick<'_>, failure: &Failure) {
        let state = pick.lease.state();
        self.tries.failed.add(state.id());
        let out = state.failed(&pick.server.spec, coarse_millis()) && !pool.is_single();
        let suspects = &self.client.side.worker.shared.suspects;
        suspects.report(state);
        if out {
            suspects.went_out(state, failure.cause.label(), &failure.reason);
        }
        self.watch(pool, pick, true);
        self.log(pick, failure, if out { "server failed and is out" } else { "server failed" });
    }

    /// The server is there, whatever it had failed before.
    fn has_answered(&self, pool: &Pool, pick: &Pick<'_>, bad: bool) {
        if pick.answered() && !pool.is_single() {
            self.client.side.worker.shared.suspects.came_back(pick.lease.state());
        }
        self.watch(pool, pick, bad);
    }

    /// An answer that was left for another server's. 403 and 404 are no failures.
    fn left_answer(&mut self, pool: &Pool, pick: &Pick<'_>, failure: Failure, status: u16) -> Next {
        self.note(pick, failure.cause);
        pick.server.state.cells.of(self.client.side.worker.index).codes.count(status);
        if matches!(failure.cause, Attempt::Http403 | Attempt::Http404) {
            self.has_answered(pool, pick, false);
            self.tries.failed.add(pick.lease.state().id());
        } else {
            self.blame(pool, pick, &failure);
        }
        self.fresh = false;
        self.go_on(pool, failure)
    }

    /// Counts towards ejection.
    fn watch(&self, pool: &Pool, pick: &Pick<'_>, bad: bool) {
        let Some(millis) = pool.answered(pick.server, bad, coarse_millis()) else { return };
        let worker = self.client.side.worker;
        worker.shared.suspects.was_ejected(&pick.server.state, millis);
        if worker.may_log(Line::Failure) {
            let server = &**pick.server.state.label();
            tracing::warn!(upstream = %pool.name, server, millis, "server ejected for its answers");
        }
    }

    fn local(&mut self, pool: &Pool, pick: &Pick<'_>, failure: Failure) -> Next {
        let side = self.client.side;
        pick.give_back();
        if side.worker.may_log(Line::Failure) {
            let (server, request) = (&**pick.lease.state().label(), self.job.seen.id.as_str());
            let what = match failure.cause {
                Attempt::TlsFailed => "no connection: the TLS of its pool cannot be used",
                _ => "no connection for want of local resources",
            };
            tracing::error!(upstream = %self.job.pool.name, server, request, reason = &*failure.reason, "{what}");
        }
        self.tries.failed.add(pick.lease.state().id());
        self.go_on(pool, failure)
    }

    fn switched(
        &mut self,
        pool: &Arc<Pool>,
        pick: Pick<'_>,
        mut server: Conn<Socket>,
        (mut head, kind): (Vec<u8>, Kind),
    ) -> Next {
        self.has_answered(pool, &pick, false);
        let Pick { server: picked, lease, .. } = pick;
        let worker = self.client.side.worker.index;
        let cells = picked.state.cells.of(worker);
        cells.attempt(Attempt::Answered).add(1);
        cells.codes.count(101);
        self.note_record(&lease, Attempt::Answered);
        self.job.seen.series.of(worker).count(101);
        let length = head.len();
        head.append(&mut server.take_ahead());
        let record = self.tunnel_record();
        let tunnel = &pool.upstream.tunnel;
        Next::Turn(Turn::Tunnel(Box::new(Opened {
            kind,
            lease,
            server: server.end,
            start: Start {
                to_server: self.client.conn.take_ahead(),
                to_client: head,
                head: length,
                idle_timeout: tunnel.idle_timeout.as_duration(),
                ping_interval: tunnel.ping_interval.as_duration(),
            },
            record,
            started: self.job.seen.started,
            held: self.job.held.take(),
        })))
    }

    /// Nobody is left to try.
    async fn give_up(&mut self, pool: &Pool, none: NoServer) -> Turn {
        match self.last.take() {
            Some((_, failure)) => {
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
            self.job.keep_alive && whole && status >= 500 && !side.listener.is_closing();
        let policy = self.job.policy.clone();
        let (to_head, policy) = (self.job.to_head, policy.as_deref());
        let answer = Answer { status, keep_alive, to_head, policy, ..Answer::default() };
        let limit = side.listener.settings.timeouts.send;
        let id = self.job.seen.id;
        let sent =
            Box::pin(answer::send(side.worker, self.client.conn, side.timer, limit, answer, &id))
                .await;
        let pool = Arc::clone(&self.job.pool);
        self.now = None;
        self.account(&pool, status, 0, sent.unwrap_or_default());
        after_refusal(sent.is_some(), keep_alive, status)
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
