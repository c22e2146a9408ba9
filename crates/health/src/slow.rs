//! Ejection of servers that answer far slower than the rest of their pool (`eject.latency_factor`).
//! Nobody is sick here by a measure of its own: the pool's median is the measure.

use tidegate_table::{Pool, Server};

use crate::turns::Turns;

/// Among fewer servers nobody can be told to be the odd one.
const FEWEST: usize = 3;
/// What a server has to be slower than the median at least, in microseconds: among servers that
/// answer within a millisecond, twice as slow means nothing.
const MARGIN: u64 = 5_000;

/// Ejects the servers of a pool whose average latency is too far above the median, the slowest
/// first, as far as the pool's `max_share` goes. `now` is in milliseconds of the clock that
/// failures are told by.
pub(crate) fn eject(pool: &Pool, now: u64, turns: &Turns) {
    let known = pool.servers.iter().filter_map(|server| Some((latency(server, now)?, server)));
    let mut known: Vec<_> = known.collect();
    if known.len() < FEWEST {
        return;
    }
    known.sort_unstable_by_key(|(latency, _)| *latency);
    let median = known[(known.len() - 1) / 2].0;
    let factor = u64::from(pool.upstream.eject.latency_factor);
    let most = median.saturating_mul(factor).max(median + MARGIN);
    for (latency, server) in known.iter().rev().take_while(|(latency, _)| *latency > most) {
        if let Some(millis) = pool.eject(server, now) {
            turns.ejected(&server.state, now, millis, "it is far slower than its pool");
            let (upstream, server) = (&pool.name, server.state.label());
            let (latency_us, median_us) = (latency, median);
            tracing::warn!(%upstream, %server, latency_us, median_us, millis, "server is ejected: it is far slower than its pool");
        }
    }
}

/// The average latency, in microseconds, unless it is too old to judge by: what was slow before it
/// was left alone may be well by now. An age is not kept, but what has lost half of its cost by age
/// is older than some seconds.
fn latency(server: &Server, now: u64) -> Option<u64> {
    let latency = &server.state.latency;
    let (value, cost) = (latency.value()?, latency.cost(now)?);
    (cost >= value / 2).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_events::Hub;
    use tidegate_model::{
        Address, Name, ServerSpec, UpstreamSpec,
        upstream::{EjectSpec, Share},
    };
    use tidegate_table::{Parts, PoolLive, ServerState, Source};

    use super::*;

    fn turns() -> Turns {
        Turns::new(Hub::new()).0
    }

    /// A pool whose servers have these latencies in milliseconds.
    fn pool(latencies: &[u64], max_share: u16) -> Pool {
        let address = |at| Address::parse(&format!("10.0.0.{at}:80")).expect("an address");
        let eject = EjectSpec {
            latency_factor: Some(3),
            max_share: Some(Share::from_percent(max_share)),
            ..EjectSpec::default()
        };
        let servers = (0..latencies.len()).map(|at| ServerSpec::new(address(at))).collect();
        let spec = UpstreamSpec { servers: Some(servers), eject, ..UpstreamSpec::default() };
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
            drains: Vec::new(),
        };
        let pool = Pool::build(parts, |address, ordinal| {
            Arc::new(ServerState::new(&name, address, ordinal, 1))
        });
        for (server, latency) in pool.servers.iter().zip(latencies) {
            server.state.latency.observe(latency * 1_000, 1_000);
        }
        pool
    }

    /// Which servers are out at that time.
    fn ejected(pool: &Pool, now: u64) -> Vec<usize> {
        let is_out = |at: &usize| pool.servers[*at].state.health.ailment(now).is_some();
        (0..pool.servers.len()).filter(is_out).collect()
    }

    fn ejected_of(latencies: &[u64], max_share: u16) -> Vec<usize> {
        let pool = pool(latencies, max_share);
        eject(&pool, 1_000, &turns());
        ejected(&pool, 1_000)
    }

    #[test]
    fn who_is_far_slower_than_the_median_goes() {
        assert_eq!(ejected_of(&[10, 12, 30, 200, 9, 10, 10], 100), [3]);
        assert_eq!(ejected_of(&[10, 12, 37, 200, 9, 10, 10], 100), [2, 3]);
    }

    #[test]
    fn the_slowest_goes_first_and_no_more_than_the_share() {
        assert_eq!(ejected_of(&[10, 10, 100, 200, 10, 10, 10], 10), [3]);
    }

    #[test]
    fn two_servers_and_short_latencies_tell_nothing() {
        assert_eq!(ejected_of(&[1, 1_000], 100), [0; 0]);
        assert_eq!(ejected_of(&[1, 1, 6], 100), [0; 0]);
    }

    #[test]
    fn a_server_that_comes_back_is_not_judged_by_what_it_was() {
        let pool = pool(&[10, 10, 10, 200], 100);
        eject(&pool, 1_000, &turns());
        assert_eq!(ejected(&pool, 30_000), [3]);
        for server in &pool.servers[..3] {
            server.state.latency.observe(10_000, 31_000);
        }
        eject(&pool, 31_000, &turns());
        assert_eq!(ejected(&pool, 31_000), [0; 0]);
    }
}
