//! What happened lately, for whoever follows it: changes of the table, servers that turned sick or
//! well, drains, listeners, reloads. Anybody may tell the [`Hub`] of an event, from any thread, and
//! never waits for those who read. An event is rendered once, as text of server-sent events (WHATWG
//! HTML, §9.2), and kept in a ring that all readers share; a reader is no more than a place in it.
//!
//! See `event` for what is told, `hub` for the ring, `subscription` for reading it.
#![forbid(unsafe_code)]

mod event;
mod hub;
mod subscription;

pub use event::{
    Change, Condition, Drain, DrainTurn, Event, Health, Kind, Kinds, Listener, ListenerTurn,
    MOST_NAMES, Reload, Remaining,
};
pub use hub::{Full, Hub, Totals};
pub use subscription::Subscription;
