//! The account of a request: what is counted of its tries and of its answer, and its record.

use std::{
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_net::coarse_millis;
use tidegate_table::{Attempt, Lease, Pick, Pool};
use tidegate_worker::{Attempted, Line, Record};

use super::Forwarding;
use crate::{attempt::Failure, exchange::Answered, trace};

/// What is known of a try besides its outcome.
pub(super) struct Newest {
    pub(super) began: Instant,
    /// How long it took to have a connection, if a new one was made.
    pub(super) connected: Option<Duration>,
    /// That its server is told of.
    pub(super) span: Option<NonZeroU64>,
}

impl Forwarding<'_> {
    /// Gives a try a span of its own, if there is a server to be told of one.
    pub(super) fn tell_span(&mut self) -> Option<NonZeroU64> {
        let head = &mut self.job.head;
        if !head.tells_span() {
            return None;
        }
        let id = trace::span_id(&self.client.side.worker.random);
        head.tell_span(id);
        Some(id)
    }

    pub(super) fn passed(&mut self, pool: &Pool, pick: &Pick<'_>, answered: Answered) {
        let worker = self.client.side.worker.index;
        pick.server.state.cells.of(worker).codes.count(answered.status);
        let micros = u64::try_from(answered.after.as_micros()).unwrap_or(u64::MAX);
        pick.server.state.latency.observe(micros, coarse_millis());
        pool.live.cells.of(worker).upstream_seconds.observe(answered.after);
        if let Some(record) = &mut self.job.seen.record {
            record.upstream_duration = Some(answered.after);
        }
        self.account(pool, answered.status, answered.received, answered.bytes);
    }

    pub(super) fn account(&mut self, pool: &Pool, status: u16, received: u64, sent: u64) {
        let side = self.client.side;
        let now = self.now.take().unwrap_or_else(Instant::now);
        let took = now.saturating_duration_since(self.job.seen.started);
        pool.live.cells.of(side.worker.index).request_seconds.observe(took);
        if let Some(record) = &mut self.job.seen.record {
            record.upstream = Some(pool.name.clone());
        }
        self.job.seen.settle(&side, status, (received, sent), took);
    }

    pub(super) fn note(&mut self, pick: &Pick<'_>, outcome: Attempt) {
        let cells = pick.server.state.cells.of(self.client.side.worker.index);
        cells.attempt(outcome).add(1);
        self.note_record(&pick.lease, outcome);
    }

    pub(super) fn note_record(&mut self, lease: &Lease, outcome: Attempt) {
        let Some(record) = &mut self.job.seen.record else { return };
        if !self.client.side.worker.shared.logs_all() && record.span.is_none() {
            return;
        }
        let Newest { began, connected, span } = self.newest;
        // Read once for this, for the whole and for the start of the next try.
        let now = *self.now.get_or_insert_with(Instant::now);
        record.upstream = Some(self.job.pool.name.clone());
        record.attempts.push(Attempted {
            server: Arc::clone(lease.state().label()),
            outcome: outcome.label(),
            after: began.saturating_duration_since(self.job.seen.started),
            took: Some(now.saturating_duration_since(began)),
            connect: connected,
            span,
        });
    }

    pub(super) fn log(&self, pick: &Pick<'_>, failure: &Failure, what: &'static str) {
        if self.client.side.worker.may_log(Line::Failure) {
            let (server, cause) = (&**pick.lease.state().label(), failure.cause.label());
            let (request, reason) = (self.job.seen.id.as_str(), &*failure.reason);
            tracing::warn!(upstream = %self.job.pool.name, server, cause, reason, then = failure.then(), request, "{what}");
        }
    }

    /// The record of a request that becomes a tunnel. Its span is over: a tunnel may last for days.
    pub(super) fn tunnel_record(&mut self) -> Option<Box<Record>> {
        let mut record = self.job.seen.record.take()?;
        let now = self.now.unwrap_or_else(Instant::now);
        record.status = 101;
        record.duration = now.saturating_duration_since(self.job.seen.started);
        record.upstream_duration = Some(now.saturating_duration_since(self.newest.began));
        let shared = &self.client.side.worker.shared;
        shared.export(&mut record);
        shared.access.is_some().then_some(record)
    }
}
