//! What the balancers have in common about weights: adding them up, and making them smaller where
//! a table is as long as their sum.

/// Each server's weight together with those before it; the last sum is the total.
pub fn sums(weights: &[u32]) -> Vec<u64> {
    let add = |sum: &mut u64, weight: &u32| {
        *sum += u64::from(*weight);
        Some(*sum)
    };
    weights.iter().scan(0, add).collect()
}

/// Weights divided by their greatest common divisor.
pub(crate) fn reduced(weights: &[u32]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    weights.iter().map(|weight| u64::from(weight / divisor)).collect()
}

/// Weights with a sum of about `most`, below 2³², rounded. Who has weight keeps at least 1, so the
/// sum may be larger by up to the number of servers. Weights are below 2³² as well.
pub(crate) fn scaled(weights: &[u64], most: u64) -> Vec<u64> {
    let total = weights.iter().sum::<u64>().max(1);
    let scale = |weight: &u64| match weight {
        0 => 0,
        _ => ((weight * most).saturating_add(total / 2) / total).max(1),
    };
    weights.iter().map(scale).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_end_in_the_total() {
        assert_eq!(sums(&[1, 0, u32::MAX, 2]), [1, 1, 1 << 32, (1 << 32) + 2]);
        assert_eq!(sums(&[]), [0_u64; 0]);
    }

    #[test]
    fn reduced_weights_keep_their_proportions() {
        assert_eq!(reduced(&[100, 0, 250]), [2, 0, 5]);
        assert_eq!(reduced(&[0, 0]), [0, 0]);
    }

    #[test]
    fn scaled_weights_are_rounded_and_never_lost() {
        assert_eq!(scaled(&[2_000, 0, 1, 999], 300), [200, 0, 1, 100]);
        assert_eq!(scaled(&[u64::from(u32::MAX); 2], 1 << 21), [1 << 20; 2]);
        assert_eq!(scaled(&[0], 10), [0]);
    }
}
