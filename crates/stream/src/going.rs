//! Whether a client is led on to another server: nginx's rules for streams. Only what keeps a server
//! from being reached counts; once a byte may have come to one, it is that one's.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use tidegate_model::{
    template::Variable,
    upstream::{Condition, Next},
};
use tidegate_table::{Affinity, Attempt, Hashed, Pool, ServerState, Tried};

/// A server is marked as gone an instant before the snapshot without it is there; whoever falls in
/// between waits so long for that, and so often at most.
pub(crate) const UNTIL_SWAPPED: Duration = Duration::from_millis(1);
pub(crate) const MAX_LEFT: usize = 1_000;

/// What a client has tried so far.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// Servers that have failed it.
    pub(crate) failed: Tried,
    /// Attempts that count, the running one among them.
    pub(crate) count: u32,
    /// When the first began.
    began: Option<Instant>,
    /// How the last one ended, if another is to follow it.
    pub(crate) last: Option<Attempt>,
}

impl Tries {
    /// One more begins, in that pool.
    pub(crate) fn begin(&mut self, pool: &Pool, worker: usize) {
        if let Some(cause) = self.last.take() {
            pool.live.cells.of(worker).retries(cause).add(1);
        }
        self.began.get_or_insert_with(Instant::now);
        self.count += 1;
    }

    /// A server has failed it. Why it does not go on to another one; `None`: it does.
    pub(crate) fn failed(
        &mut self,
        state: &ServerState,
        next: &Next,
        cause: Attempt,
    ) -> Option<&'static str> {
        self.failed.add(state.id());
        self.last = Some(cause);
        self.ended_by(next, cause)
    }

    fn ended_by(&self, next: &Next, cause: Attempt) -> Option<&'static str> {
        let condition = match cause {
            Attempt::ConnectTimedOut | Attempt::TimedOut => Condition::Timeout,
            _ => Condition::Error,
        };
        if !next.on.contains(condition) {
            return Some("next.on does not name it");
        }
        if next.tries > 0 && self.count >= next.tries {
            return Some("next.tries is reached");
        }
        let limit = next.timeout.as_duration();
        let is_over = self.began.is_some_and(|began| began.elapsed() >= limit);
        (!limit.is_zero() && is_over).then_some("next.timeout is over")
    }
}

/// What of a client its pool balances by. There is only its address: a pool that hashes something of
/// requests goes by round robin here.
pub(crate) fn affinity(pool: &Pool, client: Option<IpAddr>) -> Affinity {
    let upstream = &pool.upstream;
    let hashes = upstream.balance.hashes() && *upstream.hash_key.variable() == Variable::ClientIp;
    let key = || client.and_then(|ip| Hashed::of(ip.to_string().as_bytes()));
    Affinity { key: if hashes { key() } else { None }, ..Affinity::of_client(client) }
}

#[cfg(test)]
mod tests {
    use tidegate_model::UpstreamSpec;
    use tidegate_model::upstream::{Conditions, NextSpec};

    use super::*;

    fn next(spec: NextSpec) -> Next {
        let spec = UpstreamSpec { next: spec, ..UpstreamSpec::default() };
        spec.resolve(&UpstreamSpec::default()).next
    }

    #[test]
    fn a_client_goes_on_until_a_rule_says_no() {
        let mut tries = Tries { count: 1, ..Tries::default() };
        let usual = next(NextSpec::default());
        for cause in [Attempt::ConnectFailed, Attempt::ConnectTimedOut] {
            assert_eq!(tries.ended_by(&usual, cause), None);
        }
        let two = next(NextSpec { tries: Some(2), ..NextSpec::default() });
        assert_eq!(tries.ended_by(&two, Attempt::ConnectFailed), None);
        tries.count += 1;
        assert!(tries.ended_by(&two, Attempt::ConnectFailed).is_some());
        let off = next(NextSpec { on: Some(Conditions::NONE), ..NextSpec::default() });
        assert!(tries.ended_by(&off, Attempt::ConnectFailed).is_some());
        let on = Some([Condition::Error].into_iter().collect());
        let errors = next(NextSpec { on, ..NextSpec::default() });
        assert_eq!(tries.ended_by(&errors, Attempt::ConnectFailed), None);
        assert!(tries.ended_by(&errors, Attempt::ConnectTimedOut).is_some());
    }
}
