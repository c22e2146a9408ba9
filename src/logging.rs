//! Log lines go through a bounded queue to a thread of their own: a terminal that has stopped, or
//! a full pipe, must never hold up a worker. What finds no room is counted.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, Result};
use tidegate_config::{Log, LogFormat};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Overrides `log.level`.
const FILTER: &str = "TIDEGATE_LOG";

/// These say what the other side did wrong, once for each time it does. What of that is of use is said
/// here, so many lines a second; whoever names them in a filter hears them all the same.
const QUIET: &str = "rustls=error,h2=error";

const QUEUE: usize = 4_096;

/// The running log. [`Logging::finish`] waits until what was said is written.
pub(crate) struct Logging {
    queue: SyncSender<Option<Vec<u8>>>,
    writer: JoinHandle<()>,
}

/// Makes a line of what the formatter writes.
#[derive(Clone, Debug)]
struct Lines {
    queue: SyncSender<Option<Vec<u8>>>,
    dropped: Arc<AtomicU64>,
}

struct Line<'l> {
    lines: &'l Lines,
    text: Vec<u8>,
}

/// Starts logging to standard error.
///
/// # Errors
/// When the filter is not one, or the thread cannot be started.
pub(crate) fn start(log: &Log) -> Result<Logging> {
    let (filter, place) = match std::env::var(FILTER) {
        Ok(filter) if !filter.is_empty() => (filter, FILTER),
        _ => (log.level.clone(), "log.level"),
    };
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .with_context(|| format!("{place}: \"{filter}\" is no filter"))?;
    let (queue, lines) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&dropped);
    let writer =
        std::thread::Builder::new().name("log".into()).spawn(move || write(&lines, &told))?;
    let sink = Lines { queue: queue.clone(), dropped };
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(sink).with_target(false);
    match log.format {
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
        LogFormat::Text => subscriber.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
    }
    Ok(Logging { queue, writer })
}

fn write(lines: &Receiver<Option<Vec<u8>>>, dropped: &AtomicU64) {
    // Nobody is left to tell when standard error is gone.
    while let Ok(Some(line)) = lines.recv() {
        let _ = io::stderr().write_all(&line);
        match dropped.swap(0, Relaxed) {
            0 => (),
            count => {
                _ = writeln!(
                    io::stderr(),
                    "tidegate: {count} log lines found no room and were dropped"
                );
            }
        }
    }
}

impl Logging {
    pub(crate) fn finish(self) {
        let _ = self.queue.send(None);
        let _ = self.writer.join();
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Line<'l> {
        Line { lines: self, text: Vec::with_capacity(256) }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.lines.queue.try_send(Some(std::mem::take(&mut self.text))).is_err() {
            self.lines.dropped.fetch_add(1, Relaxed);
        }
    }
}
