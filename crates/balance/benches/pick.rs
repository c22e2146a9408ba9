//! What a pick costs in pools of all sizes, and what building a balancer does.

use std::{hint::black_box, net::IpAddr};

use divan::Bencher;
use tidegate_balance::{
    Ewma, Key, Maglev, Ring, Rotation, ip_hash, least, ring_hash, sums, wide_hash,
};

const POOLS: [usize; 4] = [10, 100, 2_000, 10_000];

fn main() {
    divan::main();
}

fn texts(servers: usize) -> Vec<String> {
    (0..servers).map(|at| format!("10.{}.{}.{}:80", at >> 16, at >> 8 & 255, at & 255)).collect()
}

/// Servers of weight 1, as nearly all are.
fn equal(texts: &[String]) -> Vec<(&str, u32)> {
    texts.iter().map(|text| (text.as_str(), 1)).collect()
}

/// Servers of many weights.
fn weighted(texts: &[String]) -> Vec<(&str, u32)> {
    texts.iter().map(String::as_str).zip((1..=13).cycle()).collect()
}

fn weights(servers: usize) -> Vec<u32> {
    (1..=13).cycle().take(servers).collect()
}

fn eligible(at: usize) -> bool {
    black_box(at);
    true
}

mod picking {
    use super::*;

    #[divan::bench(args = POOLS)]
    fn rotation(bencher: Bencher, servers: usize) {
        let rotation = Rotation::new(&weights(servers));
        bencher.bench_local(|| rotation.next(eligible));
    }

    #[divan::bench(args = POOLS)]
    fn two_at_random(bencher: Bencher, servers: usize) {
        let rotation = Rotation::new(&weights(servers));
        let mut random = fastrand::Rng::with_seed(1);
        bencher.bench_local(|| (rotation.draw(&mut random), rotation.draw(&mut random)));
    }

    #[divan::bench(args = POOLS)]
    fn by_ip(bencher: Bencher, servers: usize) {
        let sums = sums(&weights(servers));
        let mut random = fastrand::Rng::with_seed(1);
        bencher.bench_local(|| {
            let client = Key::from(Some(IpAddr::from(random.u32(..).to_be_bytes())));
            ip_hash(&client, &sums, eligible)
        });
    }

    #[divan::bench(args = POOLS)]
    fn ring(bencher: Bencher, servers: usize) {
        let texts = texts(servers);
        let ring = Ring::new(&equal(&texts));
        let mut random = fastrand::Rng::with_seed(1);
        bencher.bench_local(|| ring.pick(ring_hash(&random.u128(..).to_le_bytes()), eligible));
    }

    #[divan::bench(args = POOLS)]
    fn maglev(bencher: Bencher, servers: usize) {
        let texts = texts(servers);
        let maglev = Maglev::new(&equal(&texts));
        let mut random = fastrand::Rng::with_seed(1);
        bencher.bench_local(|| maglev.pick(wide_hash(&random.u128(..).to_le_bytes()), eligible));
    }

    /// Callers ask about everybody in pools of at most 64, and about a sample of larger ones.
    #[divan::bench(args = [2, 10, 64])]
    fn least_of(bencher: Bencher, asked: usize) {
        let loads: Vec<(u64, u64)> =
            (0..asked as u64).map(|at| (at * 7 % 13, 1 + at % 3)).collect();
        bencher.bench_local(|| least(asked, black_box(1), |at| Some(loads[at])));
    }
}

mod building {
    use super::*;

    #[divan::bench(args = POOLS)]
    fn rotation(bencher: Bencher, servers: usize) {
        let weights = weights(servers);
        bencher.bench_local(|| Rotation::new(&weights));
    }

    #[divan::bench(args = POOLS)]
    fn ring(bencher: Bencher, servers: usize) {
        let texts = texts(servers);
        bencher.bench_local(|| Ring::new(&equal(&texts)));
    }

    #[divan::bench(args = POOLS)]
    fn ring_weighted(bencher: Bencher, servers: usize) {
        let texts = texts(servers);
        bencher.bench_local(|| Ring::new(&weighted(&texts)));
    }

    #[divan::bench(args = POOLS)]
    fn maglev(bencher: Bencher, servers: usize) {
        let texts = texts(servers);
        bencher.bench_local(|| Maglev::new(&equal(&texts)));
    }

    #[divan::bench(args = POOLS)]
    fn maglev_weighted(bencher: Bencher, servers: usize) {
        let texts = texts(servers);
        bencher.bench_local(|| Maglev::new(&weighted(&texts)));
    }
}

mod latency {
    use super::*;

    #[divan::bench]
    fn observe(bencher: Bencher) {
        let (ewma, mut now) = (Ewma::new(), 0);
        bencher.bench_local(|| {
            now += 1;
            ewma.observe(black_box(900), now);
        });
    }

    #[divan::bench]
    fn cost(bencher: Bencher) {
        let ewma = Ewma::new();
        ewma.observe(900, 0);
        black_box(ewma.cost(1));
        bencher.bench_local(|| ewma.cost(black_box(1_234)));
    }
}
