//! The files of a state directory and the few things that are done with them. Behind a trait, so
//! that tests can fail a write or a sync and cut the power.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, flock};

use crate::{history::Archive, recovery::OpenError};

pub(crate) const SNAPSHOT: &str = "snapshot";
pub(crate) const JOURNAL: &str = "journal";
/// A snapshot that is being written.
const UNFINISHED: &str = "snapshot.new";
/// The next journal, before it takes the place of the one that becomes an old file.
const NEXT: &str = "journal.new";
const LOCK: &str = "lock";

/// Parts of a file, in order, as whoever writes it yields them.
pub(crate) type Parts<'p> = &'p mut dyn Iterator<Item = io::Result<Vec<u8>>>;

pub(crate) trait Disk: Send {
    fn dir(&self) -> &Path;

    /// The whole file, if there is one.
    fn read(&mut self, file: &'static str) -> io::Result<Option<Vec<u8>>>;

    /// Writes to the end of the journal; durable after [`Disk::sync`].
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    fn sync(&mut self) -> io::Result<()>;

    /// Gives the journal its number among the old files and begins a new one, durably.
    fn rotate(&mut self, segment: u64) -> io::Result<()>;

    /// The numbers of the old files.
    fn segments(&mut self) -> io::Result<Vec<u64>>;

    /// For reading old files, from any thread.
    fn archive(&self) -> Arc<dyn Archive>;

    /// Cuts the journal, durably.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Replaces the snapshot as a whole, durably, and says how long it is.
    fn replace_snapshot(&mut self, parts: Parts<'_>) -> io::Result<u64>;
}

/// A directory that this process owns as long as the value lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    handle: File,
    journal: File,
    _lock: File,
}

impl Directory {
    /// Makes the directory if there is none and takes it for this process.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::storage(what, path, source)
        };
        create(path).map_err(failed("create the directory", path))?;
        let handle = File::open(path).map_err(failed("open the directory", path))?;
        let lock = take(path)?;
        let at = path.join(JOURNAL);
        let journal = options().append(true).open(&at).map_err(failed("open", &at))?;
        // Left behind by a crash; failing to remove it costs nothing but its space.
        for file in [UNFINISHED, NEXT] {
            let _ = fs::remove_file(path.join(file));
        }
        handle.sync_all().map_err(failed("sync the directory", path))?;
        Ok(Self { path: path.to_owned(), handle, journal, _lock: lock })
    }

    fn write_snapshot(&self, at: &Path, parts: Parts<'_>) -> io::Result<u64> {
        let mut out = BufWriter::new(options().write(true).truncate(true).open(at)?);
        let mut length = 0;
        for part in parts {
            let part = part?;
            length += part.len() as u64;
            out.write_all(&part)?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(at, self.path.join(SNAPSHOT))?;
        self.handle.sync_all()?;
        Ok(length)
    }
}

impl Disk for Directory {
    fn dir(&self) -> &Path {
        &self.path
    }

    fn read(&mut self, file: &'static str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.journal.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.journal.sync_data()
    }

    fn rotate(&mut self, segment: u64) -> io::Result<()> {
        // The new file first: on a full disk this fails, and everything is as it was.
        let (next, journal) = (self.path.join(NEXT), self.path.join(JOURNAL));
        let fresh = options().append(true).open(&next)?;
        fs::rename(&journal, old(&self.path, segment))?;
        let renamed = fs::rename(&next, &journal);
        if renamed.is_err() {
            // The one that is written to has to be the one that is read at the next start.
            let _ = fs::rename(old(&self.path, segment), &journal);
        }
        renamed?;
        self.journal = fresh;
        self.handle.sync_all()
    }

    fn segments(&mut self) -> io::Result<Vec<u64>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("journal."));
            segments.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn archive(&self) -> Arc<dyn Archive> {
        Arc::new(OldFiles(self.path.clone()))
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.journal.set_len(length)?;
        self.journal.sync_all()
    }

    fn replace_snapshot(&mut self, parts: Parts<'_>) -> io::Result<u64> {
        let at = self.path.join(UNFINISHED);
        self.write_snapshot(&at, parts).inspect_err(|_| {
            // On a full disk its space is needed; the error that counts is the one at hand.
            let _ = fs::remove_file(&at);
        })
    }
}

/// Those of a state directory.
struct OldFiles(PathBuf);

impl Archive for OldFiles {
    fn read(&self, segment: u64, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = match File::open(old(&self.0, segment)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                File::open(self.0.join(JOURNAL))?
            }
            other => other?,
        };
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn read_all(&self, segment: u64) -> io::Result<Vec<u8>> {
        fs::read(old(&self.0, segment))
    }

    fn remove(&self, segment: u64) -> io::Result<()> {
        fs::remove_file(old(&self.0, segment))
    }
}

fn old(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{JOURNAL}.{segment:020}"))
}

/// Nobody else may read where requests go.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// A lock on the file and not its presence: it goes with the process, however that ends.
fn take(dir: &Path) -> Result<File, OpenError> {
    let at = dir.join(LOCK);
    let failed = |source| OpenError::storage("open", at.clone(), source);
    let mut file = options().read(true).write(true).open(&at).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // The number only helps whoever reads the refusal of a second process.
            let _ = note_pid(&mut file);
            Ok(file)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.take(20).read_to_string(&mut holder);
            Err(OpenError::Held { dir: dir.to_owned(), holder: holder.trim().parse().ok() })
        }
        Err(errno) => Err(OpenError::storage("lock", at, errno.into())),
    }
}

fn note_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}
