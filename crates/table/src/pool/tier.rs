//! The servers of one rank, all primaries or all backups, and the choice among them. What the
//! balancers know of weights was computed when the pool was built; what they ask about load and
//! health they ask of the servers' live state.

use std::collections::HashMap;

use fastrand::Rng;
use foldhash::fast::RandomState;
use tidegate_balance::{Maglev, Ring, Rotation, ip_hash, least, lesser, sums};
use tidegate_model::{Balance, Upstream};

use super::{Ask, Pick, Server};
use crate::state::{Claim, Lease};

/// Up to so many servers `least_conn` compares all of them.
const COMPARED: usize = 64;
/// Above that, the best of so many, drawn by weight.
const DRAWN: usize = 8;
/// `random_two` and `ewma` draw so often for one of their two.
const DRAWS: usize = 8;
/// Latencies whose difference is below this, in microseconds, or below a quarter of the larger are
/// alike: a connect or a cache miss more must not send everybody to the other server.
const ALIKE: u64 = 1_000;
/// What an attempt at a server costs whose latency nobody knows yet while it is busy, in
/// microseconds: more than one that is known, or all would go there.
const UNKNOWN: u64 = 1_000_000;

/// One rank of a pool.
#[derive(Debug)]
pub(super) struct Tier {
    /// Indexes into the pool's servers.
    members: Vec<u32>,
    /// 0 for one that takes nothing: down, drained, or weight 0.
    weights: Vec<u32>,
    pub(super) total: u64,
    rotation: Rotation,
    method: Method,
    /// Members by what a sticky cookie calls them; empty without one.
    tokens: HashMap<u64, u32, RandomState>,
    /// Whether any of them starts slowly.
    ramps: bool,
}

#[derive(Debug)]
enum Method {
    Ewma,
    Hash(Ring),
    IpHash(Vec<u64>),
    LeastConn,
    Maglev(Maglev),
    RandomTwo,
    RoundRobin,
}

impl Tier {
    pub(super) fn new(servers: &[Server], upstream: &Upstream, backup: bool) -> Self {
        let members: Vec<u32> = (0..)
            .zip(servers)
            .filter(|(_, server)| server.spec.backup == backup)
            .map(|(at, _)| at)
            .collect();
        let of = |at: &u32| &servers[*at as usize];
        let weight = |at: &u32| if of(at).takes_requests() { of(at).spec.weight } else { 0 };
        let weights: Vec<u32> = members.iter().map(weight).collect();
        // As in nginx, a server that is out for a while keeps its part of the hash space: only its
        // own clients move.
        let parts = || members.iter().map(|at| of(at).spec.weight.max(1)).collect::<Vec<_>>();
        let method = match upstream.balance {
            Balance::Hash => Method::Hash(Ring::new(&named(servers, &members, typed))),
            Balance::Maglev => Method::Maglev(Maglev::new(&named(servers, &members, known))),
            Balance::IpHash => Method::IpHash(sums(&parts())),
            Balance::Ewma => Method::Ewma,
            Balance::LeastConn => Method::LeastConn,
            Balance::RandomTwo => Method::RandomTwo,
            Balance::RoundRobin => Method::RoundRobin,
        };
        let token = |(member, at): (u32, &u32)| (of(at).token(), member);
        let tokens = match upstream.sticky {
            Some(_) => (0..).zip(&members).map(token).collect(),
            None => HashMap::default(),
        };
        Self {
            total: weights.iter().map(|weight| u64::from(*weight)).sum(),
            rotation: Rotation::new(&weights),
            ramps: members.iter().any(|at| of(at).spec.slow_start.as_millis() > 0),
            method,
            tokens,
            members,
            weights,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }
}

/// Servers as a hashing balancer tells them apart.
fn named<'s>(
    servers: &'s [Server],
    members: &[u32],
    name: fn(&Server) -> &str,
) -> Vec<(&'s str, u32)> {
    let of = |at: &u32| &servers[*at as usize];
    members.iter().map(|at| (name(of(at)), of(at).spec.weight)).collect()
}

/// nginx hashes the text of the `server` line: all addresses of a name share its points.
fn typed(server: &Server) -> &str {
    server.spec.address.as_str()
}

fn known(server: &Server) -> &str {
    &server.key
}

/// One choice in one tier.
pub(super) struct Choice<'p, 'a> {
    pub(super) tier: &'p Tier,
    pub(super) servers: &'p [Server],
    pub(super) ask: &'a Ask<'a>,
    /// Neither failures nor checks nor ejections are looked at.
    pub(super) overlook: bool,
    /// nginx's exception: passive failures mean nothing.
    pub(super) single: bool,
}

impl<'p> Choice<'p, '_> {
    pub(super) fn make(&self) -> Option<Pick<'p>> {
        let sticky = self.ask.affinity.sticky.and_then(|token| self.tier.tokens.get(&token));
        if let Some(pick) = sticky.and_then(|member| self.take(*member as usize)) {
            return Some(pick);
        }
        match &self.tier.method {
            Method::Hash(ring) => {
                let key = self.ask.affinity.key;
                key.and_then(|key| self.first(|fit| ring.pick(key.ring, fit)))
            }
            Method::IpHash(sums) => self.first(|fit| ip_hash(&self.ask.affinity.client, sums, fit)),
            Method::Maglev(table) => {
                let key = self.ask.affinity.key;
                key.and_then(|key| self.first(|fit| table.pick(key.wide, fit)))
            }
            Method::RoundRobin => self.in_turn(),
            Method::LeastConn => self.least_busy(),
            Method::RandomTwo => self.better_of_two(Self::less_busy),
            Method::Ewma => self.better_of_two(Self::faster),
        }
        // What was chosen by its load may have filled up meanwhile.
        .or_else(|| self.next())
    }

    /// Whether anybody could be chosen, without taking a place.
    pub(super) fn is_possible(&self) -> bool {
        (0..self.tier.len()).any(|member| self.has_room(member))
    }

    /// The one that a balancer settles on, asking for each whether it can be had.
    fn first(
        &self,
        choose: impl FnOnce(&mut dyn FnMut(usize) -> bool) -> Option<usize>,
    ) -> Option<Pick<'p>> {
        let mut pick = None;
        choose(&mut |member| {
            pick = self.take(member);
            pick.is_some()
        })?;
        pick
    }

    /// Round robin, whoever starts slowly or not.
    fn next(&self) -> Option<Pick<'p>> {
        self.first(|fit| self.tier.rotation.next(fit))
    }

    /// Round robin in which a server that starts slowly lets most of its turns pass.
    fn in_turn(&self) -> Option<Pick<'p>> {
        if !self.tier.ramps {
            return self.next();
        }
        self.first(|fit| self.tier.rotation.next(|member| self.may_grow(member) && fit(member)))
    }

    /// The least busy server. One that starts slowly is chosen in its turn only, or everybody who
    /// was cut off a moment ago would be poured onto the one that is empty.
    fn least_busy(&self) -> Option<Pick<'p>> {
        let turn =
            self.tier.rotation.next(|member| self.is_fit(member) && self.may_grow(member))?;
        if self.ramp(turn).is_some() {
            return self.take(turn);
        }
        let load = |member: usize| {
            let fit = self.has_room(member) && self.ramp(member).is_none();
            fit.then(|| self.load(member))
        };
        let chosen = if self.tier.len() <= COMPARED {
            least(self.tier.len(), turn, load)?
        } else {
            let mut drawn = [turn; DRAWN];
            for place in &mut drawn[1..] {
                *place = self.tier.rotation.draw(&mut self.random())?;
            }
            drawn[least(DRAWN, 0, |at| load(drawn[at]))?]
        };
        self.take(chosen)
    }

    /// The better of two random servers; one that starts slowly is taken when it is drawn first and
    /// its share says so, and not compared.
    fn better_of_two(&self, better: fn(&Self, [usize; 2]) -> usize) -> Option<Pick<'p>> {
        let one = self.draw(|member| self.may_grow(member))?;
        if self.ramp(one).is_some() {
            return self.take(one);
        }
        let welcome = |member: usize| member != one && self.ramp(member).is_none();
        // Of few servers the other one is found even when it was drawn by none of so many draws.
        let other = self.draw(welcome).or_else(|| {
            let mut some = 0..self.tier.len().min(COMPARED);
            some.find(|member| self.has_room(*member) && welcome(*member))
        });
        self.take(other.map_or(one, |other| better(self, [one, other])))
    }

    /// The first, unless the second has less to do for its weight.
    fn less_busy(&self, both: [usize; 2]) -> usize {
        let [one, other] = both.map(|member| self.load(member));
        both[usize::from(lesser(other, one))]
    }

    /// The first, unless a request waits less at the second.
    fn faster(&self, both: [usize; 2]) -> usize {
        let [one, other] = both.map(|member| self.latency(member));
        if one.abs_diff(other) < ALIKE.max(one.max(other) / 4) {
            return self.less_busy(both);
        }
        let cost = |at: usize, each: u64| {
            let (busy, weight) = self.load(both[at]);
            (each.saturating_mul(busy + 1), weight)
        };
        both[usize::from(lesser(cost(1, other), cost(0, one)))]
    }

    /// A random server that is fit and welcome, by weight.
    fn draw(&self, welcome: impl Fn(usize) -> bool) -> Option<usize> {
        let draw = || self.tier.rotation.draw(&mut self.random());
        (0..DRAWS).find_map(|_| draw().filter(|member| self.has_room(*member) && welcome(*member)))
    }

    fn has_room(&self, member: usize) -> bool {
        self.is_fit(member) && !self.is_full(member)
    }

    /// Requests and tunnels, for its weight.
    fn load(&self, member: usize) -> (u64, u64) {
        (self.server(member).state.busy().into(), self.tier.weights[member].into())
    }

    /// What a request waits for this server's answer to begin, in microseconds, as far as is known.
    fn latency(&self, member: usize) -> u64 {
        let state = &self.server(member).state;
        match state.latency.cost(self.ask.now) {
            Some(cost) => cost.max(1),
            None if state.busy() == 0 => 0,
            None => UNKNOWN,
        }
    }

    fn server(&self, member: usize) -> &'p Server {
        &self.servers[self.tier.members[member] as usize]
    }

    /// Whether it may be asked at all, full or not.
    fn is_fit(&self, member: usize) -> bool {
        let server = self.server(member);
        self.tier.weights[member] > 0
            && (self.overlook
                || !server.state.health.is_out(self.ask.now)
                    && (self.single || !server.state.is_failed(&server.spec, self.ask.now)))
            && !self.ask.tried.contains(server.state.id())
    }

    fn is_full(&self, member: usize) -> bool {
        let server = self.server(member);
        server.spec.max_conns > 0 && server.state.busy() >= server.spec.max_conns
    }

    /// Of 1,024, while it starts slowly.
    fn ramp(&self, member: usize) -> Option<u32> {
        let server = self.server(member);
        let slow = self.tier.ramps && server.spec.slow_start.as_millis() > 0;
        slow.then(|| server.state.health.ramp_at_pick(server.spec.slow_start, self.ask.now))?
    }

    /// Whether a server that starts slowly takes this turn.
    fn may_grow(&self, member: usize) -> bool {
        self.ramp(member).is_none_or(|share| self.random().u32(..1_024) < share)
    }

    fn random(&self) -> std::cell::RefMut<'_, Rng> {
        self.ask.random.borrow_mut()
    }

    fn take(&self, member: usize) -> Option<Pick<'p>> {
        if !self.is_fit(member) {
            return None;
        }
        let server = self.server(member);
        let lease: Lease = server.state.lease(server.spec.max_conns)?;
        let counts = !self.overlook && !self.single;
        let claim = match counts.then(|| server.state.claim(&server.spec, self.ask.now)) {
            Some(Claim::Taken) => return None,
            Some(Claim::Probing(before)) => Some(before),
            Some(Claim::NotNeeded) | None => None,
        };
        server.state.health.begin_ramp(self.ask.now);
        Some(Pick { server, lease, overlooked: self.overlook, at: self.ask.now, claim })
    }
}
