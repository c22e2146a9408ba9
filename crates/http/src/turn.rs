//! One turn of a connection: a head is read, and its request forwarded or refused.

use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tidegate_h1::HeadError;
use tidegate_worker::{Line, Opened};

use crate::{
    answer::{self, Answer},
    begin::{Job, Refused, Seen, begin, unreadable},
    connection::{Client, Side},
    forward::Forwarding,
};

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
    let Client { side, conn } = client;
    // What a route says itself is no refusal.
    if refused.said.is_none() {
        refused.tell(&side);
    }
    let Refused { status, keep_alive, to_head, mut seen, said, policy, retry_after, .. } = refused;
    let keep_alive = keep_alive && !side.listener.is_closing();
    let (said, policy) = (said.as_deref(), policy.as_deref());
    let answer = Answer { status, keep_alive, to_head, said, policy, retry_after };
    let limit = side.listener.settings.timeouts.send;
    let sent = answer::send(side.worker, conn, side.timer, limit, answer, &seen.id).await;
    seen.account(&side, status, 0, sent.unwrap_or_default());
    after_refusal(sent.is_some(), keep_alive, status)
}

pub(crate) fn after_refusal(sent: bool, keep_alive: bool, status: u16) -> Turn {
    match (sent, keep_alive) {
        (true, true) => Turn::Next,
        (true, false) if status == 408 => Turn::CloseSoon,
        (true, false) => Turn::Close,
        (false, _) => Turn::Cut,
    }
}

impl Refused {
    /// Says why, where an operator looks.
    pub(crate) fn tell(&self, side: &Side<'_>) {
        if side.worker.may_log(Line::Refusal) {
            let (request, listener) = (self.seen.id.as_str(), &*side.listener.live.name);
            let Self { status, reason, .. } = self;
            tracing::info!(request, listener, peer = %side.from.peer, status, reason = &**reason, "request refused");
        }
    }
}

impl Seen {
    /// Counts a request that is over now and hands over its record.
    pub(crate) fn account(&mut self, side: &Side<'_>, status: u16, received: u64, sent: u64) {
        let took = self.started.elapsed();
        self.settle(side, status, (received, sent), took);
    }

    /// The same, for one that took so long.
    pub(crate) fn settle(
        &mut self,
        side: &Side<'_>,
        status: u16,
        (received, sent): (u64, u64),
        took: Duration,
    ) {
        self.series.of(side.worker.index).count(status);
        if let Some(mut record) = self.record.take() {
            record.status = status;
            record.bytes_received = received;
            record.bytes_sent = sent;
            record.duration = took;
            side.worker.shared.keep(record);
        }
    }
}
