//! HTTP/1 over an end and a scratch buffer: heads are read into lent memory and judged there,
//! bodies move straight from socket to scratch to socket, and whoever must wait keeps an exactly
//! sized remainder and nothing else.
#![forbid(unsafe_code)]

mod conn;
mod flow;
#[cfg(test)]
mod script;
mod transform;
mod writer;

pub use conn::{Conn, HeadError, MAX_AHEAD};
pub use flow::{Coding, Decoder, Flow, FlowError, Waiting};
pub use transform::Transform;
pub use writer::HeadWriter;
