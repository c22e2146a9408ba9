//! Load and what judges it: reproducible random bytes, checksums, and the shared book of which pool
//! list is in force while requests run.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A generator of bytes that look random and are the same in every run.
pub struct Lcg(u64);

impl Lcg {
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }

    pub const fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// FNV-1a, continued from `sum` (start with 0).
pub fn checksum(sum: u64, bytes: &[u8]) -> u64 {
    let start = if sum == 0 { 0xcbf2_9ce4_8422_2325 } else { sum };
    bytes.iter().fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Which list is in force while a pool is swapped under load: list number `n` is begun before its
/// POST is sent, and answered after its 200 has come.
#[derive(Default)]
pub struct Swap {
    begun: AtomicUsize,
    answered: AtomicUsize,
}

impl Swap {
    /// The number of the list that is about to be posted.
    pub fn begin(&self) -> usize {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn answer(&self, list: usize) {
        self.answered.store(list, Ordering::SeqCst);
    }

    /// To be taken before a request is sent.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// Whether a request that was sent under `list` and is answered by now can have met no other:
    /// no further POST had begun.
    pub fn is_still(&self, list: usize) -> bool {
        self.begun.load(Ordering::SeqCst) == list
    }
}
