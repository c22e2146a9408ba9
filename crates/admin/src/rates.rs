//! How often one peer may ask, and how often it may be wrong about its token. Both are counted by the
//! generic cell rate algorithm: of each peer one point in time is kept, that at which it will have
//! made up for all it has asked so far. Once that is over there is nothing to remember.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tidegate_net::Peer;

/// Peers that are remembered at once, by each of the two limits.
const PEERS: usize = 1_024;

/// Both limits of one process.
#[derive(Debug)]
pub(crate) struct Rates {
    pub(crate) requests: Limit,
    pub(crate) failures: Limit,
}

/// So many at once, and then one in each interval.
#[derive(Debug)]
pub(crate) struct Limit {
    interval: Duration,
    /// How far ahead of the clock a peer may be: that is its burst.
    tolerance: Duration,
    peers: Mutex<HashMap<Who, Instant>>,
}

/// Who is counted as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Who {
    place: Place,
    /// With a good token: what others at its address do is not held against it.
    is_known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    V4(Ipv4Addr),
    /// A network of 64 bits is one subscriber's.
    V6(u64),
    Unix(Option<u32>),
}

impl Rates {
    pub(crate) fn new() -> Self {
        Self { requests: Limit::new(50_000, 100_000), failures: Limit::new(10, 20) }
    }
}

impl Who {
    pub(crate) fn new(peer: &Peer, is_known: bool) -> Self {
        let place = match peer {
            // A listener of both families sees IPv4 in the clothes of IPv6.
            Peer::Ip(address) => match address.ip().to_canonical() {
                IpAddr::V4(ip) => Place::V4(ip),
                IpAddr::V6(ip) => Place::V6(network(ip)),
            },
            Peer::Unix(uid) => Place::Unix(*uid),
        };
        Self { place, is_known }
    }
}

fn network(ip: Ipv6Addr) -> u64 {
    u64::try_from(ip.to_bits() >> 64).unwrap_or_default()
}

impl Limit {
    fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let tolerance = interval * burst.saturating_sub(1);
        Self { interval, tolerance, peers: Mutex::default() }
    }

    /// Counts one.
    ///
    /// # Errors
    /// When that is one too many: how long it is until the next one is not.
    pub(crate) fn count(&self, who: Who, now: Instant) -> Result<(), Duration> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS && !peers.contains_key(&who) {
            make_room(&mut peers, now);
        }
        let made_up = peers.entry(who).or_insert(now);
        let from = now.max(*made_up);
        match (from - now).checked_sub(self.tolerance) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *made_up = from + self.interval;
                Ok(())
            }
        }
    }
}

/// Forgets those of whom there is nothing to remember; if there are none, the one that is next.
fn make_room(peers: &mut HashMap<Who, Instant>, now: Instant) {
    peers.retain(|_, made_up| *made_up > now);
    if peers.len() >= PEERS
        && let Some(who) = peers.iter().min_by_key(|(_, made_up)| **made_up).map(|(who, _)| *who)
    {
        peers.remove(&who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ip: &str) -> Who {
        Who::new(&Peer::Ip((ip.parse::<IpAddr>().expect("an address"), 1).into()), false)
    }

    #[test]
    fn a_burst_and_then_one_in_each_interval() {
        let (limit, now) = (Limit::new(10, 20), Instant::now());
        let who = at("10.0.0.1");
        assert!((0..20).all(|_| limit.count(who, now).is_ok()));
        let wait = limit.count(who, now).expect_err("the burst is over");
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(limit.count(at("10.0.0.2"), now), Ok(()), "another one is not held up");
        let later = now + wait;
        assert_eq!(limit.count(who, later), Ok(()));
        assert!(limit.count(who, later).is_err());
        let rested = later + Duration::from_secs(60);
        assert!((0..20).all(|_| limit.count(who, rested).is_ok()), "rest is no credit");
        assert!(limit.count(who, rested).is_err());
    }

    #[test]
    fn who_is_one() {
        assert_eq!(at("10.0.0.1"), at("::ffff:10.0.0.1"));
        assert_ne!(at("::ffff:10.0.0.1"), at("::ffff:10.0.0.2"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        let uid = |uid, is_known| Who::new(&Peer::Unix(uid), is_known);
        assert_ne!(uid(Some(0), false), uid(Some(1), false));
        assert_ne!(uid(Some(0), false), uid(Some(0), true));
    }

    #[test]
    fn a_limit_remembers_so_many_and_the_most_pressing() {
        let (limit, now) = (Limit::new(10, 20), Instant::now());
        let pressing = at("10.0.0.1");
        assert!((0..20).all(|_| limit.count(pressing, now).is_ok()));
        for number in 0..10 * u32::try_from(PEERS).expect("few") {
            let who = at(&Ipv4Addr::from_bits(number).to_string());
            assert_eq!(limit.count(who, now), Ok(()));
        }
        assert!(limit.peers.lock().expect("not poisoned").len() <= PEERS);
        assert!(limit.count(pressing, now).is_err(), "others do not push it out");
        let later = now + Duration::from_secs(60);
        assert_eq!(limit.count(at("10.0.0.3"), later), Ok(()));
        assert_eq!(limit.peers.lock().expect("not poisoned").len(), 1, "nothing is left of them");
    }
}
