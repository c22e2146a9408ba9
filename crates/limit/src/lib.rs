//! How often and how many at once, by key: the state behind the limits of routes and listeners, one
//! for all workers. Keys come from strangers, so only their keyed hash is kept: what a key costs does
//! not depend on its length, and nobody can aim at another one's place.
//!
//! Pure as its floor is: it does no IO, and the time is told to it.
#![forbid(unsafe_code)]

mod counts;
mod rates;
mod who;

pub use counts::{Counts, Held};
pub use rates::{KEYS, Rates};
pub use who::Who;
