//! What was counted in each of the last seconds: enough to say how much there was lately, without
//! anybody who has to come by and look.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A power of two above the longest look back.
const SECONDS: u64 = 16;

/// A count by second, with one writer and any number of readers, over the last 15 seconds.
#[derive(Debug, Default)]
pub struct Recent([Second; SECONDS as usize]);

#[derive(Debug, Default)]
struct Second {
    /// Which second this one is.
    stamp: AtomicU64,
    count: AtomicU64,
}

impl Recent {
    /// Counts `n` more in the second `now`.
    pub fn add(&self, now: u64, n: u64) {
        let second = self.of(now);
        let before = if second.stamp.load(Relaxed) == now { second.count.load(Relaxed) } else { 0 };
        second.count.store(before + n, Relaxed);
        second.stamp.store(now, Relaxed);
    }

    /// What was counted in the `seconds` up to and including `now`.
    pub fn over(&self, now: u64, seconds: u64) -> u64 {
        let first = now.saturating_sub(seconds.min(SECONDS - 1).saturating_sub(1));
        (first..=now)
            .map(|at| (at, self.of(at)))
            .filter(|(at, second)| second.stamp.load(Relaxed) == *at)
            .map(|(_, second)| second.count.load(Relaxed))
            .sum()
    }

    fn of(&self, at: u64) -> &Second {
        &self.0[(at % SECONDS) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_seconds_count() {
        let recent = Recent::default();
        recent.add(100, 5);
        recent.add(100, 1);
        recent.add(104, 2);
        assert_eq!((recent.over(104, 10), recent.over(104, 1)), (8, 2));
        assert_eq!((recent.over(110, 10), recent.over(110, 7), recent.over(110, 6)), (2, 2, 0));
        recent.add(116, 1);
        assert_eq!(recent.over(116, 15), 3, "100 has been written over");
        assert_eq!(recent.over(0, 10), 0);
    }
}
