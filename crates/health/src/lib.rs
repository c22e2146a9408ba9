//! Active health checks: probes that ask servers how they are, so that a request does not have to
//! find out. A thread of its own probes every server of every pool that has a check, at its own
//! pace, and writes what it finds into the server's live state, where the next pick sees it.
//! Requests that a server fails ask for a probe at once through [`Suspects`].
//!
//! The thread follows the table: a server is probed for as long as the newest snapshot lists it,
//! has a check for it and does not call it down. It also looks for servers that answer far slower
//! than the rest of their pool, once a second, and ejects them.
#![forbid(unsafe_code)]

mod checker;
mod facts;
mod news;
mod probe;
mod schedule;
mod slow;
mod suspects;
mod turns;
mod watch;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use tidegate_events::Hub;
use tidegate_table::Table;
use tokio::{runtime, sync::oneshot, task::spawn_local};

pub use crate::suspects::Suspects;
use crate::{checker::Checker, turns::Turns};

/// BSD's `EX_SOFTWARE`.
const EX_SOFTWARE: i32 = 70;

/// What does not depend on any pool.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Probes in flight at once, so many descriptors; further ones wait for a place. At least one.
    pub at_once: usize,
    /// Where it is told that servers turn sick or well.
    pub events: Arc<Hub>,
}

/// The running checks. Dropped, they stop soon.
#[derive(Debug)]
pub struct Checks {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Starts the thread that probes the servers of `table`. Should it ever die, it takes the process
/// with it: servers would stay in rotation, or out of it, for no reason anybody could see.
///
/// # Errors
/// When there can be no thread.
pub fn start(table: &Arc<Table>, settings: Settings) -> io::Result<(Suspects, Checks)> {
    let (turns, mut ejections) = Turns::new(settings.events);
    let turns = Arc::new(turns);
    let (suspects, suspected) = suspects::queue(&turns);
    let (stop, stopped) = oneshot::channel();
    let table = Arc::clone(table);
    let probe = move || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(runtime::LocalOptions::default())?;
        runtime.block_on(async {
            let told = Arc::clone(&turns);
            spawn_local(async move { ejections.follow(&told).await });
            let checker = Checker::new(table, settings.at_once, turns, suspected);
            tokio::select! {
                // An error says that nobody is left who could stop it.
                _ = stopped => (),
                () = checker.run() => (),
            }
        });
        Ok(())
    };
    let thread = Builder::new().name("health".into()).spawn(|| guard(probe))?;
    Ok((suspects, Checks { stop, thread }))
}

impl Checks {
    /// Ends all probing and waits for it.
    pub fn finish(self) {
        // A thread that has died has ended the process already.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

fn guard(run: impl FnOnce() -> io::Result<()>) {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => eprintln!("tidegate: the health checks cannot run: {error}"),
        Err(_) => eprintln!("tidegate: the health checks have died; see the panic above"),
    }
    std::process::exit(EX_SOFTWARE);
}
