//! Servers that have left, for as long as anything still holds them: whoever adds one again gets
//! the same live numbers back, and those on which something runs can still be listed. Held weakly:
//! a lease keeps a state alive, this register never does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tidegate_model::{
    Span,
    upstream::{CloseCode, OnRemove},
};

use crate::state::ServerState;

/// Forgotten ones are swept once the register has doubled, at least at so many.
const SWEEP_AT: usize = 64;

/// A server that left its pool, and what is to become of the tunnels on it.
#[derive(Clone, Debug)]
pub struct Departure {
    pub state: Arc<ServerState>,
    /// What the change says, else its pool.
    pub existing: OnRemove,
    /// As its pool has it: how long emptying takes, and what a Close says.
    pub drain_over: Span,
    pub close_code: CloseCode,
    /// The one that no longer lists it.
    pub generation: u64,
}

/// What makes a server the same server in another snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// Folded.
    pub(crate) pool: Arc<str>,
    /// As typed.
    pub(crate) address: Arc<str>,
    /// Among equal addresses of the pool.
    pub(crate) ordinal: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Departed(Mutex<Register>);

#[derive(Debug, Default)]
struct Register {
    states: HashMap<Identity, Weak<ServerState>>,
    sweep_at: usize,
}

impl Departed {
    pub(crate) fn find(&self, identity: &Identity) -> Option<Arc<ServerState>> {
        self.with(|register| register.states.get(identity)?.upgrade())
    }

    /// Told when a removal is staged. One that is not published after all does no harm here: its
    /// state is not gone, and is found in its pool first.
    pub(crate) fn add(&self, leaving: &HashMap<Identity, Departure>) {
        self.with(|register| {
            let weak = |(identity, departure): (&Identity, &Departure)| {
                (identity.clone(), Arc::downgrade(&departure.state))
            };
            register.states.extend(leaving.iter().map(weak));
            if register.states.len() >= register.sweep_at.max(SWEEP_AT) {
                register.sweep();
            }
        });
    }

    /// Those on which something still runs.
    pub(crate) fn running(&self) -> Vec<Arc<ServerState>> {
        self.with(|register| {
            register.sweep();
            let held = register.states.values().filter_map(Weak::upgrade);
            held.filter(|state| state.is_gone() && state.busy() > 0).collect()
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Register) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Register {
    fn sweep(&mut self) {
        self.states.retain(|_, state| state.strong_count() > 0);
        self.sweep_at = self.states.len() * 2;
    }
}
