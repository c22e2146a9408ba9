//! What every request of the admin side shares: the process it reports on, the rules of who may
//! ask, and the bounds on what asking may cost.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::Semaphore;

use crate::{Admin, resolve::Resolver};

/// Bodies above [`SMALL_BODY`] that may be read and applied at once; each is at most 1 MiB.
const LARGE_BODIES: usize = 32;
/// Bodies up to this size are not counted: as many as there are connections do no harm.
pub(crate) const SMALL_BODY: u64 = 64 * 1024;

/// Shared by all connections of one `serve`.
pub(crate) struct Context {
    pub(crate) admin: Arc<Admin>,
    /// Where we listen: addresses a Host header may name.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) resolver: Resolver,
    pub(crate) large_bodies: Semaphore,
    /// One scrape at a time: a page of 10,000 servers is megabytes.
    pub(crate) scrape: Arc<Semaphore>,
}

impl Context {
    pub(crate) fn new(admin: Arc<Admin>, addresses: Vec<IpAddr>) -> Self {
        Self {
            admin,
            addresses,
            resolver: Resolver::new(),
            large_bodies: Semaphore::new(LARGE_BODIES),
            scrape: Arc::new(Semaphore::new(1)),
        }
    }
}
