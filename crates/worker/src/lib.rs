//! One worker: a thread with a runtime of its own. Here is what the connections on it share,
//! whichever engine serves them: scratch buffers, timers, idle connections, the newest snapshot;
//! how they are accepted and counted, how a tunnel runs, and where what became of them is written
//! down.
#![forbid(unsafe_code)]

mod access;
mod carry;
mod dial;
mod door;
mod full;
mod identity;
mod ledger;
mod listener;
mod memory;
mod opening;
mod room;
mod secure;
mod traces;
mod turns;
mod worker;

pub use access::{AccessLog, Attempted, Attempts, Format, Record, Said, SpanIds, Texts};
pub use carry::{Ends, Opened, carry};
pub use dial::{Dial, unconnected};
pub use door::{Door, Service, Stay};
pub use full::Full;
pub use identity::RequestId;
pub use ledger::{Ledger, Tunnels};
pub use listener::{
    Accepted, Http2, Http2Cells, Limits, Listener, ListenerCells, ListenerLive, Open, Settings,
    Timeouts, UdpCells, accept,
};
pub use memory::ReplayMemory;
pub use opening::{Introduction, Opening, Unopened, introduce};
pub use room::Room;
pub use secure::{Encryption, Handshake, Securing, Unsecured};
pub use traces::{Exported, Traces};
pub use worker::{Line, Shared, Totals, Worker, no_route};
