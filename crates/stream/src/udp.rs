//! Datagrams. A session leads those of one client, by the address and port it has, to one server and
//! the answers back. A worker has its own: the kernel leads a client to the same worker each time.
//! Here is what comes from clients; `session` and `link` are what it meets, `leading` is how a server
//! is found and found wanting.

mod leading;
mod link;
mod receiving;
mod recent;
mod session;
mod unanswered;

use std::{cell::RefCell, io, rc::Rc, task::Context, time::Duration};

use tidegate_model::Name;
use tidegate_net::{Datagrams, Timer, Way, coarse_millis};
use tidegate_worker::{Line, Listener, Service, UdpCells, Worker};

use link::is_fault;
use recent::Recent;
use session::{End, Session};

pub use receiving::serve;

/// After so many datagrams of one socket others get their turn.
const TURN: usize = 64;

/// The settings of a udp listener.
#[derive(Clone, Debug)]
pub struct UdpSettings {
    pub upstream: Name,
    /// A session ends after so long without a datagram either way.
    pub idle_timeout: Duration,
    /// Sessions at once, of all workers.
    pub max_sessions: u32,
    /// A session ends when so many answers have come for each datagram of the client's; 0: by time
    /// alone.
    pub responses: u32,
}

/// One worker's part of a udp listener, as it was set at one time.
struct Engine {
    worker: Rc<Worker>,
    listener: Rc<Listener>,
    settings: UdpSettings,
    datagrams: Rc<Datagrams>,
    sessions: RefCell<Recent<Rc<Session>>>,
    /// For the session that is silent for longest.
    timer: Timer,
}

impl Engine {
    fn new(
        worker: &Rc<Worker>,
        datagrams: &Rc<Datagrams>,
        service: &Service<UdpSettings>,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker: Rc::clone(worker),
            listener: Rc::clone(&service.listener),
            settings: service.engine.clone(),
            datagrams: Rc::clone(datagrams),
            sessions: RefCell::default(),
            timer: worker.timers.timer(),
        })
    }

    /// The session of a client that has sent something.
    fn session_of(&self, way: &Way) -> Option<Rc<Session>> {
        self.sessions.borrow_mut().touch(way).map(Rc::clone)
    }

    /// The client of a session has sent a datagram.
    fn heard(self: &Rc<Self>, session: &Rc<Session>, datagram: &[u8]) {
        let now = coarse_millis();
        session.heard(datagram, now);
        // What is kept is sent with what else is kept, should another server be needed.
        let unkept = (!session.keep(datagram, now)).then_some(datagram);
        self.look_at_server(session, now);
        let sent = match session.send(datagram) {
            Some(Err(error)) if is_fault(&error) => self.broken(session, &error, unkept),
            Some(sent) => sent.is_ok(),
            None => self.lead(session, unkept),
        };
        let cells = self.cells();
        if sent { &cells.to_server } else { &cells.dropped }.add(1);
    }

    fn open(&self, way: Way) -> Rc<Session> {
        let session = Rc::new(Session::new(way, &self.worker, &self.listener));
        self.sessions.borrow_mut().insert(way, Rc::clone(&session));
        session
    }

    /// The session that was not heard of for longest gives way to another one; `false` when there is
    /// none.
    fn evict(&self) -> bool {
        let oldest = self.oldest();
        if let Some(oldest) = &oldest {
            self.cells().evicted.add(1);
            self.end(oldest, End::Evicted);
        }
        oldest.is_some()
    }

    fn oldest(&self) -> Option<Rc<Session>> {
        self.sessions.borrow().oldest().map(Rc::clone)
    }

    fn end_all(&self) {
        while let Some(oldest) = self.oldest() {
            self.end(&oldest, End::Stop);
        }
    }

    /// The server of a session has sent a datagram. `true`: it was the last one that is waited for.
    fn answered(&self, session: &Session, datagram: &[u8]) -> bool {
        self.sessions.borrow_mut().touch(&session.way);
        if session.answered(datagram, coarse_millis()) {
            self.settle(session);
        }
        match self.datagrams.try_send(datagram, &session.way) {
            Ok(_) => self.cells().to_client.add(1),
            Err(_) => self.cells().dropped.add(1),
        }
        session.has_answers(self.settings.responses)
    }

    /// Ends the sessions that were silent for too long, and sees to it that the next is looked at in
    /// time.
    fn end_silent(&self, cx: &Context<'_>) {
        loop {
            let Some(oldest) = self.oldest() else {
                return self.timer.clear();
            };
            let silent = Duration::from_millis(coarse_millis().saturating_sub(oldest.seen()));
            match self.settings.idle_timeout.checked_sub(silent).filter(|left| !left.is_zero()) {
                None => self.end(&oldest, End::Silent),
                Some(left) => {
                    self.timer.set(left);
                    if self.timer.poll_expired(cx).is_pending() {
                        return;
                    }
                }
            }
        }
    }

    fn cells(&self) -> &UdpCells {
        &self.listener.live.cells.of(self.worker.index).udp
    }

    fn cannot_receive(&self, error: &io::Error) {
        self.worker.totals().accept_errors.add(1);
        if self.worker.may_log(Line::Failure) {
            let listener = &*self.listener.live.name;
            tracing::error!(listener, %error, "cannot receive datagrams");
        }
    }
}

/// What is open when its worker ends is cut.
impl Drop for Engine {
    fn drop(&mut self) {
        self.end_all();
    }
}
