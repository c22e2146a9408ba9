//! Where pools' servers are, besides what somebody says: host names, looked up when a pool is
//! defined and again on a timer. A look-up that fails changes nothing; the last good answer stands.
#![forbid(unsafe_code)]

mod renew;
mod resolve;

pub use renew::Renewal;
pub use resolve::{Resolver, Unresolved};
