//! The access log: records go through a bounded queue to a thread of their own. A full queue
//! drops the line and counts it; requests never wait for a disk.

mod format;
mod json;
mod record;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub use format::Format;
pub use record::{Attempted, Attempts, Record, Said, SpanIds, Texts};

use format::Printer;

/// Records that may wait for the writer: some 3 MiB as a rule, 80 MiB of the longest.
const QUEUE: usize = 4_096;

/// While records keep coming the writer looks for them so often. Waiting for each of them would cost
/// whoever sends it a system call, to wake the writer.
const GATHER: Duration = Duration::from_millis(5);

/// Lines are written when there is so much of them.
const BATCH: usize = 64 * 1024;

/// That lines cannot be written is said so often.
const TELL: Duration = Duration::from_secs(5);

/// A line is on disk at the latest after this.
const FLUSH: Duration = Duration::from_millis(500);

/// The sending side; clones share the queue.
#[derive(Clone, Debug)]
pub struct AccessLog {
    format: Format,
    queue: SyncSender<Box<Record>>,
    shared: Arc<Flags>,
}

#[derive(Debug, Default)]
struct Flags {
    dropped: AtomicU64,
    reopen: AtomicBool,
}

impl AccessLog {
    /// Opens the log and starts its thread, which ends after the last clone of the log is dropped.
    /// `None`: standard output.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not started.
    pub fn open(path: Option<PathBuf>, format: Format) -> io::Result<(Self, JoinHandle<()>)> {
        let (queue, records) = sync_channel(QUEUE);
        let shared = Arc::new(Flags::default());
        let sink = Sink::open(path.as_ref())?;
        let writer = Writer {
            records,
            path,
            printer: Printer::new(format),
            sink,
            lines: Vec::with_capacity(BATCH),
            count: 0,
            told: None,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("access-log".into());
        let thread = thread.spawn(move || writer.run())?;
        Ok((Self { format, queue, shared }, thread))
    }

    /// What it prints of a record.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Queues a record; a full queue drops it.
    pub fn write(&self, record: Box<Record>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(record)
        {
            self.shared.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Opens the file anew, after somebody has moved it away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
    }

    /// Records that were dropped.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}

#[derive(Debug)]
enum Sink {
    File(File),
    Stdout(io::Stdout),
}

impl Sink {
    fn open(path: Option<&PathBuf>) -> io::Result<Self> {
        Ok(match path {
            Some(path) => Self::File(OpenOptions::new().create(true).append(true).open(path)?),
            None => Self::Stdout(io::stdout()),
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(lines),
            Self::Stdout(stdout) => {
                stdout.write_all(lines)?;
                stdout.flush()
            }
        }
    }
}

struct Writer {
    records: Receiver<Box<Record>>,
    path: Option<PathBuf>,
    printer: Printer,
    sink: Sink,
    /// What is to be written next, and how many lines that is.
    lines: Vec<u8>,
    count: u64,
    /// When it was last said that they could not be.
    told: Option<Instant>,
    shared: Arc<Flags>,
}

impl Writer {
    fn run(mut self) {
        let mut flushed = Instant::now();
        let mut patience = FLUSH;
        loop {
            if flushed.elapsed() >= FLUSH {
                self.flush();
                flushed = Instant::now();
            }
            let first = self.records.recv_timeout(patience);
            if self.shared.reopen.swap(false, Relaxed) {
                self.reopen();
            }
            match first {
                Ok(first) => {
                    self.put(&first);
                    self.put_all();
                    std::thread::sleep(GATHER);
                    patience = Duration::ZERO;
                }
                Err(RecvTimeoutError::Timeout) => patience = FLUSH,
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    /// Writes what waits, but no more than fits into the queue: there is a file to be flushed, too.
    fn put_all(&mut self) {
        for _ in 0..QUEUE {
            let Ok(record) = self.records.try_recv() else { return };
            self.put(&record);
        }
    }

    fn put(&mut self, record: &Record) {
        self.printer.print(record, &mut self.lines);
        self.count += 1;
        if self.lines.len() >= BATCH {
            self.flush();
        }
    }

    /// Writes what there is. What cannot be written is gone: it would fail again at every turn.
    fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        if let Err(error) = self.sink.write(&self.lines) {
            if self.told.is_none_or(|told| told.elapsed() >= TELL) {
                tracing::error!(path = ?self.path, %error, "cannot write the access log");
                self.told = Some(Instant::now());
            }
            self.shared.dropped.fetch_add(self.count, Relaxed);
            self.renew();
        }
        self.lines.clear();
        self.count = 0;
    }

    fn reopen(&mut self) {
        self.flush();
        self.renew();
    }

    fn renew(&mut self) {
        match Sink::open(self.path.as_ref()) {
            Ok(sink) => self.sink = sink,
            Err(error) => {
                tracing::error!(path = ?self.path, %error, "cannot reopen the access log; the old file goes on");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::RequestId;

    fn record() -> Box<Record> {
        Box::new(Record::new(&"edge".into(), None, RequestId::random(1)))
    }

    #[test]
    fn a_log_moved_away_is_opened_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let (log, thread) =
            AccessLog::open(Some(path.clone()), Format::Combined).expect("it opens");
        std::fs::rename(&path, folder.path().join("old")).expect("it is there");
        log.reopen();
        log.write(record());
        drop(log);
        thread.join().expect("it ends");
        assert!(!std::fs::read_to_string(&path).expect("it is there anew").is_empty());
    }

    #[test]
    fn every_record_that_was_taken_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let (log, thread) = AccessLog::open(Some(path.clone()), Format::Json).expect("it opens");
        let sent = 3 * QUEUE as u64;
        (0..sent).for_each(|_| log.write(record()));
        let dropped = log.dropped();
        drop(log);
        thread.join().expect("it ends");
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!(text.lines().count() as u64, sent - dropped);
    }
}
