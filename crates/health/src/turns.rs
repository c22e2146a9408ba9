//! Tells those who follow the events that servers turned sick or well: what probes and requests
//! found out, and when an ejection is over, which nothing happens at.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tidegate_events::{Condition, Event, Health, Hub};
use tidegate_net::coarse_millis;
use tidegate_table::{Ailment, ServerState};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{Instant, sleep_until},
};

/// What requests find out is told so often a second at most: a pool that fails every other request
/// must not push everything else out of what is kept.
const BY_REQUESTS_A_SECOND: u64 = 500;

/// Ejections on their way; the end of one that finds no room is not told.
const ROOM: usize = 1_024;

/// The clock that ejections are told by is coarse: a look comes a little later.
const LATER: Duration = Duration::from_millis(20);

/// The way to say that a server turned.
#[derive(Debug)]
pub(crate) struct Turns {
    events: Arc<Hub>,
    ejected: Sender<Ejection>,
    /// The second, and how often in it requests were heard; the latter in the lower half.
    by_requests: AtomicU64,
}

/// A server that is out for its answers, until then.
#[derive(Debug)]
pub(crate) struct Ejection {
    state: Weak<ServerState>,
    until: Instant,
}

/// Servers whose ejection is to be over.
#[derive(Debug)]
pub(crate) struct Ejections {
    coming: Receiver<Ejection>,
    out: BTreeMap<(Instant, u64), Weak<ServerState>>,
    /// Tells entries of the same moment apart.
    count: u64,
}

impl Turns {
    pub(crate) fn new(events: Arc<Hub>) -> (Self, Ejections) {
        let (ejected, coming) = channel(ROOM);
        let ejections = Ejections { coming, out: BTreeMap::new(), count: 0 };
        (Self { events, ejected, by_requests: AtomicU64::new(0) }, ejections)
    }

    pub(crate) fn tell(&self, state: &ServerState, from: Condition, to: Condition, detail: &str) {
        let (upstream, server) = (state.pool().as_str(), &**state.label());
        self.events.publish(Event::Health(Health { upstream, server, from, to, detail }));
    }

    /// Requests found it out. What probes say of a server weighs more: as long as they have taken
    /// it out, nothing turns.
    pub(crate) fn tell_by_request(
        &self,
        state: &ServerState,
        from: Condition,
        to: Condition,
        detail: &str,
    ) {
        let now = coarse_millis();
        if state.health.ailment(now).is_none() && self.is_heard(now / 1_000) {
            self.tell(state, from, to, detail);
        }
    }

    /// Its answers have taken it out at `now`, in milliseconds of the clock that failures are told
    /// by, for so many milliseconds.
    pub(crate) fn ejected(&self, state: &Arc<ServerState>, now: u64, millis: u64, detail: &str) {
        if state.health.ailment(now) != Some(Ailment::Ejected) {
            return;
        }
        self.tell(state, Condition::Up, Condition::Ejected, detail);
        let until = Instant::now() + Duration::from_millis(millis) + LATER;
        let _ = self.ejected.try_send(Ejection { state: Arc::downgrade(state), until });
    }

    fn is_heard(&self, second: u64) -> bool {
        let count = |packed: u64| match (packed >> 32 == second, packed & u64::from(u32::MAX)) {
            (false, _) => Some(second << 32 | 1),
            (true, count) => (count < BY_REQUESTS_A_SECOND).then_some(packed + 1),
        };
        self.by_requests.fetch_update(Relaxed, Relaxed, count).is_ok()
    }
}

impl Ejections {
    /// Tells of each that is over. Never ends. Cancel safe.
    pub(crate) async fn follow(&mut self, turns: &Turns) {
        loop {
            let first = self.out.first_key_value().map(|((until, _), _)| *until);
            tokio::select! {
                Some(Ejection { state, until }) = self.coming.recv() => {
                    self.count += 1;
                    self.out.insert((until, self.count), state);
                }
                () = sleep_until(first.unwrap_or_else(Instant::now)), if first.is_some() => {
                    self.over(turns);
                }
            }
        }
    }

    fn over(&mut self, turns: &Turns) {
        let Some((_, state)) = self.out.pop_first() else { return };
        let Some(state) = state.upgrade().filter(|state| !state.is_gone()) else { return };
        // Ejected again, or its check has taken it out, which was told.
        if state.health.ailment(coarse_millis()).is_none() {
            turns.tell(&state, Condition::Ejected, Condition::Up, "its time is over");
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_events::{Kinds, Subscription};
    use tidegate_model::Name;

    use super::*;

    fn state() -> Arc<ServerState> {
        let pool = Name::new("p").expect("a name");
        Arc::new(ServerState::new(&pool, "10.0.0.1:80", 0, 1))
    }

    async fn read(reader: &mut Subscription) -> String {
        let text = reader.next().await.expect("it goes on");
        String::from_utf8(text.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn what_requests_find_out_is_told_with_measure() {
        let hub = Hub::new();
        let mut reader = hub.subscribe(None, Kinds::ALL).expect("room");
        let (turns, _ejections) = Turns::new(hub);
        let heard = |second| {
            (0..BY_REQUESTS_A_SECOND + 5).map(|_| u64::from(turns.is_heard(second))).sum::<u64>()
        };
        assert_eq!((heard(7), heard(8)), (BY_REQUESTS_A_SECOND, BY_REQUESTS_A_SECOND));
        turns.tell_by_request(&state(), Condition::Up, Condition::Failed, "refused");
        let text = read(&mut reader).await;
        let server = r#""upstream":"p","server":"10.0.0.1:80","from":"up","to":"failed""#;
        assert!(text.contains(server) && text.contains(r#""detail":"refused""#), "{text}");
    }

    #[tokio::test]
    async fn an_ejection_is_told_when_it_is_over() {
        let hub = Hub::new();
        let mut reader = hub.subscribe(None, Kinds::ALL).expect("room");
        let (turns, mut ejections) = Turns::new(hub);
        let state = state();
        turns.ejected(&state, coarse_millis(), 0, "nobody ejected it");
        let until = Instant::now();
        let ejection = Ejection { state: Arc::downgrade(&state), until };
        turns.ejected.try_send(ejection).expect("room");
        tokio::select! {
            () = ejections.follow(&turns) => (),
            text = read(&mut reader) => {
                assert!(text.contains(r#""from":"ejected","to":"up""#), "{text}");
            }
        }
    }
}
