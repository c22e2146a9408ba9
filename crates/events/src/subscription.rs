//! One reader of the events: a place in the ring, and nothing else. It is woken when something was
//! told and looks for itself, so one that does not come to read costs nobody anything.

use std::{fmt, pin::pin, sync::Arc};

use bytes::Bytes;

use crate::{event::Kinds, hub::Hub};

/// What a reader has yet to read.
pub struct Subscription {
    hub: Arc<Hub>,
    /// The last event it has read, or passed over.
    after: u64,
    kinds: Kinds,
    /// It has found its place in the ring.
    has_begun: bool,
    /// It fell behind.
    is_over: bool,
}

/// Why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// The last event read was another process's.
    AnotherProcess,
    /// What followed it is no longer kept.
    NoLongerKept,
    /// It was read too slowly.
    TooSlow,
}

impl Subscription {
    pub(crate) fn new(hub: Arc<Hub>, after: u64, kinds: Kinds) -> Self {
        Self { hub, after, kinds, has_begun: false, is_over: false }
    }

    /// The next event, as text. Where some are missing there is an event `lost` instead, whose id
    /// is that of the last missing one: a reader that could not be given all it asked for reads on
    /// from there, for one that fell behind it is the last. `None`: it is over. Cancel safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        let hub = Arc::clone(&self.hub);
        loop {
            let mut bell = pin!(hub.bell.notified());
            // Before the look: what is told in between rings for this one.
            bell.as_mut().enable();
            if let Some(found) = self.look() {
                return found;
            }
            bell.await;
        }
    }

    /// Where to go on from after what was read so far.
    pub fn last_id(&self) -> u64 {
        self.after
    }

    /// `None`: there is nothing yet.
    fn look(&mut self) -> Option<Option<Bytes>> {
        if self.is_over {
            return Some(None);
        }
        let hub = Arc::clone(&self.hub);
        let mut state = hub.lock();
        let forgotten = state.forgotten();
        let is_strange = self.after < hub.first || self.after > state.newest;
        let gap = match self.has_begun {
            false if is_strange => Some(Gap::AnotherProcess),
            false if self.after < forgotten => Some(Gap::NoLongerKept),
            true if self.after < forgotten => Some(Gap::TooSlow),
            _ => None,
        };
        self.has_begun = true;
        if let Some(gap) = gap {
            self.is_over = gap == Gap::TooSlow;
            state.dropped += u64::from(self.is_over);
            let after = std::mem::replace(&mut self.after, forgotten);
            return Some(Some(gap.marker(after, forgotten)));
        }
        let read = usize::try_from(self.after - forgotten).unwrap_or(usize::MAX);
        for kept in state.ring.iter().skip(read) {
            self.after += 1;
            if self.kinds.contains(kept.kind) {
                return Some(Some(kept.text.clone()));
            }
        }
        state.is_closed.then_some(None)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.readers -= 1;
        // It took nothing for so long that its connection was given up.
        let is_behind = self.has_begun && self.after < state.forgotten();
        state.dropped += u64::from(is_behind && !self.is_over);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("after", &self.after).finish_non_exhaustive()
    }
}

impl Gap {
    fn marker(self, after: u64, last: u64) -> Bytes {
        let reason = match self {
            Self::AnotherProcess => "another_process",
            Self::NoLongerKept => "no_longer_kept",
            Self::TooSlow => "too_slow",
        };
        let data = format!("{{\"after\":{after},\"reason\":\"{reason}\"}}");
        format!("id: {last}\nevent: lost\ndata: {data}\n\n").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Event, Kind, Listener, ListenerTurn, Reload},
        hub::MOST_EVENTS,
    };

    fn tell(hub: &Hub, count: usize) {
        (0..count)
            .for_each(|_| hub.publish(Event::Reload(Reload { outcome: "applied", detail: "" })));
    }

    fn open(hub: &Hub) {
        let change = ListenerTurn::Opened;
        let listener = Listener { listener: "a", address: "b", protocol: "http", change };
        hub.publish(Event::Listener(listener));
    }

    /// What a look finds, as the id and the kind.
    fn seen(reader: &mut Subscription) -> Option<(u64, String)> {
        let text = reader.look()?.expect("not the end");
        let text = std::str::from_utf8(&text).expect("text").to_owned();
        let mut lines = text.lines();
        let mut value = |name| lines.next().and_then(|line| line.strip_prefix(name)).expect(name);
        let (id, kind) = (value("id: ").parse().expect("a number"), value("event: ").to_owned());
        assert!(text.ends_with("}\n\n"), "{text:?}");
        Some((id, kind))
    }

    fn all(reader: &mut Subscription) -> Vec<u64> {
        std::iter::from_fn(|| seen(reader)).map(|(id, _)| id).collect()
    }

    #[test]
    fn from_now_on_and_after_an_id() {
        let hub = Hub::new();
        tell(&hub, 3);
        let mut now = hub.subscribe(None, Kinds::ALL).expect("room");
        let mut since = hub.subscribe(Some(hub.first + 1), Kinds::ALL).expect("room");
        assert!(now.look().is_none());
        tell(&hub, 1);
        let ids = |from, to| (from..=to).map(|n| hub.first + n).collect::<Vec<_>>();
        assert_eq!(all(&mut now), ids(4, 4));
        assert_eq!(all(&mut since), ids(2, 4));
        assert_eq!(since.last_id(), hub.first + 4);
    }

    #[test]
    fn other_kinds_are_passed_over_and_do_not_fall_behind() {
        let hub = Hub::new();
        let kinds = [Kind::Listener].into_iter().collect();
        let mut reader = hub.subscribe(None, kinds).expect("room");
        for _ in 0..3 {
            tell(&hub, MOST_EVENTS - 1);
            assert!(seen(&mut reader).is_none());
        }
        open(&hub);
        assert_eq!(seen(&mut reader), Some((hub.lock().newest, "listener".into())));
    }

    #[test]
    fn who_resumes_too_late_or_with_another_process_is_told_and_gets_the_rest() {
        let hub = Hub::new();
        tell(&hub, MOST_EVENTS + 5);
        let forgotten = hub.first + 5;
        let newest = hub.lock().newest;
        for after in [hub.first + 4, hub.first - 1, 0, newest + 1, u64::MAX] {
            let mut reader = hub.subscribe(Some(after), Kinds::ALL).expect("room");
            assert_eq!(seen(&mut reader), Some((forgotten, "lost".into())), "{after}");
            assert_eq!(all(&mut reader).len(), MOST_EVENTS);
        }
        let mut reader = hub.subscribe(Some(forgotten), Kinds::ALL).expect("room");
        assert_eq!(all(&mut reader).len(), MOST_EVENTS, "nothing is missing after that one");
        assert_eq!(hub.totals().dropped, 0);
    }

    #[test]
    fn who_falls_behind_is_told_and_through() {
        let hub = Hub::new();
        let mut slow = hub.subscribe(None, Kinds::ALL).expect("room");
        let mut silent = hub.subscribe(None, Kinds::ALL).expect("room");
        assert!(slow.look().is_none() && silent.look().is_none());
        tell(&hub, MOST_EVENTS + 1);
        assert_eq!(seen(&mut slow), Some((hub.first + 1, "lost".into())));
        assert_eq!(slow.look(), Some(None));
        drop((slow, silent));
        assert_eq!(hub.totals().dropped, 2);
    }

    #[tokio::test]
    async fn a_reader_is_woken_from_another_thread_and_by_the_end() {
        let hub = Hub::new();
        let mut reader = hub.subscribe(None, Kinds::ALL).expect("room");
        let teller = Arc::clone(&hub);
        let telling = std::thread::spawn(move || {
            tell(&teller, 100);
            teller.close();
            tell(&teller, 1);
        });
        let mut count = 0;
        while reader.next().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 100);
        telling.join().expect("it tells");
    }
}
