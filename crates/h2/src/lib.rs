//! HTTP/2, so that the engines need not know it: each stream is an end that speaks HTTP/1. What comes
//! by frames is read as a head and a body in the words of HTTP/1, and what an engine writes in those
//! words goes out as frames: from clients ([`Serving`]), and to servers ([`Asking`]). Framing, flow
//! control and HPACK are the h2 crate's, as in hyper; what a connection may do with them is bounded here
//! ([`Limits`], `meter`).
#![forbid(unsafe_code)]

mod answer;
mod asked;
mod asking;
mod cuts;
mod fault;
mod incoming;
mod meter;
mod outgoing;
mod question;
mod served;
mod serving;
mod tally;
mod text;
mod websocket;

pub use asking::{Asking, Driving, Why, why};
pub use fault::Fault;
pub use serving::{Limits, PREFACE, Serving};
