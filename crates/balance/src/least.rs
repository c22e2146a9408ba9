//! The least loaded server by weight: `least_conn` with connections for load, `ewma` with latency.
//! It asks about everybody, so callers keep `count` small: a small pool, or a sample of a large one.

/// The server of the smallest load for its weight among `0..count`. `load` answers the load and the
/// weight of a server that is eligible; one of weight 0 never is. Of equals the first wins, counted
/// from `first` on and around.
pub fn least(
    count: usize,
    first: usize,
    mut load: impl FnMut(usize) -> Option<(u64, u64)>,
) -> Option<usize> {
    let first = first.checked_rem(count)?;
    let mut best: Option<(usize, (u64, u64))> = None;
    for at in (first..count).chain(0..first) {
        let Some(here) = load(at).filter(|(_, weight)| *weight > 0) else { continue };
        if best.is_none_or(|(_, best)| lesser(here, best)) {
            best = Some((at, here));
        }
    }
    best.map(|(at, _)| at)
}

/// Whether `a` is the smaller load for its weight; both are (load, weight), no weight is 0.
pub fn lesser(a: (u64, u64), b: (u64, u64)) -> bool {
    u128::from(a.0) * u128::from(b.1) < u128::from(b.0) * u128::from(a.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_wins_ties_then_those_after_it() {
        let load = |at: usize| (at != 2).then_some((1, 1));
        assert_eq!(least(4, 1, load), Some(1));
        assert_eq!(least(4, 2, load), Some(3));
        assert_eq!(least(4, 7, load), Some(3));
        assert_eq!(least(3, 2, load), Some(0));
    }

    #[test]
    fn connections_settle_by_weight() {
        let weights = [1, 3, 10];
        let mut busy = [0_u64; 3];
        for turn in 0..1_400 {
            busy[least(3, turn, |at| Some((busy[at], weights[at]))).expect("a server")] += 1;
        }
        assert_eq!(busy, [100, 300, 1_000]);
    }

    #[test]
    fn nobody_eligible_is_nobody() {
        assert_eq!(least(0, 0, |_| Some((0, 1))), None);
        assert_eq!(least(0, 5, |_| Some((0, 1))), None);
        assert_eq!(least(3, 0, |_| None), None);
        assert_eq!(least(3, 0, |_| Some((0, 0))), None);
    }

    #[test]
    fn the_largest_numbers_compare() {
        assert!(lesser((u64::MAX - 1, u64::MAX), (u64::MAX, u64::MAX)));
        assert!(!lesser((u64::MAX, u64::MAX), (u64::MAX, u64::MAX)));
        assert!(lesser((u64::MAX, u64::MAX), (u64::MAX, 1)));
    }

    proptest! {
        #[test]
        fn nobody_eligible_has_less(
            loads in prop::collection::vec(prop::option::of((0_u64..50, 1_u64..9)), 1..30),
            first: usize,
        ) {
            let best = least(loads.len(), first, |at| loads[at]);
            prop_assert_eq!(best.is_some(), loads.iter().any(Option::is_some));
            if let Some(best) = best.and_then(|at| loads[at]) {
                prop_assert!(loads.iter().flatten().all(|other| !lesser(*other, best)));
            }
        }
    }
}
