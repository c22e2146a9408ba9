//! What the files say when the process starts: the snapshot, then the journal on top of it. Every
//! acknowledged change comes back, in order; a tail that was being written when the power went is
//! dropped; anything else that does not add up stops the start with its file and offset.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tidegate_model::Name;

use crate::{
    change::Refused,
    drain::{Drain, Drains},
    effect::{Definition, Effect, Marks},
    history::{Bounds, History, scan},
    journal::{
        disk::{Disk, JOURNAL, SNAPSHOT},
        frame::Frame,
        log::Log,
        record::{Begin, Changed, Kept, Record, Unreadable},
    },
    keys::{Answered, Keys},
    pool::since,
};

/// Why a table cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{}, offset {offset}: {reason}; restore the file from a backup, or move it away to start \
         without what it holds", path.display()
    )]
    Damaged { path: PathBuf, offset: u64, reason: String },
    #[error(
        "process.state_dir {} is in use by another tidegate{}: stop that one, or give this one a \
         directory of its own",
        dir.display(), holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Held { dir: PathBuf, holder: Option<u32> },
    #[error(transparent)]
    Invalid(#[from] Refused),
    #[error("process.state_dir: cannot {what} {}: {source}; {}", path.display(), advice(source))]
    Storage { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{}, offset {offset}: {source}; start the version that wrote it, or move the file away to \
         start without what it holds", path.display()
    )]
    Unreadable { path: PathBuf, offset: u64, source: Unreadable },
}

impl OpenError {
    pub(crate) fn storage(what: &'static str, path: PathBuf, source: io::Error) -> Self {
        Self::Storage { what, path, source }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "name a directory, or a path where one can be made"
        }
        io::ErrorKind::PermissionDenied => {
            "let the user that tidegate runs as write there, or name another directory"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount it writable, or name another directory",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space there",
        _ => "name a directory that tidegate can write to",
    }
}

/// What start-up found and did. Its text is the line for the log.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// `None`: state is in memory only.
    pub dir: Option<PathBuf>,
    pub pools: usize,
    pub generation: u64,
    /// Changes read from the journal.
    pub records: usize,
    /// Bytes at the end of the journal that were being written when the last process ended.
    pub torn: u64,
    pub took: Duration,
    /// What the configuration file changed about it.
    pub changed: Vec<Name>,
    pub removed: Vec<Name>,
    pub replaced_api_changes: Vec<Name>,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pools, generation, records, .. } = self;
        match &self.dir {
            Some(dir) => write!(
                f,
                "recovered {pools} pools, generation {generation}, from {records} records in {}",
                dir.display()
            )?,
            None => write!(
                f,
                "{pools} pools, in memory only: without process.state_dir a restart forgets what \
                 the API changed"
            )?,
        }
        if self.torn > 0 {
            write!(f, ", torn tail of {} bytes dropped", self.torn)?;
        }
        write!(f, ", in {} ms", self.took.as_millis())?;
        list(f, "the configuration file changed", &self.changed)?;
        list(f, "removed", &self.removed)?;
        list(f, "replaced what the API had changed of", &self.replaced_api_changes)
    }
}

/// Names the first few.
fn list(f: &mut fmt::Formatter<'_>, what: &str, names: &[Name]) -> fmt::Result {
    const SHOWN: usize = 10;
    if names.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = names.iter().take(SHOWN).map(Name::as_str).collect();
    write!(f, "; {what} {}", shown.join(", "))?;
    match names.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// Definitions as the files have them, before any of them is built.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) generation: u64,
    pub(crate) pools: BTreeMap<Arc<str>, Kept>,
    pub(crate) marks: Marks,
    pub(crate) drains: Drains,
    /// The largest id that one ever had, unless that is below the generation.
    pub(crate) last_drain: u64,
    pub(crate) keys: Keys,
    /// Changes that the journal added to the snapshot.
    pub(crate) records: usize,
    pub(crate) torn: u64,
}

/// Reads both files and leaves a journal that can be appended to.
pub(crate) fn recover(mut disk: Box<dyn Disk>, bounds: Bounds) -> Result<(Book, Log), OpenError> {
    let snapshot = read(&mut *disk, SNAPSHOT)?;
    let mut book = Book::default();
    if let Some(snapshot) = &snapshot {
        book.load(snapshot).map_err(|wrong| wrong.of(disk.dir(), SNAPSHOT))?;
    }
    let journal = read(&mut *disk, JOURNAL)?.unwrap_or_default();
    let sound = book.replay(&journal).map_err(|wrong| wrong.of(disk.dir(), JOURNAL))?;
    if sound < journal.len() {
        book.torn = (journal.len() - sound) as u64;
        let cut = disk.truncate(sound as u64);
        cut.map_err(|source| OpenError::storage("cut", disk.dir().join(JOURNAL), source))?;
    }
    let history = Arc::new(remember(&mut *disk, &journal[..sound], book.generation, bounds)?);
    let snapshot_length = snapshot.map_or(0, |bytes| bytes.len() as u64);
    Ok((book, Log::new(disk, sound as u64, snapshot_length, history)))
}

/// The generations that old files and the journal hold. No start fails for them: what cannot be
/// read is not remembered.
fn remember(
    disk: &mut dyn Disk,
    journal: &[u8],
    generation: u64,
    bounds: Bounds,
) -> Result<History, OpenError> {
    let listed = disk.segments();
    let listed =
        listed.map_err(|source| OpenError::storage("list", disk.dir().to_owned(), source))?;
    let archive = disk.archive();
    let (mut segments, mut entries) = (VecDeque::new(), Vec::new());
    for segment in listed {
        match archive.read_all(segment) {
            Ok(bytes) => {
                segments.push_back((segment, bytes.len() as u64));
                entries.extend(scan(&bytes, segment));
            }
            Err(error) => {
                tracing::warn!(segment, %error, "an old file of the history cannot be read");
            }
        }
    }
    let current = segments.back().map_or(0, |(last, _)| last + 1);
    entries.extend(scan(journal, current));
    if entries.last().is_some_and(|last| last.generation != generation) {
        entries.clear();
    }
    Ok(History::new(bounds, Some(archive), segments, entries))
}

fn read(disk: &mut dyn Disk, file: &'static str) -> Result<Option<Vec<u8>>, OpenError> {
    disk.read(file).map_err(|source| OpenError::storage("read", disk.dir().join(file), source))
}

/// What is wrong at an offset of a file.
struct Wrong {
    offset: usize,
    with: Trouble,
}

enum Trouble {
    Damaged(String),
    Unreadable(Unreadable),
}

impl Wrong {
    fn damaged(offset: usize, reason: impl Into<String>) -> Self {
        Self { offset, with: Trouble::Damaged(reason.into()) }
    }

    fn of(self, dir: &Path, file: &str) -> OpenError {
        let (path, offset) = (dir.join(file), self.offset as u64);
        match self.with {
            Trouble::Damaged(reason) => OpenError::Damaged { path, offset, reason },
            Trouble::Unreadable(source) => OpenError::Unreadable { path, offset, source },
        }
    }
}

impl Book {
    /// A snapshot was renamed into place when it was whole: whatever is missing is damage.
    fn load(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let mut expected = None;
        let mut at = 0;
        while at < bytes.len() {
            let (frame, length) = Frame::read(&bytes[at..])
                .ok_or_else(|| Wrong::damaged(at, "the record is damaged"))?;
            match record(&frame, at)? {
                Record::Begin(begin) if at == 0 => {
                    self.generation = begin.generation;
                    self.last_drain = begin.last_drain;
                    expected = Some(begin);
                }
                Record::Drain(drain) => self.drain(drain),
                Record::Key(answered) => self.keys.insert(answered),
                Record::Mark(mark) => drop(self.marks.insert(mark.name.folded(), mark)),
                Record::Pool(kept) => drop(self.pools.insert(kept.pool.name.folded(), kept)),
                Record::Begin(_) | Record::Change(_) => {
                    return Err(Wrong::damaged(at, "a record that has no place in a snapshot"));
                }
            }
            at += length;
        }
        let found = |begin: Begin| {
            let Begin { pools, marks, drains, keys, .. } = begin;
            let found = [self.pools.len(), self.marks.len(), self.drains.len(), self.keys.len()];
            [pools, marks, drains, keys] == found
        };
        if !expected.is_some_and(found) {
            return Err(Wrong::damaged(at, "the snapshot is not complete"));
        }
        Ok(())
    }

    /// Applies the changes that the snapshot does not cover; returns how much of the file is sound.
    fn replay(&mut self, bytes: &[u8]) -> Result<usize, Wrong> {
        let mut at = 0;
        while at < bytes.len() {
            let Some((frame, length)) = Frame::read(&bytes[at..]) else {
                if Frame::opens_in(&bytes[at + 1..]) {
                    return Err(Wrong::damaged(at, "the record is damaged, and others follow it"));
                }
                return Ok(at);
            };
            match record(&frame, at)? {
                Record::Change(change) => self.apply(change, at)?,
                _ => return Err(Wrong::damaged(at, "a record that has no place in a journal")),
            }
            at += length;
        }
        Ok(at)
    }

    fn apply(&mut self, change: Changed, at: usize) -> Result<(), Wrong> {
        if change.generation <= self.generation {
            return Ok(());
        }
        if change.generation != self.generation + 1 {
            let (before, after) = (self.generation, change.generation);
            let reason = format!("generation {after} follows {before}: a record is missing");
            return Err(Wrong::damaged(at, reason));
        }
        self.generation = change.generation;
        self.records += 1;
        if let Some(answered) = Answered::of(&change) {
            self.keys.insert(answered);
        }
        for effect in change.effects {
            self.take(effect);
        }
        Ok(())
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::DrainEnd(id) => drop(self.drains.remove(&id)),
            Effect::DrainPut(drain) => self.drain(drain),
            Effect::FileApplied(mark) => drop(self.marks.insert(mark.name.folded(), mark)),
            Effect::FileForgotten(name) => drop(self.marks.remove(&name.folded())),
            Effect::PoolDelete(name) => drop(self.pools.remove(&name.folded())),
            Effect::PoolPut(pool) => self.put(pool),
        }
    }

    fn drain(&mut self, drain: Arc<Drain>) {
        self.last_drain = self.last_drain.max(drain.id);
        self.drains.insert(drain.id, drain);
    }

    fn put(&mut self, pool: Definition) {
        let (key, generation) = (pool.name.folded(), self.generation);
        let before = self.pools.get(&key).map(|kept| (&*kept.pool.spec, kept.since()));
        let before = before.as_ref().map(|(spec, since)| (*spec, &**since));
        let since = since(before, &pool.spec, generation);
        self.pools.insert(key, Kept { generation, pool, since });
    }
}

fn record(frame: &Frame<'_>, offset: usize) -> Result<Record, Wrong> {
    Record::read(frame).map_err(|source| Wrong { offset, with: Trouble::Unreadable(source) })
}
