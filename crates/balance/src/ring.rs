//! nginx's `hash KEY consistent`, to the bit: whoever comes from nginx keeps the mapping of keys to
//! servers, and with it whatever the servers hold in their caches. Every server has 160 points on a
//! ring for each unit of weight; a key belongs to the server of the first point at or after its
//! hash. The points are those of `ngx_http_upstream_hash_module` (and of Cache::Memcached::Fast).

use std::collections::{HashMap, hash_map::Entry};

use crate::weights;

/// nginx's number of points for each unit of weight.
const POINTS_PER_WEIGHT: u64 = 160;
/// The most points of a ring, 13 MB: 10,000 servers of weight 1. Beyond it we leave nginx's mapping.
const MAX_POINTS: u64 = 1_600_000;
/// So many further points are tried before nginx goes on with round robin.
const FURTHER: usize = 20;
/// About so many points share an entry of the index.
const POINTS_PER_BUCKET: usize = 4;

/// A ring over servers `0..servers.len()`.
///
/// Servers of the same text (a host name with several addresses, for one) have the same points, and
/// share out their keys among themselves.
#[derive(Debug)]
pub struct Ring {
    /// By hash, each hash once.
    points: Box<[Point]>,
    /// Where in `points` the hashes that begin with the bits of the index begin, and the end.
    buckets: Box<[u32]>,
    /// So many bits of a hash are not part of that index.
    shift: u32,
    groups: Groups,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    hash: u32,
    group: u32,
}

/// The servers of each text, group after group.
#[derive(Debug)]
struct Groups {
    members: Box<[u32]>,
    /// Where each group begins in `members`, and the end.
    starts: Box<[u32]>,
}

/// The servers of one text while a ring is built.
struct Equals<'s> {
    text: &'s str,
    /// The largest: of points at the same place nginx keeps one.
    weight: u32,
    members: Vec<u32>,
}

/// nginx's hash of a key (`ngx_crc32_long`).
pub fn ring_hash(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

impl Ring {
    /// A ring of servers given by the text of their address as nginx would have read it (an address
    /// without a port has none) and their weight. Servers of weight 0 have no points. nginx gives a
    /// server that is `down` its points all the same and finds it not eligible.
    ///
    /// A ring has at most 1,600,000 points or one for each server. Weights that call for more are
    /// divided by their greatest common divisor, and if that is not enough scaled down: shares stay
    /// what they were, but the mapping is no longer nginx's.
    pub fn new(servers: &[(&str, u32)]) -> Self {
        let equals = equals(servers);
        let points = points(&equals);
        let bits = (points.len() / POINTS_PER_BUCKET).max(1).ilog2();
        let shift = u32::BITS - bits;
        let mut at = 0;
        let begin = |bucket: u64| {
            at += points[at..].iter().take_while(|p| u64::from(p.hash) < bucket << shift).count();
            narrow(at)
        };
        let buckets = (0..=1 << bits).map(begin).collect();
        Self { points: points.into(), buckets, shift, groups: Groups::new(&equals) }
    }

    /// The server of a key of this [`ring_hash`], or `None` when neither its point nor the twenty
    /// after it belong to an eligible one.
    pub fn pick(&self, hash: u32, mut eligible: impl FnMut(usize) -> bool) -> Option<usize> {
        let (before, from) = self.points.split_at(self.first_at_or_after(hash));
        let mut refused = None;
        for point in from.iter().chain(before).take(1 + FURTHER) {
            if refused == Some(point.group) {
                continue;
            }
            if let Some(server) = self.groups.pick(point.group, hash, &mut eligible) {
                return Some(server);
            }
            refused = Some(point.group);
        }
        None
    }

    fn first_at_or_after(&self, hash: u32) -> usize {
        // In 64 bits, as an index of one bucket shifts by 32.
        let bucket = (u64::from(hash) >> self.shift) as usize;
        let (begin, end) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        begin + self.points[begin..end].partition_point(|point| point.hash < hash)
    }
}

impl Groups {
    fn new(equals: &[Equals<'_>]) -> Self {
        let members: Box<[u32]> = equals.iter().flat_map(|e| &e.members).copied().collect();
        let end = |end: &mut usize, equals: &Equals<'_>| {
            *end += equals.members.len();
            Some(narrow(*end))
        };
        let ends = equals.iter().scan(0, end);
        Self { members, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The first eligible member from where the hash says on, and around.
    fn pick(
        &self,
        group: u32,
        hash: u32,
        mut eligible: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let group = group as usize;
        let members = &self.members[self.starts[group] as usize..self.starts[group + 1] as usize];
        let (before, from) = members.split_at(hash as usize % members.len().max(1));
        let mut order = from.iter().chain(before).map(|server| *server as usize);
        order.find(|server| eligible(*server))
    }
}

/// Servers by text, in the order in which the texts appear.
fn equals<'s>(servers: &[(&'s str, u32)]) -> Vec<Equals<'s>> {
    let mut all: Vec<Equals<'s>> = Vec::with_capacity(servers.len());
    let mut seen = HashMap::with_capacity(servers.len());
    for (server, &(text, weight)) in (0..).zip(servers).filter(|(_, (_, weight))| *weight > 0) {
        match seen.entry(text) {
            Entry::Vacant(entry) => {
                entry.insert(all.len());
                all.push(Equals { text, weight, members: vec![server] });
            }
            Entry::Occupied(entry) => {
                let equals = &mut all[*entry.get()];
                equals.weight = equals.weight.max(weight);
                equals.members.push(server);
            }
        }
    }
    all
}

fn points(equals: &[Equals<'_>]) -> Vec<Point> {
    let weights: Vec<u32> = equals.iter().map(|equals| equals.weight).collect();
    let counts = counts(&weights);
    let mut points = Vec::with_capacity(counts.iter().sum::<u64>() as usize);
    for ((group, equals), count) in (0..).zip(equals).zip(counts) {
        points.extend(hashes(equals.text, count).map(|hash| Point { hash, group }));
    }
    // Of two servers with a point at the same place the one listed first keeps it: nginx sorts
    // with the C library, which keeps their order.
    points.sort_unstable_by_key(|point| u64::from(point.hash) << 32 | u64::from(point.group));
    points.dedup_by_key(|point| point.hash);
    points
}

/// How many points each has.
fn counts(weights: &[u32]) -> Vec<u64> {
    let fits = |total: u64| total <= MAX_POINTS / POINTS_PER_WEIGHT;
    let full = |weight: u64| weight * POINTS_PER_WEIGHT;
    if fits(weights.iter().map(|weight| u64::from(*weight)).sum()) {
        return weights.iter().map(|weight| full(u64::from(*weight))).collect();
    }
    let reduced = weights::reduced(weights);
    if fits(reduced.iter().sum()) {
        return reduced.into_iter().map(full).collect();
    }
    weights::scaled(&reduced, MAX_POINTS)
}

/// The points of a server: each is the hash of the host, a zero, the port and the point before, in
/// little-endian order.
fn hashes(text: &str, count: u64) -> impl Iterator<Item = u32> {
    let (host, port) = host_and_port(text);
    let mut base = crc32fast::Hasher::new();
    for part in [host, "\0", port] {
        base.update(part.as_bytes());
    }
    let mut previous = 0_u32;
    (0..count).map(move |_| {
        let mut hasher = base.clone();
        hasher.update(&previous.to_le_bytes());
        previous = hasher.finalize();
        previous
    })
}

/// What nginx takes for host and port of the text of a server.
fn host_and_port(text: &str) -> (&str, &str) {
    if let Some((scheme, path)) = text.split_at_checked(5)
        && scheme.eq_ignore_ascii_case("unix:")
    {
        return (path, "");
    }
    match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (text, ""),
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("servers and points are counted in 32 bits")
}

#[cfg(test)]
mod tests;
