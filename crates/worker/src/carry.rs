//! A tunnel's own task: a pump, a deadline and an account. Everything of the request it came from
//! is gone, but for its line in the access log.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tidegate_limit::Held;
use tidegate_net::{Peer, Socket, Timer, coarse_millis};
use tidegate_table::{Close, Lease};
use tidegate_tunnel::{Card, Entry, Kind, Pump, Start};

use crate::{access::Record, listener::Open, worker::Worker};

/// A tunnel as it opens.
#[derive(Debug)]
pub struct Opened {
    pub kind: Kind,
    pub lease: Lease,
    pub server: Socket,
    pub start: Start,
    /// For the access log.
    pub record: Option<Box<Record>>,
    pub started: Instant,
    /// As one of those that its route has at once.
    pub held: Option<Box<Held>>,
}

/// Whom it is for.
#[derive(Debug)]
pub struct Ends {
    pub client: Socket,
    pub peer: Peer,
    pub timer: Timer,
    pub open: Open,
}

/// A tunnel while it lasts. Its account is settled when it is dropped, whoever drops it.
struct Running {
    worker: Rc<Worker>,
    lease: Lease,
    open: Open,
    card: Arc<Card>,
    place: u32,
    pump: Pump<Socket, Socket>,
    /// How long it may stay as it is, and since when.
    patience: (u64, Duration),
    timer: Timer,
    log: Option<Box<(Record, Instant)>>,
    _held: Option<Box<Held>>,
    /// Bytes to the client and to the server that were counted.
    counted: [u64; 2],
    cause: Option<Close>,
}

/// Carries it on a task of its own.
pub fn carry(worker: Rc<Worker>, ends: Ends, opened: Opened) {
    let Ends { client, peer, timer, open } = ends;
    let Opened { kind, lease, server, start, record, started, held } = opened;
    let entry = Entry {
        kind,
        server: Arc::clone(lease.state()),
        listener: Arc::clone(&open.live().name),
        client: match peer {
            Peer::Ip(address) => Some(address),
            Peer::Unix(_) => None,
        },
        now: coarse_millis(),
        timer: timer.key(),
    };
    let (card, place) = worker.shared.tunnels.enter(worker.index, entry);
    open.ledger().open();
    lease.state().cells.of(worker.index).tunnels.add(1);
    let pump = Pump::new(kind, client, server, start);
    let running = Running {
        worker,
        lease: lease.into_tunnel(),
        open,
        card,
        place,
        patience: pump.patience(),
        pump,
        timer,
        log: record.map(|record| Box::new((*record, started))),
        _held: held,
        counted: [0; 2],
        cause: None,
    };
    running.timer.set(running.patience.1);
    tokio::task::spawn_local(running);
}

/// A future by hand: written as `async`, it would hold everything twice.
impl Future for Running {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let mut ended = this.carry(cx);
            let patience = this.pump.patience();
            if patience != this.patience {
                this.patience = patience;
                this.timer.set(patience.1);
            }
            if ended.is_pending() {
                ready!(this.timer.poll_expired(cx));
                ended = this.pump.expired(&this.card);
                this.timer.set(this.patience.1);
            }
            if let Poll::Ready(cause) = ended {
                this.cause = Some(cause);
                return Poll::Ready(());
            }
        }
    }
}

impl Running {
    /// Moves what can be moved, and counts it.
    fn carry(&mut self, cx: &mut Context<'_>) -> Poll<Close> {
        let ended = self.pump.poll(cx, &self.worker.scratch, &self.card);
        let moved = self.pump.moved();
        if moved != self.counted {
            let cells = self.lease.state().cells.of(self.worker.index);
            cells.bytes_to_client.add(moved[0] - self.counted[0]);
            cells.bytes_to_server.add(moved[1] - self.counted[1]);
            self.counted = moved;
        }
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that did not come to its end was cut by that of its worker, or by a panic.
        let unfinished =
            || if std::thread::panicking() { Close::ErrorInternal } else { Close::Stop };
        let cause = self.cause.unwrap_or_else(unfinished);
        self.worker.shared.tunnels.leave(self.worker.index, self.place);
        self.lease.state().cells.of(self.worker.index).close(cause).add(1);
        self.open.ledger().close(cause, &self.pump.account());
        if let Some(account) = self.log.take() {
            let (mut record, started) = *account;
            [record.bytes_sent, record.bytes_received] = self.counted;
            record.duration = started.elapsed();
            record.close = Some(cause.label());
            record.close_by = self.pump.why().and_then(tidegate_tunnel::Why::number);
            self.worker.shared.keep(Box::new(record));
        }
    }
}
