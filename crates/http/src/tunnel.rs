//! A tunnel's own task: a pump, a deadline and an account. Everything of the request it came from
//! is gone, but for its line in the access log.

use std::{
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use tidegate_net::{Socket, Timer};
use tidegate_table::{Close, Lease};
use tidegate_tunnel::{Moved, Pump};

use tidegate_worker::{Open, Record, Worker};

/// Once one side has said its last word, the other has so long between two bytes. A client that is
/// gone altogether cannot be told from one that only listens, and must not hold its place for a day.
const HALF_CLOSED: Duration = Duration::from_secs(60);

/// A tunnel as it opens.
pub(crate) struct Opened {
    pub(crate) lease: Lease,
    pub(crate) server: Socket,
    /// What each side said early.
    pub(crate) to_server: Vec<u8>,
    pub(crate) to_client: Vec<u8>,
    pub(crate) idle_timeout: Duration,
    pub(crate) record: Option<Box<Record>>,
    pub(crate) started: Instant,
}

/// A tunnel while it lasts. Its account is settled when it is dropped, whoever drops it.
struct Running {
    worker: Rc<Worker>,
    lease: Lease,
    _open: Open,
    account: Option<Box<(Record, Instant)>>,
    counted: Moved,
    cause: Close,
}

/// Opens it on a task of its own.
pub(crate) fn spawn(worker: Rc<Worker>, client: Socket, timer: Timer, open: Open, opened: Opened) {
    let Opened { lease, server, to_server, to_client, idle_timeout, record, started } = opened;
    let pump = Pump::new(client, server, to_server, to_client);
    let running = Running {
        worker,
        lease,
        _open: open,
        account: record.map(|record| Box::new((*record, started))),
        counted: Moved { to_client: 0, to_server: 0 },
        cause: Close::Stop,
    };
    tokio::task::spawn_local(run(running, pump, timer, idle_timeout));
}

async fn run(
    mut running: Running,
    mut pump: Pump<Socket, Socket>,
    timer: Timer,
    idle_timeout: Duration,
) {
    timer.set(idle_timeout);
    let mut half_closed = false;
    running.cause = poll_fn(|cx| {
        let ended = pump.poll(cx, &running.worker.scratch);
        let moved = running.count(pump.moved());
        if moved || half_closed != pump.is_half_closed() {
            half_closed = pump.is_half_closed();
            timer.set(if half_closed { idle_timeout.min(HALF_CLOSED) } else { idle_timeout });
        }
        match ended {
            Poll::Pending => timer.poll_expired(cx).map(|()| Close::Idle),
            ended => ended,
        }
    })
    .await;
}

impl Running {
    /// Counts what has moved since the last time; `true` when something has.
    fn count(&mut self, moved: Moved) -> bool {
        if moved == self.counted {
            return false;
        }
        let cells = self.lease.state().cells.of(self.worker.index);
        cells.bytes_to_client.add(moved.to_client - self.counted.to_client);
        cells.bytes_to_server.add(moved.to_server - self.counted.to_server);
        self.counted = moved;
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lease.state().cells.of(self.worker.index).close(self.cause).add(1);
        if let (Some(account), Some(log)) = (self.account.take(), &self.worker.shared.access) {
            let (mut record, started) = *account;
            record.status = 101;
            record.bytes_sent = self.counted.to_client;
            record.bytes_received = self.counted.to_server;
            record.duration = started.elapsed();
            record.close = Some(self.cause.label());
            log.write(Box::new(record));
        }
    }
}
