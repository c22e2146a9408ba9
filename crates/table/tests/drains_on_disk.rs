//! Drains in a state directory: they come back, their numbers do not, and a directory that never
//! had any looks as it did before there were drains.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use proptest::prelude::*;
use tidegate_model::drain::DrainSpec;
use tidegate_table::{FileState, Operation, Table};

mod kit;
use kit::{change, delete, file, open, put, run};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

fn drain(pool: &str, server: &str) -> Operation {
    let text = format!(r#"{{"upstream":"{pool}","server":"{server}","rate":"5/s"}}"#);
    let spec: DrainSpec = serde_json::from_str(&text).expect("an order");
    Operation::Drain { spec, force: true }
}

fn opened(dir: &Path) -> Arc<Table> {
    open(dir, FileState::default()).expect("it opens").0
}

fn apply(table: &Table, operations: impl Into<Vec<Operation>>) -> u64 {
    run(table.change(change(operations))).expect("it is applied").generation
}

/// Opens it with a file that is another each time, so that a fresh snapshot is written.
fn compacted(dir: &Path, round: u64) -> Arc<Table> {
    let pool = format!("z{round}");
    open(dir, file(&[(pool.as_str(), &[A])])).expect("it opens").0
}

/// The names of drained servers, as the drains say and as the pools do.
fn drained(table: &Table) -> [BTreeMap<String, u64>; 2] {
    let snapshot = table.snapshot();
    let said = snapshot.drains.values();
    let said = said.map(|one| (format!("{} {}", one.spec.upstream, one.spec.server), one.id));
    let marked = snapshot.in_order().into_iter().flat_map(|pool| {
        let marked = pool.servers.iter().filter_map(|one| Some((one, one.draining?)));
        marked.map(|(one, id)| (format!("{} {}", pool.name, one.state.label()), id))
    });
    [said.collect(), marked.collect()]
}

#[test]
fn a_drain_comes_back_as_it_was_from_journal_and_snapshot() {
    let dir = tempfile::tempdir().expect("a directory");
    let table = opened(dir.path());
    apply(&table, [put("p", &[A, B]), put("q", &[A, B])]);
    let id = apply(&table, [drain("p", A), drain("q", B)]);
    apply(&table, [Operation::FinishDrain { id }, put("p", &[B, A])]);
    let (drains, marks) = (table.snapshot().drains.clone(), drained(&table));
    assert_eq!(marks[0].len(), 2);
    drop(table);
    let table = opened(dir.path());
    assert_eq!((&table.snapshot().drains, drained(&table)), (&drains, marks.clone()));
    drop(table);
    for round in 0..2 {
        let table = compacted(dir.path(), round);
        assert_eq!((&table.snapshot().drains, drained(&table)), (&drains, marks.clone()));
    }
    let table = opened(dir.path());
    apply(&table, [delete("q")]);
    drop(table);
    assert_eq!(drained(&opened(dir.path()))[0].len(), 1, "the end was written with the deletion");
}

#[test]
fn a_server_that_the_file_no_longer_lists_at_a_start_is_not_drained() {
    let dir = tempfile::tempdir().expect("a directory");
    let (table, _) = open(dir.path(), file(&[("p", &[A, B])])).expect("it opens");
    apply(&table, [drain("p", A)]);
    drop(table);
    let (table, _) = open(dir.path(), file(&[("p", &[B])])).expect("it opens");
    assert!(table.snapshot().drains.is_empty());
    drop(table);
    let (table, _) = open(dir.path(), file(&[("p", &[A, B])])).expect("it opens");
    assert_eq!(drained(&table), [BTreeMap::new(), BTreeMap::new()]);
}

#[test]
fn a_number_is_not_given_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let table = opened(dir.path());
    let servers: Vec<String> = (1..9).map(|at| format!("10.0.0.{at}:80")).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    apply(&table, [put("p", &servers)]);
    let all: Vec<_> = servers.iter().map(|server| drain("p", server)).collect();
    let first = apply(&table, all);
    let ids: BTreeSet<u64> = table.snapshot().drains.keys().copied().collect();
    assert_eq!(ids, (first..first + 8).collect());
    apply(&table, [delete("p")]);
    drop(table);
    for round in 0..2 {
        drop(compacted(dir.path(), round));
    }
    let table = opened(dir.path());
    apply(&table, [put("p", &[A, B])]);
    let generation = apply(&table, [drain("p", A)]);
    let id = *table.snapshot().drains.keys().next().expect("a drain");
    assert!(generation < first + 8 && id == first + 8, "{id} at {generation}");
}

#[test]
fn a_directory_without_drains_is_as_it_always_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let (table, _) = open(dir.path(), file(&[("p", &[A, B])])).expect("it opens");
    let id = apply(&table, [drain("p", A)]);
    apply(&table, [Operation::EndDrain { id }]);
    drop(table);
    drop(open(dir.path(), file(&[("p", &[B])])).expect("it opens"));
    let snapshot = fs::read(dir.path().join("snapshot")).expect("a snapshot");
    let begin = br#"{"generation":4,"pools":1,"marks":1}"#;
    assert!(snapshot.windows(begin.len()).any(|part| part == begin));
    assert!(!String::from_utf8_lossy(&snapshot).contains("drain"));
}

#[derive(Clone, Debug)]
enum Step {
    Compact,
    Delete(u8),
    Drain(u8, Vec<u8>),
    End(u8),
    Put(u8, Vec<u8>),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let servers = || prop::collection::vec(1..5_u8, 1..4);
    let step = prop_oneof![
        4 => (0..2_u8, servers()).prop_map(|(pool, servers)| Step::Put(pool, servers)),
        4 => (0..2_u8, servers()).prop_map(|(pool, servers)| Step::Drain(pool, servers)),
        1 => (0..2_u8).prop_map(Step::Delete),
        2 => (0..4_u8).prop_map(Step::End),
        1 => Just(Step::Restart),
        1 => Just(Step::Compact),
    ];
    prop::collection::vec(step, 1..24)
}

fn operations(step: &Step, table: &Table) -> Vec<Operation> {
    let address = |at: &u8| format!("10.0.0.{at}:80");
    match step {
        Step::Put(pool, servers) => {
            let servers: Vec<String> = servers.iter().map(address).collect();
            let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
            vec![put(&format!("p{pool}"), &servers)]
        }
        Step::Drain(pool, servers) => {
            let of = |at| drain(&format!("p{pool}"), &address(at));
            servers.iter().map(of).collect()
        }
        Step::Delete(pool) => vec![delete(&format!("p{pool}"))],
        Step::End(at) => {
            let snapshot = table.snapshot();
            let id = snapshot.drains.keys().nth(usize::from(*at)).copied();
            vec![Operation::EndDrain { id: id.unwrap_or(u64::MAX) }]
        }
        Step::Compact | Step::Restart => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever happens, each drain is of a server that is listed and marked with it, a restart
    /// changes nothing about that, and a number that has ended stays unused.
    #[test]
    fn drains_and_marks_are_the_same_thing(steps in steps()) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut table = compacted(dir.path(), 0);
        let mut round = 0;
        let mut ended = BTreeSet::<u64>::new();
        for step in &steps {
            let before = drained(&table);
            match step {
                Step::Compact | Step::Restart => {
                    round += u64::from(matches!(step, Step::Compact));
                    drop(table);
                    table = compacted(dir.path(), round);
                    prop_assert_eq!(&drained(&table), &before);
                }
                // A step that asks for what is not there is refused, and nothing happens.
                _ => drop(run(table.change(change(operations(step, &table))))),
            }
            let [said, marked] = drained(&table);
            prop_assert_eq!(&said, &marked);
            let ids: BTreeSet<u64> = said.into_values().collect();
            ended.extend(before[0].values().filter(|id| !ids.contains(id)));
            prop_assert!(ids.is_disjoint(&ended), "{:?} came back", &ids & &ended);
        }
    }
}
