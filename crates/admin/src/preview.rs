//! What a change would do, for whoever wants to know before it is made.

use std::{cell::RefCell, net::Ipv4Addr};

use fastrand::Rng;
use serde::Serialize;
use tidegate_model::{Balance, Name};
use tidegate_table::{Affinity, Ask, Foreseen, Hashed, Pool, Preview, Tried};
use utoipa::ToSchema;

use crate::{
    difference::{Kind, keys, servers},
    json::Changed,
};

/// So many keys are looked up to estimate how many would move.
const SAMPLE: u32 = 1_000;

/// The answer to `?dry_run=true`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DryRun {
    dry_run: bool,
    /// The one that it would be, if nothing else is changed before.
    generation: u64,
    changed: Vec<Name>,
    changes: Vec<PoolChange>,
    /// Pools that have eligible servers and would have none: without `force` the change is refused.
    leaves_nobody: Vec<Name>,
}

/// The answer to a change, or to `?dry_run=true`.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "each is answered as it is")]
pub(crate) enum ChangeAnswer {
    Made(Changed),
    Foreseen(DryRun),
}

/// What would become of one pool.
#[derive(Debug, Serialize, ToSchema)]
struct PoolChange {
    upstream: Name,
    change: Kind,
    servers: Servers,
    /// Other keys of the pool whose values would not be the same.
    keys: Vec<String>,
    /// The share of hash keys that would find another server, from a sample; absent unless the
    /// pool hashes before and after.
    hash_keys_moved: Option<f64>,
    eligible_before: usize,
    eligible_after: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DryRunServers)]
struct Servers {
    added: Vec<String>,
    removed: Vec<Busy>,
    altered: Vec<AlteredServer>,
}

/// A server with what runs on it now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BusyServer)]
struct Busy {
    address: String,
    requests_active: u32,
    tunnels_active: u32,
}

#[derive(Debug, Serialize, ToSchema)]
struct AlteredServer {
    #[serde(flatten)]
    busy: Busy,
    fields: Vec<String>,
}

impl DryRun {
    /// `now`: of the clock that failures are told by.
    pub(crate) fn of(preview: &Preview, now: u64) -> Self {
        let Preview { generation, pools, leaves_nobody } = preview;
        Self {
            dry_run: true,
            generation: *generation,
            changed: pools.iter().map(|pool| pool.name.clone()).collect(),
            changes: pools.iter().map(|pool| PoolChange::of(pool, now)).collect(),
            leaves_nobody: leaves_nobody.clone(),
        }
    }
}

impl PoolChange {
    fn of(Foreseen { name, before, after }: &Foreseen, now: u64) -> Self {
        let (before, after) = (before.as_deref(), after.as_deref());
        let spec = |pool: Option<&'_ Pool>| pool.map(|pool| pool.spec.clone());
        let (was, is) = (spec(before), spec(after));
        let found = servers(was.as_deref(), is.as_deref());
        let eligible = |pool: Option<&Pool>| pool.map_or(0, |pool| pool.eligible(now));
        let busy = |address: String| Busy::of(before, address);
        let altered = found.altered.into_iter();
        Self {
            upstream: name.clone(),
            change: Kind::of(before.is_some(), after.is_some()),
            servers: Servers {
                added: found.added,
                removed: found.removed.into_iter().map(busy).collect(),
                altered: altered
                    .map(|one| AlteredServer { busy: busy(one.address), fields: one.fields })
                    .collect(),
            },
            keys: keys(was.as_deref(), is.as_deref()),
            hash_keys_moved: before
                .zip(after)
                .and_then(|(before, after)| moved(before, after, now)),
            eligible_before: eligible(before),
            eligible_after: eligible(after),
        }
    }
}

impl Busy {
    /// A server given by host name is all of its addresses.
    fn of(pool: Option<&Pool>, address: String) -> Self {
        let is_it = |label: &str| {
            label == address
                || label.strip_prefix(&*address).is_some_and(|rest| rest.starts_with('@'))
        };
        let states = pool.into_iter().flat_map(|pool| &pool.servers);
        let states = states.map(|server| &server.state).filter(|state| is_it(state.label()));
        let (mut requests_active, mut tunnels_active) = (0, 0);
        for state in states {
            let tunnels = state.tunnels();
            tunnels_active += tunnels;
            requests_active += state.busy().saturating_sub(tunnels);
        }
        Self { address, requests_active, tunnels_active }
    }
}

/// The share of keys that find another server.
fn moved(before: &Pool, after: &Pool, now: u64) -> Option<f64> {
    let hashes = |pool: &Pool| {
        matches!(pool.upstream.balance, Balance::Hash | Balance::IpHash | Balance::Maglev)
    };
    if !hashes(before) || !hashes(after) {
        return None;
    }
    let moved = (0..SAMPLE).filter(|key| home(before, *key, now) != home(after, *key, now)).count();
    u32::try_from(moved).ok().map(|moved| f64::from(moved) / f64::from(SAMPLE))
}

/// The server that a key leads to.
fn home(pool: &Pool, key: u32, now: u64) -> Option<String> {
    // Spread over networks of 24 bits, which is what ip_hash goes by.
    let address = Ipv4Addr::from_bits(key.wrapping_mul(0x9E37_79B9));
    let mut affinity = Affinity::of_client(Some(address.into()));
    affinity.key = Hashed::of(address.to_string().as_bytes());
    let (tried, random) = (Tried::default(), RefCell::new(Rng::with_seed(0)));
    let ask = Ask { tried: &tried, affinity: &affinity, now, random: &random };
    let pick = pool.pick(&ask).ok()?;
    pick.give_back();
    Some(pick.server.state.label().to_string())
}
