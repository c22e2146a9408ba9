//! Drains as the table promises them: one generation each, out of every rotation, kept over changes
//! of the pool that keep the server, and gone with the server.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use fastrand::Rng;
use tidegate_model::{Balance, Span, UpstreamSpec, WhenAllDown, drain::DrainSpec};
use tidegate_table::{
    Affinity, Ask, Drain, DrainChange, FileState, Hashed, NoServer, Operation, Refused, Standing,
    Table, Tried,
};

mod kit;
use kit::{change, delete, file, in_memory, merge, name, put, run, server, spec};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
const C: &str = "10.0.0.3:80";

fn order(server: &str) -> DrainSpec {
    serde_json::from_value(serde_json::json!({ "upstream": "p", "server": server }))
        .expect("an order")
}

fn drain(server: &str) -> Operation {
    Operation::Drain { spec: order(server), force: false }
}

fn force(server: &str) -> Operation {
    Operation::Drain { spec: order(server), force: true }
}

/// Applies it; the new generation.
fn apply(table: &Table, operations: impl Into<Vec<Operation>>) -> u64 {
    run(table.change(change(operations))).expect("it is applied").generation
}

fn refusal(table: &Table, operation: Operation) -> Refused {
    let generation = table.snapshot().generation;
    let refused = run(table.change(change([operation]))).expect_err("it must not happen");
    assert_eq!(table.snapshot().generation, generation);
    refused
}

fn pool(table: &Table) -> Arc<tidegate_table::Pool> {
    Arc::clone(table.snapshot().pool("p").expect("the pool"))
}

/// The drain of each server of `p`.
fn marks(table: &Table) -> Vec<Option<u64>> {
    pool(table).servers.iter().map(|server| server.draining).collect()
}

fn drains(table: &Table) -> Vec<Drain> {
    table.snapshot().drains.values().map(|drain| Drain::clone(drain)).collect()
}

/// How often it is told that drains have changed.
fn count_drains(table: &Table) -> Arc<AtomicUsize> {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    table.on_drains(move || {
        count.fetch_add(1, Relaxed);
    });
    told
}

/// Whoever a hundred requests of many clients go to.
fn picked(pool: &tidegate_table::Pool, sticky: Option<u64>) -> Result<BTreeSet<String>, NoServer> {
    let random = RefCell::new(Rng::with_seed(7));
    let tried = Tried::default();
    let pick = |at: u8| {
        let client = Affinity::of_client(Some([10, at, at, 1].into()));
        let affinity = Affinity { key: Hashed::of(&[at]), sticky, ..client };
        let ask = Ask { tried: &tried, affinity: &affinity, now: 1_001, random: &random };
        pool.pick(&ask).map(|pick| pick.server.state.label().to_string())
    };
    (0..100).map(pick).collect()
}

#[test]
fn a_drain_is_one_generation_and_touches_its_pool_only() {
    let table = in_memory(file(&[("p", &[A, B]), ("q", &[A])]));
    let told = count_drains(&table);
    let names = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&names);
    table.on_change(move |changed| log.lock().expect("no panic").extend_from_slice(changed));
    let before = table.snapshot();
    let applied = run(table.change(change([drain(A)]))).expect("it is applied");
    assert_eq!((applied.generation, applied.changed), (2, vec![name("p")]));
    assert_eq!((told.load(Relaxed), &**names.lock().expect("no panic")), (1, &[name("p")][..]));
    let [one] = &*drains(&table) else { panic!("one drain") };
    assert_eq!((one.id, one.generation, one.finished), (2, 2, None));
    assert!(one.begun > 1_700_000_000_000 && one.spec == order(A));
    let now = pool(&table);
    assert_eq!((marks(&table), now.generation), (vec![Some(2), None], 1));
    assert_eq!(now.standing(&now.servers[0], 1), Standing::Draining);
    assert!(!now.servers[0].takes_requests() && now.servers[0].spec.takes_requests());
    assert_eq!(server(&table, "p", 0).id(), before.pool("p").expect("it is").servers[0].state.id());
    let q = |snapshot: &tidegate_table::Snapshot| Arc::clone(snapshot.pool("q").expect("it is"));
    assert!(Arc::ptr_eq(&q(&before), &q(&table.snapshot())));
    apply(&table, [put("q", &[B])]);
    assert_eq!(told.load(Relaxed), 1, "no drain has changed");
}

#[test]
fn a_second_order_changes_the_drain_that_there_is() {
    let table = in_memory(file(&[("p", &[A, B])]));
    let id = apply(&table, [drain(A)]);
    apply(&table, [Operation::FinishDrain { id }]);
    assert!(drains(&table)[0].finished.is_some_and(|at| at >= drains(&table)[0].begun));
    let spec = DrainSpec { deadline: Some(Span::from_secs(9)), ..order(A) };
    let generation = apply(&table, [Operation::Drain { spec: spec.clone(), force: false }]);
    let [one] = &*drains(&table) else { panic!("one drain") };
    assert_eq!((one.id, one.generation, one.finished, &one.spec), (id, generation, None, &spec));
}

#[test]
fn a_drain_can_be_altered_without_building_its_pool_anew() {
    let table = in_memory(file(&[("p", &[A, B])]));
    let id = apply(&table, [drain(A)]);
    let before = pool(&table);
    let pace = DrainChange { paused: Some(true), ..DrainChange::default() };
    let generation = apply(&table, [Operation::AlterDrain { id, pace }]);
    let [one] = &*drains(&table) else { panic!("one drain") };
    assert_eq!((one.spec.paused, one.generation, one.id), (true, generation, id));
    assert!(Arc::ptr_eq(&before, &pool(&table)));
}

#[test]
fn an_emptied_server_stays_out_until_its_drain_is_ended() {
    let table = in_memory(file(&[("p", &[A, B])]));
    let id = apply(&table, [drain(A)]);
    apply(&table, [Operation::FinishDrain { id }]);
    assert_eq!(marks(&table), [Some(id), None]);
    apply(&table, [Operation::EndDrain { id }]);
    assert_eq!((marks(&table), drains(&table)), (vec![None, None], vec![]));
    let both = BTreeSet::from([A.to_owned(), B.to_owned()]);
    assert_eq!(picked(&pool(&table), None), Ok(both));
    assert!(apply(&table, [drain(A)]) > id && drains(&table)[0].id > id);
}

#[test]
fn a_server_that_is_let_go_starts_slowly_if_it_is_to() {
    let table = in_memory(FileState::default());
    let mut slow = spec(&[A, B]);
    for server in slow.servers.iter_mut().flatten() {
        server.slow_start = Span::from_secs(60);
    }
    apply(&table, [merge("p", slow)]);
    let share = || server(&table, "p", 0).health.ramp_share(Span::from_secs(60), 1);
    let id = apply(&table, [drain(A)]);
    assert_eq!(share(), None);
    apply(&table, [Operation::EndDrain { id }]);
    assert!(share().is_some());
}

#[test]
fn a_list_that_keeps_the_server_keeps_its_drain() {
    let table = in_memory(file(&[("p", &[A, B])]));
    let id = apply(&table, [drain(A)]);
    apply(&table, [put("P", &[C, B, A])]);
    assert_eq!(marks(&table), [None, None, Some(id)]);
    apply(&table, [delete("p"), put("p", &[A, B])]);
    assert_eq!(marks(&table), [Some(id), None], "deleted and created in one change");
    run(table.reload(file(&[("p", &[B, A])]), String::new())).expect("it is applied");
    assert_eq!(marks(&table), [None, Some(id)]);
    let defaults = UpstreamSpec { keepalive: Some(9), ..UpstreamSpec::default() };
    let file = FileState { defaults, ..file(&[("p", &[B, A])]) };
    run(table.reload(file, String::new())).expect("it is applied");
    assert_eq!(marks(&table), [None, Some(id)]);
}

#[test]
fn a_drain_ends_with_its_server_and_does_not_return_with_it() {
    let removals: [fn(&Table); 3] = [
        |table| {
            apply(table, [put("p", &[B])]);
        },
        |table| {
            apply(table, [delete("p")]);
        },
        |table| {
            run(table.reload(file(&[("p", &[B])]), String::new())).expect("it is applied");
        },
    ];
    for remove in removals {
        let table = in_memory(file(&[("p", &[A, B])]));
        apply(&table, [drain(A)]);
        let told = count_drains(&table);
        let a = server(&table, "p", 0);
        remove(&table);
        assert_eq!((drains(&table).len(), told.load(Relaxed), a.is_gone()), (0, 1, true));
        apply(&table, [put("p", &[A, B])]);
        assert_eq!((marks(&table), server(&table, "p", 0).id()), (vec![None, None], a.id()));
    }
}

#[test]
fn no_balancer_picks_a_drained_server_though_nobody_else_is_well() {
    use Balance::{Ewma, Hash, IpHash, LeastConn, Maglev, RandomTwo, RoundRobin};

    for balance in [Ewma, Hash, IpHash, LeastConn, Maglev, RandomTwo, RoundRobin] {
        let table = in_memory(FileState::default());
        let sticky = serde_json::from_str(r#"{"cookie":"c"}"#).ok();
        let spec = UpstreamSpec {
            balance: Some(balance),
            when_all_down: Some(WhenAllDown::TryAll),
            sticky,
            ..spec(&[A, B, C])
        };
        apply(&table, [merge("p", spec)]);
        apply(&table, [drain(A)]);
        let pool = pool(&table);
        let token = Some(pool.servers[0].token());
        let others = BTreeSet::from([B.to_owned(), C.to_owned()]);
        assert!(picked(&pool, token).is_ok_and(|picked| picked.is_subset(&others)), "{balance:?}");
        for server in &pool.servers[1..] {
            server.state.failed(&server.spec, 1_000);
        }
        assert!(picked(&pool, token).is_ok_and(|picked| picked.is_subset(&others)), "{balance:?}");
    }
}

#[test]
fn the_last_server_that_takes_requests_is_drained_by_force_only() {
    let table = in_memory(FileState::default());
    let mut spec = spec(&[A, B, C]);
    let servers = spec.servers.as_mut().expect("three");
    (servers[1].down, servers[2].weight) = (true, 0);
    apply(&table, [merge("p", spec)]);
    let refused = refusal(&table, drain(A));
    assert!(matches!(refused, Refused::LastServer { .. }), "{refused}");
    for text in [A, "\"p\"", "force"] {
        assert!(refused.to_string().contains(text), "{refused}");
    }
    apply(&table, [drain(B), drain(C)]);
    apply(&table, [force(A)]);
    assert_eq!(picked(&pool(&table), None), Err(NoServer::Empty));
    apply(&table, [drain(A)]);
}

#[test]
fn two_drains_of_a_pool_are_two_and_the_second_counts_the_first() {
    let table = in_memory(file(&[("p", &[A, B, C])]));
    let first = apply(&table, [drain(A), drain(B)]);
    assert_eq!(marks(&table), [Some(first), Some(first + 1), None]);
    assert!(matches!(refusal(&table, drain(C)), Refused::LastServer { .. }));
    let third = apply(&table, [Operation::EndDrain { id: first }, drain(C)]);
    assert_eq!(marks(&table), [None, Some(first + 1), Some(first + 2)]);
    assert!(third < first + 2, "its number was taken");
    apply(&table, [put("p", &["10.0.0.4:80", "backup 10.0.0.5:80"])]);
    apply(&table, [drain("10.0.0.4:80")]);
    assert_eq!(drains(&table).len(), 1, "a backup is somebody else");
}

#[test]
fn servers_are_called_as_their_state_is() {
    let table = in_memory(FileState::default());
    let ips = ["10.0.0.3:80", "10.0.0.4:80"].map(|ip| ip.parse::<SocketAddr>().expect("one"));
    let resolved = [("n.example:80".to_owned(), ips.to_vec())].into();
    let spec = spec(&[A, "n.example:80", A]);
    // The servers of an earlier step of the same change are known.
    let id = apply(
        &table,
        [
            Operation::Put { name: name("p"), spec, resolved },
            drain("n.example:80@10.0.0.4"),
            drain("10.0.0.1:80#2"),
        ],
    );
    assert_eq!(marks(&table), [None, None, Some(id), Some(id + 1)]);
    let news = [("n.example:80".to_owned(), ips[..1].to_vec())].into();
    apply(&table, [Operation::Resolve { name: name("p"), resolved: news }]);
    assert_eq!(marks(&table), [None, None, Some(id + 1)], "its address is no longer the name's");
    assert_eq!(drains(&table).len(), 1);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    let seven: Vec<String> = (1..8).map(|at| format!("10.0.1.{at}:80")).collect();
    let seven: Vec<&str> = seven.iter().map(String::as_str).collect();
    let table = in_memory(file(&[("p", &seven), ("empty", &[])]));
    let order = |more: &str| {
        let text = format!(r#"{{"upstream":"p","server":"10.0.1.1:80",{more}}}"#);
        let spec = serde_json::from_str(&text).expect("an order");
        Operation::Drain { spec, force: false }
    };
    let long = format!(r#""reason":"{}""#, "x".repeat(124));
    let id = apply(&table, [order(r#""order":"any""#)]);
    let both = DrainChange {
        over: Some(Span::from_secs(1)),
        rate: tidegate_model::drain::Rate::parse("1/s").ok(),
        ..DrainChange::default()
    };
    let elsewhere = |pool: &str, server: &str| {
        let spec = DrainSpec { upstream: name(pool), ..self::order(server) };
        Operation::Drain { spec, force: true }
    };
    for (operation, reason) in [
        (order(r#""over":"1m","rate":"1/s""#), "not both"),
        (order(r#""over":"0s""#), "more than 0"),
        (order(&long), "123 bytes"),
        (order(r#""notify":"https://x.example/""#), "http://"),
        (elsewhere("none", A), "no upstream \"none\""),
        (elsewhere("p", A), "10.0.1.5:80 and 2 more"),
        (elsewhere("empty", A), "no server \"10.0.0.1:80\", nor any other"),
        (Operation::AlterDrain { id, pace: both }, "not both"),
        (Operation::AlterDrain { id: 9, pace: DrainChange::default() }, "no drain 9"),
        (Operation::EndDrain { id: 9 }, "no drain 9"),
        (Operation::FinishDrain { id: 9 }, "no drain 9"),
    ] {
        let refused = refusal(&table, operation).to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    assert_eq!(table.changes().counts[&("dyups", "refused")], 11);
}

#[test]
fn requests_are_no_longer_cut_once_the_drain_is_another() {
    let table = in_memory(file(&[("p", &[A, B])]));
    let a = server(&table, "p", 0);
    let id = apply(&table, [drain(A)]);
    a.cut_requests();
    apply(&table, [drain(A)]);
    apply(&table, [put("p", &[A, B, C])]);
    assert!(a.is_cut(), "its drain goes on");
    apply(&table, [Operation::EndDrain { id }]);
    assert!(!a.is_cut());
    a.cut_requests();
    let id = apply(&table, [drain(A)]);
    assert!(!a.is_cut());
    a.cut_requests();
    apply(&table, [delete("p"), Operation::EndDrain { id }, put("p", &[A, B])]);
    assert!(!a.is_cut(), "whatever the order of the steps");
    apply(&table, [put("p", &[B])]);
    a.cut_requests();
    assert!(a.is_cut() && a.is_gone());
    apply(&table, [put("p", &[A, B])]);
    assert!(!a.is_cut() && !a.is_gone());
}
