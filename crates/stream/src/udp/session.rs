//! A client's session: what it said and heard so far, the link to its server, and its line in the
//! access log.

use std::{
    cell::{Cell, RefCell},
    io,
    sync::Arc,
    time::Instant,
};

use tidegate_model::Name;
use tidegate_net::{Way, coarse_millis};
use tidegate_table::{Attempt, PoolLive, ServerState};
use tidegate_worker::{Attempted, Listener, Open, Record, RequestId, Worker};

use super::{link::Link, unanswered::Unanswered};
use crate::going::Tries;

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Every answer that was waited for has come.
    Answered,
    /// It gives way to another one.
    Evicted,
    /// There is no server for it.
    NoServer,
    Silent,
    /// The process ends.
    Stop,
}

pub(super) struct Session {
    pub(super) way: Way,
    pub(super) id: RequestId,
    pub(super) link: RefCell<Option<Link>>,
    pub(super) tries: RefCell<Tries>,
    pub(super) unanswered: RefCell<Unanswered>,
    /// What counts the pool it was led to last.
    pub(super) pool: RefCell<Arc<PoolLive>>,
    open: Cell<Option<Open>>,
    started: Instant,
    /// When there was a datagram either way, in milliseconds of the coarse clock.
    seen: Cell<u64>,
    /// Datagrams and bytes of the client's, and for it.
    from_client: Cell<(u64, u64)>,
    to_client: Cell<(u64, u64)>,
    record: RefCell<Option<Box<Record>>>,
}

impl End {
    /// The word in the access log.
    fn word(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Evicted => "evicted",
            Self::NoServer => "error_server",
            Self::Silent => "idle",
            Self::Stop => "stop",
        }
    }
}

impl Session {
    pub(super) fn new(way: Way, worker: &Worker, listener: &Listener) -> Self {
        let id = worker.request_id();
        let record = worker.shared.access.as_ref().map(|_| {
            let client = Some(way.client.ip());
            let mut record = Box::new(Record::new(&listener.live.name, client, id));
            record.protocol = "UDP";
            record
        });
        Self {
            way,
            id,
            link: RefCell::default(),
            tries: RefCell::default(),
            unanswered: RefCell::default(),
            pool: RefCell::new(Arc::clone(worker.shared.table.nowhere())),
            open: Cell::new(Some(Open::new(listener, worker.index))),
            started: Instant::now(),
            seen: Cell::new(coarse_millis()),
            from_client: Cell::default(),
            to_client: Cell::default(),
            record: RefCell::new(record),
        }
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen.get()
    }

    /// The client has sent a datagram.
    pub(super) fn heard(&self, datagram: &[u8], now: u64) {
        self.seen.set(now);
        add(&self.from_client, datagram);
    }

    /// Keeps a datagram for another server, as long as the first has not answered.
    pub(super) fn keep(&self, datagram: &[u8], now: u64) -> bool {
        let has_answered = self.link.borrow().as_ref().is_some_and(|link| link.answered.get());
        !has_answered && self.unanswered.borrow_mut().keep(datagram, now)
    }

    /// Sends a datagram to the server, if there is one.
    pub(super) fn send(&self, datagram: &[u8]) -> Option<io::Result<usize>> {
        self.link.borrow().as_ref().map(|link| link.server.try_send(datagram))
    }

    /// Sends what is kept and what could not be.
    pub(super) fn send_all(&self, unkept: Option<&[u8]>) -> io::Result<()> {
        let link = self.link.borrow();
        let Some(link) = link.as_ref() else { return Ok(()) };
        let unanswered = self.unanswered.borrow();
        for datagram in unanswered.iter().chain(unkept) {
            link.server.try_send(datagram)?;
        }
        Ok(())
    }

    /// The server has sent a datagram. `true`: it is its first.
    pub(super) fn answered(&self, datagram: &[u8], now: u64) -> bool {
        self.seen.set(now);
        add(&self.to_client, datagram);
        let link = self.link.borrow();
        let first = link.as_ref().is_some_and(|link| !link.answered.replace(true));
        if first {
            self.unanswered.borrow_mut().answered();
        }
        first
    }

    /// Whether so many answers for each datagram of the client's have come (nginx, `proxy_responses`).
    /// 0 is never.
    pub(super) fn has_answers(&self, each: u32) -> bool {
        let expected = self.from_client.get().0.saturating_mul(each.into());
        each > 0 && self.to_client.get().0 >= expected
    }

    pub(super) fn note(&self, pool: &Name, server: &ServerState, outcome: Attempt) {
        if let Some(record) = self.record.borrow_mut().as_mut() {
            record.upstream = Some(pool.clone());
            record.attempts.push(Attempted {
                server: Arc::clone(server.label()),
                outcome: outcome.label(),
                after: self.started.elapsed(),
                took: None,
                connect: None,
                span: None,
            });
        }
    }

    /// Its line in the access log; its place is free from now on.
    pub(super) fn close(&self, end: End, status: u16) -> Option<Box<Record>> {
        self.open.take();
        let mut record = self.record.borrow_mut().take()?;
        record.status = status;
        record.bytes_received = self.from_client.get().1;
        record.bytes_sent = self.to_client.get().1;
        record.duration = self.started.elapsed();
        record.close = Some(end.word());
        Some(record)
    }
}

fn add(count: &Cell<(u64, u64)>, datagram: &[u8]) {
    let (datagrams, bytes) = count.get();
    count.set((datagrams + 1, bytes + datagram.len() as u64));
}
