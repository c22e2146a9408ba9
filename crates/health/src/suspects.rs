//! What requests have to say about servers. A server that fails one is asked at once how it is,
//! instead of at its next turn.

use std::sync::Arc;

use tidegate_events::Condition;
use tidegate_net::coarse_millis;
use tidegate_table::ServerState;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::turns::Turns;

/// Reports on their way. A server is reported once until it is probed, so that it takes as many
/// sick servers at the same moment to fill it; those that find no room wait for their next turn.
const ROOM: usize = 4_096;

/// The way for requests to say how servers served them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Suspects {
    queue: Sender<u64>,
    turns: Arc<Turns>,
}

/// The way, and where it ends: the identities of servers.
pub(crate) fn queue(turns: &Arc<Turns>) -> (Suspects, Receiver<u64>) {
    let (queue, suspected) = channel(ROOM);
    (Suspects { queue, turns: Arc::clone(turns) }, suspected)
}

impl Suspects {
    /// A request failed on that server, in the sense of `max_fails`. Never blocks; all but the first
    /// report between two probes cost one atomic operation.
    pub fn report(&self, state: &ServerState) {
        if state.health.suspect() {
            // Without room, and after the end, the server stays suspected: its next probe confirms.
            let _ = self.queue.try_send(state.id());
        }
    }

    /// A failure has put that server out of rotation, and this is what it was.
    pub fn went_out(&self, state: &ServerState, cause: &str, reason: &str) {
        let detail = if reason.is_empty() { cause.into() } else { format!("{cause}: {reason}") };
        self.turns.tell_by_request(state, Condition::Up, Condition::Failed, &detail);
    }

    /// An answer has brought that server back, which failures had put out.
    pub fn came_back(&self, state: &ServerState) {
        self.turns.tell_by_request(state, Condition::Failed, Condition::Up, "it answered");
    }

    /// Its answers have taken that server out, for so many milliseconds.
    pub fn was_ejected(&self, state: &Arc<ServerState>, millis: u64) {
        let detail = format!("for its answers, for {millis} ms");
        self.turns.ejected(state, coarse_millis(), millis, &detail);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_events::Hub;
    use tidegate_model::Name;

    use super::*;

    fn queue() -> (Suspects, Receiver<u64>) {
        super::queue(&Arc::new(Turns::new(Hub::new()).0))
    }

    fn state() -> ServerState {
        ServerState::new(&Name::new("p").expect("a name"), "10.0.0.1:80", 0, 1)
    }

    #[test]
    fn a_server_is_reported_once_until_it_is_probed() {
        let (suspects, mut queue) = queue();
        let state = state();
        (0..3).for_each(|_| suspects.report(&state));
        assert_eq!((queue.try_recv().ok(), queue.try_recv().ok()), (Some(state.id()), None));
        assert!(state.health.begin_probe());
        suspects.report(&state);
        assert!(queue.try_recv().is_ok());
    }

    #[test]
    fn without_room_it_stays_suspected() {
        let (suspects, _queue) = queue();
        let states: Vec<_> = (0..=ROOM).map(|_| state()).collect();
        states.iter().for_each(|state| suspects.report(state));
        assert!(states.iter().all(|state| state.health.begin_probe()));
    }
}
