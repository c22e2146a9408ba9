//! How fast counters grow, from one look to the next.

use std::{collections::HashMap, time::Instant};

/// What two counters of a thing had come to, and how fast they grow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pace {
    pub(super) requests: Option<f64>,
    pub(super) fails: Option<f64>,
}

/// The counters of things by name.
#[derive(Debug, Default)]
pub(super) struct Rates {
    at: Option<Instant>,
    counters: HashMap<String, (u64, u64)>,
    paces: HashMap<String, Pace>,
}

impl Rates {
    /// What the counters say now: for each name requests, and failures.
    pub(super) fn hear<'n>(
        &mut self,
        at: Instant,
        now: impl Iterator<Item = (&'n str, (u64, u64))>,
    ) {
        let passed = self.at.map(|before| at.saturating_duration_since(before).as_secs_f64());
        let passed = passed.filter(|seconds| *seconds > 0.0);
        let mut counters = HashMap::with_capacity(self.counters.len());
        let mut paces = HashMap::with_capacity(self.paces.len());
        for (name, (requests, fails)) in now {
            let grown = |now: u64, before: u64| {
                // Less than before: the thing is another one of that name.
                Some(now.checked_sub(before)? as f64 / passed?)
            };
            let pace = self.counters.get(name).map(|(had, failed)| Pace {
                requests: grown(requests, *had),
                fails: grown(fails, *failed),
            });
            paces.insert(name.to_owned(), pace.unwrap_or_default());
            counters.insert(name.to_owned(), (requests, fails));
        }
        (self.at, self.counters, self.paces) = (Some(at), counters, paces);
    }

    /// Another kind of things is counted from now on.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn of(&self, name: &str) -> Pace {
        self.paces.get(name).copied().unwrap_or_default()
    }

    /// Of all together.
    pub(super) fn requests(&self) -> Option<f64> {
        let mut known = self.paces.values().filter_map(|pace| pace.requests).peekable();
        known.peek()?;
        Some(known.sum())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_are_what_was_added_over_the_time() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        rates.hear(start, [("a", (100, 1)), ("b", (5, 0))].into_iter());
        assert_eq!(rates.of("a"), Pace::default());
        assert_eq!(rates.requests(), None);
        let later = start + Duration::from_secs(2);
        rates.hear(later, [("a", (300, 2)), ("b", (4, 0)), ("c", (9, 9))].into_iter());
        assert_eq!(rates.of("a"), Pace { requests: Some(100.0), fails: Some(0.5) });
        assert_eq!(rates.of("b"), Pace { requests: None, fails: Some(0.0) });
        assert_eq!(rates.of("c"), Pace::default());
        assert_eq!(rates.requests(), Some(100.0));
        rates.hear(later, [("a", (400, 2))].into_iter());
        assert_eq!(rates.of("a"), Pace::default(), "no time has passed");
    }
}
