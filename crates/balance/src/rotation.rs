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

use crate::weights;

/// The longest sequence. Weights whose sum is larger are scaled down to about this.
const MAX_LEN: u64 = 1 << 17;
/// So many turns for each server are walked before everybody is simply asked.
const WALK: usize = 2;
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
        Self { sequence: sequence(&fitting(weights)).into(), members, cursor: Cursor::default() }
    }

    /// A server at random, as often as its weight says, or `None` when nobody has any. The turns of
    /// [`next`](Self::next) stay as they are.
    pub fn draw(&self, random: &mut fastrand::Rng) -> Option<usize> {
        if self.sequence.is_empty() {
            return None;
        }
        Some(self.sequence[random.usize(..self.sequence.len())] as usize)
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

/// Weights whose sum is no longer than a sequence may be.
fn fitting(weights: &[u32]) -> Vec<u64> {
    let reduced = weights::reduced(weights);
    if reduced.iter().sum::<u64>() <= MAX_LEN.max(weights.len() as u64) {
        reduced
    } else {
        weights::scaled(&reduced, MAX_LEN)
    }
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

    #[test]
    fn drawn_servers_come_by_weight_and_leave_the_turns_alone() {
        let weights = [1, 0, 3, 10, 50];
        let rotation = Rotation::new(&weights);
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = [0_u32; 5];
        for _ in 0..200_000 {
            counts[rotation.draw(&mut random).expect("a server")] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let off = f64::from(*count) / 200_000.0 - f64::from(weight) / 64.0;
            assert!(off.abs() < 0.01, "{counts:?}");
        }
        assert_eq!(counts[1], 0);
        assert_eq!(picks(&rotation, 1), picks(&Rotation::new(&weights), 1));
        assert_eq!(Rotation::new(&[0, 0]).draw(&mut random), None);
        assert_eq!(Rotation::new(&[]).draw(&mut random), None);
    }

    #[test]
    fn scaled_weights_keep_their_shares() {
        let weights: Vec<u32> = (0..100).map(|at| 1_000_003 + 70_001 * at).collect();
        let rotation = Rotation::new(&weights);
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut counts = vec![0_u32; weights.len()];
        for at in picks(&rotation, rotation.sequence.len()) {
            counts[at] += 1;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            let expected = f64::from(*weight) / total * rotation.sequence.len() as f64;
            assert!((f64::from(*count) / expected - 1.0).abs() < 0.01);
        }
    }

    proptest! {
        #[test]
        fn one_round_holds_each_server_by_its_weight(weights in prop::collection::vec(0_u32..200, 1..200)) {
            let rotation = Rotation::new(&weights);
            let fitting = fitting(&weights);
            let total = usize::try_from(fitting.iter().sum::<u64>()).expect("small");
            prop_assert_eq!(rotation.sequence.len(), total);
            let mut counts = vec![0_u64; weights.len()];
            for at in picks(&rotation, total) {
                counts[at] += 1;
            }
            prop_assert_eq!(counts, fitting);
        }
    }
}
