//! Consistent hashing by table (Maglev: A Fast and Reliable Software Network Load Balancer, NSDI
//! 2016, §3.4): a pick is one look at a table, shares are even to a fraction of a percent, and when
//! a server comes or goes little more than its share of the keys moves. The servers take turns by
//! weight, and in a turn of its own a server takes the first free place of an order all its own.
//!
//! The table depends on texts and weights only: neither on the process nor on the order of the list.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// Sizes of tables: primes, so that any step walks through all of a table. There are only two,
/// since a pool that outgrows one has its keys shuffled.
const SIZES: [u32; 2] = [65_537, 1_000_003];
/// A table has so many places for a server, as long as one of the sizes does.
const PLACES_PER_SERVER: usize = 100;
/// So many times a key whose server is not eligible is hashed again.
const REHASHES: usize = 20;
/// A place nobody has taken yet.
const FREE: u32 = u32::MAX;

/// A table over servers `0..servers.len()`.
#[derive(Debug)]
pub struct Maglev(Places);

/// The server of each place, in as few bytes as their number allows; empty when nobody has weight.
#[derive(Debug)]
enum Places {
    Narrow(Box<[u16]>),
    Wide(Box<[u32]>),
}

/// A server on its way through the places.
#[derive(Clone, Copy)]
struct Walk {
    server: u32,
    at: u32,
    step: u32,
}

/// The hash of a key for [`Maglev::pick`] (XXH3, 64 bits): the same in every process.
pub fn wide_hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

impl Maglev {
    /// A table of servers given by the text of their address and their weight. Servers of weight 0
    /// have no place, nor has one whose share is below half a place: 1/131,074, or from 656 servers
    /// on 1/2,000,006. Passing 655 servers changes the size of the table and moves most keys.
    pub fn new(servers: &[(&str, u32)]) -> Self {
        let size = size(servers.len());
        let order = by_text(servers);
        let weights: Vec<u32> = order.iter().map(|at| servers[*at as usize].1).collect();
        let places = fill(size, &turns(&weights, size), walks(&order, servers, size));
        let narrow: Result<Box<[u16]>, _> = places.iter().map(|at| u16::try_from(*at)).collect();
        Self(narrow.map_or_else(|_| Places::Wide(places.into()), Places::Narrow))
    }

    /// The server of a key of this [`wide_hash`], or `None` when none of its tries is eligible.
    pub fn pick(&self, mut hash: u64, mut eligible: impl FnMut(usize) -> bool) -> Option<usize> {
        for _ in 0..=REHASHES {
            let server = self.0.server(hash)?;
            if eligible(server) {
                return Some(server);
            }
            hash = wide_hash(&hash.to_le_bytes());
        }
        None
    }
}

impl Places {
    fn server(&self, hash: u64) -> Option<usize> {
        match self {
            Self::Narrow(places) => places.get(place(hash, places.len())).map(|at| (*at).into()),
            Self::Wide(places) => places.get(place(hash, places.len())).map(|at| *at as usize),
        }
    }
}

impl Walk {
    fn advance(&mut self, size: u32) {
        // Both are below the size, which is far below half of 2³².
        self.at += self.step;
        if self.at >= size {
            self.at -= size;
        }
    }
}

/// The hash as a fraction of 2⁶⁴ of the table: no slow division.
fn place(hash: u64, size: usize) -> usize {
    ((u128::from(hash) * size as u128) >> 64) as usize
}

fn size(servers: usize) -> u32 {
    let wanted = servers.saturating_mul(PLACES_PER_SERVER);
    SIZES.into_iter().find(|size| *size as usize >= wanted).unwrap_or(SIZES[SIZES.len() - 1])
}

/// Servers that have weight, by text; equals in the order of the list.
fn by_text(servers: &[(&str, u32)]) -> Vec<u32> {
    let listed = (0..).zip(servers);
    let mut order: Vec<u32> =
        listed.filter(|(_, (_, weight))| *weight > 0).map(|(at, _)| at).collect();
    order.sort_by_key(|at| servers[*at as usize].0);
    order
}

/// Whose turn it is, as ranks in the order of servers, evenly spread: with a `share` of places to a
/// turn, the k-th is due at place (k + ½) · share. About as many turns as places.
fn turns(weights: &[u32], size: u32) -> Vec<u32> {
    /// Bits after the point of a place.
    const FRACTION: u32 = 20;
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let mut due = Vec::with_capacity(size as usize + weights.len());
    for (rank, weight) in (0_u64..).zip(weights) {
        let share = (total << FRACTION) / u128::from(*weight);
        let Ok(share) = usize::try_from(share) else { continue };
        let places = (share / 2..(size as usize) << FRACTION).step_by(share);
        due.extend(places.map(|place| ((place >> FRACTION) as u64) << 32 | rank));
    }
    due.sort_unstable();
    due.into_iter().map(|turn| turn as u32).collect()
}

/// Where each begins and how far it steps, of its text and its number among equals.
fn walks(order: &[u32], servers: &[(&str, u32)], size: u32) -> Vec<Walk> {
    let text = |server: u32| servers[server as usize].0;
    let (mut equal, mut previous) = (0, None);
    let walk = |server: &u32| {
        equal = if previous == Some(text(*server)) { equal + 1 } else { 0 };
        previous = Some(text(*server));
        let hash = xxh3_128_with_seed(text(*server).as_bytes(), equal);
        let (high, low) = ((hash >> 64) as u64, hash as u64);
        let below = |hash: u64, limit: u32| (hash % u64::from(limit)) as u32;
        Walk { server: *server, at: below(high, size), step: below(low, size - 1) + 1 }
    };
    order.iter().map(walk).collect()
}

/// Lets everybody take places, turn by turn, until there are no more.
fn fill(size: u32, turns: &[u32], mut walks: Vec<Walk>) -> Vec<u32> {
    if turns.is_empty() {
        return Vec::new();
    }
    let mut places = vec![FREE; size as usize];
    for rank in turns.iter().cycle().take(places.len()) {
        let walk = &mut walks[*rank as usize];
        while places[walk.at as usize] != FREE {
            walk.advance(size);
        }
        places[walk.at as usize] = walk.server;
        walk.advance(size);
    }
    places
}

#[cfg(test)]
mod tests;
