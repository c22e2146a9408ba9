//! Counters with a single writer, and the table that gives each worker cells of its own.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A count with one writer and any number of readers. Two writers would lose counts, never more.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level with one writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn raise(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub fn lower(&self) {
        self.0.store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One `T` per worker, made when that worker first counts: a pool nobody asks for costs a pointer
/// a worker, and no two workers write to one allocation.
#[derive(Debug)]
pub struct PerWorker<T>(Box<[OnceLock<Box<T>>]>);

impl<T: Default> PerWorker<T> {
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| OnceLock::new()).collect())
    }

    /// The cells of one worker.
    ///
    /// # Panics
    /// When `worker` is not below the number of workers it was made for.
    pub fn of(&self, worker: usize) -> &T {
        self.0[worker].get_or_init(Box::default)
    }

    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|cell| cell.get().map(|boxed| &**boxed))
    }

    /// The sum of one number over all workers.
    pub fn sum(&self, value: impl Fn(&T) -> u64) -> u64 {
        self.all().map(value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_count_apart_and_are_summed() {
        let cells = PerWorker::<Counter>::new(3);
        cells.of(0).add(2);
        cells.of(2).add(5);
        assert_eq!(cells.sum(Counter::value), 7);
        assert_eq!(cells.all().count(), 2, "a worker that never counted has no cell");
    }
}
