//! Whether a request may go on to another server: nginx's rules (`proxy_next_upstream`), and a
//! budget that keeps retries from making an overload worse.

use std::time::Instant;

use tidegate_model::upstream::{Condition, Next};
use tidegate_net::coarse_millis;
use tidegate_table::{Affinity, Ask, Attempt, Pick, Pool, Tried};

use tidegate_worker::Worker;

/// What a request has tried so far.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// Servers that have failed it.
    pub(crate) failed: Tried,
    /// Attempts that count, the running one among them.
    pub(crate) count: u32,
    /// When the first began.
    pub(crate) began: Option<Instant>,
}

/// How far a request had come when its attempt ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// The server may have seen some of it.
    pub(crate) begun: bool,
    /// Some of its body is gone for good.
    pub(crate) spent: bool,
}

/// One attempt, as seen by who decides what follows it.
#[derive(Clone, Copy)]
pub(crate) struct Going<'f> {
    pub(crate) worker: &'f Worker,
    pub(crate) pool: &'f Pool,
    pub(crate) affinity: &'f Affinity,
    pub(crate) tries: &'f Tries,
    /// The server that is being asked.
    pub(crate) pick: &'f Pick<'f>,
    /// The rules: the pool's, but for what the route has of its own.
    pub(crate) next: Next,
    /// nginx: anything but POST, LOCK and PATCH.
    pub(crate) repeatable: bool,
}

/// Whether a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To the next server, if there is one.
    GoesOn,
    /// It does not, and this is why.
    Ends(&'static str),
}

impl Going<'_> {
    /// What follows an attempt that came to nothing.
    pub(crate) fn after(&self, cause: Attempt, progress: Progress) -> Verdict {
        let condition = match cause {
            Attempt::Malformed => Condition::InvalidHeader,
            Attempt::ConnectTimedOut | Attempt::TimedOut => Condition::Timeout,
            _ => Condition::Error,
        };
        // The connection was ours to keep: nothing has been asked of anybody yet.
        if cause == Attempt::Stale && !progress.begun && !progress.spent {
            return Verdict::GoesOn;
        }
        // A dead kept connection was no try (nginx gives it back, too).
        let tries = self.tries.count - u32::from(cause == Attempt::Stale);
        let verdict = self.allows(condition, progress, tries);
        // Who is not there any more does not suffer from retries; who is slow does.
        if verdict == Verdict::GoesOn && cause == Attempt::TimedOut && self.has_choice(true) {
            return self.within_budget();
        }
        verdict
    }

    /// Whether an answer of that status is left for another server's: only when there is one that
    /// can be asked, so that the last one's own answer is passed on.
    pub(crate) fn leaves(&self, status: u16, progress: Progress) -> bool {
        Condition::of_status(status).is_some_and(|condition| {
            self.next.on.contains(condition)
                && self.allows(condition, progress, self.tries.count) == Verdict::GoesOn
                // A server that is well does not yield to one that is not.
                && self.has_choice(self.pick.overlooked)
                && self.within_budget() == Verdict::GoesOn
        })
    }

    fn allows(&self, condition: Condition, progress: Progress, tries: u32) -> Verdict {
        let next = &self.next;
        if !next.on.contains(condition) {
            return Verdict::Ends("next.on does not name it");
        }
        if progress.begun && !self.repeatable && !next.on.contains(Condition::NonIdempotent) {
            return Verdict::Ends("it had been sent, and its method may not be repeated");
        }
        if progress.spent {
            return Verdict::Ends("its body is not kept");
        }
        if next.tries > 0 && tries >= next.tries {
            return Verdict::Ends("next.tries is reached");
        }
        let limit = next.timeout.as_duration();
        if !limit.is_zero() && self.tries.began.is_some_and(|began| began.elapsed() >= limit) {
            return Verdict::Ends("next.timeout is over");
        }
        Verdict::GoesOn
    }

    fn has_choice(&self, overlooks: bool) -> bool {
        let mut tried = self.tries.failed.clone();
        tried.add(self.pick.lease.state().id());
        let ask = Ask {
            tried: &tried,
            affinity: self.affinity,
            now: coarse_millis(),
            random: &self.worker.random,
        };
        self.pool.has_choice(&ask, overlooks)
    }

    fn within_budget(&self) -> Verdict {
        let share = self.next.budget;
        if self.pool.live.take_retry(self.worker.index, share, coarse_millis()) {
            Verdict::GoesOn
        } else {
            Verdict::Ends("the retry budget is used up")
        }
    }
}

/// How an attempt ended whose answer was left for another server's.
pub(crate) fn left_for(status: u16) -> Attempt {
    match status {
        403 => Attempt::Http403,
        404 => Attempt::Http404,
        429 => Attempt::Http429,
        500 => Attempt::Http500,
        502 => Attempt::Http502,
        503 => Attempt::Http503,
        _ => Attempt::Http504,
    }
}
