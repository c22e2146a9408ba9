//! Emptying servers: drains that somebody ordered, servers that leave their pool, and the end of
//! the process. All of them close tunnels one by one, at a pace, where it disturbs least; what they
//! close, and when, is decided here, on the control thread, and done by the tunnels themselves.
//!
//! See `pace` for how many may have been closed by now, `emptying` for which are next, `engine` for
//! all that run at once.
#![forbid(unsafe_code)]

mod emptying;
mod engine;
mod notify;
mod pace;
mod view;

pub use engine::{Operate, Stopped, Workers};
pub use view::{Remaining, State, View};
