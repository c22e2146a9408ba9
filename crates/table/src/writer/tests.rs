//! The writer on a disk that fails, waits and loses its power.

use std::{collections::BTreeMap, future::Future, pin::pin, task::Poll};

use proptest::prelude::*;
use tidegate_model::{Address, Name, Resolved, ServerSpec, UpstreamSpec};

use super::*;
use crate::{change::Operation, journal::memory::Memory};

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

fn open(disk: &Memory) -> Arc<Table> {
    try_open(disk).expect("it opens").0
}

fn try_open(disk: &Memory) -> Result<(Arc<Table>, Recovered), OpenError> {
    let options = Options { workers: 1, ..Options::default() };
    Table::open_on(Some(Box::new(disk.clone())), options, &FileState::default())
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn put(pool: &str, server: u8) -> Change {
    let address = Address::parse(&format!("10.0.0.{server}:80")).expect("an address");
    let spec =
        UpstreamSpec { servers: Some(vec![ServerSpec::new(address)]), ..UpstreamSpec::default() };
    of(Operation::Put { name: name(pool), spec, resolved: Resolved::new() })
}

fn delete(pool: &str) -> Change {
    of(Operation::Delete { name: name(pool) })
}

fn of(operation: Operation) -> Change {
    Change::new(vec![operation], Origin::Api, "a test")
}

/// Every pool with its servers.
type Content = BTreeMap<String, Vec<String>>;

fn content(table: &Table) -> Content {
    let snapshot = table.snapshot();
    let pools = snapshot.in_order().into_iter().map(|pool| {
        let servers = pool.servers.iter().map(|server| server.spec.address.to_string());
        (pool.name.to_string(), servers.collect())
    });
    pools.collect()
}

fn recovered(disk: &Memory) -> Content {
    content(&open(disk))
}

/// Starts a change and leaves it waiting for the disk.
macro_rules! started {
    ($future:expr) => {{
        let mut future = Box::pin($future);
        let begun = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context)));
        assert!(begun.await.is_pending(), "the disk holds the sync");
        future
    }};
}

#[test]
fn changes_that_come_together_share_a_sync() {
    let disk = Memory::default();
    let table = open(&disk);
    run(async {
        disk.platter().syncs = 0;
        disk.platter().held = true;
        let mut changes = Vec::new();
        for at in 0..64 {
            changes.push(started!(table.change(put(&format!("p{at}"), 1))));
        }
        assert_eq!(table.snapshot().pools.len(), 0, "nothing is visible before it is on disk");
        disk.let_go();
        let mut generations = Vec::new();
        for change in changes {
            generations.push(change.await.expect("it is applied").generation);
        }
        assert_eq!(generations, (2..66).collect::<Vec<u64>>());
    });
    assert!(disk.platter().syncs <= 2, "{} syncs", disk.platter().syncs);
    assert_eq!(recovered(&disk), content(&table));
}

#[test]
fn who_follows_is_told_of_each_change_when_it_is_visible_and_not_before() {
    let disk = Memory::default();
    let table = open(&disk);
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (telling, seen) = (Arc::clone(&told), Arc::downgrade(&table));
    table.on_applied(move |committed| {
        let visible = seen.upgrade().expect("it is open").snapshot().generation;
        assert_eq!((visible, committed.after.generation), (committed.generation, visible));
        assert_eq!(committed.before.generation + 1, visible);
        let counts = (committed.added, committed.removed);
        let by = (committed.origin, committed.caller.to_owned(), committed.reason.is_some());
        telling.lock().expect("whole").push((committed.changed.to_vec(), counts, by));
    });
    run(async {
        disk.platter().held = true;
        let reason = Some("why".to_owned());
        let change = started!(table.change(Change { reason, ..put("a", 1) }));
        assert!(told.lock().expect("whole").is_empty(), "it is not on disk");
        disk.let_go();
        change.await.expect("it is applied");
        table.change(delete("a")).await.expect("it is applied");
    });
    let by = |has_reason| (Origin::Api, "a test".to_owned(), has_reason);
    let a = vec![name("a")];
    let expected = [(a.clone(), (1, 0), by(true)), (a, (0, 1), by(false))];
    assert_eq!(*told.lock().expect("whole"), expected);
}

#[test]
fn a_failed_write_refuses_everything_built_on_it_and_serving_goes_on() {
    let disk = Memory::default();
    let table = open(&disk);
    run(async {
        table.change(put("a", 1)).await.expect("it is applied");
        disk.platter().held = true;
        let first = started!(table.change(put("a", 2)));
        let second = started!(table.change(put("b", 1)));
        disk.platter().sync_fails = true;
        disk.let_go();
        for change in [first, second] {
            assert!(matches!(change.await, Err(Refused::Storage { .. })));
        }
        assert_eq!(content(&table), Content::from([("a".into(), vec!["10.0.0.1:80".into()])]));
        let still = table.change(put("c", 1)).await.expect_err("the disk is as it was");
        assert!(still.to_string().contains("worn"), "{still}");
        disk.platter().sync_fails = false;
        let applied = table.change(put("c", 1)).await.expect("the disk is well again");
        assert_eq!((applied.generation, disk.platter().snapshots), (3, 2));
    });
    let totals = table.changes().counts;
    assert_eq!((totals[&("api", "applied")], totals[&("api", "failed")]), (2, 3));
    assert_eq!(recovered(&disk), content(&table));
}

#[test]
fn a_full_disk_leaves_no_part_of_a_record_before_later_ones() {
    for partly in [0, 1, 17, 100] {
        let disk = Memory::default();
        let table = open(&disk);
        run(async {
            table.change(put("a", 1)).await.expect("it is applied");
            disk.platter().full_after = Some(partly);
            assert!(matches!(table.change(put("b", 1)).await, Err(Refused::Storage { .. })));
            assert_eq!(recovered(&disk.after_power_cut(usize::MAX)), content(&table));
            disk.platter().full_after = None;
            disk.platter().snapshot_fails = true;
            assert!(
                matches!(table.change(put("b", 1)).await, Err(Refused::Storage { .. })),
                "nothing is acknowledged without a fresh snapshot"
            );
            disk.platter().snapshot_fails = false;
            table.change(put("c", 1)).await.expect("there is room again");
        });
        assert_eq!(recovered(&disk), content(&table));
    }
}

#[test]
fn a_change_nobody_waits_for_any_more_goes_on() {
    let disk = Memory::default();
    let table = open(&disk);
    run(async {
        disk.platter().held = true;
        drop(started!(table.change(put("a", 1))));
        disk.let_go();
        table.change(put("b", 1)).await.expect("it is applied");
    });
    assert_eq!(content(&table).len(), 2);
}

#[test]
fn a_long_journal_is_compacted_and_says_the_same() {
    let disk = Memory::default();
    let table = open(&disk);
    run(async {
        for round in 0..40 {
            let reason = Some("x".repeat(100_000));
            let pool = format!("p{}", round % 7);
            table.change(Change { reason, ..put(&pool, round) }).await.expect("it is applied");
        }
        table.change(delete("p3")).await.expect("it is there");
    });
    let generation = table.snapshot().generation;
    let before = content(&table);
    drop(table);
    assert!(disk.platter().snapshots >= 3, "{} snapshots", disk.platter().snapshots);
    let (table, recovered) = try_open(&disk).expect("it opens");
    assert_eq!((content(&table), recovered.generation), (before, generation));
}

#[test]
fn drains_outlive_compaction_and_a_failed_change_leaves_none() {
    let disk = Memory::default();
    let table = open(&disk);
    let drain = |server: &str| {
        let order = format!(r#"{{"upstream":"d","server":"{server}"}}"#);
        let spec = serde_json::from_str(&order).expect("an order");
        of(Operation::Drain { spec, force: true })
    };
    run(async {
        table.change(put("d", 1)).await.expect("it is applied");
        disk.platter().full_after = Some(0);
        assert!(table.change(drain("10.0.0.1:80")).await.is_err());
        assert!(table.snapshot().drains.is_empty());
        disk.platter().full_after = None;
        table.change(drain("10.0.0.1:80")).await.expect("it is applied");
        let before = disk.platter().snapshots;
        for round in 0..30 {
            let reason = Some("x".repeat(100_000));
            table.change(Change { reason, ..put("p", round) }).await.expect("it is applied");
        }
        assert!(disk.platter().snapshots > before);
    });
    let drains = table.snapshot().drains.clone();
    drop(table);
    let table = open(&disk);
    assert_eq!((table.snapshot().drains.clone(), drains.len()), (drains, 1));
    assert!(table.snapshot().pool("d").expect("it is there").servers[0].draining.is_some());
}

#[test]
fn a_start_that_cannot_store_what_the_file_says_is_refused_with_advice() {
    let disk = Memory::default();
    disk.platter().snapshot_fails = true;
    let refused = try_open(&disk).expect_err("nothing can be written").to_string();
    assert!(refused.contains("memory") && refused.contains("free some space"), "{refused}");
}

#[test]
fn a_compaction_that_fails_costs_nothing() {
    let disk = Memory::default();
    let table = open(&disk);
    disk.platter().snapshot_fails = true;
    run(async {
        for round in 0..30 {
            let reason = Some("x".repeat(100_000));
            table.change(Change { reason, ..put("p", round) }).await.expect("it is applied");
        }
    });
    assert_eq!(recovered(&disk), content(&table));
}

/// Bytes of one batch may reach the disk in any order: none of them was acknowledged.
#[test]
fn a_batch_that_was_never_synced_is_a_torn_tail_wherever_it_is_torn() {
    let disk = Memory::default();
    let table = open(&disk);
    run(async {
        disk.platter().held = true;
        let first = started!(table.change(put("a", 1)));
        disk.until_written().await;
        let batch = [started!(table.change(put("b", 1))), started!(table.change(put("c", 1)))];
        disk.let_one_go();
        first.await.expect("it is applied");
        disk.until_written().await;
        for at in 0..disk.unsynced() {
            let kept: String = recovered(&disk.after_lost_byte(at)).into_keys().collect();
            assert!(["a", "ab"].contains(&kept.as_str()), "byte {at}: {kept}");
        }
        disk.let_go();
        for change in batch {
            change.await.expect("it is applied");
        }
    });
    assert!(try_open(&disk.after_rot(40)).is_err(), "what was acknowledged is never dropped");
}

#[derive(Clone, Debug)]
enum Step {
    Change {
        pool: u8,
        server: u8,
    },
    Delete {
        pool: u8,
    },
    Fault {
        partly: usize,
    },
    Mend,
    /// Power goes while nothing is under way; the process starts again.
    PowerCut,
    /// Power goes in the middle of a change; so many of its bytes were spared.
    CutDuring {
        pool: u8,
        server: u8,
        spared: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_u8, 1..9_u8).prop_map(|(pool, server)| Step::Change { pool, server }),
        2 => (0..4_u8).prop_map(|pool| Step::Delete { pool }),
        1 => (0..300_usize).prop_map(|partly| Step::Fault { partly }),
        1 => Just(Step::Mend),
        1 => Just(Step::PowerCut),
        2 => (0..4_u8, 1..9_u8, 0..600_usize)
            .prop_map(|(pool, server, spared)| Step::CutDuring { pool, server, spared }),
    ];
    prop::collection::vec(step, 1..40)
}

/// A table beside what it has acknowledged.
struct Witness {
    disk: Memory,
    table: Arc<Table>,
    acknowledged: Content,
}

impl Witness {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Change { pool, server } => self.put(pool, server),
            Step::Delete { pool } => {
                let pool = format!("p{pool}");
                if run(self.table.change(delete(&pool))).is_ok() {
                    self.acknowledged.remove(&pool);
                }
            }
            Step::Fault { partly } => self.disk.platter().full_after = Some(partly),
            Step::Mend => self.disk.platter().full_after = None,
            Step::PowerCut => self.restart(self.disk.after_power_cut(0)),
            Step::CutDuring { pool, server, spared } => self.cut_during(pool, server, spared),
        }
    }

    fn put(&mut self, pool: u8, server: u8) {
        let pool = format!("p{pool}");
        if run(self.table.change(put(&pool, server))).is_ok() {
            self.acknowledged.insert(pool, vec![format!("10.0.0.{server}:80")]);
        }
    }

    fn cut_during(&mut self, pool: u8, server: u8, spared: usize) {
        self.disk.platter().held = true;
        let found = run(async {
            let mut change = pin!(self.table.change(put(&format!("p{pool}"), server)));
            let begun = std::future::poll_fn(|context| Poll::Ready(change.as_mut().poll(context)));
            let waits = begun.await.is_pending();
            if waits && self.disk.platter().full_after.is_none() {
                self.disk.until_written().await;
            }
            let found = self.disk.after_power_cut(spared);
            self.disk.let_go();
            if waits {
                let _ = change.await;
            }
            found
        });
        let before = self.acknowledged.clone();
        self.restart(found);
        let after = content(&self.table);
        let mut whole = before.clone();
        whole.insert(format!("p{pool}"), vec![format!("10.0.0.{server}:80")]);
        assert!(after == before || after == whole, "{after:?} is neither");
        self.acknowledged = after;
    }

    fn restart(&mut self, disk: Memory) {
        self.table = open(&disk);
        self.disk = disk;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_there_after_every_crash(steps in steps()) {
        let disk = Memory::default();
        let mut witness =
            Witness { table: open(&disk), disk, acknowledged: Content::new() };
        for step in &steps {
            witness.step(step);
            prop_assert_eq!(&content(&witness.table), &witness.acknowledged);
        }
        let disk = witness.disk.after_power_cut(0);
        witness.restart(disk);
    }
}
