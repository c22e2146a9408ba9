//! The access log: records go through a bounded queue to a thread of their own. A full queue
//! drops the line and counts it; requests never wait for a disk.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;

use crate::secure::Encryption;

/// Records that may wait for the writer: some 2 MiB as a rule, 50 MiB of the longest.
const QUEUE: usize = 4_096;

/// Longer texts of a client's are cut in the log.
pub const MAX_TEXT: usize = 4_096;

/// A line is on disk at the latest after this.
const FLUSH: Duration = Duration::from_millis(500);

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// nginx's `combined`.
    Combined,
    Json,
}

/// One request, or one tunnel at its end.
#[derive(Clone, Debug)]
pub struct Record {
    pub at: SystemTime,
    pub listener: Arc<str>,
    pub client: Option<IpAddr>,
    pub request_id: String,
    pub method: String,
    pub host: String,
    pub uri: String,
    pub protocol: &'static str,
    /// JSON alone has it.
    pub encryption: Option<Arc<Encryption>>,
    pub user_agent: String,
    pub referer: String,
    pub route: Arc<str>,
    pub upstream: String,
    /// Each server tried, with the outcome.
    pub attempts: Vec<(Arc<str>, &'static str)>,
    pub status: u16,
    /// Which of its route's limits turned it away.
    pub refused: Option<&'static str>,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub duration: Duration,
    pub upstream_duration: Option<Duration>,
    /// Why a tunnel ended.
    pub close: Option<&'static str>,
    /// The drain's id or the generation of the removal that ended it.
    pub close_by: Option<u64>,
}

/// The sending side; clones share the queue.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: SyncSender<Box<Record>>,
    shared: Arc<Flags>,
}

#[derive(Debug, Default)]
struct Flags {
    dropped: AtomicU64,
    reopen: AtomicBool,
}

impl Record {
    pub fn new(listener: &Arc<str>, client: Option<IpAddr>, request_id: &str) -> Self {
        Self {
            at: SystemTime::now(),
            listener: Arc::clone(listener),
            client,
            request_id: request_id.into(),
            method: String::new(),
            host: String::new(),
            uri: String::new(),
            protocol: "",
            encryption: None,
            user_agent: String::new(),
            referer: String::new(),
            route: Arc::from(""),
            upstream: String::new(),
            attempts: Vec::new(),
            status: 0,
            refused: None,
            bytes_received: 0,
            bytes_sent: 0,
            duration: Duration::ZERO,
            upstream_duration: None,
            close: None,
            close_by: None,
        }
    }
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
        let writer = Writer { records, path, format, sink, shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name("access-log".into());
        let thread = thread.spawn(move || writer.run())?;
        Ok((Self { queue, shared }, thread))
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
    File(BufWriter<File>),
    Stdout(BufWriter<io::Stdout>),
}

impl Sink {
    fn open(path: Option<&PathBuf>) -> io::Result<Self> {
        Ok(match path {
            Some(path) => Self::File(BufWriter::with_capacity(
                64 * 1024,
                OpenOptions::new().create(true).append(true).open(path)?,
            )),
            None => Self::Stdout(BufWriter::new(io::stdout())),
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::File(file) => file,
            Self::Stdout(stdout) => stdout,
        }
    }
}

struct Writer {
    records: Receiver<Box<Record>>,
    path: Option<PathBuf>,
    format: Format,
    sink: Sink,
    shared: Arc<Flags>,
}

impl Writer {
    fn run(mut self) {
        let mut line = String::new();
        let mut flushed = Instant::now();
        loop {
            if flushed.elapsed() >= FLUSH {
                self.flush();
                flushed = Instant::now();
            }
            let record = self.records.recv_timeout(FLUSH);
            if self.shared.reopen.swap(false, Relaxed) {
                self.reopen();
            }
            match record {
                Ok(record) => {
                    line.clear();
                    record.print(self.format, &mut line);
                    self.put(line.as_bytes());
                }
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    fn put(&mut self, line: &[u8]) {
        if self.sink.writer().write_all(line).is_err() {
            self.shared.dropped.fetch_add(1, Relaxed);
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.sink.writer().flush() {
            tracing::error!(path = ?self.path, %error, "cannot write the access log");
            // What is stuck in the buffer would fail again at every turn.
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        let _ = self.sink.writer().flush();
        match Sink::open(self.path.as_ref()) {
            Ok(sink) => self.sink = sink,
            Err(error) => {
                tracing::error!(path = ?self.path, %error, "cannot reopen the access log; the old file goes on");
            }
        }
    }
}

/// The JSON form.
#[derive(Serialize)]
struct Line<'r> {
    time: String,
    listener: &'r str,
    client: Option<IpAddr>,
    request_id: &'r str,
    method: &'r str,
    host: &'r str,
    uri: &'r str,
    protocol: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls<'r>>,
    route: &'r str,
    upstream: &'r str,
    server: &'r str,
    attempts: Vec<Tried<'r>>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'r str>,
    bytes_received: u64,
    bytes_sent: u64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_seconds: Option<f64>,
    user_agent: &'r str,
    referer: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close_by: Option<u64>,
}

#[derive(Serialize)]
struct Tls<'r> {
    version: &'r str,
    cipher: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_subject: Option<&'r str>,
}

#[derive(Serialize)]
struct Tried<'r> {
    server: &'r str,
    outcome: &'r str,
}

impl<'r> Tls<'r> {
    fn of(encryption: &'r Encryption) -> Self {
        Self {
            version: encryption.version,
            cipher: encryption.cipher,
            server_name: encryption.server_name.as_deref(),
            client_subject: encryption.client_subject.as_deref(),
        }
    }
}

impl Record {
    fn print(&self, format: Format, out: &mut String) {
        match format {
            Format::Combined => self.combined(out),
            Format::Json => self.json(out),
        }
        out.push('\n');
    }

    fn json(&self, out: &mut String) {
        let (day, clock, millis) = self.time();
        let line = Line {
            time: format!("{}T{clock}.{millis:03}Z", day.iso()),
            listener: &self.listener,
            client: self.client,
            request_id: &self.request_id,
            method: &self.method,
            host: &self.host,
            uri: &self.uri,
            protocol: self.protocol,
            tls: self.encryption.as_deref().map(Tls::of),
            route: &self.route,
            upstream: &self.upstream,
            server: self.attempts.last().map_or("", |(server, _)| server),
            attempts: self
                .attempts
                .iter()
                .map(|(server, outcome)| Tried { server, outcome })
                .collect(),
            status: self.status,
            refused: self.refused,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            seconds: self.duration.as_secs_f64(),
            upstream_seconds: self.upstream_duration.map(|after| after.as_secs_f64()),
            user_agent: &self.user_agent,
            referer: &self.referer,
            close: self.close,
            close_by: self.close_by,
        };
        // Texts and numbers always serialise.
        out.push_str(&serde_json::to_string(&line).unwrap_or_default());
    }

    fn combined(&self, out: &mut String) {
        let (day, clock, _) = self.time();
        match self.client {
            Some(ip) => _ = write!(out, "{ip}"),
            None => out.push('-'),
        }
        let _ = write!(out, " - - [{}:{clock} +0000] \"", day.log());
        if self.method.is_empty() {
            out.push('-');
        } else {
            let _ = write!(out, "{} ", self.method);
            escape(&self.uri, out);
            let _ = write!(out, " {}", self.protocol);
        }
        let _ = write!(out, "\" {} {} \"", self.status, self.bytes_sent);
        escape(dash(&self.referer), out);
        out.push_str("\" \"");
        escape(dash(&self.user_agent), out);
        out.push('"');
    }

    fn time(&self) -> (Day, String, u32) {
        let since = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        let clock =
            format!("{:02}:{:02}:{:02}", second / 3_600 % 24, second / 60 % 60, second % 60);
        (Day(self.at), clock, since.subsec_millis())
    }
}

fn dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// As nginx does: what could end the field or the line becomes `\xNN`.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' | '\\' => _ = write!(out, "\\x{:02X}", u32::from(c)),
            c if c.is_control() => _ = write!(out, "\\x{:02X}", u32::from(c)),
            c => out.push(c),
        }
    }
}

/// A day in UTC.
struct Day(SystemTime);

impl Day {
    const MONTHS: &'static str = "JanFebMarAprMayJunJulAugSepOctNovDec";

    /// `20/Nov/2026`
    fn log(&self) -> String {
        let date = httpdate::fmt_http_date(self.0);
        format!("{}/{}/{}", &date[5..7], &date[8..11], &date[12..16])
    }

    /// `2026-11-20`
    fn iso(&self) -> String {
        let date = httpdate::fmt_http_date(self.0);
        let month = Self::MONTHS.find(&date[8..11]).map_or(0, |at| at / 3 + 1);
        format!("{}-{month:02}-{}", &date[12..16], &date[5..7])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut record = Record::new(&"edge".into(), "10.0.0.1".parse().ok(), "id");
        record.at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_179_853_042);
        record.method = "GET".into();
        record.uri = "/a?\"b\nc".into();
        record.protocol = "HTTP/1.1";
        record.user_agent = "x\\".into();
        record.attempts = vec![("a:1".into(), "failed"), ("b:2".into(), "answered")];
        record.status = 200;
        record
    }

    #[test]
    fn the_combined_form_is_that_of_nginx() {
        let mut line = String::new();
        record().print(Format::Combined, &mut line);
        let day = "20/Nov/2026:13:04:13 +0000";
        assert_eq!(
            line,
            format!(
                "10.0.0.1 - - [{day}] \"GET /a?\\x22b\\x0Ac HTTP/1.1\" 200 0 \"-\" \"x\\x5C\"\n"
            )
        );
    }

    #[test]
    fn the_json_form_is_one_line_with_every_attempt() {
        let mut line = String::new();
        record().print(Format::Json, &mut line);
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["time"], "2026-11-20T13:04:13.042Z");
        assert_eq!((&value["server"], &value["uri"]), (&"b:2".into(), &"/a?\"b\nc".into()));
        assert_eq!(value["attempts"][0]["outcome"], "failed");
        assert_eq!(value.get("tls"), None);
    }

    #[test]
    fn what_is_known_by_tls_is_in_the_json_form_alone() {
        let encryption = Encryption {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            server_name: Some("a.test".into()),
            client_subject: None,
        };
        let record = Record { encryption: Some(Arc::new(encryption)), ..record() };
        let (mut json, mut combined) = (String::new(), String::new());
        record.print(Format::Json, &mut json);
        record.print(Format::Combined, &mut combined);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let expected = serde_json::json!({
            "version": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256", "server_name": "a.test",
        });
        assert_eq!(value["tls"], expected);
        assert!(!combined.contains("TLS"), "{combined}");
    }

    #[test]
    fn a_log_moved_away_is_opened_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let (log, thread) =
            AccessLog::open(Some(path.clone()), Format::Combined).expect("it opens");
        std::fs::rename(&path, folder.path().join("old")).expect("it is there");
        log.reopen();
        log.write(Box::new(record()));
        drop(log);
        thread.join().expect("it ends");
        assert!(!std::fs::read_to_string(&path).expect("it is there anew").is_empty());
    }
}
