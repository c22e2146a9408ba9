//! L7: the life of a request. A connection waits without a buffer; a head is read into scratch,
//! judged, routed and rendered in one go; attempts follow until a server answers; the answer
//! streams back, or a tunnel opens and the HTTP state is dropped.
#![forbid(unsafe_code)]

mod answer;
mod asked;
mod attempt;
mod begin;
mod compress;
mod connection;
mod edit;
mod exchange;
mod filled;
mod forward;
mod going;
mod guard;
mod head;
mod identity;
mod leading;
mod lines;
mod linger;
mod multiplex;
mod opening;
mod passing;
mod replay;
mod said;
mod sending;
mod sticky;
mod trace;
mod turn;
mod variables;

pub use connection::take;
