//! How many at once. A key is in the table while somebody holds it, so the table is as large as what
//! is counted, and needs no bound of its own.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::Who;

const SHARDS: usize = 16;

/// A map gives memory back when it has become so many times too large, and is not small.
const SLACK: usize = 4;
const SMALL: usize = 64;

/// How many hold each key.
pub struct Counts {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

type Shard = HashMap<u64, u32>;

/// One that is counted while it lasts.
#[derive(Debug)]
pub struct Held {
    counts: Arc<Counts>,
    key: u64,
}

impl Counts {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        })
    }

    /// One more of that key; `None` when there are `limit` or more.
    pub fn take(self: &Arc<Self>, who: Who<'_>, limit: u32) -> Option<Held> {
        let key = self.hasher.hash_one(who);
        let mut shard = self.shard(key);
        let count = shard.get(&key).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        shard.insert(key, count + 1);
        drop(shard);
        Some(Held { counts: Arc::clone(self), key })
    }

    /// Keys that somebody holds.
    pub fn len(&self) -> usize {
        let of = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(of).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        let at = usize::try_from(key % SHARDS as u64).unwrap_or_default();
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut shard = self.counts.shard(self.key);
        match shard.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                shard.remove(&self.key);
                if shard.capacity() > SMALL && shard.capacity() > SLACK * shard.len() {
                    let wanted = 2 * shard.len();
                    shard.shrink_to(wanted);
                }
            }
        }
    }
}

/// What it counts is no part of what a configuration says.
impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_again_when_one_is_gone() {
        let counts = Counts::new();
        let who = Who::V4(1);
        let mut held: Vec<Held> = (0..3).filter_map(|_| counts.take(who, 3)).collect();
        assert_eq!(held.len(), 3);
        assert!(counts.take(who, 3).is_none());
        let other = counts.take(Who::V4(2), 3).expect("another one is not held up");
        assert_eq!(counts.len(), 2);
        held.pop();
        held.extend(counts.take(who, 3));
        assert!(counts.take(who, 2).is_none(), "a smaller limit counts those that are there");
        drop((held, other));
        assert!(counts.is_empty());
    }

    #[test]
    fn nothing_is_left_of_many() {
        let counts = Counts::new();
        let held: Vec<Held> =
            (0..50_000).filter_map(|number| counts.take(Who::V4(number), 1)).collect();
        assert_eq!((held.len(), counts.len()), (50_000, 50_000));
        drop(held);
        assert!(counts.is_empty());
        let capacity: usize =
            counts.shards.iter().map(|shard| shard.lock().expect("not poisoned").capacity()).sum();
        assert!(capacity <= SHARDS * 2 * SMALL, "{capacity} places are kept");
    }

    #[test]
    fn workers_count_together() {
        let counts = Counts::new();
        let most = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        if let Some(held) = counts.take(Who::V6(7), 2) {
                            let shard = counts.shard(held.key);
                            let now = shard.get(&held.key).copied().unwrap_or(0);
                            most.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(counts.is_empty());
        assert!((1..=2).contains(&most.into_inner()));
    }
}
