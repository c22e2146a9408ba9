//! The thread that owns the journal. It takes whatever has been staged, makes it durable with one
//! sync, and publishes it in order: a change is visible only when it is on disk.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot};

use super::log::{Fault, Log};
use crate::{
    change::{Applied, Refused},
    head::Head,
    published::{Proposal, Published},
    recovery::OpenError,
};

/// How many changes may be under way at once; further ones wait their turn.
const ROOM: usize = 1_024;

pub(crate) struct Journal {
    /// `None` only while it is being dropped.
    queue: Option<mpsc::Sender<Entry>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

/// A staged change on its way to the disk.
struct Entry {
    proposal: Proposal,
    /// Its record.
    payload: Arc<[u8]>,
    reply: oneshot::Sender<Result<Applied, Refused>>,
    _room: OwnedSemaphorePermit,
}

impl Journal {
    pub(crate) fn start(
        log: Log,
        head: &Arc<Mutex<Head>>,
        first: Head,
        published: &Arc<Published>,
    ) -> Result<Self, OpenError> {
        let dir = log.dir().to_owned();
        let (queue, staged) = mpsc::channel();
        let committer = Committer {
            log,
            staged,
            newest: Arc::clone(head),
            head: first,
            published: Arc::clone(published),
        };
        let thread = std::thread::Builder::new().name("journal".into());
        let thread = thread.spawn(move || committer.run());
        let thread = thread
            .map_err(|error| OpenError::storage("start the journal's thread for", dir, error))?;
        let room = Arc::new(Semaphore::new(ROOM));
        Ok(Self { queue: Some(queue), room, thread: Some(thread) })
    }

    /// A place in the queue; waits for one.
    pub(crate) async fn room(&self) -> Result<OwnedSemaphorePermit, Refused> {
        Arc::clone(&self.room).acquire_owned().await.map_err(|_| Refused::Closed)
    }

    /// Queues a change. To be called under the lock of the head: the order of the queue is the order
    /// in which changes were built on each other.
    pub(crate) fn stage(
        &self,
        proposal: Proposal,
        payload: Arc<[u8]>,
        room: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Result<Applied, Refused>>, Refused> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(Refused::Closed)?;
        let entry = Entry { proposal, payload, reply, _room: room };
        queue.send(entry).map_err(|_| Refused::Closed)?;
        Ok(answer)
    }
}

impl Drop for Journal {
    /// What has been staged is still stored.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}

struct Committer {
    log: Log,
    staged: mpsc::Receiver<Entry>,
    /// What the next change is built on.
    newest: Arc<Mutex<Head>>,
    /// What is on disk and visible.
    head: Head,
    published: Arc<Published>,
}

impl Committer {
    fn run(mut self) {
        while let Ok(first) = self.staged.recv() {
            let batch: Vec<Entry> = std::iter::once(first).chain(self.staged.try_iter()).collect();
            match self.log.store(&self.head, batch.iter().map(|entry| &*entry.payload)) {
                Ok(()) => self.publish(batch),
                Err(fault) => self.refuse(batch, &fault),
            }
            if self.log.is_long() {
                self.compact();
            }
        }
    }

    fn publish(&mut self, batch: Vec<Entry>) {
        for entry in batch {
            self.head = entry.proposal.staged.head.clone();
            let applied = self.published.publish(entry.proposal);
            // Whoever asked may have gone away; the change stands.
            let _ = entry.reply.send(Ok(applied));
        }
    }

    /// Refuses everything that was built on what could not be stored.
    fn refuse(&self, mut batch: Vec<Entry>, fault: &Fault) {
        let mut newest = self.newest.blocking_lock();
        batch.extend(self.staged.try_iter());
        *newest = self.head.clone();
        self.log.history().revert(self.head.snapshot.generation);
        drop(newest);
        for entry in batch {
            let refused = Refused::from(fault.clone());
            self.published.refused(entry.proposal.by.origin, &refused);
            let _ = entry.reply.send(Err(refused));
        }
        self.published.settled();
    }

    fn compact(&mut self) {
        match self.log.compact(&self.head) {
            Ok(()) => tracing::debug!("the journal was compacted"),
            Err(Fault { what, source }) => {
                tracing::warn!(error = %source, "compacting the journal: {what} failed, it goes on growing");
            }
        }
    }
}
