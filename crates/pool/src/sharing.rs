//! Connections of HTTP/2 of one worker, which requests share. Each new stream goes to the first that
//! has room, so that others fall idle and are closed; one that is worn out takes no more streams and is
//! closed when its last one has ended.

use std::{collections::HashMap, sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use tidegate_h2::Asking;
use tidegate_net::{Within, coarse};
use tidegate_table::{PoolLive, ServerState};

use crate::{Budget, Keep, Via, key};

/// The connections that requests share.
#[derive(Debug)]
pub struct Sharing {
    pools: HashMap<usize, PoolSharing, RandomState>,
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct PoolSharing {
    /// Keeps the address that is this entry's key from being used again.
    _live: Arc<PoolLive>,
    servers: HashMap<u64, Vec<Shared>, RandomState>,
    /// How many of them may be idle.
    capacity: u32,
}

#[derive(Debug)]
struct Shared {
    asking: Asking,
    state: Arc<ServerState>,
    via: Via,
    /// Streams so far.
    requests: u64,
    /// How long it may idle, by the coarse clock, as all times here.
    timeout: Duration,
    /// When it takes no more streams.
    until: Duration,
}

impl Sharing {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { pools: HashMap::default(), budget }
    }

    /// A stream to that server, if there is a connection with room for it that was made as one would be
    /// made now.
    pub fn take(
        &mut self,
        live: &Arc<PoolLive>,
        server: u64,
        via: Via,
        keep: &Keep,
    ) -> Option<Box<dyn Within>> {
        let connections = self.pools.get_mut(&key(live))?.servers.get_mut(&server)?;
        let (now, before) = (coarse(), connections.len());
        connections.retain(|one| one.via == via && one.is_good(now));
        let found = connections.iter().position(|one| one.asking.has_room());
        let stream = found.map(|at| {
            let one = &mut connections[at];
            one.requests += 1;
            let stream = one.asking.stream();
            if is_worn_out(one.requests, keep) {
                connections.remove(at);
            }
            stream
        });
        self.budget.give_back(before - connections.len());
        stream
    }

    /// Lets others share a new connection over which one request goes already.
    pub fn put(
        &mut self,
        live: &Arc<PoolLive>,
        state: &Arc<ServerState>,
        asking: Asking,
        via: Via,
        keep: &Keep,
    ) {
        let unfit = keep.capacity == 0 || is_worn_out(1, keep) || state.is_gone();
        if unfit || !self.budget.take() {
            return;
        }
        let pool = self.pools.entry(key(live)).or_insert_with(|| PoolSharing::new(live));
        pool.capacity = keep.capacity;
        pool.servers.entry(state.id()).or_default().push(Shared {
            asking,
            state: Arc::clone(state),
            via,
            requests: 1,
            timeout: keep.timeout,
            until: coarse() + keep.time,
        });
    }

    /// Lets go of what has idled too long, takes no more streams, or leads to a server that left.
    pub(crate) fn sweep(&mut self) {
        let now = coarse();
        self.retain(|one| one.is_good(now));
    }

    /// Lets go of the connections to servers that left. Their streams go on.
    pub(crate) fn drop_gone(&mut self) {
        self.retain(|one| !one.state.is_gone());
    }

    /// Closes what is idle: descriptors have run short.
    pub(crate) fn clear(&mut self) {
        self.retain(|one| !one.is_idle());
    }

    /// Lets go of all that are not good, and of those that idle beyond what their pool keeps.
    fn retain(&mut self, mut good: impl FnMut(&Shared) -> bool) {
        let mut closed = 0;
        self.pools.retain(|_, pool| {
            let mut idle = 0;
            pool.servers.retain(|_, connections| {
                let before = connections.len();
                connections.retain(|one| {
                    let is_idle = one.is_idle();
                    let is_good = good(one);
                    idle += u32::from(is_good && is_idle);
                    is_good && (idle <= pool.capacity || !is_idle)
                });
                closed += before - connections.len();
                !connections.is_empty()
            });
            !pool.servers.is_empty()
        });
        self.budget.give_back(closed);
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.retain(|_| false);
    }
}

impl PoolSharing {
    fn new(live: &Arc<PoolLive>) -> Self {
        Self { _live: Arc::clone(live), servers: HashMap::default(), capacity: 0 }
    }
}

impl Shared {
    fn is_idle(&self) -> bool {
        self.asking.streams() == 0
    }

    fn is_good(&self, now: Duration) -> bool {
        let has_idled = self.is_idle() && now >= self.asking.idle_since() + self.timeout;
        !has_idled && now < self.until && !self.state.is_gone() && self.asking.is_usable()
    }
}

fn is_worn_out(requests: u64, keep: &Keep) -> bool {
    keep.requests > 0 && requests >= keep.requests
}

#[cfg(test)]
mod tests;
