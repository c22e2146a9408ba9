//! A client on its way to a server: one try after another until a connection stands, which is then
//! carried. Nothing has been said to any server before that, so every try is as good as the first.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Instant};

use tidegate_model::Name;
use tidegate_net::{ConnectError, Socket, coarse_millis};
use tidegate_table::{Ask, Attempt, NoServer, Pick, Pool};
use tidegate_tunnel::{Kind, Start};
use tidegate_worker::{Attempted, Dial, Ends, Line, Opened, carry, unconnected};

use crate::{
    connection::Client,
    going::{MAX_LEFT, Tries, UNTIL_SWAPPED, affinity},
};

/// nginx's code for a client that left before its answer.
const CLIENT_GONE: u16 = 499;
const BAD_GATEWAY: u16 = 502;

pub(crate) struct Forwarding {
    client: Client,
    tries: Tries,
    /// When the running try did.
    began: Instant,
}

/// How a try ended.
enum Tried {
    ClientGone,
    Connected(Socket),
    Failed(ConnectError),
    /// The server left its pool meanwhile: this was no try.
    Left,
}

impl Forwarding {
    pub(crate) fn new(client: Client) -> Self {
        Self { began: client.started, client, tries: Tries::default() }
    }

    /// Leads the client to a server of that pool, or closes its connection.
    pub(crate) async fn run(mut self, name: &Name) {
        let mut left = 0;
        loop {
            // Every try picks from the newest snapshot.
            let newest =
                |snapshot: &tidegate_table::Snapshot| snapshot.pool(name.as_str()).cloned();
            let Some(pool) = self.client.worker.with_snapshot(newest) else {
                return self.give_up(None, &format!("there is no pool \"{name}\""));
            };
            let pick = match self.pick(&pool) {
                Ok(pick) => pick,
                Err(none) => return self.nobody(&pool, none),
            };
            self.began = Instant::now();
            match self.attempt(&pool, &pick).await {
                Tried::Connected(server) => return self.carry(&pool, pick, server),
                Tried::Failed(error) => {
                    if let Some(why) = self.failed(&pool, &pick, &error) {
                        return self.give_up(Some(&pool), why);
                    }
                }
                Tried::Left if left < MAX_LEFT => {
                    pick.give_back();
                    self.tries.count -= 1;
                    left += 1;
                    tokio::time::sleep(UNTIL_SWAPPED).await;
                }
                Tried::Left => return self.give_up(Some(&pool), "its servers keep leaving"),
                Tried::ClientGone => {
                    pick.give_back();
                    self.note(&pool, &pick, Attempt::Cancelled);
                    return self.client.account(&pool.live, CLIENT_GONE);
                }
            }
        }
    }

    fn pick<'p>(&mut self, pool: &'p Pool) -> Result<Pick<'p>, NoServer> {
        let worker = &self.client.worker;
        let ask = Ask {
            tried: &self.tries.failed,
            affinity: &affinity(pool, self.client.from.peer.ip()),
            now: coarse_millis(),
            random: &worker.random,
        };
        let pick = pool.pick(&ask)?;
        self.tries.begin(pool, worker.index);
        Ok(pick)
    }

    /// Connects, and says whom the connection is for where the pool wants that.
    async fn attempt(&self, pool: &Pool, pick: &Pick<'_>) -> Tried {
        let Client { worker, timer, socket, from, .. } = &self.client;
        let state = pick.lease.state();
        let limit = pool.upstream.connect_timeout.as_duration();
        let dial = Dial { worker, pool, server: pick.server, timer, limit };
        let mut server = match unless_broken(socket, dial.connect()).await {
            Some(Ok(server)) => server,
            Some(Err(error)) => return Tried::Failed(error),
            None => return Tried::ClientGone,
        };
        if state.is_gone() {
            return Tried::Left;
        }
        let took = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        state.latency.observe(took, coarse_millis());
        let ends = from.addresses(socket);
        if let Err(error) = dial.announce(&mut server, ends.as_ref()).await {
            return Tried::Failed(error);
        }
        if pool.upstream.tls.is_none() {
            return Tried::Connected(server);
        }
        match unless_broken(socket, dial.secure(server)).await {
            Some(Ok(_)) if state.is_gone() => Tried::Left,
            Some(Ok((server, _))) => Tried::Connected(server),
            Some(Err(error)) => Tried::Failed(error),
            None => Tried::ClientGone,
        }
    }

    /// Accounts for a try that failed. Why no other follows; `None`: one does.
    fn failed(
        &mut self,
        pool: &Pool,
        pick: &Pick<'_>,
        error: &ConnectError,
    ) -> Option<&'static str> {
        let cause = unconnected(error);
        let state = pick.lease.state();
        let mut ended = self.tries.failed(state, &pool.upstream.next, cause);
        if error.is_ours() {
            pick.give_back();
            self.log_local(pool, pick, error);
            if matches!(error, ConnectError::Unready(_)) {
                ended = Some("no server of its pool can be asked");
            }
        } else {
            self.note(pool, pick, cause);
            let out = state.failed(&pick.server.spec, coarse_millis()) && !pool.is_single();
            let suspects = &self.client.worker.shared.suspects;
            suspects.report(state);
            if out {
                suspects.went_out(state, cause.label(), &error.to_string());
            }
            self.watch(pool, pick, true);
            self.log(pool, pick, cause, error, ended.unwrap_or("another server is asked"), out);
        }
        ended
    }

    /// From here on it is a tunnel like any other.
    fn carry(mut self, pool: &Pool, pick: Pick<'_>, server: Socket) {
        if pick.answered() && !pool.is_single() {
            self.client.worker.shared.suspects.came_back(pick.lease.state());
        }
        self.watch(pool, &pick, false);
        self.note(pool, &pick, Attempt::Answered);
        self.client.count(&pool.live, 200);
        if let Some(record) = self.client.record() {
            record.status = 200;
        }
        let Client { worker, socket, from, ahead, timer, open, started, record, .. } = self.client;
        let start = Start {
            to_server: ahead,
            to_client: Vec::new(),
            head: 0,
            idle_timeout: pool.upstream.tunnel.idle_timeout.as_duration(),
            ping_interval: std::time::Duration::ZERO,
        };
        let lease = pick.lease;
        let opened = Opened { kind: Kind::Tcp, lease, server, start, record, started, held: None };
        carry(worker, Ends { client: socket, peer: from.peer, timer, open }, opened);
    }

    fn nobody(self, pool: &Arc<Pool>, none: NoServer) {
        let reason = match (self.tries.last, none) {
            (Some(_), _) => "every server was tried",
            (None, NoServer::Empty) => "the pool has no server that takes connections",
            (None, NoServer::AllOut) => "every server is failed or at its limit",
        };
        self.give_up(Some(pool), reason);
    }

    fn give_up(mut self, pool: Option<&Arc<Pool>>, reason: &str) {
        let Client { worker, listener, id, .. } = &self.client;
        if worker.may_log(Line::Failure) {
            let (request, listener) = (id.as_str(), &*listener.live.name);
            let upstream = pool.map(|pool| pool.name.as_str());
            tracing::warn!(request, listener, upstream, reason, "no connection to a server");
        }
        let nowhere = Arc::clone(worker.shared.table.nowhere());
        if let (Some(record), Some(pool)) = (self.client.record(), pool) {
            record.upstream = Some(pool.name.clone());
        }
        self.client.account(pool.map_or(&nowhere, |pool| &pool.live), BAD_GATEWAY);
    }

    fn note(&mut self, pool: &Pool, pick: &Pick<'_>, outcome: Attempt) {
        let cells = pick.server.state.cells.of(self.client.worker.index);
        cells.attempt(outcome).add(1);
        let (took, after) = (self.began.elapsed(), self.began - self.client.started);
        if let Some(record) = self.client.record() {
            record.upstream = Some(pool.name.clone());
            record.attempts.push(Attempted {
                server: Arc::clone(pick.lease.state().label()),
                outcome: outcome.label(),
                after,
                took: Some(took),
                connect: (outcome == Attempt::Answered).then_some(took),
                span: None,
            });
        }
    }

    /// Counts towards ejection.
    fn watch(&self, pool: &Pool, pick: &Pick<'_>, bad: bool) {
        let Some(millis) = pool.answered(pick.server, bad, coarse_millis()) else { return };
        self.client.worker.shared.suspects.was_ejected(&pick.server.state, millis);
        if self.client.worker.may_log(Line::Failure) {
            let server = &**pick.server.state.label();
            tracing::warn!(upstream = %pool.name, server, millis, "server ejected for its answers");
        }
    }

    fn log(
        &self,
        pool: &Pool,
        pick: &Pick<'_>,
        cause: Attempt,
        error: &ConnectError,
        then: &str,
        out: bool,
    ) {
        if self.client.worker.may_log(Line::Failure) {
            let (server, cause) = (&**pick.lease.state().label(), cause.label());
            let request = self.client.id.as_str();
            let what = if out { "server failed and is out" } else { "server failed" };
            tracing::warn!(upstream = %pool.name, server, cause, reason = %error, then, request, "{what}");
        }
    }

    fn log_local(&self, pool: &Pool, pick: &Pick<'_>, error: &ConnectError) {
        if self.client.worker.may_log(Line::Failure) {
            let (server, request) = (&**pick.lease.state().label(), self.client.id.as_str());
            let what = match error {
                ConnectError::Unready(_) => "no connection: the TLS of its pool cannot be used",
                _ => "no connection for want of local resources",
            };
            tracing::error!(upstream = %pool.name, server, request, reason = %error, "{what}");
        }
    }
}

/// What comes of `work`, unless the client breaks off before it is done.
async fn unless_broken<T>(client: &Socket, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut broken) = (pin!(work), pin!(client.broken()));
    let done = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => broken.as_mut().poll(cx).map(|()| None),
    });
    done.await
}
