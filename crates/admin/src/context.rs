//! What every request of the admin side shares: the process it reports on, the rules of who may
//! ask, and the bounds on what asking may cost.

use std::{net::IpAddr, sync::Arc};

use axum::http::StatusCode;
use tidegate_discover::Resolver;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{Admin, problem::Problem, rates::Rates};

/// Bodies above [`SMALL_BODY`] that may be read and applied at once; each is at most 1 MiB.
const LARGE_BODIES: usize = 32;
/// Bodies up to this size are not counted: as many as there are connections do no harm.
pub(crate) const SMALL_BODY: u64 = 64 * 1024;

/// Changes that are made, and refusals that are written down, at once; a request waits for its place.
/// As many as there are connections, so that only those that outlive theirs make others wait.
const RECORDING: usize = 512;

/// Shared by all connections of one `serve`.
pub(crate) struct Context {
    pub(crate) admin: Arc<Admin>,
    /// Where we listen: addresses a Host header may name.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) resolver: Resolver,
    pub(crate) large_bodies: Semaphore,
    pub(crate) rates: Rates,
    pub(crate) recording: Arc<Semaphore>,
    /// One large page at a time: of 10,000 servers it is megabytes.
    aside: Arc<Semaphore>,
}

impl Context {
    pub(crate) fn new(admin: Arc<Admin>, addresses: Vec<IpAddr>) -> Self {
        Self {
            admin,
            addresses,
            resolver: Resolver::new(),
            large_bodies: Semaphore::new(LARGE_BODIES),
            rates: Rates::new(),
            recording: Arc::new(Semaphore::new(RECORDING)),
            aside: Arc::new(Semaphore::new(1)),
        }
    }

    /// Puts together what takes long for a large table, or what the system has to be asked for, on
    /// a thread of its own: the control thread never waits for it.
    ///
    /// # Errors
    /// When the work panicked.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Admin) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let failed = || Problem::new(status, "the answer could not be put together");
        let place = Arc::clone(&self.aside).acquire_owned().await.map_err(|_| failed())?;
        let admin = Arc::clone(&self.admin);
        let working = spawn_blocking(move || {
            let done = work(&admin);
            drop(place);
            done
        });
        working.await.map_err(|_| failed())
    }
}
