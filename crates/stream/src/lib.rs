//! L4: connections and datagrams as they come. A connection is led to a server of its listener's
//! pool, or of the pool that the name in its ClientHello stands for, and is a tunnel from then on;
//! a client's datagrams go to one server for as long as they keep coming.
#![forbid(unsafe_code)]

mod connection;
mod forward;
mod going;
mod routing;
mod udp;

pub use connection::take;
pub use routing::Routing;
pub use udp::{UdpSettings, serve as serve_datagrams};
