//! The loop of the exporter: gathers a batch, sends it, tries again while there is hope, and counts what
//! became of it.

use std::{
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, TryRecvError},
    },
    time::Duration,
};

use bytes::Bytes;
use tidegate_worker::{Exported, Record};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    Settings,
    post::{Failure, post},
    spans,
};

/// Spans of one batch.
const MAX_SPANS: usize = 512;

/// A span waits so long for others.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// How often the queue is looked at. To be woken would cost each request a system call.
const LOOK: Duration = Duration::from_millis(50);

/// Times that one batch is sent, and the first wait between two of them, which doubles.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A collector that says when to come again is believed up to this.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What is under way when the process stops has so long.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) struct Exporting {
    settings: Settings,
    records: Receiver<Box<Record>>,
    exported: Arc<Exported>,
    stopped: watch::Receiver<bool>,
    batch: Vec<Record>,
}

impl Exporting {
    pub(crate) fn new(
        settings: Settings,
        records: Receiver<Box<Record>>,
        exported: Arc<Exported>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self { settings, records, exported, stopped, batch: Vec::new() }
    }

    /// Runs until the process stops.
    pub(crate) async fn run(mut self) {
        loop {
            let is_last = self.gather().await;
            let batch = std::mem::take(&mut self.batch);
            if !batch.is_empty() {
                self.export(&batch).await;
            }
            if is_last {
                return;
            }
        }
    }

    /// Gathers a batch until it is full or old enough. `true`: nothing follows it.
    async fn gather(&mut self) -> bool {
        let (mut spans, mut first) = (0, None);
        loop {
            let is_last = *self.stopped.borrow();
            // As long as any request fits.
            while spans <= MAX_SPANS - Record::MAX_SPANS {
                match self.records.try_recv() {
                    Ok(record) => {
                        spans += record.spans();
                        self.batch.push(*record);
                    }
                    Err(TryRecvError::Empty) if !is_last => break,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
                }
            }
            let since = *first.get_or_insert_with(Instant::now);
            if self.batch.is_empty() {
                first = None;
            } else if since.elapsed() >= MAX_WAIT || spans > MAX_SPANS - Record::MAX_SPANS {
                return false;
            }
            sleep(LOOK).await;
        }
    }

    async fn export(&self, batch: &[Record]) {
        let spans = batch.iter().map(|record| record.spans() as u64).sum::<u64>();
        let body = spans::encode(&self.settings, batch);
        let mut stopped = self.stopped.clone();
        let over = async {
            // One that is gone has no more to say than one that says stop.
            let _ = stopped.wait_for(|stopped| *stopped).await;
            sleep(GRACE).await;
        };
        let delivered = tokio::select! {
            delivered = self.deliver(body.into()) => delivered,
            () = over => Err(Failure::Stopped),
        };
        let rejected = match delivered {
            Ok(rejected) => rejected.min(spans),
            Err(failure) => {
                let endpoint = &*self.settings.authority;
                tracing::warn!(endpoint, spans, reason = %failure, "spans were not exported");
                spans
            }
        };
        self.exported.sent.fetch_add(spans - rejected, Relaxed);
        self.exported.dropped.fetch_add(rejected, Relaxed);
    }

    /// Sends a batch, again and again while that may help. How many spans of it were refused.
    async fn deliver(&self, body: Bytes) -> Result<u64, Failure> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match post(&self.settings, body.clone()).await {
                Err(failure) if failure.may_pass() => {
                    let asked = failure.come_again().map(|asked| asked.min(MAX_PAUSE));
                    sleep(asked.unwrap_or(pause)).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
        post(&self.settings, body).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::TcpListener,
        num::NonZeroU64,
        sync::mpsc::{Receiver as Bodies, channel},
        thread,
    };

    use serde_json::Value;
    use tidegate_worker::{RequestId, SpanIds, Traces};

    use super::*;
    use crate::Exporter;

    /// A collector that gives these answers, one a connection. Its address, and what it is sent.
    fn collector(answers: Vec<&'static str>) -> (u16, Bodies<Value>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (told, bodies) = channel();
        thread::spawn(move || {
            for answer in answers {
                let (socket, _) = listener.accept().expect("somebody comes");
                let mut reader = BufReader::new(socket);
                let (mut line, mut length) = (String::new(), 0);
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    let (name, value) = line.split_once(':').unwrap_or_default();
                    if name.eq_ignore_ascii_case("content-length") {
                        length = value.trim().parse().expect("a length");
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                let _ = told.send(serde_json::from_slice(&body).expect("JSON"));
                let _ = reader.get_mut().write_all(answer.as_bytes());
            }
        });
        (port, bodies)
    }

    fn settings(port: u16) -> Settings {
        Settings {
            host: "127.0.0.1".into(),
            port,
            authority: format!("127.0.0.1:{port}"),
            path: "/v1/traces".into(),
            service: "edge".into(),
            version: "0",
        }
    }

    fn record(id: u64) -> Box<Record> {
        let mut record = Record::new(&"edge".into(), None, RequestId::random(1));
        let id = NonZeroU64::new(id).expect("not zero");
        record.span = Some(SpanIds { id, parent: None });
        record.trace = Some(id.into());
        Box::new(record)
    }

    /// What became of so many records, all there is to be exported.
    fn exported(port: u16, count: u64, end: impl FnOnce(Exporter)) -> (u64, u64) {
        let (traces, records) = Traces::new(1.0);
        (1..=count).for_each(|id| traces.export(record(id)));
        let exported = Arc::clone(traces.exported());
        let exporter =
            crate::start(settings(port), records, Arc::clone(&exported)).expect("it starts");
        drop(traces);
        end(exporter);
        (exported.sent.load(Relaxed), exported.dropped.load(Relaxed))
    }

    /// Without a process that stops it ends when everything is exported.
    fn patiently(Exporter { stop, thread }: Exporter) {
        thread.join().expect("it ends");
        drop(stop);
    }

    fn spans(body: &Value) -> usize {
        let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
        spans.as_array().expect("a list").len()
    }

    const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

    #[test]
    fn every_span_arrives_in_batches() {
        let (port, bodies) = collector(vec![FINE, FINE]);
        assert_eq!(exported(port, 600, patiently), (600, 0));
        let batches: Vec<_> = bodies.iter().map(|body| spans(&body)).collect();
        assert_eq!((batches.len(), batches.iter().sum::<usize>()), (2, 600));
        assert!(batches.iter().all(|spans| *spans <= MAX_SPANS), "{batches:?}");
    }

    #[test]
    fn who_is_busy_is_asked_again() {
        let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
        let (port, bodies) = collector(vec![busy, FINE]);
        assert_eq!(exported(port, 3, patiently), (3, 0));
        assert_eq!(bodies.iter().map(|body| spans(&body)).collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn what_is_refused_is_counted() {
        let refused = "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n";
        let (port, _bodies) = collector(vec![refused]);
        assert_eq!(exported(port, 3, patiently), (0, 3));
        let partly = "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"2\"}}";
        let (port, _bodies) = collector(vec![partly]);
        assert_eq!(exported(port, 3, patiently), (1, 2));
    }

    #[test]
    fn without_a_collector_a_stop_does_not_wait_for_long() {
        let unused = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = unused.local_addr().expect("an address").port();
        drop(unused);
        let begun = std::time::Instant::now();
        assert_eq!(exported(port, 3, Exporter::finish), (0, 3));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
