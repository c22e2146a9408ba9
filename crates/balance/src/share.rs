//! Where a key lies among all keys, for shares of them that stay the same users.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// "tidegate". Not the hash that [`Maglev`](crate::Maglev) goes by: a share of the keys would be a
/// share of its table, and of the servers of the pool it leads to.
const SEED: u64 = 0x7469_6465_6761_7465;

/// The place of a key among 2^64, evenly: XXH3 of its bytes, 64 bits, with a seed of its own. The
/// same in every process and every version.
pub fn share_hash(key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, SEED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_for_ever_and_are_even() {
        assert_eq!(share_hash(b"42"), share_hash(b"42"));
        let tenth =
            (0..10_000).filter(|at: &u32| share_hash(at.to_string().as_bytes()) < u64::MAX / 10);
        let count = tenth.count();
        assert!((900..1_100).contains(&count), "{count}");
    }
}
