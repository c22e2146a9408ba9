//! A pool as requests see it: its settings, its servers with their live state, and the pick.

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use tidegate_balance::{Key, Rotation, ip_hash};
use tidegate_model::{
    Balance, Name, Resolved, ServerSpec, Upstream, UpstreamSpec, WhenAllDown, address::Place,
};

use crate::{
    live::PoolLive,
    state::{Lease, ServerState},
};

/// Who defined a pool last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// As meant, with the defaults filled in.
    pub upstream: Upstream,
    pub resolved: Arc<Resolved>,
    /// One per address: a host name with two addresses is two servers.
    pub servers: Vec<Server>,
    pub live: Arc<PoolLive>,
    primary: Tier,
    backup: Tier,
    single: bool,
}

/// One server of a pool.
#[derive(Debug)]
pub struct Server {
    pub spec: ServerSpec,
    /// Tells servers of equal address apart.
    pub ordinal: u32,
    pub target: Target,
    pub state: Arc<ServerState>,
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
}

/// Why nobody could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoServer {
    /// Every server is failed, at its limit or was tried already.
    AllOut,
    /// The pool has no server that takes requests at all.
    Empty,
}

/// The servers of one rank: all primaries, or all backups.
#[derive(Debug)]
struct Tier {
    /// Indexes into the pool's servers.
    members: Vec<u32>,
    /// 0 for one that takes nothing: down, or weight 0.
    weights: Vec<u32>,
    total: u64,
    rotation: Rotation,
}

/// What a pool is built from.
#[derive(Debug)]
pub struct Parts {
    pub name: Name,
    pub order: u64,
    pub generation: u64,
    pub source: Source,
    pub spec: Arc<UpstreamSpec>,
    pub upstream: Upstream,
    pub resolved: Arc<Resolved>,
    pub live: Arc<PoolLive>,
}

impl Pool {
    /// Builds a pool; `state` gives the live state of a server by the text of its address and its
    /// ordinal among equals, carried over or new.
    pub fn build(parts: Parts, mut state: impl FnMut(&str, u32) -> Arc<ServerState>) -> Self {
        let mut servers: Vec<Server> = Vec::with_capacity(parts.upstream.servers.len());
        let mut seen = std::collections::HashMap::<&str, u32>::new();
        for spec in &parts.upstream.servers {
            let text = spec.address.as_str();
            for target in targets(spec, &parts.resolved) {
                let ordinal = seen.entry(text).or_default();
                let state = state(text, *ordinal);
                servers.push(Server { spec: spec.clone(), ordinal: *ordinal, target, state });
                *ordinal += 1;
            }
        }
        let primary = Tier::new(&servers, false);
        let backup = Tier::new(&servers, true);
        let single = primary.members.len() == 1 && backup.members.is_empty();
        let Parts { name, order, generation, source, spec, upstream, resolved, live } = parts;
        Self {
            name,
            order,
            generation,
            source,
            spec,
            upstream,
            resolved,
            servers,
            live,
            primary,
            backup,
            single,
        }
    }

    /// Whether nginx's exception for a single server applies: exactly one primary address and no
    /// backup, so failures never put it out of rotation.
    pub fn is_single(&self) -> bool {
        self.single
    }

    /// Chooses a server and takes a place on it. `tried` holds the identities of servers this
    /// request has tried; `now` is in milliseconds of the clock that failures are told by.
    ///
    /// # Errors
    /// When nobody is eligible. A server that is down, of weight 0, tried or at `max_conns` never is.
    pub fn pick(&self, tried: &[u64], client: &Key, now: u64) -> Result<Pick<'_>, NoServer> {
        let tiers = [&self.primary, &self.backup];
        let healthy = tiers.iter().find_map(|tier| self.pick_in(tier, tried, client, Some(now)));
        healthy
            .or_else(|| match self.upstream.when_all_down {
                WhenAllDown::Fail => None,
                WhenAllDown::TryAll => {
                    tiers.iter().find_map(|tier| self.pick_in(tier, tried, client, None))
                }
            })
            .ok_or_else(|| {
                if tiers.iter().all(|tier| tier.total == 0) {
                    NoServer::Empty
                } else {
                    NoServer::AllOut
                }
            })
    }

    /// `now` is `None` when failures are to be overlooked.
    fn pick_in(
        &self,
        tier: &Tier,
        tried: &[u64],
        client: &Key,
        now: Option<u64>,
    ) -> Option<Pick<'_>> {
        let mut lease = None;
        let mut eligible = |member: usize| {
            let server = &self.servers[tier.members[member] as usize];
            if tier.weights[member] > 0 && !tried.contains(&server.state.id()) {
                lease = self.take(server, now);
            }
            lease.is_some()
        };
        let member = match self.upstream.balance {
            Balance::IpHash => ip_hash(client, &tier.weights, tier.total, &mut eligible),
            Balance::RoundRobin => None,
        };
        let member = member.or_else(|| tier.rotation.next(&mut eligible))?;
        lease.map(|lease| Pick { server: &self.servers[tier.members[member] as usize], lease })
    }

    fn take(&self, server: &Server, now: Option<u64>) -> Option<Lease> {
        let now = now.filter(|_| !self.single);
        if now.is_some_and(|now| server.state.is_failed(&server.spec, now)) {
            return None;
        }
        let lease = server.state.lease(server.spec.max_conns)?;
        now.is_none_or(|now| server.state.claim(&server.spec, now)).then_some(lease)
    }
}

fn targets(spec: &ServerSpec, resolved: &Resolved) -> Vec<Target> {
    match spec.address.place() {
        Place::Ip(ip) => vec![Target::Ip(*ip)],
        Place::Unix(path) => vec![Target::Unix(Arc::clone(path))],
        Place::Host(..) => {
            let ips = resolved.get(spec.address.as_str());
            ips.into_iter().flatten().map(|ip| Target::Ip(*ip)).collect()
        }
    }
}

impl Tier {
    fn new(servers: &[Server], backup: bool) -> Self {
        let members: Vec<u32> = (0..)
            .zip(servers)
            .filter(|(_, server)| server.spec.backup == backup)
            .map(|(at, _)| at)
            .collect();
        let weight = |at: &u32| {
            let spec = &servers[*at as usize].spec;
            if spec.down { 0 } else { spec.weight }
        };
        let weights: Vec<u32> = members.iter().map(weight).collect();
        let total = weights.iter().map(|weight| u64::from(*weight)).sum();
        Self { rotation: Rotation::new(&weights), members, weights, total }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::Address;

    use super::*;

    /// A pool of servers `10.0.0.N:80`, each altered by its closure.
    fn pool(
        count: usize,
        when_all_down: WhenAllDown,
        alter: impl Fn(usize, &mut ServerSpec),
    ) -> Pool {
        let server = |at: usize| {
            let mut spec =
                ServerSpec::new(Address::parse(&format!("10.0.0.{at}:80")).expect("an address"));
            alter(at, &mut spec);
            spec
        };
        let spec = UpstreamSpec {
            servers: Some((0..count).map(server).collect()),
            when_all_down: Some(when_all_down),
            ..UpstreamSpec::default()
        };
        let name = Name::new("p").expect("a name");
        let parts = Parts {
            name: name.clone(),
            order: 0,
            generation: 1,
            source: Source::File,
            upstream: spec.resolve(&UpstreamSpec::default()),
            spec: Arc::new(spec),
            resolved: Arc::default(),
            live: Arc::new(PoolLive::new(1)),
        };
        Pool::build(parts, |address, ordinal| {
            Arc::new(ServerState::new(&name, address, ordinal, 1))
        })
    }

    fn label(pick: &Result<Pick<'_>, NoServer>) -> String {
        pick.as_ref()
            .map_or_else(|none| format!("{none:?}"), |pick| pick.server.state.label().to_string())
    }

    fn key() -> Key {
        Key::from(None)
    }

    #[test]
    fn forty_requests_at_three_to_one_are_thirty_and_ten() {
        let pool =
            pool(2, WhenAllDown::TryAll, |at, spec| spec.weight = if at == 0 { 3 } else { 1 });
        let first = (0..40).filter(|_| label(&pool.pick(&[], &key(), 1)) == "10.0.0.0:80").count();
        assert_eq!(first, 30);
    }

    #[test]
    fn backups_serve_only_when_no_primary_can() {
        let pool = pool(3, WhenAllDown::Fail, |at, spec| spec.backup = at == 2);
        let tried: Vec<u64> = pool.servers[..2].iter().map(|server| server.state.id()).collect();
        assert_eq!(label(&pool.pick(&tried[..1], &key(), 1)), "10.0.0.1:80");
        assert_eq!(label(&pool.pick(&tried, &key(), 1)), "10.0.0.2:80");
    }

    #[test]
    fn down_and_weightless_servers_take_nothing_whatever_happens() {
        let pool = pool(2, WhenAllDown::TryAll, |at, spec| {
            spec.down = at == 0;
            spec.weight = u32::from(at == 0);
        });
        assert_eq!(pool.pick(&[], &key(), 1).err(), Some(NoServer::Empty));
    }

    #[test]
    fn when_all_have_failed_the_pool_decides() {
        for (policy, expected) in
            [(WhenAllDown::Fail, "AllOut"), (WhenAllDown::TryAll, "10.0.0.0:80")]
        {
            let pool = pool(2, policy, |_, _| {});
            for server in &pool.servers {
                server.state.failed(&server.spec, 1_000);
            }
            assert_eq!(label(&pool.pick(&[], &key(), 1_001)), expected);
        }
    }

    #[test]
    fn a_single_server_is_never_out_two_with_one_down_are_not_single() {
        let single = pool(1, WhenAllDown::Fail, |_, _| {});
        single.servers[0].state.failed(&single.servers[0].spec, 1_000);
        assert!(single.is_single() && single.pick(&[], &key(), 1_001).is_ok());
        let pair = pool(2, WhenAllDown::Fail, |at, spec| spec.down = at == 1);
        pair.servers[0].state.failed(&pair.servers[0].spec, 1_000);
        assert!(!pair.is_single() && pair.pick(&[], &key(), 1_001).is_err());
    }

    #[test]
    fn a_server_at_its_limit_is_passed_over_and_nothing_leaks() {
        let pool = pool(2, WhenAllDown::TryAll, |at, spec| spec.max_conns = u32::from(at == 0));
        let held: Vec<_> = (0..4).map(|_| pool.pick(&[], &key(), 1)).collect();
        assert_eq!(held.iter().filter(|pick| label(pick) == "10.0.0.0:80").count(), 1);
        drop(held);
        assert!(pool.servers.iter().all(|server| server.state.busy() == 0));
    }
}
