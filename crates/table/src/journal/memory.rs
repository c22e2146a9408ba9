//! A disk for tests: it fails on demand, holds a sync until it is let go, and can lose its power.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use super::disk::{Disk, JOURNAL, Parts, SNAPSHOT};
use crate::history::Archive;

/// Clones are handles to one disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<(Mutex<Platter>, Condvar)>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Platter {
    snapshot: Option<Vec<u8>>,
    journal: Vec<u8>,
    old: BTreeMap<u64, Vec<u8>>,
    /// Bytes of the journal that survive a power cut.
    durable: usize,
    pub(crate) syncs: usize,
    pub(crate) snapshots: usize,
    /// A full disk that still takes so many bytes of an append.
    pub(crate) full_after: Option<usize>,
    pub(crate) sync_fails: bool,
    pub(crate) snapshot_fails: bool,
    /// Syncs wait until this is taken away, but for as many as may pass.
    pub(crate) held: bool,
    passes: usize,
}

impl Memory {
    pub(crate) fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.0.lock().expect("no test panics while it holds this")
    }

    pub(crate) fn let_go(&self) {
        self.platter().held = false;
        self.0.1.notify_all();
    }

    pub(crate) fn let_one_go(&self) {
        self.platter().passes += 1;
        self.0.1.notify_all();
    }

    /// The disk as found after a power cut that spared `spared` of the bytes not yet synced.
    pub(crate) fn after_power_cut(&self, spared: usize) -> Self {
        let mut platter = self.platter().clone();
        let left = platter.journal.len().min(platter.durable.saturating_add(spared));
        platter.journal.truncate(left);
        Self::spinning(platter)
    }

    /// The same with every unsynced byte but one, which was lost.
    pub(crate) fn after_lost_byte(&self, at: usize) -> Self {
        let mut platter = self.platter().clone();
        let lost = platter.durable + at;
        if let Some(byte) = platter.journal.get_mut(lost) {
            *byte ^= 0x55;
        }
        Self::spinning(platter)
    }

    /// The disk with a damaged byte among those that were durable.
    pub(crate) fn after_rot(&self, at: usize) -> Self {
        let mut platter = self.platter().clone();
        platter.journal[at] ^= 0x55;
        Self::spinning(platter)
    }

    /// Waits until something has been written that is not synced.
    pub(crate) async fn until_written(&self) {
        while self.unsynced() == 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn unsynced(&self) -> usize {
        let platter = self.platter();
        platter.journal.len() - platter.durable
    }

    fn spinning(platter: Platter) -> Self {
        let platter = Platter {
            full_after: None,
            sync_fails: false,
            snapshot_fails: false,
            held: false,
            durable: platter.journal.len(),
            ..platter
        };
        Self(Arc::new((Mutex::new(platter), Condvar::new())))
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Disk for Memory {
    fn dir(&self) -> &Path {
        Path::new("memory")
    }

    fn read(&mut self, file: &'static str) -> io::Result<Option<Vec<u8>>> {
        let platter = self.platter();
        match file {
            SNAPSHOT => Ok(platter.snapshot.clone()),
            JOURNAL => Ok(Some(platter.journal.clone())),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        let taken = platter.full_after.map_or(bytes.len(), |left| left.min(bytes.len()));
        platter.journal.extend_from_slice(&bytes[..taken]);
        if platter.full_after.is_some() { Err(full()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let platter = self.platter();
        let waits = |platter: &mut Platter| platter.held && platter.passes == 0;
        let mut platter = self.0.1.wait_while(platter, waits).expect("as in platter()");
        platter.passes = platter.passes.saturating_sub(1);
        platter.syncs += 1;
        if platter.sync_fails {
            return Err(io::Error::other("the medium is worn"));
        }
        platter.durable = platter.journal.len();
        Ok(())
    }

    fn rotate(&mut self, segment: u64) -> io::Result<()> {
        let mut platter = self.platter();
        if platter.sync_fails {
            return Err(io::Error::other("the medium is worn"));
        }
        let journal = std::mem::take(&mut platter.journal);
        platter.old.insert(segment, journal);
        platter.durable = 0;
        Ok(())
    }

    fn segments(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.platter().old.keys().copied().collect())
    }

    fn archive(&self) -> Arc<dyn Archive> {
        Arc::new(self.clone())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut platter = self.platter();
        if platter.sync_fails {
            return Err(io::Error::other("the medium is worn"));
        }
        platter.journal.truncate(usize::try_from(length).expect("it was a Vec's"));
        platter.durable = platter.journal.len();
        Ok(())
    }

    fn replace_snapshot(&mut self, parts: Parts<'_>) -> io::Result<u64> {
        let whole: Vec<u8> = parts.collect::<io::Result<Vec<_>>>()?.concat();
        let mut platter = self.platter();
        if platter.snapshot_fails || platter.full_after.is_some() {
            return Err(full());
        }
        platter.snapshots += 1;
        let length = whole.len() as u64;
        platter.snapshot = Some(whole);
        Ok(length)
    }
}

impl Archive for Memory {
    fn read(&self, segment: u64, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let platter = self.platter();
        let file = platter.old.get(&segment).unwrap_or(&platter.journal);
        let start = usize::try_from(offset).expect("it was a Vec's");
        let bytes = file.get(start..start + length);
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn read_all(&self, segment: u64) -> io::Result<Vec<u8>> {
        self.platter().old.get(&segment).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, segment: u64) -> io::Result<()> {
        self.platter().old.remove(&segment);
        Ok(())
    }
}
