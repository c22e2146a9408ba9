//! What requests have to say about servers. A server that fails one is asked at once how it is,
//! instead of at its next turn.

use tidegate_table::ServerState;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Reports on their way. A server is reported once until it is probed, so that it takes as many
/// sick servers at the same moment to fill it; those that find no room wait for their next turn.
const ROOM: usize = 4_096;

/// The way for requests to say that a server failed them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Suspects(Option<Sender<u64>>);

/// The way, and where it ends: the identities of servers.
pub(crate) fn queue() -> (Suspects, Receiver<u64>) {
    let (sender, receiver) = channel(ROOM);
    (Suspects(Some(sender)), receiver)
}

impl Suspects {
    /// For tools without checks: nobody listens.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// A request failed on that server, in the sense of `max_fails`. Never blocks; all but the first
    /// report between two probes cost one atomic operation.
    pub fn report(&self, state: &ServerState) {
        if let Some(queue) = &self.0
            && state.health.suspect()
        {
            // Without room, and after the end, the server stays suspected: its next probe confirms.
            let _ = queue.try_send(state.id());
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::Name;

    use super::*;

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
