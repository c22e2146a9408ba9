//! The pick, over pools small and large.

use tidegate_model::{Address, Balance};

use super::*;
use crate::affinity::Hashed;

/// A pool of servers `10.0.0.N:80`, each altered by its closure.
fn pool(count: usize, when_all_down: WhenAllDown, alter: impl Fn(usize, &mut ServerSpec)) -> Pool {
    pool_with(Balance::RoundRobin, count, when_all_down, alter)
}

/// The address of one server.
fn text(at: usize) -> String {
    format!("10.0.{}.{}:80", at >> 8, at & 255)
}

fn pool_with(
    balance: Balance,
    count: usize,
    when_all_down: WhenAllDown,
    alter: impl Fn(usize, &mut ServerSpec),
) -> Pool {
    pool_drained(balance, count, when_all_down, alter, &[])
}

/// The same, with servers of these numbers being emptied.
fn pool_drained(
    balance: Balance,
    count: usize,
    when_all_down: WhenAllDown,
    alter: impl Fn(usize, &mut ServerSpec),
    drained: &[usize],
) -> Pool {
    let server = |at: usize| {
        let mut spec = ServerSpec::new(Address::parse(&text(at)).expect("an address"));
        alter(at, &mut spec);
        spec
    };
    let spec = UpstreamSpec {
        servers: Some((0..count).map(server).collect()),
        balance: Some(balance),
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
        since: Vec::new(),
        resolved: Arc::default(),
        live: Arc::new(PoolLive::new(1)),
        drains: drained.iter().map(|at| drain(*at)).collect(),
    };
    Pool::build(parts, |address, ordinal| Arc::new(ServerState::new(&name, address, ordinal, 1)))
}

fn drain(at: usize) -> Arc<Drain> {
    let order = format!(r#"{{"upstream":"p","server":"{}"}}"#, text(at));
    let spec = serde_json::from_str(&order).expect("an order");
    Arc::new(Drain { id: at as u64 + 7, spec, begun: 1, generation: 1, finished: None })
}

fn label(pick: &Result<Pick<'_>, NoServer>) -> String {
    pick.as_ref()
        .map_or_else(|none| format!("{none:?}"), |pick| pick.server.state.label().to_string())
}

fn pick<'p>(pool: &'p Pool, tried: &[u64], now: u64) -> Result<Pick<'p>, NoServer> {
    let affinity = Affinity::of_client(None);
    let random = RefCell::new(Rng::with_seed(7));
    let tried = tried.iter().copied().collect();
    pool.pick(&Ask { tried: &tried, affinity: &affinity, now, random: &random })
}

#[test]
fn forty_requests_at_three_to_one_are_thirty_and_ten() {
    let pool = pool(2, WhenAllDown::TryAll, |at, spec| spec.weight = if at == 0 { 3 } else { 1 });
    let first = (0..40).filter(|_| label(&pick(&pool, &[], 1)) == "10.0.0.0:80").count();
    assert_eq!(first, 30);
}

#[test]
fn backups_serve_only_when_no_primary_can() {
    let pool = pool(3, WhenAllDown::Fail, |at, spec| spec.backup = at == 2);
    let tried: Vec<u64> = pool.servers[..2].iter().map(|server| server.state.id()).collect();
    assert_eq!(label(&pick(&pool, &tried[..1], 1)), "10.0.0.1:80");
    assert_eq!(label(&pick(&pool, &tried, 1)), "10.0.0.2:80");
}

#[test]
fn down_and_weightless_servers_take_nothing_whatever_happens() {
    let pool = pool(2, WhenAllDown::TryAll, |at, spec| {
        spec.down = at == 0;
        spec.weight = u32::from(at == 0);
    });
    assert_eq!(pick(&pool, &[], 1).err(), Some(NoServer::Empty));
}

#[test]
fn a_drained_server_is_told_by_its_drain_unless_it_is_down() {
    let down = |at, spec: &mut ServerSpec| spec.down = at == 0;
    let pool = pool_drained(Balance::RoundRobin, 3, WhenAllDown::TryAll, down, &[0, 1]);
    let standings: Vec<_> =
        pool.servers.iter().map(|server| (pool.standing(server, 1), server.draining)).collect();
    let expected = [(Standing::Down, Some(7)), (Standing::Draining, Some(8)), (Standing::Up, None)];
    assert_eq!(standings, expected);
    let last = pool.servers[2].state.id();
    assert_eq!(pick(&pool, &[last], 1).err(), Some(NoServer::AllOut));
    assert_eq!(pool.eject(&pool.servers[2], 1), None, "nobody else takes requests");
}

#[test]
fn when_all_have_failed_the_pool_decides() {
    for (policy, expected) in [(WhenAllDown::Fail, "AllOut"), (WhenAllDown::TryAll, "10.0.0.0:80")]
    {
        let pool = pool(2, policy, |_, _| {});
        for server in &pool.servers {
            server.state.failed(&server.spec, 1_000);
        }
        assert_eq!(label(&pick(&pool, &[], 1_001)), expected);
    }
}

#[test]
fn who_answers_although_nobody_was_well_is_well() {
    let pool = pool(2, WhenAllDown::TryAll, |_, _| {});
    for server in &pool.servers {
        server.state.failed(&server.spec, 1_000);
    }
    let first = pick(&pool, &[], 1_001).expect("try_all");
    assert!(first.overlooked);
    first.answered();
    for _ in 0..4 {
        let again = pick(&pool, &[], 1_002).expect("it is well");
        assert!(!again.overlooked && again.server.state.id() == first.server.state.id());
    }
}

#[test]
fn a_single_server_is_never_out_two_with_one_down_are_not_single() {
    let single = pool(1, WhenAllDown::Fail, |_, _| {});
    single.servers[0].state.failed(&single.servers[0].spec, 1_000);
    assert!(single.is_single() && pick(&single, &[], 1_001).is_ok());
    let pair = pool(2, WhenAllDown::Fail, |at, spec| spec.down = at == 1);
    pair.servers[0].state.failed(&pair.servers[0].spec, 1_000);
    assert!(!pair.is_single() && pick(&pair, &[], 1_001).is_err());
}

#[test]
fn a_server_at_its_limit_is_passed_over_and_nothing_leaks() {
    let pool = pool(2, WhenAllDown::TryAll, |at, spec| spec.max_conns = u32::from(at == 0));
    let held: Vec<_> = (0..4).map(|_| pick(&pool, &[], 1)).collect();
    assert_eq!(held.iter().filter(|pick| label(pick) == "10.0.0.0:80").count(), 1);
    drop(held);
    assert!(pool.servers.iter().all(|server| server.state.busy() == 0));
}

fn shares(pool: &Pool, picks: usize) -> Vec<usize> {
    let mut counts = vec![0; pool.servers.len()];
    let random = RefCell::new(Rng::with_seed(7));
    for at in 0..picks {
        let client = std::net::IpAddr::from([10, (at >> 8) as u8, at as u8, 1]);
        let affinity =
            Affinity { key: Hashed::of(&at.to_le_bytes()), ..Affinity::of_client(Some(client)) };
        let tried = Tried::default();
        let ask = Ask { tried: &tried, affinity: &affinity, now: 1, random: &random };
        let pick = pool.pick(&ask).expect("a server");
        let id = pick.server.state.id();
        counts[pool.servers.iter().position(|one| one.state.id() == id).expect("it is listed")] +=
            1;
    }
    counts
}

/// Where each of a thousand clients goes.
fn homes(pool: &Pool) -> Vec<String> {
    let random = RefCell::new(Rng::with_seed(7));
    let home = |at: u32| {
        let client = std::net::IpAddr::from((at << 8).to_be_bytes());
        let affinity =
            Affinity { key: Hashed::of(&at.to_le_bytes()), ..Affinity::of_client(Some(client)) };
        let tried = Tried::default();
        let ask = Ask { tried: &tried, affinity: &affinity, now: 1, random: &random };
        label(&pool.pick(&ask))
    };
    (0..1_000).map(home).collect()
}

#[test]
fn whoever_hashes_moves_only_the_clients_of_a_server_that_is_set_down() {
    for balance in [Balance::IpHash, Balance::Hash, Balance::Maglev] {
        let with =
            |alter: fn(usize, &mut ServerSpec)| pool_with(balance, 3, WhenAllDown::TryAll, alter);
        let before = homes(&with(|_, _| {}));
        for after in [
            homes(&with(|at, spec| spec.down = at == 1)),
            homes(&with(|at, spec| spec.weight = u32::from(at != 1))),
            homes(&pool_drained(balance, 3, WhenAllDown::TryAll, |_, _| {}, &[1])),
        ] {
            let others = before.iter().zip(&after).filter(|(home, _)| *home != "10.0.0.1:80");
            let moved = others.filter(|(home, now)| home != now).count();
            let allowed = if balance == Balance::Maglev { 15 } else { 0 };
            assert!(moved <= allowed, "{balance:?}: {moved} of the others moved");
            assert!(!after.iter().any(|home| home == "10.0.0.1:80"));
        }
    }
}

#[test]
fn every_method_that_goes_by_weight_shares_by_it() {
    for balance in [Balance::RoundRobin, Balance::LeastConn, Balance::RandomTwo, Balance::Ewma] {
        let weights = [1, 2, 5];
        let pool = pool_with(balance, 3, WhenAllDown::Fail, |at, spec| spec.weight = weights[at]);
        let counts = shares(&pool, 80_000);
        for (count, weight) in counts.iter().zip(weights) {
            let share = *count as f64 / 80_000.0;
            let due = f64::from(weight) / 8.0;
            // With nobody busy, the lesser of two is the one with more weight or the first drawn.
            let within = if matches!(balance, Balance::RoundRobin | Balance::LeastConn) {
                0.01
            } else {
                0.02
            };
            assert!((share - due).abs() < within, "{balance:?}: {counts:?}");
        }
    }
}

/// A request that tries thousands of dead servers looks at each a few times, not at all of them for
/// each: the walk it once was took minutes, and no test may.
#[test]
fn a_large_pool_that_is_gone_is_gone_through_without_walking_it_each_time() {
    let servers = 3_000;
    let pool = pool(servers, WhenAllDown::TryAll, |_, _| {});
    pool.servers.iter().for_each(|server| {
        server.state.failed(&server.spec, 1_000);
    });
    let (affinity, random) = (Affinity::of_client(None), RefCell::new(Rng::with_seed(7)));
    let mut tried = Tried::default();
    for _ in 0..servers {
        let ask = Ask { tried: &tried, affinity: &affinity, now: 1_001, random: &random };
        let id = pool.pick(&ask).expect("one that was not tried").server.state.id();
        assert!(!tried.contains(id));
        tried.add(id);
    }
    let ask = Ask { tried: &tried, affinity: &affinity, now: 1_001, random: &random };
    assert_eq!(pool.pick(&ask).err(), Some(NoServer::AllOut));
}

#[test]
fn the_last_server_that_is_well_is_not_ejected() {
    let spared = pool(2, WhenAllDown::Fail, |at, spec| spec.down = at == 1);
    assert_eq!(spared.eject(&spared.servers[0], 1), None);
    let pair = pool(2, WhenAllDown::Fail, |_, _| {});
    assert!(pair.eject(&pair.servers[0], 1).is_some());
    assert_eq!(pair.eject(&pair.servers[1], 2), None);
}

#[test]
fn a_slow_start_that_comes_late_does_not_begin_late() {
    let plain = pool(2, WhenAllDown::Fail, |_, _| {});
    plain.servers[1].state.health.ramp();
    for _ in 0..2 {
        drop(pick(&plain, &[], 1_000));
    }
    let share =
        plain.servers[1].state.health.ramp_share(tidegate_model::Span::from_secs(60), 59_000);
    assert_eq!(share, Some(989), "it began when it was first picked");
}

#[test]
fn a_server_that_is_well_does_not_yield_to_one_that_is_not() {
    let pool = pool(2, WhenAllDown::TryAll, |_, _| {});
    pool.servers[1].state.failed(&pool.servers[1].spec, 1_000);
    let tried: Tried = [pool.servers[0].state.id()].into_iter().collect();
    let (affinity, random) = (Affinity::of_client(None), RefCell::new(Rng::with_seed(7)));
    let ask = Ask { tried: &tried, affinity: &affinity, now: 1_001, random: &random };
    assert!(!pool.has_choice(&ask, false) && pool.has_choice(&ask, true));
}
