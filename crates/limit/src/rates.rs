//! How often: the generic cell rate algorithm. Of each key one point in time is kept, that at which
//! it will have made up for all it has asked so far; once that is over there is nothing to remember.
//!
//! The table is bounded, and made of small sets: a key belongs to one of them by its hash. In a full
//! set the key that has least to make up for gives way. So a stranger always finds room, and a key
//! that is held back keeps its place against any number of keys that come once; what is lost is what
//! the other had to make up for, which is less than what each in its set has.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use crate::Who;

/// A set is looked through for each request, so it is small.
const SET: usize = 32;
/// The number of sets as a power of two.
const SETS_LOG: u32 = 12;

/// Keys that are remembered at once, when they spread evenly.
pub const KEYS: usize = SET << SETS_LOG;

/// One of each key in each interval, and a burst.
pub struct Rates {
    /// In nanoseconds.
    interval: u64,
    hasher: RandomState,
    /// Made when something is counted for the first time.
    table: OnceLock<Table>,
}

struct Table {
    /// Times are told from here.
    epoch: Instant,
    sets: Box<[Mutex<Vec<Entry>>]>,
}

#[derive(Clone, Copy)]
struct Entry {
    key: u64,
    /// When it will have made up for all it has asked.
    made_up: u64,
}

impl Rates {
    /// One in each interval.
    pub fn new(interval: Duration) -> Self {
        Self { interval: nanos(interval), hasher: RandomState::new(), table: OnceLock::new() }
    }

    /// Counts one; `burst` more than the rate allows may come at once.
    ///
    /// # Errors
    /// When that is one too many, which is not counted: how long it is until the next one is not.
    pub fn count(&self, who: Who<'_>, burst: u32, now: Instant) -> Result<(), Duration> {
        let key = self.hasher.hash_one(who);
        let table = self.table.get_or_init(|| Table::new(now));
        let now = nanos(now.saturating_duration_since(table.epoch));
        let set = table.set(key);
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = place(&mut set, key, now);
        let from = entry.made_up.max(now);
        let tolerance = self.interval.saturating_mul(burst.into());
        match (from - now).saturating_sub(tolerance) {
            0 => {
                entry.made_up = from.saturating_add(self.interval);
                Ok(())
            }
            wait => Err(Duration::from_nanos(wait)),
        }
    }

    /// Keys that it remembers.
    #[cfg(test)]
    fn len(&self) -> usize {
        let of = |set: &Mutex<Vec<Entry>>| set.lock().expect("not poisoned").len();
        self.table.get().map_or(0, |table| table.sets.iter().map(of).sum())
    }
}

impl Table {
    fn new(epoch: Instant) -> Self {
        Self { epoch, sets: (0..1 << SETS_LOG).map(|_| Mutex::default()).collect() }
    }

    fn set(&self, key: u64) -> &Mutex<Vec<Entry>> {
        let at = usize::try_from(key >> (u64::BITS - SETS_LOG)).unwrap_or_default();
        &self.sets[at]
    }
}

/// The entry of the key: its own, or one that is taken over or new and has nothing to make up for.
fn place(set: &mut Vec<Entry>, key: u64, now: u64) -> &mut Entry {
    let fresh = Entry { key, made_up: now };
    let at = match set.iter().position(|entry| entry.key == key) {
        Some(at) => at,
        None => {
            let least = (0..set.len()).min_by_key(|at| set[*at].made_up);
            match least.filter(|at| set[*at].made_up <= now || set.len() >= SET) {
                Some(at) => {
                    set[at] = fresh;
                    at
                }
                None => {
                    set.push(fresh);
                    set.len() - 1
                }
            }
        }
    };
    &mut set[at]
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What it counts is no part of what a configuration says.
impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates").field("interval", &self.interval).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn a_burst_and_then_one_in_each_interval() {
        let (rates, now) = (Rates::new(TENTH), Instant::now());
        let who = Who::V4(1);
        assert!((0..20).all(|_| rates.count(who, 19, now).is_ok()));
        assert_eq!(rates.count(who, 19, now), Err(TENTH));
        assert_eq!(rates.count(Who::V4(2), 19, now), Ok(()), "another one is not held up");
        assert_eq!(rates.count(who, 19, now + TENTH), Ok(()));
        assert!(rates.count(who, 19, now + TENTH).is_err());
        assert_eq!(rates.count(who, 20, now + TENTH), Ok(()), "a larger burst counts at once");
        let rested = now + Duration::from_secs(60);
        assert!((0..20).all(|_| rates.count(who, 19, rested).is_ok()), "rest is no credit");
        assert!(rates.count(who, 19, rested).is_err());
    }

    #[test]
    fn without_a_burst_it_is_one_at_a_time() {
        let (rates, now) = (Rates::new(TENTH), Instant::now());
        let who = Who::Text(b"x");
        assert_eq!(rates.count(who, 0, now), Ok(()));
        assert_eq!(rates.count(who, 0, now + TENTH / 2), Err(TENTH / 2));
        assert_eq!(rates.count(who, 0, now + TENTH), Ok(()));
        // Another worker's clock may have been read a moment before.
        assert!(rates.count(who, 0, now).is_err());
    }

    #[test]
    fn a_flood_of_strangers_finds_room_and_pushes_out_nobody_who_is_held_back() {
        let (rates, now) = (Rates::new(TENTH), Instant::now());
        let busy = Who::Text(b"busy");
        while rates.count(busy, 5, now).is_ok() {}
        for number in 0..3 * u32::try_from(KEYS).expect("few") {
            assert_eq!(rates.count(Who::V4(number), 5, now), Ok(()));
        }
        assert!(rates.len() <= KEYS, "{} keys", rates.len());
        assert!(rates.count(busy, 5, now).is_err(), "it was forgotten");
    }

    #[test]
    fn whoever_has_made_up_for_all_gives_way_first() {
        let (rates, now) = (Rates::new(TENTH), Instant::now());
        for number in 0..10_000 {
            assert_eq!(rates.count(Who::V4(number), 0, now), Ok(()));
        }
        let before = rates.len();
        for number in 10_000..40_000 {
            assert_eq!(rates.count(Who::V4(number), 0, now + 2 * TENTH), Ok(()));
        }
        assert!(rates.len() < before + 30_000, "nothing was taken over");
    }

    proptest! {
        /// Whatever the times, no window has more than its rate and the burst.
        #[test]
        fn no_window_has_more_than_the_rate_and_the_burst(
            steps in prop::collection::vec(0..50u64, 1..200),
            burst in 0..5u32,
        ) {
            let (rates, start) = (Rates::new(Duration::from_millis(10)), Instant::now());
            let mut at = 0;
            let mut taken: Vec<u64> = Vec::new();
            for step in steps {
                at += step;
                if rates.count(Who::V4(1), burst, start + Duration::from_millis(at)).is_ok() {
                    taken.push(at);
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let count = u64::try_from(last - first + 1).expect("few");
                    prop_assert!(count <= (to - from) / 10 + 1 + u64::from(burst));
                }
            }
        }
    }
}
