//! The servers of a pool as a pick finds them: how each stands, whether it could be chosen now, and
//! why or why not, in a sentence.

use serde::Serialize;
use tidegate_model::WhenAllDown;
use tidegate_table::{Pool, Server, Standing, Target};
use utoipa::ToSchema;

/// One server.
#[derive(Serialize, ToSchema)]
pub(super) struct Candidate<'e> {
    /// As the metrics name it.
    server: &'e str,
    address: &'e str,
    /// Where requests go.
    target: String,
    weight: u32,
    backup: bool,
    tier: &'static str,
    state: &'static str,
    requests_active: u32,
    tunnels_active: u32,
    max_conns: u32,
    /// `None`: it has not answered yet.
    ewma_ms: Option<f64>,
    /// Failures counted now.
    fails: u32,
    /// Of its usual picks, while it starts slowly.
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_start: Option<f64>,
    eligible: bool,
    reason: String,
}

/// Who could be picked at one moment. The rules are those of `Pool::pick`, put so that they can be
/// told: primaries before backups, and whom `when_all_down` overlooks only when nobody is well.
pub(super) struct Turnout<'e> {
    pub(super) pool: &'e Pool,
    now: u64,
    seen: Vec<Seen<'e>>,
    /// The rank that is picked from, and whether ailments are overlooked; `None`: nobody at all.
    rank: Option<Rank>,
}

struct Seen<'e> {
    server: &'e Server,
    standing: Standing,
    full: bool,
}

#[derive(Clone, Copy)]
struct Rank {
    backup: bool,
    overlook: bool,
}

impl<'e> Turnout<'e> {
    /// `now` is of the clock that health is told by, in milliseconds.
    pub(super) fn of(pool: &'e Pool, now: u64) -> Self {
        let look = |server: &'e Server| Seen {
            server,
            standing: pool.standing(server, now),
            full: server.spec.max_conns > 0 && server.state.busy() >= server.spec.max_conns,
        };
        let seen: Vec<Seen<'_>> = pool.servers.iter().map(look).collect();
        let lenient = pool.upstream.when_all_down == WhenAllDown::TryAll;
        let ranks = [(false, false), (false, true), (true, false), (true, true)];
        let rank = ranks
            .into_iter()
            .map(|(overlook, backup)| Rank { backup, overlook })
            .filter(|rank| lenient || !rank.overlook)
            .find(|rank| seen.iter().any(|one| one.is_in(*rank)));
        Self { pool, now, seen, rank }
    }

    /// Those that a pick chooses among.
    pub(super) fn eligible(&self) -> impl Iterator<Item = &'e Server> {
        let chosen = |one: &&Seen<'_>| self.rank.is_some_and(|rank| one.is_in(rank));
        self.seen.iter().filter(chosen).map(|one| one.server)
    }

    /// Whether somebody is picked although nobody is well.
    pub(super) fn overlooks(&self) -> bool {
        self.rank.is_some_and(|rank| rank.overlook)
    }

    /// Every server in the order of the list, `most` of them.
    pub(super) fn candidates(&self, most: usize) -> Vec<Candidate<'e>> {
        self.seen.iter().take(most).map(|one| self.candidate(one)).collect()
    }

    fn candidate(&self, one: &Seen<'e>) -> Candidate<'e> {
        let Server { spec, state, target, .. } = one.server;
        let (busy, tunnels) = (state.busy(), state.tunnels());
        Candidate {
            server: state.label(),
            address: spec.address.as_str(),
            target: match target {
                Target::Ip(address) => address.to_string(),
                Target::Unix(path) => format!("unix:{path}"),
            },
            weight: spec.weight,
            backup: spec.backup,
            tier: if spec.backup { "backup" } else { "primary" },
            state: one.standing.word(),
            requests_active: busy.saturating_sub(tunnels),
            tunnels_active: tunnels,
            max_conns: spec.max_conns,
            #[allow(clippy::cast_precision_loss)]
            ewma_ms: state.latency.value().map(|micros| micros as f64 / 1_000.0),
            fails: state.fails(),
            slow_start: self.ramp(one.server).map(|share| f64::from(share) / 1_024.0),
            eligible: self.rank.is_some_and(|rank| one.is_in(rank)),
            reason: self.reason(one),
        }
    }

    /// Of 1,024, while it starts slowly.
    fn ramp(&self, server: &Server) -> Option<u32> {
        let slow = server.spec.slow_start;
        (slow.as_millis() > 0).then(|| server.state.health.ramp_share(slow, self.now))?
    }

    fn reason(&self, one: &Seen<'_>) -> String {
        let own = one.reason(self);
        match self.rank {
            Some(rank) if one.is_in(rank) => {
                let overlooked = one.standing.is_ailing();
                if overlooked {
                    format!("{own}; asked all the same, for nobody is well")
                } else {
                    own
                }
            }
            Some(rank) if one.server.spec.backup && !rank.backup && one.may(rank) => {
                "a backup: primaries are eligible".into()
            }
            _ => own,
        }
    }
}

impl Seen<'_> {
    fn is_in(&self, rank: Rank) -> bool {
        self.server.spec.backup == rank.backup && self.may(rank)
    }

    fn may(&self, rank: Rank) -> bool {
        let well = self.standing == Standing::Up;
        !self.full && (well || rank.overlook && self.standing.is_ailing())
    }

    /// How it stands by itself.
    fn reason(&self, turnout: &Turnout<'_>) -> String {
        let Server { spec, state, .. } = self.server;
        let (fails, max_fails) = (state.fails(), spec.max_fails);
        match self.standing {
            Standing::Down => "down: somebody set it so".into(),
            Standing::Draining => match self.server.draining {
                Some(id) => format!("draining: drain {id}"),
                None => "weight is 0: draining".into(),
            },
            Standing::Ejected => "ejected for its answers".into(),
            Standing::Checking => self.checking(turnout.pool),
            Standing::Unhealthy => self.check_says(),
            Standing::Failed => format!(
                "failed {fails} of max_fails {max_fails}, again {} after the last",
                spec.fail_timeout
            ),
            Standing::Up if self.full => format!("at max_conns {}", spec.max_conns),
            Standing::Up if turnout.pool.is_single() && state.is_failed(spec, turnout.now) => {
                format!("up: it failed {fails} of max_fails {max_fails}, but is alone in its pool")
            }
            Standing::Up if is_on_probation(turnout.pool, self.server) => {
                "up: its fail_timeout is over, one request is to show whether it is well".into()
            }
            Standing::Up => match turnout.ramp(self.server) {
                Some(share) => {
                    format!("up, starting slowly: at {} %", (share * 100).div_ceil(1_024))
                }
                None => "up".into(),
            },
        }
    }

    fn checking(&self, pool: &Pool) -> String {
        let passed = self.server.state.health.checked().map_or(0, |checked| checked.rises);
        let rise = pool.upstream.check.as_ref().map_or(0, |check| check.rise);
        format!("checking: {passed} of {rise} probes passed")
    }

    fn check_says(&self) -> String {
        let checked = self.server.state.health.checked();
        let Some((last, falls, rises)) =
            checked.and_then(|checked| Some((checked.last?, checked.falls, checked.rises)))
        else {
            return "its check says so".into();
        };
        if last.ok {
            return format!("its check failed it; {rises} probes in a row have passed since");
        }
        format!("its check says: {} ({falls} in a row)", last.detail)
    }
}

/// It has failed, and its time is over: the next pick of it is the one request that probes it.
pub(super) fn is_on_probation(pool: &Pool, server: &Server) -> bool {
    !pool.is_single() && server.spec.max_fails > 0 && server.state.fails() >= server.spec.max_fails
}
