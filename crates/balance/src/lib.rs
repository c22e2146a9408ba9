//! Choosing among servers. What is eligible is the caller's business: every balancer asks a
//! closure, and knows servers only by their index in the list it was built from.
#![forbid(unsafe_code)]

mod ip_hash;
mod rotation;

pub use ip_hash::{Key, ip_hash};
pub use rotation::Rotation;
