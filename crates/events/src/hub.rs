//! The ring of what happened lately. Telling it takes a lock for as long as a short text is copied,
//! and wakes who reads; what a reader has not read when the ring has gone round is lost to that
//! reader, and to nobody else.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    event::{Event, Kind, Kinds},
    subscription::Subscription,
};

/// Events that are kept, and bytes of them, whichever is reached first.
pub(crate) const MOST_EVENTS: usize = 4_096;
pub(crate) const MOST_BYTES: usize = 4 << 20;

/// Readers at once.
pub(crate) const MOST_READERS: usize = 64;

/// Ids of one process begin at its start, in milliseconds, times this. No process tells so many
/// events a millisecond for long, so none reaches the ids of the next one; and until the year 2109
/// they are whole numbers of JavaScript.
const IDS_A_MILLISECOND: u64 = 2_048;

/// Where events are told and read.
pub struct Hub {
    pub(crate) bell: Notify,
    /// Before the first event of this process.
    pub(crate) first: u64,
    state: Mutex<State>,
}

pub(crate) struct State {
    /// The newest events, without a gap.
    pub(crate) ring: VecDeque<Kept>,
    /// The length of their texts.
    bytes: usize,
    /// The id of the last event.
    pub(crate) newest: u64,
    pub(crate) readers: usize,
    /// Readers that fell behind.
    pub(crate) dropped: u64,
    counts: [u64; Kind::ALL.len()],
    pub(crate) is_closed: bool,
}

/// An event as every reader gets it.
pub(crate) struct Kept {
    pub(crate) kind: Kind,
    pub(crate) text: Bytes,
}

/// There are as many readers as there may be, or the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MOST_READERS} readers follow the events already, or the process is stopping")]
pub struct Full;

/// What was told so far, and to whom.
#[derive(Clone, Debug)]
pub struct Totals {
    pub events: Vec<(Kind, u64)>,
    pub readers: usize,
    /// Readers that fell behind.
    pub dropped: u64,
}

impl Hub {
    pub fn new() -> Arc<Self> {
        let first = unix_millis().saturating_mul(IDS_A_MILLISECOND);
        let state = State {
            ring: VecDeque::new(),
            bytes: 0,
            newest: first,
            readers: 0,
            dropped: 0,
            counts: [0; Kind::ALL.len()],
            is_closed: false,
        };
        Arc::new(Self { bell: Notify::new(), first, state: Mutex::new(state) })
    }

    /// Tells that something happened just now.
    pub fn publish(&self, event: Event<'_>) {
        self.publish_at(event, unix_millis());
    }

    /// Tells that something happened `at`, in milliseconds since 1970.
    pub fn publish_at(&self, event: Event<'_>, at: u64) {
        let data = event.to_json(at);
        self.lock().keep(event.kind(), &data);
        self.bell.notify_waiters();
    }

    /// Follows events of these kinds: those that came after the one of that id, or from now on.
    ///
    /// # Errors
    /// When there is no room for another reader.
    pub fn subscribe(
        self: &Arc<Self>,
        after: Option<u64>,
        kinds: Kinds,
    ) -> Result<Subscription, Full> {
        let mut state = self.lock();
        if state.is_closed || state.readers >= MOST_READERS {
            return Err(Full);
        }
        state.readers += 1;
        let after = after.unwrap_or(state.newest);
        drop(state);
        Ok(Subscription::new(Arc::clone(self), after, kinds))
    }

    /// The process ends: nothing more is told, and readers are through when they have read what
    /// there is.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.bell.notify_waiters();
    }

    pub fn totals(&self) -> Totals {
        let state = self.lock();
        Totals {
            events: Kind::ALL.into_iter().zip(state.counts).collect(),
            readers: state.readers,
            dropped: state.dropped,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("first", &self.first).finish_non_exhaustive()
    }
}

impl State {
    fn keep(&mut self, kind: Kind, data: &str) {
        if self.is_closed {
            return;
        }
        self.newest += 1;
        self.counts[kind as usize] += 1;
        let text = format!("id: {}\nevent: {}\ndata: {data}\n\n", self.newest, kind.word());
        self.bytes += text.len();
        self.ring.push_back(Kept { kind, text: text.into() });
        while self.ring.len() > MOST_EVENTS || self.bytes > MOST_BYTES {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
    }

    /// The id of the newest event that is no longer kept.
    pub(crate) fn forgotten(&self) -> u64 {
        self.newest - self.ring.len() as u64
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reload;

    fn reload(hub: &Hub, detail: &str) {
        hub.publish(Event::Reload(Reload { outcome: "applied", detail }));
    }

    #[test]
    fn the_ring_is_bounded_by_events_and_by_bytes() {
        let hub = Hub::new();
        (0..MOST_EVENTS + 10).for_each(|_| reload(&hub, ""));
        let state = hub.lock();
        assert_eq!(state.ring.len(), MOST_EVENTS);
        assert_eq!(state.forgotten(), hub.first + 10);
        drop(state);
        (0..MOST_EVENTS).for_each(|_| reload(&hub, &"\u{1}".repeat(1_024)));
        let state = hub.lock();
        let bytes: usize = state.ring.iter().map(|kept| kept.text.len()).sum();
        assert_eq!(bytes, state.bytes);
        assert!(bytes <= MOST_BYTES && state.ring.len() < MOST_EVENTS, "{bytes}");
    }

    #[test]
    fn what_is_larger_than_the_ring_is_not_kept() {
        let hub = Hub::new();
        hub.lock().keep(Kind::Reload, &"x".repeat(MOST_BYTES));
        let kept = |state: &State| (state.ring.len(), state.bytes);
        assert_eq!(kept(&hub.lock()), (0, 0));
        reload(&hub, "");
        assert_eq!(hub.lock().ring.len(), 1);
    }

    #[test]
    fn so_many_readers_and_no_more_and_none_at_the_end() {
        let hub = Hub::new();
        let reader = || hub.subscribe(None, Kinds::ALL);
        let mut readers: Vec<_> = (0..MOST_READERS).map(|_| reader().expect("room")).collect();
        assert_eq!(reader().map(|_| ()), Err(Full));
        readers.pop();
        readers.push(reader().expect("room again"));
        drop(readers);
        assert_eq!(hub.totals().readers, 0);
        hub.close();
        assert_eq!(reader().map(|_| ()), Err(Full));
    }

    #[test]
    fn ids_are_whole_numbers_of_javascript() {
        assert!(Hub::new().first < 1 << 53);
    }
}
