//! The ring against a slow and plain reading of nginx; `tests/nginx.rs` asks nginx itself.

use proptest::prelude::*;

use super::*;

fn all(_: usize) -> bool {
    true
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("10.0.{}.{}:8080", at >> 8, at & 255)).collect()
}

fn ring(texts: &[String]) -> Ring {
    Ring::new(&texts.iter().map(|text| (text.as_str(), 1)).collect::<Vec<_>>())
}

/// Keys as users have them.
fn keys(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|at| ring_hash(format!("user-{at}").as_bytes()))
}

/// What the module of nginx does, point by point: every point is hashed from its beginning, found
/// by walking, and refused as often as nginx refuses.
fn plain(servers: &[(&str, u32)], hash: u32, eligible: impl Fn(usize) -> bool) -> Option<String> {
    let mut points = Vec::new();
    for (text, weight) in servers {
        let (host, port) = host_and_port(text);
        let mut previous = 0_u32;
        for _ in 0..weight * 160 {
            let bytes = [host.as_bytes(), &[0], port.as_bytes(), &previous.to_le_bytes()].concat();
            previous = crc32fast::hash(&bytes);
            points.push((previous, *text));
        }
    }
    points.sort_by_key(|(hash, _)| *hash);
    points.dedup_by_key(|(hash, _)| *hash);
    let first = points.iter().position(|(point, _)| *point >= hash).unwrap_or(0);
    let names = (first..=first + 20).map(|at| points.get(at % points.len().max(1)));
    let takes = |name: &str| (0..servers.len()).any(|at| servers[at].0 == name && eligible(at));
    names.flatten().map(|(_, name)| *name).find(|name| takes(name)).map(str::to_owned)
}

#[test]
fn the_hash_of_a_key_is_crc32() {
    assert_eq!(ring_hash(b"123456789"), 0xcbf4_3926);
    assert_eq!(ring_hash(b""), 0);
}

#[test]
fn host_and_port_are_those_of_nginx() {
    for (text, host, port) in [
        ("127.0.0.1:8080", "127.0.0.1", "8080"),
        ("10.0.0.1", "10.0.0.1", ""),
        ("backend.example:80", "backend.example", "80"),
        ("[::1]:443", "[::1]", "443"),
        ("[::1]", "[::1]", ""),
        ("unix:/run/app.sock", "/run/app.sock", ""),
        ("UNIX:/run/app:80", "/run/app:80", ""),
        ("host:http", "host:http", ""),
        ("host:", "host", ""),
        ("", "", ""),
    ] {
        assert_eq!(host_and_port(text), (host, port), "{text}");
    }
}

#[test]
fn only_the_keys_of_a_leaving_server_move() {
    for count in [3, 10, 100] {
        let texts = texts(count);
        let before = ring(&texts);
        let after = ring(&[&texts[..1], &texts[2..]].concat());
        let mut moved = 0_u32;
        for hash in keys(50_000) {
            let was = before.pick(hash, all).expect("a server");
            let is = after.pick(hash, all).map(|at| at + usize::from(at > 0));
            moved += u32::from(was == 1);
            assert!(was == 1 || is == Some(was), "{was} {is:?}");
        }
        assert!(f64::from(moved) / 50_000.0 <= 1.0 / count as f64 + 0.02, "{moved} of 50000");
    }
}

/// 160 points to a server make its share vary by 1/√160, 8 %; four times that is never seen.
#[test]
fn shares_follow_weights_as_closely_as_nginx_points_allow() {
    let texts = texts(14);
    let weights: Vec<u32> = (0..14).map(|at| [1, 3, 10, 0][at % 4]).collect();
    let servers: Vec<_> = texts.iter().map(String::as_str).zip(weights.iter().copied()).collect();
    let (ring, mut counts) = (Ring::new(&servers), vec![0_u32; servers.len()]);
    keys(200_000).for_each(|hash| counts[ring.pick(hash, all).expect("a server")] += 1);
    let total: u32 = weights.iter().sum();
    for (count, weight) in counts.iter().zip(&weights) {
        let expected = f64::from(*weight) / f64::from(total) * 200_000.0;
        let allowed = 4.0 * expected / (160.0 * f64::from(*weight)).sqrt().max(1.0);
        assert!((f64::from(*count) - expected).abs() <= allowed, "{weight}: {counts:?}");
    }
}

#[test]
fn twenty_further_points_are_tried_whoever_they_belong_to() {
    let texts = texts(30);
    let servers: Vec<_> = texts.iter().map(|text| (text.as_str(), 1)).collect();
    let ring = Ring::new(&servers);
    let mut missed = 0_u32;
    for hash in keys(2_000) {
        let picked = ring.pick(hash, |at| at == 7).map(|at| texts[at].clone());
        assert_eq!(picked, plain(&servers, hash, |at| at == 7));
        missed += u32::from(picked.is_none());
    }
    assert!((500..1_500).contains(&missed), "(29/30)^21 is about a half, not {missed} of 2000");
}

#[test]
fn nobody_eligible_is_nobody() {
    assert_eq!(ring(&texts(5)).pick(1, |_| false), None);
    assert_eq!(Ring::new(&[]).pick(1, all), None);
    assert_eq!(Ring::new(&[("a:1", 0), ("b:2", 0)]).pick(u32::MAX, all), None);
}

#[test]
fn equal_texts_share_their_keys_and_stand_in_for_each_other() {
    let ring = Ring::new(&[("a:80", 1), ("a:80", 2), ("b:80", 1), ("a:80", 0), ("a:80", 1)]);
    let single = Ring::new(&[("a:80", 2), ("b:80", 1)]);
    let mut counts = [0_u32; 5];
    for hash in keys(50_000) {
        let at = ring.pick(hash, all).expect("a server");
        counts[at] += 1;
        assert_eq!(single.pick(hash, all), Some(usize::from(at == 2)));
        let other = ring.pick(hash, |other| other != at).expect("a server");
        assert!(at == 2 || [0, 1, 4].contains(&other));
    }
    let third = (counts[0] + counts[1] + counts[4]) / 3;
    assert_eq!(counts[3], 0);
    assert!([0, 1, 4].iter().all(|at| counts[*at].abs_diff(third) < third / 20), "{counts:?}");
}

#[test]
fn a_group_that_is_out_is_asked_once_for_a_run_of_its_points() {
    let servers: Vec<(&str, u32)> = vec![("a:80", 1); 500];
    let mut asked = 0;
    let none = Ring::new(&servers).pick(5, |_| {
        asked += 1;
        false
    });
    assert_eq!((none, asked), (None, 500));
}

#[test]
fn large_weights_keep_their_shares_within_bounded_memory() {
    let divided = Ring::new(&[("a:1", 3_000_000_000), ("b:2", 1_000_000_000)]);
    assert!(divided.points.len() <= 4 * 160);
    let plain = Ring::new(&[("a:1", 3), ("b:2", 1)]);
    assert!(keys(1_000).all(|hash| divided.pick(hash, all) == plain.pick(hash, all)));

    let scaled = Ring::new(&[("a:1", u32::MAX), ("b:2", u32::MAX - 1), ("c:3", 1)]);
    assert!(scaled.points.len() as u64 <= MAX_POINTS + 3);
    let first = keys(20_000).filter(|hash| scaled.pick(*hash, all) == Some(0)).count();
    assert!((9_700..10_300).contains(&first), "{first}");
    assert!(scaled.points.iter().any(|point| point.group == 2));
}

proptest! {
    #[test]
    fn the_ring_is_nginx_own(
        servers in prop::collection::vec(("[ab]{1,2}(:[1-3])?", 0_u32..4), 0..8),
        out in 0_usize..10,
        hashes in prop::collection::vec(any::<u32>(), 20),
    ) {
        let servers: Vec<_> = servers.iter().map(|(text, w)| (text.as_str(), *w)).collect();
        let eligible = |at: usize| at != out && servers[at].1 > 0;
        let ring = Ring::new(&servers);
        let on_points = ring.points.iter().map(|point| point.hash).step_by(19);
        for hash in hashes.into_iter().chain([0, u32::MAX]).chain(on_points) {
            let picked = ring.pick(hash, eligible);
            prop_assert!(picked.is_none_or(eligible));
            let text = picked.map(|at| servers[at].0.to_owned());
            prop_assert_eq!(text, plain(&servers, hash, eligible));
        }
    }
}
