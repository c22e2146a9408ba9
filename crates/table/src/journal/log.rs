//! The journal as one thing that appends, fails and is compacted. A failed write or sync poisons
//! the file: what the disk holds is then unknown, so nothing more is acknowledged until a fresh
//! snapshot of what was has been written and synced.

use std::{io, path::Path, sync::Arc};

use super::{
    disk::Disk,
    frame::{HEADER, TooLong},
    record::{batch, snapshot},
};
use crate::{change::Refused, head::Head, history::History, recovery::OpenError};

/// A journal below this is never compacted.
const COMPACT_ABOVE: u64 = 1 << 20;
/// A journal so many times as long as the snapshot is.
const COMPACT_FACTOR: u64 = 4;

pub(crate) struct Log {
    disk: Box<dyn Disk>,
    /// Of the journal, as far as it is durable.
    length: u64,
    compact_above: u64,
    poisoned: bool,
    history: Arc<History>,
}

/// What failed, to be told to everybody who waited for it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) what: &'static str,
    pub(crate) source: Arc<io::Error>,
}

impl Fault {
    fn of(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self { what, source: Arc::new(source) }
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Storage { what: fault.what, source: fault.source }
    }
}

impl Log {
    /// A journal whose files are sound and that long.
    pub(crate) fn new(
        disk: Box<dyn Disk>,
        length: u64,
        snapshot_length: u64,
        history: Arc<History>,
    ) -> Self {
        let compact_above = compact_above(snapshot_length);
        Self { disk, length, compact_above, poisoned: false, history }
    }

    pub(crate) fn history(&self) -> &Arc<History> {
        &self.history
    }

    pub(crate) fn dir(&self) -> &Path {
        self.disk.dir()
    }

    /// The error of start-up for a failure there.
    pub(crate) fn refuses_to_open(&self, Fault { what, source }: Fault) -> OpenError {
        let source = io::Error::new(source.kind(), format!("{what}: {source}"));
        OpenError::storage("store in", self.dir().to_owned(), source)
    }

    /// Makes a batch of changes durable, each the next generation. `published` is the state before
    /// the first of them.
    pub(crate) fn store<'p>(
        &mut self,
        published: &Head,
        payloads: impl Iterator<Item = &'p [u8]> + Clone,
    ) -> Result<(), Fault> {
        if self.poisoned {
            self.repair(published)?;
        }
        let bytes = batch(payloads.clone());
        let bytes = bytes.map_err(too_long).map_err(Fault::of("framing the record"))?;
        let mut offset = self.length;
        self.append(&bytes).inspect_err(|fault| {
            tracing::error!(dir = %self.dir().display(), error = %fault.source, "{} failed", fault.what);
            self.poisoned = true;
            // What was refused must not come back after a restart. If this fails too, the repair
            // tries it again before anything else.
            let _ = self.disk.truncate(self.length);
        })?;
        let generations = published.snapshot.generation + 1..;
        self.history.filed(generations.zip(payloads).map(|(generation, payload)| {
            let (at, length) = (offset, HEADER + payload.len());
            offset += length as u64;
            (generation, at, length)
        }));
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.disk.append(bytes).map_err(Fault::of("writing the journal"))?;
        self.disk.sync().map_err(Fault::of("syncing the journal"))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn repair(&mut self, published: &Head) -> Result<(), Fault> {
        self.disk.truncate(self.length).map_err(Fault::of("cutting the failed record off"))?;
        self.compact(published)?;
        self.poisoned = false;
        tracing::info!(dir = %self.dir().display(), "the journal is sound again");
        Ok(())
    }

    /// Whether the journal has outgrown the snapshot.
    pub(crate) fn is_long(&self) -> bool {
        !self.poisoned && self.length > self.compact_above
    }

    /// Writes a fresh snapshot, and leaves the journal as it is: what the snapshot covers is skipped.
    pub(crate) fn write_snapshot(&mut self, published: &Head) -> Result<u64, Fault> {
        let mut parts = snapshot(published).map(|part| part.map_err(too_long));
        let written = self.disk.replace_snapshot(&mut parts);
        written.map_err(Fault::of("writing a fresh snapshot"))
    }

    /// Writes a fresh snapshot and lays the journal aside for the history. A failure leaves files that are as good as
    /// before: records that the snapshot covers are skipped.
    pub(crate) fn compact(&mut self, published: &Head) -> Result<(), Fault> {
        // Should this fail, the next attempt waits until the journal has doubled.
        self.compact_above = self.length.saturating_mul(2).max(COMPACT_ABOVE);
        let length = self.write_snapshot(published)?;
        if self.length > 0 {
            let rotated = self.disk.rotate(self.history.current());
            rotated.map_err(Fault::of("laying the journal aside"))?;
            self.history.rotated(self.length);
            self.length = 0;
        }
        self.compact_above = compact_above(length);
        Ok(())
    }
}

fn compact_above(snapshot_length: u64) -> u64 {
    snapshot_length.saturating_mul(COMPACT_FACTOR).max(COMPACT_ABOVE)
}

fn too_long(_: TooLong) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the record is longer than 1 GiB")
}
