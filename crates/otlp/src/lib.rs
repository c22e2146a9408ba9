//! Spans of requests, exported by OTLP over HTTP in its JSON form. Workers queue records of the requests
//! that are sampled (`worker::Traces`); a thread of its own makes spans of them, gathers them into
//! batches and posts those. Nothing here can hold a request up: what does not get through is dropped,
//! and counted.
#![forbid(unsafe_code)]

mod export;
mod post;
mod spans;

use std::{
    io,
    sync::{Arc, mpsc::Receiver},
    thread::JoinHandle,
};

use tidegate_worker::{Exported, Record};
use tokio::sync::watch;

use export::Exporting;

/// Where spans go, and who they are from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is connected to, a name or an address.
    pub host: String,
    pub port: u16,
    /// As in a Host field.
    pub authority: String,
    /// Of the URL, with its query.
    pub path: String,
    /// The attributes service.name and service.version.
    pub service: String,
    pub version: &'static str,
}

/// The exporter, as whoever started it sees it.
#[derive(Debug)]
pub struct Exporter {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Starts to export the records of that queue.
///
/// # Errors
/// When the thread or its runtime cannot be started.
pub fn start(
    settings: Settings,
    records: Receiver<Box<Record>>,
    exported: Arc<Exported>,
) -> io::Result<Exporter> {
    let (stop, stopped) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exporting = Exporting::new(settings, records, exported, stopped);
    let thread = std::thread::Builder::new().name("otlp".into());
    let thread = thread.spawn(move || {
        runtime.block_on(exporting.run());
        // A name that is still looked up is of no interest any more.
        runtime.shutdown_background();
    })?;
    Ok(Exporter { stop, thread })
}

impl Exporter {
    /// Exports what is in the queue, for as long as a collector may take for it, and ends: within a
    /// few seconds.
    pub fn finish(self) {
        // The thread may have ended already.
        let _ = self.stop.send(true);
        let _ = self.thread.join();
    }
}
