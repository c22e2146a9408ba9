//! The values everything else speaks of: names, addresses, servers, upstreams, routes and the
//! dyups text form. Pure: no IO, no clock, no runtime.
#![forbid(unsafe_code)]

pub mod access;
pub mod address;
pub mod drain;
pub mod dyups;
pub mod name;
mod nearest;
pub mod route;
pub mod schema;
pub mod template;
pub mod units;
pub mod upstream;

pub use access::{Access, Role};
pub use address::Address;
pub use name::Name;
pub use nearest::nearest;
pub use route::{Action, HostPattern, PathPattern, Route};
pub use template::Template;
pub use units::{Size, Span};
pub use upstream::{Balance, Check, Resolved, ServerSpec, Upstream, UpstreamSpec, WhenAllDown};
