//! The grammar of HTTP/1 as it crosses the network: which heads are unambiguous, where a body
//! ends, which fields stop here. Pure: no IO, no clock, no runtime, and nothing is allocated for a
//! plain request. `httparse` finds the lines; the rules here judge what they mean, stricter than
//! most servers do, because whatever a proxy and the server behind it read differently is a way
//! to smuggle a request past one of them. Beside it, what a tunnel needs to know of what it
//! carries ([`websocket`]), and what may come before the first byte of it ([`proxy`],
//! [`tls_hello`]).
#![forbid(unsafe_code)]

mod authority;
mod chunk;
mod connection;
mod escape;
mod field;
mod framing;
mod path;
pub mod proxy;
mod refusal;
mod request;
mod response;
mod target;
pub mod tls_hello;
mod traceparent;
mod trailer;
mod variable;
pub mod websocket;

pub use chunk::{ChunkDecoder, Step};
pub use connection::{is_hop_by_hop, named_by_connection, upgrade_tokens};
pub use escape::{escape_location, escape_path};
pub use field::{is_field_value_ok, is_token};
pub use framing::{Body, Version};
pub use path::normalize_path;
pub use refusal::{BadChunk, BadFraming, BadResponse, Refusal};
pub use request::{Facts, judge_request};
pub use response::{ResponseBody, ResponseFacts, judge_response};
pub use traceparent::TraceParent;
pub use trailer::{may_trail, parse_trailers};
pub use variable::{cookie, query_argument};
