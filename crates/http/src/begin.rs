//! From the bytes of a head to a job: judged, routed (`asked`), and rendered for the server
//! (`leading`), all while the head still lies in the scratch buffer. Nothing of it is kept but what
//! the job needs.

use std::{
    borrow::Cow,
    mem::MaybeUninit,
    sync::Arc,
    time::{Duration, Instant},
};

use httparse::Status;
use tidegate_limit::Held;
use tidegate_model::{
    Name, Span,
    route::Policy,
    upstream::{Condition, Next, Protocol, TimeoutsSpec},
};
use tidegate_table::{Affinity, Pool, Series};
use tidegate_wire::{Body, Refusal, Version, judge_request};
use tidegate_worker::{Record, RequestId, no_route};

use crate::{
    asked::Asked, compress::Recoding, connection::Side, filled::Filled, head::ServerHead,
    said::Said,
};

/// Fields that find room on the stack; listeners that allow more pay for it.
const USUAL_FIELDS: usize = 128;

/// A request on its way to a server.
pub(crate) struct Job {
    pub(crate) pool: Arc<Pool>,
    pub(crate) fallback: Option<Name>,
    pub(crate) head: ServerHead,
    pub(crate) body: Body,
    pub(crate) max_body: u64,
    pub(crate) version: Version,
    pub(crate) to_head: bool,
    /// May be sent twice (nginx: anything but POST, LOCK and PATCH).
    pub(crate) repeatable: bool,
    pub(crate) keep_alive: bool,
    /// The client waits for a 100 before it sends its body.
    pub(crate) expects: bool,
    /// The tokens that were asked for and allowed.
    pub(crate) upgrade: Option<String>,
    pub(crate) affinity: Affinity,
    /// What its route changes about the answer.
    pub(crate) edits: Option<Box<Filled>>,
    pub(crate) seen: Seen,
    /// What its route sets, if that is anything.
    pub(crate) policy: Option<Arc<Policy>>,
    /// As one of those that its route has at once.
    pub(crate) held: Option<Box<Held>>,
    /// What its answer may be compressed with, on a route that does that.
    pub(crate) recoding: Option<Recoding>,
}

/// What every request is accounted by, whatever becomes of it.
pub(crate) struct Seen {
    pub(crate) id: RequestId,
    pub(crate) started: Instant,
    pub(crate) series: Arc<Series>,
    pub(crate) record: Option<Box<Record>>,
}

/// A request that no server will see.
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) keep_alive: bool,
    pub(crate) to_head: bool,
    /// What its route says; otherwise it is refused in words of our own.
    pub(crate) said: Option<Box<Said>>,
    pub(crate) seen: Seen,
    /// Of the route, if one was found and sets anything.
    pub(crate) policy: Option<Arc<Policy>>,
    /// In seconds.
    pub(crate) retry_after: Option<u64>,
}

impl Job {
    /// How much of its body is kept for another try: nothing when none could follow anyway.
    pub(crate) fn replay_limit(&self) -> usize {
        let next = self.next(&self.pool);
        // A server of HTTP/2 can say that it has not looked at a request: then any goes on.
        let may_be_unseen = self.pool.upstream.protocol == Protocol::Http2;
        let may_repeat =
            self.repeatable || may_be_unseen || next.on.contains(Condition::NonIdempotent);
        let limit = next.replay_buffer.bytes();
        let fits = match self.body {
            Body::None => false,
            Body::Length(length) => length <= limit,
            Body::Chunked => true,
        };
        if may_repeat && fits { usize::try_from(limit).unwrap_or(0) } else { 0 }
    }

    /// When it goes on to another server of that pool.
    pub(crate) fn next(&self, pool: &Pool) -> Next {
        let pools = &pool.upstream.next;
        self.policy.as_ref().map_or(*pools, |policy| policy.next.over(pools))
    }

    /// The route's own time-out, or that of its pool.
    pub(crate) fn timeout(
        &self,
        own: impl FnOnce(&TimeoutsSpec) -> Option<Span>,
        pools: Span,
    ) -> Duration {
        let own = self.policy.as_ref().and_then(|policy| own(&policy.timeouts));
        own.unwrap_or(pools).as_duration()
    }
}

/// A request that was understood: to be forwarded, or refused though its end is known.
pub(crate) type Begun = Result<Box<Job>, Box<Refused>>;

/// Reads one head from the front of `bytes`, and how long it is; `None` while it is incomplete.
///
/// # Errors
/// When it cannot be told where the request ends.
pub(crate) fn begin(
    side: &Side<'_>,
    started: Instant,
    bytes: &[u8],
) -> Result<Option<(Begun, usize)>, Box<Refused>> {
    let limit = side.listener.settings.limits.fields;
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    let mut many = Vec::new();
    let storage = if limit <= USUAL_FIELDS {
        &mut usual[..limit]
    } else {
        many.resize_with(limit, MaybeUninit::uninit);
        &mut many[..]
    };
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, storage);
    let judged = match parsed {
        Ok(Status::Partial) => return Ok(None),
        Ok(Status::Complete(size)) => judge_request(&request).map(|facts| (facts, size)),
        Err(error) => Err(Refusal::of_syntax(error, bytes)),
    };
    match judged {
        Ok((facts, size)) => {
            let asked = Asked::new(side, started, &bytes[..size], &facts, request.headers);
            Ok(Some((asked.job(), size)))
        }
        Err(refusal) => {
            let (status, reason) = (refusal.status(), refusal.to_string());
            Err(Box::new(unreadable(side, started, status, reason.into())))
        }
    }
}

/// The refusal of a head that cannot be read.
pub(crate) fn unreadable(
    side: &Side<'_>,
    started: Instant,
    status: u16,
    reason: Cow<'static, str>,
) -> Refused {
    let worker = side.worker;
    let id = worker.request_id();
    let series = worker.series(side.listener, &no_route(), worker.shared.table.nowhere());
    let record = worker.shared.access.as_ref().map(|_| {
        let record = Record::new(&side.listener.live.name, side.from.peer.ip(), id);
        Box::new(Record { encryption: side.encryption.cloned(), ..record })
    });
    Refused {
        status,
        reason,
        keep_alive: false,
        to_head: false,
        said: None,
        seen: Seen { id, started, series, record },
        policy: None,
        retry_after: None,
    }
}
