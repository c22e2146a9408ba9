//! Load and what judges it: reproducible random bytes, checksums, and the shared book of which pool
//! list is in force while requests run.

use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;

/// Bytes that look random and are the same in every run.
pub fn bytes(random: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
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
