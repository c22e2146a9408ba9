//! Where the lines go: a file with a thread of its own, or the log. The queue to that thread is
//! bounded, and whoever finds it full waits: of these lines none may be lost. Those that wait are
//! tasks on the control thread, so nothing else does.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::TableChange;

/// Lines that may wait for the disk: 1 MiB as a rule.
const QUEUE: usize = 4_096;

/// The way to the audit log; clones share it. `Default` writes to the log.
#[derive(Clone, Debug, Default)]
pub struct AuditLog {
    file: Option<Sender<Message>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    errors: AtomicU64,
    reopen: AtomicBool,
}

#[derive(Debug)]
enum Message {
    Line(String),
    /// There is something else to do.
    Look,
    End,
}

impl AuditLog {
    /// Opens the file, which is created for its owner alone, and starts its thread. That ends after
    /// [`finish`](Self::finish).
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not started.
    pub fn open(path: PathBuf) -> io::Result<(Self, JoinHandle<()>)> {
        let (queue, messages) = channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let file = open(&path)?;
        let writer =
            Writer { messages, path, file, shared: Arc::clone(&shared), is_within_line: false };
        let thread = std::thread::Builder::new().name("audit-log".into());
        let thread = thread.spawn(move || writer.run())?;
        Ok((Self { file: Some(queue), shared }, thread))
    }

    /// Something that nobody asked for through HTTP.
    pub async fn table_change(&self, change: TableChange) {
        self.write(change.line()).await;
    }

    /// Queues a line; waits while there is no room. Cancelled while it waits, the line is lost.
    pub(crate) async fn write(&self, line: String) {
        let Some(queue) = &self.file else {
            return tracing::info!(target: "audit", audit = %line);
        };
        // Only after the end of the thread is there nobody to take it.
        if let Err(unsent) = queue.send(Message::Line(line)).await
            && let Message::Line(line) = unsent.0
        {
            self.shared.errors.fetch_add(1, Relaxed);
            tracing::error!(target: "audit", audit = %line, "after the end of the audit log");
        }
    }

    /// Opens the file anew, after somebody has moved it away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
        if let Some(queue) = &self.file {
            // With a full queue the thread has something to wake up for.
            let _ = queue.try_send(Message::Look);
        }
    }

    /// Lines that could not be written to the file. They are in the log.
    pub fn errors(&self) -> u64 {
        self.shared.errors.load(Relaxed)
    }

    /// Ends the thread once everything before this is written.
    pub async fn finish(&self) {
        if let Some(queue) = &self.file {
            let _ = queue.send(Message::End).await;
        }
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

struct Writer {
    messages: Receiver<Message>,
    path: PathBuf,
    file: File,
    shared: Arc<Shared>,
    /// The last write failed, perhaps in the middle.
    is_within_line: bool,
}

impl Writer {
    fn run(mut self) {
        while let Some(message) = self.messages.blocking_recv() {
            if self.shared.reopen.swap(false, Relaxed) {
                self.reopen();
            }
            match message {
                Message::Line(line) => self.put(&line),
                Message::Look => (),
                Message::End => return,
            }
        }
    }

    /// In one write, so that a reader never sees half a line as long as the disk has room.
    fn put(&mut self, line: &str) {
        let before = if self.is_within_line { "\n" } else { "" };
        let text = format!("{before}{line}\n");
        let written = self.file.write_all(text.as_bytes());
        self.is_within_line = written.is_err();
        if let Err(error) = written {
            self.shared.errors.fetch_add(1, Relaxed);
            let path = self.path.display();
            tracing::error!(target: "audit", %path, %error, audit = line, "not in the audit log");
        }
    }

    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                self.is_within_line = false;
            }
            Err(error) => {
                self.shared.errors.fetch_add(1, Relaxed);
                let path = self.path.display();
                tracing::error!(%path, %error, "cannot reopen the audit log; the old file goes on");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    async fn written(log: &AuditLog, lines: std::ops::Range<usize>) {
        for number in lines {
            log.write(number.to_string()).await;
        }
    }

    #[tokio::test]
    async fn a_full_queue_makes_wait_and_loses_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let (log, thread) = AuditLog::open(path.clone()).expect("it opens");
        written(&log, 0..3 * QUEUE).await;
        log.finish().await;
        thread.join().expect("it ends");
        let text = fs::read_to_string(&path).expect("it is there");
        let numbers = text.lines().map(|line| line.parse::<usize>().expect("a number"));
        assert!(numbers.eq(0..3 * QUEUE));
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        written(&log, 0..1).await;
        assert_eq!(log.errors(), 1, "nobody writes any more");
    }

    #[tokio::test]
    async fn a_file_moved_away_is_opened_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, old) = (folder.path().join("audit.log"), folder.path().join("old"));
        let (log, thread) = AuditLog::open(path.clone()).expect("it opens");
        written(&log, 0..1).await;
        while fs::read_to_string(&path).expect("it is there").is_empty() {
            tokio::task::yield_now().await;
        }
        fs::rename(&path, &old).expect("it is moved");
        log.reopen();
        written(&log, 1..2).await;
        log.finish().await;
        thread.join().expect("it ends");
        assert_eq!(fs::read_to_string(&old).expect("it is there"), "0\n");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "1\n");
    }

    #[tokio::test]
    async fn what_the_disk_does_not_take_is_counted() {
        let (log, thread) = AuditLog::open("/dev/full".into()).expect("it opens");
        written(&log, 0..3).await;
        log.finish().await;
        thread.join().expect("it ends");
        assert_eq!(log.errors(), 3);
        assert!(AuditLog::open("/nonexistent/audit.log".into()).is_err());
    }
}
