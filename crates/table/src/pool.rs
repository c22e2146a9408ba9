//! A pool as requests see it: its settings, its servers with their live state, and the pick.

mod entry;
mod standing;
mod tier;

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use tidegate_model::{Name, Resolved, ServerSpec, Upstream, UpstreamSpec, WhenAllDown};
use utoipa::ToSchema;

use crate::{
    affinity::{Affinity, token},
    drain::Drain,
    live::PoolLive,
    secure::Secure,
    state::{Lease, ServerState},
    tried::Tried,
};
pub(crate) use entry::{Entry, entries, position, since};
pub use standing::Standing;
use tier::{Choice, Tier};

/// Who defined a pool last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Api,
    File,
}

/// One pool of one snapshot.
#[derive(Debug)]
pub struct Pool {
    pub name: Name,
    /// Pools are listed in the order in which they were created.
    pub order: u64,
    /// The generation that last changed it.
    pub generation: u64,
    pub source: Source,
    /// As defined; what the journal keeps.
    pub spec: Arc<UpstreamSpec>,
    /// The generation that last changed each server of the definition.
    pub since: Vec<u64>,
    /// As meant, with the defaults filled in.
    pub upstream: Upstream,
    pub resolved: Arc<Resolved>,
    /// One per address: a host name with two addresses is two servers.
    pub servers: Vec<Server>,
    pub live: Arc<PoolLive>,
    primary: Tier,
    backup: Tier,
    single: bool,
    /// When all servers were last looked at and none was well.
    nobody_well_at: AtomicU64,
    /// There from the moment on at which anybody else sees the pool, if it is to have TLS.
    secure: OnceLock<Secure>,
}

/// Above so many servers a pool remembers for a moment that none is well.
const LARGE: usize = 64;

/// One server of a pool.
#[derive(Debug)]
pub struct Server {
    pub spec: ServerSpec,
    /// What the pool knows it by: its address as typed, and for a host name which of its addresses.
    pub key: Arc<str>,
    /// Tells servers of equal key apart.
    pub ordinal: u32,
    pub target: Target,
    pub state: Arc<ServerState>,
    /// The drain that keeps it out of rotation.
    pub draining: Option<u64>,
    /// The generation that last changed its definition: what was agreed on with it before is of no
    /// use any more.
    pub since: u64,
}

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Ip(SocketAddr),
    Unix(Arc<str>),
}

/// A server chosen for an attempt, with a place on it.
#[derive(Debug)]
pub struct Pick<'p> {
    pub server: &'p Server,
    pub lease: Lease,
    /// Nobody else was well, and this one was picked without asking whether it is.
    pub overlooked: bool,
    /// When, in milliseconds of the clock that failures are told by.
    pub at: u64,
    /// It is the one request that tries a failed server: what to give back if nothing comes of it.
    pub(crate) claim: Option<u64>,
}

impl Pick<'_> {
    /// Its server has answered. One that was picked although nobody was well is well, after all,
    /// unless it has failed since. `true` when that brought it back.
    pub fn answered(&self) -> bool {
        let Self { server, overlooked, at, .. } = self;
        if *overlooked && !server.state.has_failed_since(*at) {
            server.state.recover(&server.spec)
        } else {
            server.state.answered(&server.spec)
        }
    }

    /// Nothing was found out about its server: somebody else may be the one who tries it.
    pub fn give_back(&self) {
        if let Some(before) = self.claim {
            self.server.state.unclaim(self.at, before);
        }
    }
}

/// Why nobody could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoServer {
    /// Every server is failed, at its limit or was tried already.
    AllOut,
    /// The pool has no server that takes requests at all.
    Empty,
}

/// Who asks for a server.
#[derive(Debug)]
pub struct Ask<'a> {
    pub tried: &'a Tried,
    pub affinity: &'a Affinity,
    /// In milliseconds of the clock that failures are told by.
    pub now: u64,
    pub random: &'a RefCell<Rng>,
}

/// What a pool is built from.
#[derive(Debug)]
pub struct Parts {
    pub name: Name,
    pub order: u64,
    pub generation: u64,
    pub source: Source,
    pub spec: Arc<UpstreamSpec>,
    pub since: Vec<u64>,
    pub upstream: Upstream,
    pub resolved: Arc<Resolved>,
    pub live: Arc<PoolLive>,
    /// Of its servers.
    pub drains: Vec<Arc<Drain>>,
}

impl Pool {
    /// Builds a pool; `state` gives the live state of a server by its key and its ordinal among
    /// equals, carried over or new.
    pub fn build(parts: Parts, mut state: impl FnMut(&str, u32) -> Arc<ServerState>) -> Self {
        let draining: HashMap<&str, u64> =
            parts.drains.iter().map(|drain| (&*drain.spec.server, drain.id)).collect();
        let server = |Entry { spec, definition, key, ordinal, target }: Entry<'_>| {
            let state = state(&key, ordinal);
            let draining = draining.get(&**state.label()).copied();
            let since = parts.since.get(definition).copied().unwrap_or(parts.generation);
            Server { spec: spec.clone(), key, ordinal, target, state, draining, since }
        };
        let entries = entries(&parts.upstream.servers, &parts.resolved);
        let servers: Vec<Server> = entries.into_iter().map(server).collect();
        let primary = Tier::new(&servers, &parts.upstream, false);
        let backup = Tier::new(&servers, &parts.upstream, true);
        let single = primary.len() == 1 && backup.len() == 0;
        let Parts { name, order, generation, source, spec, since, upstream, .. } = parts;
        let (resolved, live) = (parts.resolved, parts.live);
        Self {
            name,
            order,
            generation,
            source,
            spec,
            since,
            upstream,
            resolved,
            servers,
            live,
            primary,
            backup,
            single,
            nobody_well_at: AtomicU64::new(0),
            secure: OnceLock::new(),
        }
    }

    /// What its connections are made secure with. One that is to have TLS and has nothing here must
    /// not be connected to.
    pub fn secure(&self) -> Option<&Secure> {
        self.secure.get()
    }

    /// Gives it what it needs for TLS, once.
    pub(crate) fn become_secure(&self, secure: Secure) {
        // Of two that were made by the same settings one is as good as the other.
        let _ = self.secure.set(secure);
    }

    /// Whether nginx's exception for a single server applies: exactly one primary address and no
    /// backup, so failures never put it out of rotation.
    pub fn is_single(&self) -> bool {
        self.single
    }

    /// Chooses a server and takes a place on it.
    ///
    /// # Errors
    /// When nobody is eligible. A server that is down, of weight 0, drained, tried or at `max_conns`
    /// never is.
    pub fn pick(&self, ask: &Ask<'_>) -> Result<Pick<'_>, NoServer> {
        let pick = if self.has_nobody_well(ask) {
            None
        } else {
            self.choices(ask, false).iter().find_map(Choice::make)
        };
        pick.or_else(|| match self.upstream.when_all_down {
            WhenAllDown::Fail => None,
            WhenAllDown::TryAll => {
                self.found_nobody_well(ask);
                self.choices(ask, true).iter().find_map(Choice::make)
            }
        })
        .ok_or_else(|| {
            if self.primary.total + self.backup.total == 0 {
                NoServer::Empty
            } else {
                NoServer::AllOut
            }
        })
    }

    /// Whether a pick would find somebody now. Takes no place: somebody else may be faster.
    /// `overlooks`: one that is not well would do, if the pool's policy says so.
    pub fn has_choice(&self, ask: &Ask<'_>, overlooks: bool) -> bool {
        let overlooks = overlooks && self.upstream.when_all_down == WhenAllDown::TryAll;
        self.choices(ask, false).iter().any(Choice::is_possible)
            || overlooks && self.choices(ask, true).iter().any(Choice::is_possible)
    }

    /// Whether it was found out already that nobody is well: by an earlier pick of this request, or
    /// in a large pool by somebody's at this very moment. Looking at thousands of dead servers takes
    /// a while, and every worker would do it for every request.
    fn has_nobody_well(&self, ask: &Ask<'_>) -> bool {
        ask.tried.nobody_is_well()
            || self.servers.len() > LARGE && self.nobody_well_at.load(Relaxed) == ask.now
    }

    fn found_nobody_well(&self, ask: &Ask<'_>) {
        ask.tried.found_nobody_well();
        if ask.tried.is_empty() {
            self.nobody_well_at.store(ask.now, Relaxed);
        }
    }

    fn choices<'p, 'a>(&'p self, ask: &'a Ask<'a>, overlook: bool) -> [Choice<'p, 'a>; 2] {
        let choice =
            |tier| Choice { tier, servers: &self.servers, ask, overlook, single: self.single };
        [choice(&self.primary), choice(&self.backup)]
    }

    /// Counts an answer towards ejection: a `bad` one is a 5xx, a time-out or a broken connection.
    /// For how long the server is out, in milliseconds, if that was one too many.
    pub fn answered(&self, server: &Server, bad: bool, now: u64) -> Option<u64> {
        let limit = self.upstream.eject.consecutive_5xx;
        let too_many = limit > 0 && server.state.health.answered(bad, limit);
        if too_many { self.eject(server, now) } else { None }
    }

    /// Takes a server out of rotation for its answers, unless so many are already; for how long, in
    /// milliseconds.
    pub fn eject(&self, server: &Server, now: u64) -> Option<u64> {
        use crate::health::Ailment::Ejected;

        let out = self.servers.iter().filter(|one| one.state.health.ailment(now) == Some(Ejected));
        if out.count() >= self.upstream.eject.most(self.servers.len()) {
            return None;
        }
        // The last one that takes requests and is well stays, whatever it answers.
        let mut others = self.servers.iter().filter(|one| one.state.id() != server.state.id());
        if !others.any(|one| self.standing(one, now) == Standing::Up) {
            return None;
        }
        let lasts = server.state.health.eject(&self.upstream.eject, now);
        lasts.inspect(|_| self.live.ejected())
    }
}

impl Server {
    /// Whether it takes requests at all, as far as its definition and drains go.
    pub fn takes_requests(&self) -> bool {
        self.draining.is_none() && self.spec.takes_requests()
    }

    /// What a sticky cookie calls it.
    pub fn token(&self) -> u64 {
        token(&self.key, self.ordinal)
    }
}

#[cfg(test)]
mod tests;
