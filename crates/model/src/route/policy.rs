//! What a route sets that most do not: who may use it, how often, how many at once, and what is
//! different there from its pools' own settings.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use tidegate_limit::{Counts, Rates};

use super::{Encoding, ErrorPages, Nets, Rate};
use crate::upstream::{HashKey, NextSpec, TimeoutsSpec};

/// The settings. `Default` is a route without any.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Empty: everybody who is not in `deny`.
    pub allow: Nets,
    pub deny: Nets,
    pub rate_limit: Option<RateLimit>,
    pub conn_limit: Option<ConnLimit>,
    /// What is set here holds in place of the pool's.
    pub timeouts: TimeoutsSpec,
    pub next: NextSpec,
    pub error_pages: ErrorPages,
    /// What answers are compressed with; of what a client likes equally well, the first.
    pub compress: Vec<Encoding>,
}

/// How often.
#[derive(Clone, Debug)]
pub struct RateLimit {
    pub key: HashKey,
    pub rate: Rate,
    /// How many more than the rate allows may come at once.
    pub burst: u32,
    /// What was counted, by all workers.
    pub rates: Arc<Rates>,
}

/// How many requests and tunnels at once.
#[derive(Clone, Debug)]
pub struct ConnLimit {
    pub key: HashKey,
    pub count: u32,
    /// Those there are, of all workers.
    pub counts: Arc<Counts>,
}

impl Policy {
    /// Whether it sets nothing.
    pub fn is_empty(&self) -> bool {
        let Self { allow, deny, rate_limit, conn_limit, timeouts, next, error_pages, compress } =
            self;
        allow.is_empty()
            && deny.is_empty()
            && rate_limit.is_none()
            && conn_limit.is_none()
            && *timeouts == TimeoutsSpec::default()
            && *next == NextSpec::default()
            && *error_pages == ErrorPages::default()
            && compress.is_empty()
    }

    /// Whether the client may use the route at all: not one of `deny`, nor anybody but those of
    /// `allow` when there are some. Who has no address, as at a unix socket, is in neither.
    pub fn admits(&self, client: Option<IpAddr>) -> bool {
        let is_in = |nets: &Nets| client.is_some_and(|ip| nets.contains(ip));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    /// Goes on counting where that one is, for limits that are the same.
    fn carry_on(&mut self, before: &Self) {
        if let (Some(new), Some(old)) = (&mut self.rate_limit, &before.rate_limit)
            && (&new.key, new.rate) == (&old.key, old.rate)
        {
            new.rates = Arc::clone(&old.rates);
        }
        if let (Some(new), Some(old)) = (&mut self.conn_limit, &before.conn_limit)
            && new.key == old.key
        {
            new.counts = Arc::clone(&old.counts);
        }
    }
}

impl RateLimit {
    pub fn new(key: HashKey, rate: Rate, burst: u32) -> Self {
        Self { key, rate, burst, rates: Arc::new(Rates::new(rate.interval())) }
    }
}

impl ConnLimit {
    pub fn new(key: HashKey, count: u32) -> Self {
        Self { key, count, counts: Counts::new() }
    }
}

/// Limits that are as they were go on counting where they are. A route is known by its label, and by
/// its place among those of the same.
pub(super) fn carry_on<'r>(
    before: impl Iterator<Item = (&'r str, Option<&'r Policy>)>,
    now: impl Iterator<Item = (&'r str, &'r mut Option<Arc<Policy>>)>,
) {
    let mut known: HashMap<&str, VecDeque<Option<&Policy>>> = HashMap::new();
    for (label, policy) in before {
        known.entry(label).or_default().push_back(policy);
    }
    for (label, policy) in now {
        let old = known.get_mut(label).and_then(VecDeque::pop_front).flatten();
        if let (Some(policy), Some(old)) = (policy, old) {
            Arc::make_mut(policy).carry_on(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tidegate_limit::Who;

    use super::*;

    fn nets(texts: &[&str]) -> Nets {
        Nets::new(texts.iter().map(|text| text.parse().expect("a network")))
    }

    #[test]
    fn deny_comes_first_and_allow_leaves_nobody_else() {
        let policy = |allow: &[&str], deny: &[&str]| Policy {
            allow: nets(allow),
            deny: nets(deny),
            ..Policy::default()
        };
        let admits = |policy: &Policy, ip: &str| policy.admits(ip.parse().ok());
        let both = policy(&["10.0.0.0/8"], &["10.9.0.0/16"]);
        assert!(admits(&both, "10.1.1.1") && !admits(&both, "10.9.1.1"));
        assert!(!admits(&both, "192.0.2.1") && !both.admits(None));
        let deny = policy(&[], &["10.9.0.0/16"]);
        assert!(admits(&deny, "192.0.2.1") && !admits(&deny, "::ffff:10.9.0.1"));
        assert!(deny.admits(None), "who has no address is on no list");
        assert!(Policy::default().admits(None) && Policy::default().is_empty());
    }

    fn limited(rate: &str, burst: u32) -> Policy {
        let rate = Rate::parse(rate).expect("a rate");
        Policy {
            rate_limit: Some(RateLimit::new(HashKey::default(), rate, burst)),
            conn_limit: Some(ConnLimit::new(HashKey::default(), burst)),
            ..Policy::default()
        }
    }

    /// Whether one more of that client is within the limit.
    fn one_more(policy: &Policy) -> bool {
        let RateLimit { rates, burst, .. } = policy.rate_limit.as_ref().expect("a limit");
        rates.count(Who::V4(1), *burst, Instant::now()).is_ok()
    }

    #[test]
    fn limits_that_stay_go_on_counting() {
        let old = [("/", limited("1/h", 0)), ("/", limited("1/h", 0)), ("/x", limited("1/h", 0))];
        assert!(old.iter().all(|(_, policy)| one_more(policy)));
        assert!(!old.iter().any(|(_, policy)| one_more(policy)));
        let new = [("/x", "1/h", 0), ("/", "1/h", 1), ("/", "2/h", 0), ("/", "1/h", 0)];
        let mut new: Vec<_> = new
            .into_iter()
            .map(|(label, rate, burst)| (label, Some(Arc::new(limited(rate, burst)))))
            .collect();
        carry_on(
            old.iter().map(|(label, policy)| (*label, Some(policy))),
            new.iter_mut().map(|(label, policy)| (*label, policy)),
        );
        let new: Vec<Arc<Policy>> = new.into_iter().filter_map(|(_, policy)| policy).collect();
        assert!(!one_more(&new[0]), "its state went along, wherever it stands");
        assert!(one_more(&new[1]) && !one_more(&new[1]), "a larger burst leaves one more");
        assert!(one_more(&new[2]), "another rate begins anew");
        assert!(one_more(&new[3]), "there was no third one");
        let counts =
            |policy: &Policy| Arc::clone(&policy.conn_limit.as_ref().expect("a limit").counts);
        assert!(Arc::ptr_eq(&counts(&old[2].1), &counts(&new[0])));
        assert!(Arc::ptr_eq(&counts(&old[1].1), &counts(&new[2])), "a rate is no matter to it");
    }

    #[test]
    fn what_was_counted_does_not_show() {
        let (one, other) = (limited("1/h", 0), limited("1/h", 0));
        assert!(one_more(&one));
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
    }
}
