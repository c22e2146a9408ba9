//! How a session finds its server, and another one when that leaves, is out, or turns out not to be
//! there. Datagrams are answered by the server or not at all: that nobody is there shows only when the
//! system says that nobody listens, or when answers that were expected do not come.

use std::{
    io::{self, ErrorKind},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use tidegate_net::{DatagramLink, coarse_millis, is_local_error};
use tidegate_table::{Ask, Attempt, Pick, Pool, Server, ServerState, Target, Tried};
use tidegate_worker::{Line, no_route};

use super::{
    Engine,
    link::{Link, answers, is_fault},
    session::{End, Session},
};
use crate::going::affinity;

const CARRIED: u16 = 200;
const BAD_GATEWAY: u16 = 502;

impl Engine {
    /// Leads a session to a server and sends there what waits for one; on to the next when it is known
    /// at once that one cannot be reached. `true`: it was sent.
    pub(super) fn lead(self: &Rc<Self>, session: &Rc<Session>, unkept: Option<&[u8]>) -> bool {
        loop {
            let Some(pool) = self.newest_pool() else {
                return self.give_up(session, "there is no such pool");
            };
            *session.pool.borrow_mut() = Arc::clone(&pool.live);
            if pool.upstream.tls.is_some() {
                return self.give_up(session, "its pool wants TLS, which datagrams cannot have");
            }
            let Some(pick) = self.pick(session, &pool) else {
                return self.give_up(session, "there is no server to be had");
            };
            let state = Arc::clone(pick.lease.state());
            let error = match self.connect(&pool, pick.server) {
                Ok(server) => {
                    self.link(session, &pool, pick, server);
                    match session.send_all(unkept) {
                        Err(error) if is_fault(&error) => error,
                        sent => return sent.is_ok(),
                    }
                }
                Err(error) if is_fault(&error) => error,
                Err(error) => {
                    pick.give_back();
                    self.cannot_connect(session, &state, &error);
                    return false;
                }
            };
            session.link.take();
            if !self.failed(session, &state, Attempt::ConnectFailed, &error.to_string()) {
                return self.give_up(session, "every try failed");
            }
        }
    }

    fn pick<'p>(&self, session: &Session, pool: &'p Pool) -> Option<Pick<'p>> {
        let tries = &mut *session.tries.borrow_mut();
        let affinity = affinity(pool, Some(session.way.client.ip()));
        loop {
            let ask = Ask {
                tried: &tries.failed,
                affinity: &affinity,
                now: coarse_millis(),
                random: &self.worker.random,
            };
            let pick = pool.pick(&ask).ok()?;
            if !pick.lease.state().is_gone() {
                tries.begin(pool, self.worker.index);
                return Some(pick);
            }
            // It has left, and the snapshot without it is not there yet.
            pick.give_back();
            tries.failed.add(pick.lease.state().id());
        }
    }

    fn connect(&self, pool: &Pool, server: &Server) -> io::Result<DatagramLink> {
        let Target::Ip(address) = server.target else {
            let error = "a unix socket takes no datagrams here";
            return Err(io::Error::new(ErrorKind::NetworkUnreachable, error));
        };
        let once = || {
            let source = self.worker.next_source(&pool.upstream.source, address.ip());
            DatagramLink::connect(address, source)
        };
        match once() {
            Err(error) if is_local_error(&error) => {
                // Idle connections are what can be given up for this one.
                self.worker.totals().connect_errors.add(1);
                self.worker.idle.borrow_mut().clear();
                once()
            }
            connected => connected,
        }
    }

    fn link(
        self: &Rc<Self>,
        session: &Rc<Session>,
        pool: &Pool,
        pick: Pick<'_>,
        server: DatagramLink,
    ) {
        let at = pool.servers.iter().position(|one| std::ptr::eq(one, pick.server));
        let Pick { lease, overlooked, at: picked, .. } = pick;
        let server = Rc::new(server);
        let waiting = answers(Rc::clone(self), Rc::clone(session), Rc::clone(&server));
        *session.link.borrow_mut() = Some(Link {
            lease,
            server,
            at: at.unwrap_or_default(),
            overlooked,
            picked,
            began: Instant::now(),
            answered: false.into(),
            checked: self.worker.with_snapshot(|snapshot| snapshot.generation).into(),
            waiting: tokio::task::spawn_local(waiting).abort_handle(),
        });
    }

    /// Lets go of a server that is not to get this client's next datagram: one that left, was set down,
    /// has to be rid of its clients, or is out while others are well. One that is being drained keeps
    /// the sessions it has.
    pub(super) fn look_at_server(&self, session: &Session, now: u64) {
        let stays =
            session.link.borrow().as_ref().is_none_or(|link| self.stays(session, link, now));
        if !stays {
            session.link.take();
            session.tries.take();
        }
    }

    fn stays(&self, session: &Session, link: &Link, now: u64) -> bool {
        let state = link.lease.state();
        if state.is_gone() || state.is_cut() {
            return false;
        }
        let generation = self.worker.with_snapshot(|snapshot| snapshot.generation);
        if link.checked.replace(generation) != generation {
            let pool = self.newest_pool();
            let listed = pool.as_ref().and_then(|pool| link.find(pool));
            if listed.is_none_or(|server| server.spec.down) {
                return false;
            }
        }
        !state.health.is_out(now) || !self.has_better(session, now)
    }

    /// Whether anybody is well.
    fn has_better(&self, session: &Session, now: u64) -> bool {
        self.newest_pool().is_some_and(|pool| {
            let affinity = affinity(&pool, Some(session.way.client.ip()));
            let (tried, random) = (&Tried::default(), &self.worker.random);
            pool.has_choice(&Ask { tried, affinity: &affinity, now, random }, false)
        })
    }

    /// The link to a session's server is broken: it goes on to another one, if anything waits for an
    /// answer and nothing was answered. `true`: what waited was sent.
    pub(super) fn broken(
        self: &Rc<Self>,
        session: &Rc<Session>,
        error: &io::Error,
        unkept: Option<&[u8]>,
    ) -> bool {
        let Some(link) = session.link.take() else { return false };
        session.unanswered.borrow_mut().forget_old(coarse_millis());
        let is_first_word = !link.answered.get() && !session.unanswered.borrow().is_empty();
        if !is_first_word {
            session.tries.take();
        }
        let state = link.lease.state();
        let goes_on = !is_fault(error)
            || self.failed(session, state, Attempt::ConnectFailed, &error.to_string());
        match is_first_word || unkept.is_some() {
            true if goes_on => self.lead(session, unkept),
            true => self.give_up(session, "its server failed"),
            // Its next datagram finds another one, and begins anew.
            false => {
                session.tries.borrow_mut().last = None;
                false
            }
        }
    }

    /// A server has answered a session for the first time.
    pub(super) fn settle(&self, session: &Session) {
        let link = session.link.borrow();
        let Some(link) = link.as_ref() else { return };
        let (state, now) = (link.lease.state(), coarse_millis());
        let took = u64::try_from(link.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        state.latency.observe(took, now);
        state.cells.of(self.worker.index).attempt(Attempt::Answered).add(1);
        session.note(&self.settings.upstream, state, Attempt::Answered);
        self.is_well(link);
    }

    /// A server has failed a session. Whether that goes on to another one.
    fn failed(&self, session: &Session, state: &ServerState, cause: Attempt, reason: &str) -> bool {
        state.cells.of(self.worker.index).attempt(cause).add(1);
        session.note(&self.settings.upstream, state, cause);
        let Some(pool) = self.newest_pool() else { return false };
        let mut out = false;
        if let Some(server) = pool.servers.iter().find(|one| one.state.id() == state.id()) {
            out = state.failed(&server.spec, coarse_millis()) && !pool.is_single();
            let suspects = &self.worker.shared.suspects;
            suspects.report(state);
            if out {
                suspects.went_out(state, cause.label(), reason);
            }
            self.watch(&pool, server, true);
        }
        let ended = session.tries.borrow_mut().failed(state, &pool.upstream.next, cause);
        if self.worker.may_log(Line::Failure) {
            let (server, request) = (&**state.label(), session.id.as_str());
            let (cause, then) = (cause.label(), ended.unwrap_or("another server is asked"));
            let what = if out { "server failed and is out" } else { "server failed" };
            tracing::warn!(upstream = %pool.name, server, cause, reason, then, request, "{what}");
        }
        ended.is_none()
    }

    /// Nothing speaks against the server of a link.
    fn is_well(&self, link: &Link) {
        let pool = self.newest_pool();
        let Some((pool, server)) = pool.as_ref().and_then(|pool| Some((pool, link.find(pool)?)))
        else {
            return;
        };
        let state = &server.state;
        let is_back = if link.overlooked && !state.has_failed_since(link.picked) {
            state.recover(&server.spec)
        } else {
            state.answered(&server.spec)
        };
        if is_back && !pool.is_single() {
            self.worker.shared.suspects.came_back(state);
        }
        self.watch(pool, server, false);
    }

    /// Counts towards ejection.
    fn watch(&self, pool: &Pool, server: &Server, bad: bool) {
        let Some(millis) = pool.answered(server, bad, coarse_millis()) else { return };
        self.worker.shared.suspects.was_ejected(&server.state, millis);
        if self.worker.may_log(Line::Failure) {
            let server = &**server.state.label();
            tracing::warn!(upstream = %pool.name, server, millis, "server ejected for its answers");
        }
    }

    fn give_up(&self, session: &Session, reason: &str) -> bool {
        if self.worker.may_log(Line::Failure) {
            let (upstream, request) = (self.settings.upstream.as_str(), session.id.as_str());
            let listener = &*self.listener.live.name;
            tracing::warn!(request, listener, upstream, reason, "no server for a session");
        }
        self.end(session, End::NoServer);
        false
    }

    /// Ends a session, and settles its account.
    pub(super) fn end(&self, session: &Session, end: End) {
        self.sessions.borrow_mut().remove(&session.way);
        let mut status = if end == End::NoServer { BAD_GATEWAY } else { CARRIED };
        if let Some(link) = session.link.take().filter(|_| end == End::Silent) {
            // As nginx does: a server is well that was expected to say nothing, and one is not that
            // was expected to say more.
            if self.settings.responses > 0 {
                let reason = "the expected answers did not come in time";
                self.failed(session, link.lease.state(), Attempt::TimedOut, reason);
                status = BAD_GATEWAY;
            } else if !link.answered.get() {
                self.is_well(&link);
            }
        }
        let series = self.worker.series(&self.listener, &no_route(), &session.pool.borrow());
        series.of(self.worker.index).count(status);
        if let Some(record) = session.close(end, status) {
            self.worker.shared.keep(record);
        }
    }

    fn newest_pool(&self) -> Option<Arc<Pool>> {
        let name = self.settings.upstream.as_str();
        self.worker.with_snapshot(|snapshot| snapshot.pool(name).cloned())
    }

    fn cannot_connect(&self, session: &Session, state: &ServerState, error: &io::Error) {
        session.tries.take();
        if self.worker.may_log(Line::Failure) {
            let (server, request) = (&**state.label(), session.id.as_str());
            let upstream = self.settings.upstream.as_str();
            tracing::error!(upstream, server, request, %error, "no socket for want of local resources");
        }
    }
}
