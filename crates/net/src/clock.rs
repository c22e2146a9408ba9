//! A clock for deadlines. Reading the precise one costs as much as a look-up in a table, and a
//! request asks for the time at every step; the kernel's coarse one is a load from memory, and late
//! by its tick of a few milliseconds at most.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How far the coarse clock may lag behind: the longest tick of a kernel (100 Hz).
pub const LAG: Duration = Duration::from_millis(10);

/// Time since some moment before this process began; it never goes backwards.
pub fn coarse() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    // The kernel's monotonic clock is never negative, and its nanoseconds are below a second.
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// [`coarse`] in milliseconds.
pub fn coarse_millis() -> u64 {
    u64::try_from(coarse().as_millis()).unwrap_or(u64::MAX)
}
