//! The way of spans out of the workers: records of requests that are sampled go through a bounded
//! queue to whoever exports them. A full queue drops them and counts it; no request waits.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use crate::access::Record;

/// Records that may wait to be exported: some 2 MiB as a rule, 40 MiB of the longest.
const QUEUE: usize = 2_048;

/// The sending side; clones share the queue.
#[derive(Clone, Debug)]
pub struct Traces {
    queue: SyncSender<Box<Record>>,
    sample: f64,
    exported: Arc<Exported>,
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct Exported {
    /// Taken by the collector.
    pub sent: AtomicU64,
    pub dropped: AtomicU64,
}

impl Traces {
    /// A queue, and its end for the exporter. `sample`: the share of requests that are recorded, from
    /// 0 to 1.
    pub fn new(sample: f64) -> (Self, Receiver<Box<Record>>) {
        let (queue, records) = sync_channel(QUEUE);
        (Self { queue, sample, exported: Arc::default() }, records)
    }

    pub fn exported(&self) -> &Arc<Exported> {
        &self.exported
    }

    /// Whether the next request is one of the sampled.
    pub fn samples(&self, random: &RefCell<fastrand::Rng>) -> bool {
        random.borrow_mut().f64() < self.sample
    }

    /// Queues a request's spans; a full queue drops them.
    pub fn export(&self, record: Box<Record>) {
        if let Err(TrySendError::Full(record) | TrySendError::Disconnected(record)) =
            self.queue.try_send(record)
        {
            self.exported.dropped.fetch_add(record.spans() as u64, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::RequestId;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (traces, records) = Traces::new(1.0);
        let record = || Box::new(Record::new(&"edge".into(), None, RequestId::random(1)));
        (0..QUEUE + 3).for_each(|_| traces.export(record()));
        assert_eq!(traces.exported().dropped.load(Relaxed), 3);
        assert_eq!(records.try_iter().count(), QUEUE);
        drop(records);
        traces.export(record());
        assert_eq!(traces.exported().dropped.load(Relaxed), 4);
    }

    #[test]
    fn the_share_of_the_sampled_is_what_was_asked_for() {
        let random = RefCell::new(fastrand::Rng::with_seed(7));
        let sampled = |share| {
            let (traces, _records) = Traces::new(share);
            (0..10_000).filter(|_| traces.samples(&random)).count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        assert!((800..1_200).contains(&sampled(0.1)));
    }
}
