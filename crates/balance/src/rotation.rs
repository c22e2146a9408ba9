//! nginx's smooth weighted round robin, computed once when a pool is built: a sequence in which
//! each server stands as often as its weight, spread evenly, and one cursor for all workers. A
//! pick is one atomic addition whatever the size of the pool, and 20 picks over two equal servers
//! are 10 and 10 whoever makes them.
//!
//! What nginx adds, an effective weight lowered by failures, is left out on purpose: a failed
//! server is walked past instead.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The longest sequence. Weights whose sum is larger are scaled down to about this.
const MAX_LEN: u64 = 1 << 17;
/// So many turns for each server are walked before everybody is simply asked.
const WALK: usize = 4;
/// Up to so many steps the sequence is nginx's own, entry by entry.
const EXACT_STEPS: u64 = 1 << 20;

/// A rotation over servers `0..weights.len()`.
#[derive(Debug)]
pub struct Rotation {
    sequence: Box<[u32]>,
    /// Who stands in the sequence, once each.
    members: Box<[u32]>,
    cursor: Cursor,
}

/// On a cache line of its own: every worker writes to it at every pick.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cursor(AtomicUsize);

impl Rotation {
    /// Servers of weight 0 are never picked.
    pub fn new(weights: &[u32]) -> Self {
        let members = index(weights.iter()).filter(|(_, w)| **w > 0).map(|(at, _)| at).collect();
        Self { sequence: sequence(&scaled(weights)).into(), members, cursor: Cursor::default() }
    }

    /// The next eligible server. Walking past one that is not moves the cursor for everybody, so
    /// that its turns are shared out among the others instead of falling to its neighbour.
    pub fn next(&self, mut eligible: impl FnMut(usize) -> bool) -> Option<usize> {
        let walk = self.sequence.len().min(WALK * self.members.len());
        for _ in 0..walk {
            let at = self.cursor.0.fetch_add(1, Relaxed) % self.sequence.len();
            let server = self.sequence[at] as usize;
            if eligible(server) {
                return Some(server);
            }
        }
        // Who has not come round: others moved the cursor meanwhile, or a heavy server that is out
        // takes up most of the sequence.
        let (before, after) =
            self.members.split_at(self.cursor.0.load(Relaxed) % self.members.len().max(1));
        after.iter().chain(before).map(|server| *server as usize).find(|server| eligible(*server))
    }
}

/// Weights divided by their greatest common divisor, and scaled down when their sum is too large.
fn scaled(weights: &[u32]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, u64::from(*b))).max(1);
    let reduced = weights.iter().map(|w| u64::from(*w) / divisor);
    let total: u64 = reduced.clone().sum();
    if total <= MAX_LEN.max(weights.len() as u64) {
        return reduced.collect();
    }
    reduced.map(|w| if w == 0 { 0 } else { (w * MAX_LEN / total).max(1) }).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn sequence(weights: &[u64]) -> Vec<u32> {
    let total: u64 = weights.iter().sum();
    if weights.iter().all(|w| *w <= 1) {
        index(weights.iter()).filter(|(_, w)| **w == 1).map(|(at, _)| at).collect()
    } else if total * weights.len() as u64 <= EXACT_STEPS {
        smooth(weights, total)
    } else {
        by_deadline(weights)
    }
}

fn index<T>(items: impl Iterator<Item = T>) -> impl Iterator<Item = (u32, T)> {
    (0..).zip(items)
}

/// nginx, `ngx_http_upstream_get_peer`: strict comparison, so the first wins ties.
fn smooth(weights: &[u64], total: u64) -> Vec<u32> {
    let signed = |n: u64| i64::try_from(n).expect("weights are bounded by MAX_LEN");
    let mut current = vec![0_i64; weights.len()];
    let step = |_| {
        let mut best = 0;
        for at in 0..weights.len() {
            current[at] += signed(weights[at]);
            if current[at] > current[best] {
                best = at;
            }
        }
        current[best] -= signed(total);
        u32::try_from(best).expect("servers are counted in 32 bits")
    };
    (0..total).map(step).collect()
}

/// The same spread for large pools, in n log n: server i's k-th turn is due at (k + ½) / weight.
fn by_deadline(weights: &[u64]) -> Vec<u32> {
    // Fixed point: the least common base of all weights would overflow.
    let due = |turn: u64, weight: u64| (2 * turn + 1) * (1 << 40) / (2 * weight);
    let mut queue: BinaryHeap<_> = index(weights.iter())
        .filter(|(_, weight)| **weight > 0)
        .map(|(at, weight)| Reverse((due(0, *weight), at, 0_u64)))
        .collect();
    let mut sequence = Vec::new();
    while let Some(Reverse((_, at, turn))) = queue.pop() {
        sequence.push(at);
        let weight = weights[at as usize];
        if turn + 1 < weight {
            queue.push(Reverse((due(turn + 1, weight), at, turn + 1)));
        }
    }
    sequence
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picks(rotation: &Rotation, count: usize) -> Vec<usize> {
        (0..count).map(|_| rotation.next(|_| true).expect("a server")).collect()
    }

    #[test]
    fn five_one_one_is_nginx_own_order() {
        assert_eq!(picks(&Rotation::new(&[5, 1, 1]), 8), [0, 0, 1, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn a_server_that_is_out_leaves_its_turns_to_all_the_others() {
        let rotation = Rotation::new(&[1, 1, 1]);
        let mut counts = [0; 3];
        for _ in 0..30 {
            counts[rotation.next(|at| at != 1).expect("a server")] += 1;
        }
        assert_eq!(counts, [15, 0, 15]);
    }

    #[test]
    fn nobody_eligible_is_nobody() {
        assert_eq!(Rotation::new(&[1, 2]).next(|_| false), None);
        assert_eq!(Rotation::new(&[]).next(|_| true), None);
        assert_eq!(Rotation::new(&[0, 0]).next(|_| true), None);
    }

    #[test]
    fn huge_weights_are_scaled_and_keep_everybody() {
        let rotation = Rotation::new(&[u32::MAX, 1, u32::MAX - 1]);
        assert!(rotation.sequence.len() as u64 <= MAX_LEN + 3);
        assert!((0..3).all(|at| rotation.sequence.contains(&at)));
    }

    proptest! {
        #[test]
        fn one_round_holds_each_server_by_its_weight(weights in prop::collection::vec(0_u32..200, 1..200)) {
            let rotation = Rotation::new(&weights);
            let scaled = scaled(&weights);
            let total = usize::try_from(scaled.iter().sum::<u64>()).expect("small");
            prop_assert_eq!(rotation.sequence.len(), total);
            let mut counts = vec![0_u64; weights.len()];
            for at in picks(&rotation, total) {
                counts[at] += 1;
            }
            prop_assert_eq!(counts, scaled);
        }
    }
}
