//! The one writer. A change is planned and built under one lock, off the data path; without a state
//! directory it is published at once, with one it goes to the journal's thread, which publishes it
//! when it is on disk. Meanwhile the next change is built on it.

mod past;
mod planning;

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::Arc,
    time::Instant,
};

use tidegate_model::Name;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, oneshot};

use self::planning::{Planned, Unanswered};
use crate::{
    change::{Applied, Change, FileState, Options, Origin, Refused, Reloaded},
    departed::{Departed, Departure},
    head::Head,
    history::{Entry, History},
    journal::{
        disk::{Directory, Disk},
        record::Changed,
        thread::Journal,
    },
    live::PoolLive,
    published::{By, ChangeTotals, Committed, Proposal, Published, Reader},
    recovery::{self, Book, OpenError, Recovered},
    reload::{First, Rebuilt, first, rebuild},
    secure::{Secures, secure_all},
    snapshot::Snapshot,
    state::ServerState,
};

/// Every pool and route, and the only way to change them.
pub struct Table {
    head: Arc<Mutex<Head>>,
    journal: Option<Journal>,
    published: Arc<Published>,
    history: Arc<History>,
    nowhere: Arc<PoolLive>,
    workers: usize,
    secures: Option<Arc<dyn Secures>>,
}

impl Table {
    /// Reads the state directory, compares the file with it and publishes the first snapshot.
    /// Blocks: for start-up.
    ///
    /// # Errors
    /// When the directory cannot be used, belongs to another process or holds what cannot be read,
    /// or when the file defines a pool that could never serve.
    pub fn open(options: Options, file: FileState) -> Result<(Arc<Self>, Recovered), OpenError> {
        let disk = match &options.state_dir {
            Some(dir) => Some(Box::new(Directory::open(dir)?) as Box<dyn Disk>),
            None => None,
        };
        Self::open_on(disk, options, &file)
    }

    pub(crate) fn open_on(
        disk: Option<Box<dyn Disk>>,
        options: Options,
        file: &FileState,
    ) -> Result<(Arc<Self>, Recovered), OpenError> {
        let Options { workers, history: bounds, secures, .. } = options;
        let begun = Instant::now();
        let dir = disk.as_ref().map(|disk| disk.dir().to_owned());
        let (book, mut log) = match disk {
            Some(disk) => recovery::recover(disk, bounds).map(|(book, log)| (book, Some(log)))?,
            None => (Book::default(), None),
        };
        let departed = Departed::default();
        let history = match &log {
            Some(log) => Arc::clone(log.history()),
            None => Arc::new(History::new(bounds, None, VecDeque::new(), Vec::new())),
        };
        let First { recovered: before, head, record, verdict } =
            first(&book, file, &departed, workers)?;
        if let Some(record) = record {
            let payload: Arc<[u8]> = record.payload().into();
            history.push(Entry::of(&record, Arc::clone(&payload)));
            if let Some(log) = &mut log {
                let stored = log.store(&before, std::iter::once(&*payload));
                let stored = stored.and_then(|()| log.write_snapshot(&head));
                stored.map_err(|fault| log.refuses_to_open(fault))?;
            }
        }
        let snapshot = Arc::clone(&head.snapshot);
        secure_all(snapshot.pools.values(), secures.as_deref());
        let published = Arc::new(Published::new(Arc::clone(&snapshot), departed, log.is_some()));
        let newest = Arc::new(Mutex::new(head.clone()));
        let journal = log.map(|log| Journal::start(log, &newest, head, &published)).transpose()?;
        let nowhere = Arc::new(PoolLive::new(workers));
        let table = Self { head: newest, journal, published, history, nowhere, workers, secures };
        let recovered = Recovered {
            dir,
            pools: snapshot.pools.len(),
            generation: snapshot.generation,
            records: book.records,
            torn: book.torn,
            took: begun.elapsed(),
            changed: verdict.changed,
            removed: verdict.removed,
            replaced_api_changes: verdict.replaced,
        };
        Ok((Arc::new(table), recovered))
    }

    /// Applies operations, all or none, and returns when they are on disk and every reader of the
    /// snapshot sees them. May be called from any runtime.
    ///
    /// # Cancel safety
    /// A change whose future is dropped has either not begun, or goes on to its end.
    ///
    /// # Errors
    /// When an operation is invalid or names a pool that is not there, or when the change could not
    /// be stored. Nothing has changed then.
    pub async fn change(&self, change: Change) -> Result<Applied, Refused> {
        let room = self.room().await?;
        let origin = change.origin;
        let refused = |refused: &Refused| self.published.refused(origin, refused);
        let head = match self.unanswered(change.key.as_ref()).await.inspect_err(refused)? {
            Unanswered::Go(head) => head,
            Unanswered::Was(applied) => return Ok(applied),
        };
        let begun = Instant::now();
        let (head, change) = self.expand(head, change).await.inspect_err(refused)?;
        let planned = self.stage(&head, change).inspect_err(refused)?;
        let planned = self.secured(planned).await.inspect_err(refused)?;
        let Planned { staged, record } = planned;
        let payload: Arc<[u8]> = record.payload().into();
        let proposal = Proposal { staged, by: By::of(&record), begun };
        self.commit(head, proposal, &record, room, payload).await
    }

    /// Applies a configuration file that was read anew. Returns as [`Self::change`] does; one that
    /// changes nothing publishes nothing. The build runs on a thread of its own.
    ///
    /// # Cancel safety
    /// As [`Self::change`].
    ///
    /// # Errors
    /// When the file defines a pool that could never serve, or when it could not be stored. Nothing
    /// has changed then.
    pub async fn reload(&self, file: FileState, caller: String) -> Result<Reloaded, Refused> {
        let room = self.room().await?;
        let head = Arc::clone(&self.head).lock_owned().await;
        let (published, workers) = (Arc::clone(&self.published), self.workers);
        let secures = self.secures.clone();
        let build = move || {
            let mut rebuilt = rebuild(&head, &file, caller, &published, workers);
            if let Ok(Some(Rebuilt { proposal, .. })) = &rebuilt
                && let Err(refused) = proposal.staged.secure(secures.as_deref())
            {
                rebuilt = Err(refused);
            }
            (head, rebuilt)
        };
        let (head, rebuilt) = on_a_thread(build).await?;
        let rebuilt =
            rebuilt.inspect_err(|refused| self.published.refused(Origin::File, refused))?;
        let Some(Rebuilt { proposal, record, payload, verdict, routes_changed }) = rebuilt else {
            let generation = head.snapshot.generation;
            return Ok(Reloaded::nothing(generation, self.is_durable()));
        };
        let applied = self.commit(head, proposal, &record, room, payload).await?;
        let gone: HashSet<&Name> = verdict.removed.iter().collect();
        let changed = applied.changed.into_iter().filter(|name| !gone.contains(name)).collect();
        Ok(Reloaded {
            generation: applied.generation,
            durable: applied.durable,
            changed,
            removed: verdict.removed,
            replaced_api_changes: verdict.replaced,
            routes_changed,
        })
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.snapshot()
    }

    /// For who asks often: a worker.
    pub fn reader(&self) -> Reader {
        self.published.reader()
    }

    /// Servers that were removed and on which something still runs.
    pub fn departed(&self) -> Vec<Arc<ServerState>> {
        self.published.departed.running()
    }

    /// `tell` is called with the servers that left, after each swap and before the reply: that is
    /// when idle connections to them are to be closed. It runs on the thread that publishes and
    /// must not wait for a change.
    pub fn on_departure(&self, tell: impl Fn(&[Departure]) + Send + Sync + 'static) {
        self.published.on_departure(Arc::new(tell));
    }

    /// `tell` is called with the pools that a change touched, under the same terms.
    pub fn on_change(&self, tell: impl Fn(&[Name]) + Send + Sync + 'static) {
        self.published.on_change(Arc::new(tell));
    }

    /// `tell` is called when drains began, changed or ended, and when the server of one left, under
    /// the same terms.
    pub fn on_drains(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.published.on_drains(Arc::new(tell));
    }

    /// `tell` is called with each change, under the same terms.
    pub fn on_applied(&self, tell: impl Fn(&Committed<'_>) + Send + Sync + 'static) {
        self.published.on_applied(Arc::new(tell));
    }

    /// Where requests are counted that found no pool.
    pub fn nowhere(&self) -> &Arc<PoolLive> {
        &self.nowhere
    }

    /// Drops what was counted of the requests of a listener that is no more.
    pub fn forget_listener(&self, listener: &str) {
        self.nowhere.forget(listener);
        self.snapshot().pools.values().for_each(|pool| pool.live.forget(listener));
    }

    /// What became of all changes so far.
    pub fn changes(&self) -> ChangeTotals {
        self.published.totals()
    }

    /// Whether changes survive a restart.
    pub fn is_durable(&self) -> bool {
        self.published.durable
    }

    /// A place among the changes under way; `None` when there is no journal to wait for.
    async fn room(&self) -> Result<Option<OwnedSemaphorePermit>, Refused> {
        match &self.journal {
            Some(journal) => journal.room().await.map(Some),
            None => Ok(None),
        }
    }

    /// Makes a staged change the newest and sees it through.
    async fn commit(
        &self,
        mut head: OwnedMutexGuard<Head>,
        proposal: Proposal,
        record: &Changed,
        room: Option<OwnedSemaphorePermit>,
        payload: Arc<[u8]>,
    ) -> Result<Applied, Refused> {
        let next = proposal.staged.head.clone();
        self.published.departed.add(&proposal.staged.leaving);
        // Before the journal can say where it is.
        self.history.push(Entry::of(record, Arc::clone(&payload)));
        let (Some(journal), Some(room)) = (&self.journal, room) else {
            *head = next;
            // Still under the lock: changes are published in the order in which they were built.
            let applied = self.published.publish(proposal);
            self.history.settle();
            return Ok(applied);
        };
        let origin = proposal.by.origin;
        let answer = journal.stage(proposal, payload, room).inspect_err(|refused| {
            self.history.revert(head.snapshot.generation);
            self.published.refused(origin, refused);
        })?;
        *head = next;
        drop(head);
        answer.await.unwrap_or(Err(Refused::Closed))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.snapshot().generation;
        f.debug_struct("Table").field("generation", &generation).finish_non_exhaustive()
    }
}

impl Reloaded {
    fn nothing(generation: u64, durable: bool) -> Self {
        Self {
            generation,
            durable,
            changed: Vec::new(),
            removed: Vec::new(),
            replaced_api_changes: Vec::new(),
            routes_changed: false,
        }
    }
}

/// Runs what takes long beside the runtime. There may be no runtime of tokio's blocking threads.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let (reply, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("reload".into());
    let started = thread.spawn(move || {
        // Nobody waits for it any more: what it built is dropped.
        let _ = reply.send(work());
    });
    started.map_err(|error| Refused::Storage {
        what: "starting a thread for the reload",
        source: Arc::new(error),
    })?;
    answer.await.map_err(|_| Refused::Closed)
}

#[cfg(test)]
mod tests;
