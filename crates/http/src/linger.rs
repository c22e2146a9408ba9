//! A client is still read after its last answer while it has something to say. Closing at once would send
//! RST for what it has sent meanwhile, and the RST may overtake the answer.

use std::{future::poll_fn, task::Poll, time::Duration};

use tidegate_h1::Conn;
use tidegate_net::{End, Socket, Timer, coarse};
use tidegate_worker::Worker;

/// Between two reads (nginx, `lingering_timeout`).
const BETWEEN: Duration = Duration::from_secs(5);

/// How much of a client is heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linger {
    in_all: Duration,
    bytes: usize,
}

impl Linger {
    /// As nginx does by `lingering_time`.
    pub(crate) const LONG: Self = Self { in_all: Duration::from_secs(30), bytes: usize::MAX };
    /// For one that was given up because it was slow, or that is not to send much any more.
    pub(crate) const SHORT: Self = Self { in_all: Duration::from_secs(1), bytes: usize::MAX };
    /// For one that does what nobody should: it has time to hear why, and floods are not read to
    /// their ends.
    pub(crate) const FAULTY: Self = Self { in_all: Duration::from_secs(1), bytes: 128 * 1024 };

    /// Closes for writing and reads the client out. After each read the others on its worker have
    /// their turn: there may be megabytes, of many at once. Cancel safe: dropped, it closes the
    /// connection.
    pub(crate) async fn run(self, worker: &Worker, mut conn: Conn<Socket>, timer: &Timer) {
        let until = coarse() + self.in_all;
        let between = BETWEEN.min(self.in_all);
        timer.set(between);
        let (mut closed, mut heard) = (false, 0);
        poll_fn(|cx| {
            if !closed && conn.end.poll_close_write(cx).is_pending() {
                return timer.poll_expired(cx);
            }
            closed = true;
            match conn.end.poll_read(cx, &mut worker.scratch.lend()) {
                Poll::Ready(Ok(read)) if read > 0 && heard < self.bytes && coarse() < until => {
                    heard += read;
                    timer.set(between);
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => timer.poll_expired(cx),
            }
        })
        .await;
    }
}
