//! Shares, moves and stability of the table.

use proptest::prelude::*;

use super::*;

/// Whom the first keys of [`keys`] belong to. Were this to change, every key of every user moved.
const KNOWN: [usize; 16] = [2, 0, 1, 1, 2, 1, 0, 2, 0, 1, 2, 1, 2, 2, 0, 0];

fn all(_: usize) -> bool {
    true
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("10.0.{}.{}:8080", at >> 8, at & 255)).collect()
}

fn maglev(texts: &[String]) -> Maglev {
    Maglev::new(&texts.iter().map(|text| (text.as_str(), 1)).collect::<Vec<_>>())
}

fn keys(count: u32) -> impl Iterator<Item = u64> {
    (0..count).map(|at| wide_hash(format!("user-{at}").as_bytes()))
}

/// How many places each server has.
fn places(maglev: &Maglev, servers: usize) -> Vec<u32> {
    let mut counts = vec![0; servers];
    match &maglev.0 {
        Places::Narrow(places) => places.iter().for_each(|at| counts[usize::from(*at)] += 1),
        Places::Wide(places) => places.iter().for_each(|at| counts[*at as usize] += 1),
    }
    counts
}

#[test]
fn the_hash_of_a_key_is_xxh3() {
    assert_eq!(wide_hash(b""), 0x2d06_8005_38d3_94c2);
}

#[test]
fn sizes_are_prime() {
    for size in SIZES {
        assert!((2..1_001).all(|divisor| size % divisor != 0), "{size}");
    }
}

#[test]
fn places_follow_weights_within_one_percent() {
    for count in [2, 14, 100, 655, 1_000] {
        let texts = texts(count);
        let weight = |at: usize| [1, 3, 10, 0, 100][at % 5];
        let servers: Vec<_> = (0..count).map(|at| (texts[at].as_str(), weight(at))).collect();
        let maglev = Maglev::new(&servers);
        let total: u32 = servers.iter().map(|(_, weight)| *weight).sum();
        let counts = places(&maglev, count);
        let size = f64::from(size(count));
        for (count, (_, weight)) in counts.iter().zip(&servers) {
            let expected = size * f64::from(*weight) / f64::from(total);
            let off = (f64::from(*count) - expected).abs();
            assert!(off <= 1.0 + expected / 100.0, "{count} places, not {expected}");
        }
    }
}

#[test]
fn picks_follow_weights_within_one_percent() {
    let maglev = Maglev::new(&[("a:1", 1), ("b:1", 3), ("c:1", 0), ("d:1", 10)]);
    let mut counts = [0_u32; 4];
    keys(200_000).for_each(|hash| counts[maglev.pick(hash, all).expect("a server")] += 1);
    for (count, weight) in counts.into_iter().zip([1.0, 3.0, 0.0, 10.0]) {
        assert!((f64::from(count) / 200_000.0 - weight / 14.0).abs() < 0.01, "{counts:?}");
    }
}

#[test]
fn little_more_than_the_keys_of_a_leaving_server_move() {
    for count in [2, 3, 10, 100, 655, 2_000] {
        let texts = texts(count);
        let before = maglev(&texts);
        let after = maglev(&[&texts[..1], &texts[2..]].concat());
        let mut moved = 0_u32;
        for hash in keys(100_000) {
            let was = before.pick(hash, all).expect("a server");
            let is = after.pick(hash, all).map(|at| at + usize::from(at > 0));
            moved += u32::from(is != Some(was));
        }
        let share = f64::from(moved) / 100_000.0;
        assert!(share <= 1.0 / count as f64 + 0.02, "{share} of the keys of {count} servers");
    }
}

#[test]
fn neither_the_process_nor_the_order_of_the_list_matters() {
    let servers = [("a:1", 1), ("b:1", 2), ("c:1", 3)];
    let maglev = Maglev::new(&servers);
    let picked: Vec<_> = keys(16).map(|hash| maglev.pick(hash, all).expect("a server")).collect();
    assert_eq!(picked, KNOWN);
    let turned = Maglev::new(&[servers[2], servers[0], servers[1]]);
    assert!(
        keys(1_000).all(|hash| {
            maglev.pick(hash, all).map(|at| (at + 1) % 3) == turned.pick(hash, all)
        })
    );
}

#[test]
fn a_key_whose_server_is_out_moves_and_nobody_else_does() {
    let maglev = maglev(&texts(10));
    for hash in keys(5_000) {
        let was = maglev.pick(hash, all).expect("a server");
        let is = maglev.pick(hash, |at| at != 3).expect("a server");
        assert!(is != 3 && (was == 3 || is == was));
    }
}

#[test]
fn nobody_eligible_is_nobody_after_twenty_rehashes() {
    let mut asked = 0;
    let none = maglev(&texts(5)).pick(1, |_| {
        asked += 1;
        false
    });
    assert_eq!((none, asked), (None, 21));
    assert_eq!(Maglev::new(&[]).pick(1, all), None);
    assert_eq!(Maglev::new(&[("a:1", 0)]).pick(1, all), None);
}

#[test]
fn equal_texts_share_evenly() {
    let counts = places(&Maglev::new(&[("a:1", 1), ("b:1", 1), ("a:1", 1), ("a:1", 1)]), 4);
    assert!(counts.iter().all(|count| count.abs_diff(65_537 / 4) <= 1), "{counts:?}");
}

#[test]
fn huge_weights_keep_their_shares() {
    let max = u32::MAX;
    let counts = places(&Maglev::new(&[("a:1", max), ("b:1", max), ("c:1", 1)]), 3);
    assert!(counts[0].abs_diff(counts[1]) <= 1 && counts[2] == 0, "{counts:?}");
    let alone = Maglev::new(&[("a:1", max), ("b:1", 0)]);
    assert!(keys(100).all(|hash| alone.pick(hash, all) == Some(0)));
}

#[test]
fn many_servers_have_wider_entries() {
    let texts = texts(70_000);
    let maglev = maglev(&texts);
    assert!(matches!(maglev.0, Places::Wide(_)));
    assert!(places(&maglev, texts.len()).iter().all(|count| (14..=15).contains(count)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn only_eligible_servers_with_weight_are_picked(
        servers in prop::collection::vec(("[ab]{1,3}", prop_oneof![0_u32..20, any::<u32>()]), 0..8),
        out in 0_usize..10,
        hashes in prop::collection::vec(any::<u64>(), 20),
    ) {
        let servers: Vec<_> = servers.iter().map(|(text, w)| (text.as_str(), *w)).collect();
        let maglev = Maglev::new(&servers);
        for hash in hashes.into_iter().chain([0, u64::MAX]) {
            if let Some(at) = maglev.pick(hash, |at| at != out) {
                prop_assert!(at != out && servers[at].1 > 0);
            }
        }
    }
}
