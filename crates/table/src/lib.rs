//! The one table everything routes by: an immutable snapshot behind one pointer, the single writer
//! that replaces it, the live state of servers that is carried from one to the next, and the
//! journal that keeps every acknowledged change.
#![forbid(unsafe_code)]

mod affinity;
mod change;
mod condition;
mod departed;
mod drain;
mod effect;
mod head;
mod health;
mod history;
mod journal;
mod keys;
mod live;
mod plan;
mod pool;
mod precedence;
mod published;
mod recovery;
mod reload;
mod routes;
mod secure;
mod snapshot;
mod state;
mod tried;
mod writer;

pub use affinity::{Affinity, Hashed, parse_token, place, print_token, token};
pub use change::{
    Applied, Change, FilePool, FileState, Foreseen, Operation, Options, Origin, Preview, Refused,
    Reloaded,
};
pub use condition::{Condition, Key, Subject, Wanted};
pub use departed::Departure;
pub use drain::{Drain, DrainChange, Drains};
pub use health::{Ailment, Checked, Health, Probed, Turned};
pub use history::{Bounds, Page, Past, PastPool};
pub use journal::record::Unreadable;
pub use live::{
    Attempt, Barred, Close, Handshake, PoolCells, PoolLive, RequestCells, Series, SeriesKey,
    ServerCells,
};
pub use pool::{Ask, NoServer, Parts, Pick, Pool, Server, Source, Standing, Target};
pub use published::{ChangeTotals, Committed, Outcome, Reader};
pub use recovery::{OpenError, Recovered};
pub use routes::{Mismatch, Request, Routes};
pub use secure::{BadFile, Secure, Secures};
pub use snapshot::{Filed, Pools, Snapshot};
pub use state::{Lease, ServerState};
pub use tried::Tried;
pub use writer::Table;
