//! Servers that have left, for as long as anything still holds them: whoever adds one again gets
//! the same live numbers back, and those on which something runs can still be listed. Held weakly:
//! a lease keeps a state alive, this register never does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::state::ServerState;

/// Forgotten ones are swept once the register has doubled, at least at so many.
const SWEEP_AT: usize = 64;

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
    pub(crate) fn add(&self, leaving: &HashMap<Identity, Arc<ServerState>>) {
        self.with(|register| {
            let weak = |(identity, state): (&Identity, &Arc<ServerState>)| {
                (identity.clone(), Arc::downgrade(state))
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
