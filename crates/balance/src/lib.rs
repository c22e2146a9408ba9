//! Choosing among servers. What is eligible is the caller's business: every balancer asks a
//! closure, and knows servers only by their index in the list it was built from.
#![forbid(unsafe_code)]

mod ewma;
mod ip_hash;
mod least;
mod maglev;
mod ring;
mod rotation;
mod share;
mod weights;

pub use ewma::Ewma;
pub use ip_hash::{Key, ip_hash};
pub use least::{least, lesser};
pub use maglev::{Maglev, wide_hash};
pub use ring::{Ring, ring_hash};
pub use rotation::Rotation;
pub use share::share_hash;
pub use weights::sums;
