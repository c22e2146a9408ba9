//! Numbers that cost nothing to count: hot counters are cells with one writer each, a worker, and
//! are summed when somebody scrapes. Shared read-modify-write is for what decides, not for this.
#![forbid(unsafe_code)]

mod cells;
mod codes;
mod histogram;
mod recent;

pub use cells::{Counter, Gauge, PerWorker};
pub use codes::Codes;
pub use histogram::{BOUNDS, Histogram, Totals};
pub use recent::Recent;
