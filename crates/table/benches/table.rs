//! What a request pays for the table, and what a change of it costs.

use std::{
    cell::RefCell,
    future::Future,
    hint::black_box,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use divan::Bencher;
use tidegate_model::{Address, Balance, Name, Resolved, ServerSpec, UpstreamSpec};
use tidegate_table::{
    Affinity, Ask, Change, FilePool, FileState, Hashed, Operation, Options, Origin, Table, Tried,
};

fn main() {
    divan::main();
}

fn spec(servers: usize, first: usize) -> UpstreamSpec {
    let server = |at: usize| {
        let text = format!("10.{}.{}.{}:80", at >> 16 & 255, at >> 8 & 255, at & 255);
        ServerSpec::new(Address::parse(&text).expect("an address"))
    };
    UpstreamSpec {
        servers: Some((first..first + servers).map(server).collect()),
        ..UpstreamSpec::default()
    }
}

fn name(pool: usize) -> Name {
    Name::new(&format!("pool{pool}")).expect("a name")
}

fn table(pools: usize, servers: usize) -> Arc<Table> {
    open(file(pools, servers), None)
}

fn open(file: FileState, state_dir: Option<PathBuf>) -> Arc<Table> {
    Table::open(Options { workers: 2, state_dir, ..Options::default() }, file).expect("it opens").0
}

fn file(pools: usize, servers: usize) -> FileState {
    let pool = |at: usize| FilePool {
        name: name(at),
        spec: spec(servers, 0),
        resolved: Resolved::new(),
        hash: at.to_string(),
    };
    FileState { pools: (0..pools).map(pool).collect(), ..FileState::default() }
}

fn replacement(round: usize) -> Change {
    let operation =
        Operation::Put { name: name(7), spec: spec(10, round & 1), resolved: Resolved::new() };
    Change::new(vec![operation], Origin::Api, "")
}

/// Without a journal a change never waits.
fn change(table: &Table, round: usize) {
    let future = std::pin::pin!(table.change(replacement(round)));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(applied) => drop(black_box(applied.expect("it is applied"))),
        Poll::Pending => unreachable!("nothing to wait for"),
    }
}

const SIZES: [usize; 5] = [2, 10, 100, 2_000, 10_000];

#[divan::bench(args = SIZES)]
fn pick_round_robin(bencher: Bencher, servers: usize) {
    pick(bencher, servers, Balance::RoundRobin);
}

#[divan::bench(args = SIZES)]
fn pick_least_conn(bencher: Bencher, servers: usize) {
    pick(bencher, servers, Balance::LeastConn);
}

#[divan::bench(args = SIZES)]
fn pick_random_two(bencher: Bencher, servers: usize) {
    pick(bencher, servers, Balance::RandomTwo);
}

#[divan::bench(args = SIZES)]
fn pick_ewma(bencher: Bencher, servers: usize) {
    pick(bencher, servers, Balance::Ewma);
}

#[divan::bench(args = SIZES)]
fn pick_ip_hash(bencher: Bencher, servers: usize) {
    pick(bencher, servers, Balance::IpHash);
}

#[divan::bench(args = SIZES)]
fn pick_hash(bencher: Bencher, servers: usize) {
    pick(bencher, servers, Balance::Hash);
}

#[divan::bench(args = SIZES)]
fn pick_maglev(bencher: Bencher, servers: usize) {
    pick(bencher, servers, Balance::Maglev);
}

/// Everybody has failed: what a request pays that finds it out, over and over.
#[divan::bench(args = SIZES)]
fn pick_with_all_failed(bencher: Bencher, servers: usize) {
    let snapshot = table(1, servers).snapshot();
    let pool = snapshot.pool("pool0").expect("it is there");
    for server in &pool.servers {
        server.state.failed(&server.spec, 1);
    }
    let random = RefCell::new(fastrand::Rng::with_seed(7));
    let affinity = Affinity::of_client(None);
    bencher.bench_local(|| {
        let tried = Tried::default();
        let ask = Ask { tried: &tried, affinity: &affinity, now: 2, random: &random };
        drop(black_box(pool.pick(&ask)));
    });
}

fn pick(bencher: Bencher, servers: usize, balance: Balance) {
    let mut file = file(1, servers);
    file.pools[0].spec.balance = Some(balance);
    let snapshot = open(file, None).snapshot();
    let pool = snapshot.pool("pool0").expect("it is there");
    let random = RefCell::new(fastrand::Rng::with_seed(7));
    let mut client = 0_u32;
    bencher.bench_local(|| {
        client = client.wrapping_add(1);
        let address = std::net::IpAddr::from(client.to_be_bytes());
        let key = Hashed::of(&client.to_le_bytes());
        let affinity = Affinity { key, ..Affinity::of_client(Some(address)) };
        let tried = Tried::default();
        let ask = Ask { tried: &tried, affinity: &affinity, now: 1, random: &random };
        drop(black_box(pool.pick(&ask)));
    });
}

#[divan::bench]
fn read_unchanging(bencher: Bencher) {
    let mut reader = table(10_000, 2).reader();
    bencher.bench_local(|| black_box(reader.snapshot().generation));
}

#[divan::bench]
fn read_under_constant_updates(bencher: Bencher) {
    let table = table(10_000, 2);
    let mut reader = table.reader();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..).take_while(|_| !stop.load(Relaxed)).for_each(|at| change(&table, at)));
        bencher.bench_local(|| black_box(reader.snapshot().generation));
        stop.store(true, Relaxed);
    });
}

#[divan::bench]
fn one_change_among_10_000_pools(bencher: Bencher) {
    let table = table(10_000, 10);
    let mut round = 0;
    bencher.bench_local(|| {
        round += 1;
        change(&table, round);
    });
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn open_with_10_000_pools_of_10(bencher: Bencher) {
    bencher.with_inputs(|| file(10_000, 10)).bench_values(|file| open(file, None));
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn recover_10_000_pools_of_10(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(file(10_000, 10), Some(dir.path().into())));
    let inputs = || file(10_000, 10);
    bencher.with_inputs(inputs).bench_values(|file| open(file, Some(dir.path().into())));
}
