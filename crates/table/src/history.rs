//! The generations of the past: which there were, what each changed, and what a pool was before.
//! In memory is an index, one small entry a generation; the records are those of the journal, whose
//! old files are kept as long as they hold a generation that is remembered. Without a state
//! directory the records themselves are held, within a bound.

mod reading;
mod scan;

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    effect::Effect,
    journal::record::{Changed, Record, now},
};

pub(crate) use reading::Definitions;
pub use reading::{Page, Past, PastPool};
pub(crate) use scan::scan;

/// Old journal files may be so long together. Beyond it the oldest go, whatever was asked for.
const MOST_FILED: u64 = 256 << 20;
/// Records held in memory, where there is no directory, may be so long together.
const MOST_HELD: usize = 32 << 20;

/// How far back generations are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub count: usize,
    pub age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { count: 10_000, age: Duration::from_hours(90 * 24) }
    }
}

/// The old files of a journal, by number. Reading may meet the renaming of a file.
pub(crate) trait Archive: Send + Sync {
    /// Part of a file; of the journal itself, if no old one has that number.
    fn read(&self, segment: u64, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    fn read_all(&self, segment: u64) -> io::Result<Vec<u8>>;

    fn remove(&self, segment: u64) -> io::Result<()>;
}

/// What is remembered. Shared by the writer, the journal's thread and readers.
pub(crate) struct History {
    inner: Mutex<Inner>,
    archive: Option<Arc<dyn Archive>>,
}

struct Inner {
    bounds: Bounds,
    /// Without a gap, the oldest first.
    entries: VecDeque<Entry>,
    /// Old files, the oldest first, by number and length.
    segments: VecDeque<(u64, u64)>,
    /// The number that the journal will have when it is old.
    current: u64,
    /// Bytes of the records that are held.
    held: usize,
}

/// One generation.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) generation: u64,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) touched: Touched,
    pub(crate) place: Place,
}

/// The pools that a generation is about, by folded name.
#[derive(Clone, Debug)]
pub(crate) struct Touched {
    pub(crate) defined: Box<[Arc<str>]>,
    /// Those of whose servers it drained one.
    pub(crate) drained: Box<[Arc<str>]>,
}

/// Where a record is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// On its way to the disk, or there is none.
    Held(Arc<[u8]>),
    /// A whole frame of a file.
    Filed { segment: u64, offset: u64, length: usize },
}

impl Entry {
    pub(crate) fn of(change: &Changed, payload: Arc<[u8]>) -> Self {
        let Changed { generation, at, .. } = *change;
        let ended = change.ended.iter().map(|name| (name.folded(), false));
        let touched = Touched::collect(change.effects.iter().filter_map(pool_of).chain(ended));
        Self { generation, at, touched, place: Place::Held(payload) }
    }

    fn is_about(&self, pool: &str) -> bool {
        let Touched { defined, drained } = &self.touched;
        defined.iter().chain(drained).any(|one| **one == *pool)
    }

    fn length(&self) -> usize {
        match &self.place {
            Place::Held(payload) => payload.len(),
            Place::Filed { length, .. } => *length,
        }
    }

    fn held(&self) -> usize {
        match &self.place {
            Place::Held(payload) => payload.len(),
            Place::Filed { .. } => 0,
        }
    }
}

impl Touched {
    /// Of pools, each with whether it was defined.
    fn collect(pools: impl Iterator<Item = (Arc<str>, bool)>) -> Self {
        let (defined, drained): (Vec<_>, Vec<_>) = pools.partition(|(_, defined)| *defined);
        let names = |pools: Vec<(Arc<str>, bool)>| {
            let mut names: Vec<_> = pools.into_iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            names.dedup();
            names.into_boxed_slice()
        };
        Self { defined: names(defined), drained: names(drained) }
    }
}

fn pool_of(effect: &Effect) -> Option<(Arc<str>, bool)> {
    match effect {
        Effect::DrainPut(drain) => Some((drain.spec.upstream.folded(), false)),
        Effect::PoolDelete(name) => Some((name.folded(), true)),
        Effect::PoolPut(definition) => Some((definition.name.folded(), true)),
        Effect::DrainEnd(_) | Effect::FileApplied(_) | Effect::FileForgotten(_) => None,
    }
}

impl History {
    /// What was found on disk: old files by number and length, and the entries of all of them and
    /// of the journal. Nothing before a gap is remembered.
    pub(crate) fn new(
        bounds: Bounds,
        archive: Option<Arc<dyn Archive>>,
        segments: VecDeque<(u64, u64)>,
        entries: Vec<Entry>,
    ) -> Self {
        let current = segments.back().map_or(0, |(last, _)| last + 1);
        let inner = Inner { bounds, entries: VecDeque::new(), segments, current, held: 0 };
        let history = Self { inner: Mutex::new(inner), archive };
        entries.into_iter().for_each(|entry| history.push(entry));
        history.settle();
        history
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number that the journal will have when it is old.
    pub(crate) fn current(&self) -> u64 {
        self.inner().current
    }

    /// Takes a generation in that is built on the one before; it may yet be taken back.
    pub(crate) fn push(&self, entry: Entry) {
        let inner = &mut *self.inner();
        if inner.entries.back().is_some_and(|last| last.generation + 1 != entry.generation) {
            inner.entries.clear();
            inner.held = 0;
        }
        inner.held += entry.held();
        inner.entries.push_back(entry);
    }

    /// Lets go of what is too much or too old. To be called when a generation is published: one
    /// that may yet be taken back costs nobody his place.
    pub(crate) fn settle(&self) {
        self.inner().trim(self.archive.is_none());
    }

    /// Takes back whatever is newer.
    pub(crate) fn revert(&self, generation: u64) {
        let inner = &mut *self.inner();
        while let Some(last) = inner.entries.back()
            && last.generation > generation
        {
            inner.held -= last.held();
            inner.entries.pop_back();
        }
    }

    /// Records that were held are in the journal now: by generation, offset and length.
    pub(crate) fn filed(&self, places: impl Iterator<Item = (u64, u64, usize)>) {
        let inner = &mut *self.inner();
        let segment = inner.current;
        for (generation, offset, length) in places {
            let Some(entry) = inner.index(generation).map(|at| &mut inner.entries[at]) else {
                continue;
            };
            inner.held -= entry.held();
            entry.place = Place::Filed { segment, offset, length };
        }
        inner.trim(false);
    }

    /// The journal has become an old file of that length, and a new one was begun. Files that hold
    /// nothing remembered are removed.
    pub(crate) fn rotated(&self, length: u64) {
        let removed = {
            let inner = &mut *self.inner();
            inner.segments.push_back((inner.current, length));
            inner.current += 1;
            inner.sweep()
        };
        let Some(archive) = &self.archive else { return };
        for segment in removed {
            if let Err(error) = archive.remove(segment) {
                tracing::warn!(segment, %error, "an old file of the history cannot be removed");
            }
        }
    }

    /// The oldest and the newest generation that are remembered, none of them newer than `newest`.
    pub(crate) fn span(&self, newest: u64) -> Option<(u64, u64)> {
        let inner = self.inner();
        let oldest = inner.entries.front()?.generation;
        let last = inner.entries.back()?.generation.min(newest);
        (oldest <= last).then_some((oldest, last))
    }

    fn record(&self, entry: &Entry) -> io::Result<Changed> {
        let read = match (&entry.place, &self.archive) {
            (Place::Held(payload), _) => serde_json::from_slice(payload).map_err(io::Error::other),
            (Place::Filed { segment, offset, length }, Some(archive)) => {
                let attempt = || {
                    let bytes = archive.read(*segment, *offset, *length)?;
                    match scan::record(&bytes) {
                        Some(Record::Change(change)) if change.generation == entry.generation => {
                            Ok(change)
                        }
                        _ => Err(io::Error::other("this is not the record it was")),
                    }
                };
                // The file may have got its new name between the two looks at it.
                attempt().or_else(|_| attempt())
            }
            (Place::Filed { .. }, None) => Err(io::ErrorKind::NotFound.into()),
        };
        read.map_err(|error| {
            io::Error::new(error.kind(), format!("generation {}: {error}", entry.generation))
        })
    }
}

impl Inner {
    fn index(&self, generation: u64) -> Option<usize> {
        let at = generation.checked_sub(self.entries.front()?.generation)?;
        usize::try_from(at).ok().filter(|at| *at < self.entries.len())
    }

    /// Forgets what is too much or too old, but for the newest.
    fn trim(&mut self, held_is_bounded: bool) {
        let age = u64::try_from(self.bounds.age.as_millis()).unwrap_or(u64::MAX);
        let too_old = now().saturating_sub(age);
        let is_pending = |entry: &&Entry| !held_is_bounded && entry.held() > 0;
        let pending = self.entries.iter().rev().take_while(is_pending).count();
        while let Some(oldest) = self.entries.front()
            && self.entries.len() > pending + 1
            && (self.entries.len() - pending > self.bounds.count
                || oldest.at < too_old
                || held_is_bounded && self.held > MOST_HELD)
        {
            self.held -= oldest.held();
            self.entries.pop_front();
        }
    }

    /// Lets go of old files: of which nothing is remembered, and the oldest beyond the bound.
    fn sweep(&mut self) -> Vec<u64> {
        let mut removed = Vec::new();
        let mut filed: u64 = self.segments.iter().map(|(_, length)| length).sum();
        while let Some((segment, length)) = self.segments.front().copied() {
            let is_in_use = |entry: &Entry| matches!(entry.place, Place::Filed { segment: of, .. } if of == segment);
            if filed > MOST_FILED {
                while self.entries.front().is_some_and(is_in_use) {
                    self.entries.pop_front();
                }
            } else if self.entries.front().is_some_and(is_in_use) {
                break;
            }
            filed -= length;
            self.segments.pop_front();
            removed.push(segment);
        }
        removed
    }
}

#[cfg(test)]
mod tests;
