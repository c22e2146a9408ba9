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

    /// By libxxhash, one for each way that it takes by the length of a key. Another hash would move
    /// users from one share to another.
    #[test]
    fn places_stay_for_ever() {
        for (key, place) in [
            (&b"42"[..], 0x8a97_aa28_5024_f794),
            (b"u-1001", 0xb2dc_9cd5_2075_71ec),
            (b"0123456789", 0x160b_a2a0_bd9b_7295),
            (b"203.0.113.7, 198.51.100.1", 0x51fd_b8f5_d6f3_6461),
            (&[b'k'; 200], 0x0277_4084_d90a_93e1),
            (&[b'k'; 300], 0x12ab_595b_cd31_4777),
        ] {
            assert_eq!(share_hash(key), place, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn places_are_even() {
        let tenth =
            (0..10_000).filter(|at: &u32| share_hash(at.to_string().as_bytes()) < u64::MAX / 10);
        let count = tenth.count();
        assert!((900..1_100).contains(&count), "{count}");
    }
}
