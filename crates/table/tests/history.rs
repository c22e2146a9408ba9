//! The past of a table: what is remembered, what is restored, and that files which are no longer
//! needed go.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use tidegate_model::{ServerSpec, upstream::ServerChange};
use tidegate_table::{
    Bounds, Change, Condition, FileState, Key, Operation, Options, Refused, Subject, Table, Wanted,
};

mod kit;
use kit::{change, delete, file, in_memory, listing, name, open, put, run, spec};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn restore(generation: u64) -> Change {
    change([Operation::Restore { generation }])
}

fn keyed(operation: Operation, text: &str, request: u64) -> Change {
    Change { key: Some(Key { text: text.into(), request }), ..change([operation]) }
}

fn conditional(operation: Operation, of: Subject, wanted: Wanted) -> Change {
    Change { conditions: vec![Condition { of, wanted }], ..change([operation]) }
}

fn old_files(dir: &Path) -> usize {
    let names = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("it").file_name());
    names.filter(|name| name.to_string_lossy().starts_with("journal.")).count()
}

fn restores(table: &Table) {
    let before = listing(table);
    let generation = table.snapshot().generation;
    run(table.change(change([put("a", &[B]), put("c", &[A])]))).expect("applied");
    run(table.change(change([delete("b")]))).expect("it is there");
    let changes = table.difference(generation, generation + 2).expect("both are remembered");
    let names: Vec<_> = changes.iter().map(|pool| pool.name.to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let back = table.difference(generation + 2, generation).expect("both are remembered");
    assert!(back[1].before.is_none() && back[1].after.is_some());
    let applied = run(table.change(restore(generation))).expect("it is remembered");
    assert_eq!(applied.generation, generation + 3);
    assert_eq!(listing(table), before);
    let past = table.past(applied.generation).expect("it reads").expect("it is remembered");
    assert_eq!((past.changed.len(), past.caller.as_str()), (3, "a test"));
}

#[test]
fn a_generation_is_restored_in_memory_and_on_disk() {
    let pools = || file(&[("a", &[A]), ("b", &[A, B])]);
    restores(&in_memory(pools()));
    let dir = dir();
    restores(&open(dir.path(), pools()).expect("it opens").0);
    let table = open(dir.path(), pools()).expect("it opens").0;
    assert_eq!(table.snapshot().generation, 4);
    restores(&table);
}

#[test]
fn what_is_not_remembered_is_said_so() {
    let table = in_memory(FileState::default());
    for generation in [0, 2, u64::MAX] {
        let refused = run(table.change(restore(generation))).expect_err("there is none");
        let expected = Refused::GenerationNotFound { generation, oldest: 1, newest: 1 };
        assert_eq!(refused.to_string(), expected.to_string());
        assert!(table.past(generation).expect("nothing to read").is_none());
    }
    assert_eq!(table.snapshot().generation, 1);
}

#[test]
fn old_files_are_kept_as_long_as_they_are_needed() {
    let dir = dir();
    let bounds = Bounds { count: 300, age: Duration::from_hours(1) };
    let options = || Options {
        workers: 1,
        state_dir: Some(dir.path().into()),
        history: bounds,
        ..Options::default()
    };
    let reason = Some("x".repeat(16 * 1024));
    for opening in 0..3 {
        let table = Table::open(options(), FileState::default()).expect("it opens").0;
        for at in 0..200_u32 {
            let round = put("p", if at % 2 == 0 { &[A] } else { &[B] });
            let change = Change { reason: reason.clone(), ..change([round]) };
            run(table.change(change)).expect("applied");
        }
        let newest = table.snapshot().generation;
        let page = table.history(None, 1_000, None).expect("it reads");
        assert_eq!(page.generations.len(), if opening == 0 { 201 } else { 300 });
        assert_eq!(page.oldest, newest + 1 - page.generations.len() as u64);
        // Any of them can be read, whichever file it is in.
        run(table.change(restore(page.oldest))).expect("it is remembered");
        let files = old_files(dir.path());
        assert!((1..=6).contains(&files), "{files} old files");
    }
}

#[test]
fn damage_to_an_old_file_costs_the_past_and_nothing_else() {
    let dir = dir();
    let table = open(dir.path(), FileState::default()).expect("it opens").0;
    let reason = Some("x".repeat(64 * 1024));
    for _ in 0..40 {
        let change = Change { reason: reason.clone(), ..change([put("p", &[A])]) };
        run(table.change(change)).expect("applied");
    }
    let before = listing(&table);
    drop(table);
    for entry in fs::read_dir(dir.path()).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().contains("journal.") {
            let mut bytes = fs::read(&path).expect("it reads");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).expect("it is written");
        }
    }
    let table = open(dir.path(), FileState::default()).expect("it opens").0;
    assert_eq!((listing(&table), table.snapshot().generation), (before, 41));
    let page = table.history(None, 100, None).expect("it reads");
    assert!(page.oldest > 1 && page.generations.len() < 40);
}

#[test]
fn a_key_makes_one_change_also_after_a_restart() {
    let dir = dir();
    let (table, _) = open(dir.path(), FileState::default()).expect("it opens");
    let first = run(table.change(keyed(put("a", &[A]), "k", 1))).expect("applied");
    assert!(!first.replayed);
    run(table.change(change([put("a", &[B])]))).expect("applied");
    let again = |table: &Table| {
        let again = run(table.change(keyed(put("a", &[A]), "k", 1))).expect("it was made");
        assert!(again.replayed);
        assert_eq!((again.generation, again.changed), (first.generation, vec![name("a")]));
        let other = run(table.change(keyed(put("a", &[A]), "k", 2)));
        assert!(matches!(other, Err(Refused::KeyTaken)));
        assert_eq!(listing(table), ["a: 10.0.0.2:80"]);
    };
    again(&table);
    drop(table);
    let table = open(dir.path(), FileState::default()).expect("it opens").0;
    again(&table);
    // And from a compacted file.
    let reason = Some("x".repeat(1 << 20));
    let long = Change { reason, ..change([put("b", &[B])]) };
    run(table.change(long)).expect("applied");
    run(table.change(change([delete("b")]))).expect("applied");
    drop(table);
    let table = open(dir.path(), FileState::default()).expect("it opens").0;
    again(&table);
}

#[test]
fn a_hundred_at_once_under_one_key_make_one_change() {
    let dir = dir();
    let table = open(dir.path(), FileState::default()).expect("it opens").0;
    let generations: Vec<(u64, bool)> = run(async {
        let mut set = tokio::task::JoinSet::new();
        let table = std::sync::Arc::clone(&table);
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async move {
                for _ in 0..100 {
                    let table = std::sync::Arc::clone(&table);
                    set.spawn_local(async move {
                        let change = keyed(put("a", &[A]), "k", 1);
                        let applied = table.change(change).await.expect("applied");
                        (applied.generation, applied.replayed)
                    });
                }
                set.join_all().await
            })
            .await
    });
    assert!(generations.iter().all(|(generation, _)| *generation == 2));
    assert_eq!(generations.iter().filter(|(_, replayed)| !replayed).count(), 1);
    assert_eq!(table.snapshot().generation, 2);
}

#[test]
fn conditions_are_on_what_a_change_is_about() {
    let table = in_memory(file(&[("a", &[A, B]), ("b", &[A])]));
    run(table.change(change([put("b", &[B])]))).expect("applied");
    let pool = |wanted| conditional(put("a", &[A, B]), Subject::Pool(name("A")), wanted);
    let stale = run(table.change(pool(Wanted::OneOf(vec![2])))).expect_err("it is 1");
    assert_eq!(stale.to_string(), "upstream \"A\" was last changed by generation 1");
    assert!(run(table.change(pool(Wanted::Absent))).is_err());
    assert!(run(table.change(pool(Wanted::OneOf(vec![])))).is_err());
    run(table.change(pool(Wanted::OneOf(vec![7, 1])))).expect("it is 1");
    let new = |wanted| conditional(put("n", &[A]), Subject::Pool(name("n")), wanted);
    assert!(run(table.change(new(Wanted::Any))).is_err());
    run(table.change(new(Wanted::Absent))).expect("there is none");
    let whole =
        |generation| conditional(put("n", &[A]), Subject::Table, Wanted::OneOf(vec![generation]));
    assert!(run(table.change(whole(3))).is_err());
    run(table.change(whole(4))).expect("it is 4");
}

#[test]
fn a_server_has_a_generation_of_its_own() {
    let dir = dir();
    let table = open(dir.path(), file(&[("a", &[A, B])])).expect("it opens").0;
    let down = ServerChange { down: Some(true), ..ServerChange::default() };
    let alter = |server: &str| Operation::AlterServer {
        name: name("a"),
        server: server.into(),
        change: down.clone(),
    };
    run(table.change(change([alter(B)]))).expect("it is there");
    let of = |table: &Table, server: &str| {
        table.snapshot().pool("a").and_then(|pool| pool.server_generation(server))
    };
    assert_eq!((of(&table, A), of(&table, B), of(&table, "x:1")), (Some(1), Some(2), None));
    let servers =
        vec![ServerSpec::new(tidegate_model::Address::parse("10.0.0.3:80").expect("one"))];
    let add = Operation::AddServers { name: name("a"), servers, resolved: Default::default() };
    run(table.change(change([add.clone()]))).expect("it is new");
    assert!(matches!(run(table.change(change([add]))), Err(Refused::ServerExists { .. })));
    assert_eq!((of(&table, A), of(&table, "10.0.0.3:80")), (Some(1), Some(3)));
    drop(table);
    let table = open(dir.path(), file(&[("a", &[A, B])])).expect("it opens").0;
    assert_eq!(
        (of(&table, A), of(&table, B), of(&table, "10.0.0.3:80")),
        (Some(1), Some(2), Some(3))
    );
    let remove = Operation::RemoveServer { name: name("a"), server: A.into() };
    let stale =
        conditional(remove.clone(), Subject::Server(name("a"), A.into()), Wanted::OneOf(vec![3]));
    assert!(matches!(run(table.change(stale)), Err(Refused::Stale { .. })));
    run(table.change(change([remove]))).expect("it is there");
    assert_eq!(listing(&table), ["a: 10.0.0.2:80 10.0.0.3:80"]);
}

#[test]
fn nobody_takes_the_last_server_of_a_pool_unless_told_so() {
    let table = in_memory(file(&[("a", &[A, B])]));
    let guarded = |operations: Vec<Operation>| Change { guard: Some(1), ..change(operations) };
    let remove = |server: &str| Operation::RemoveServer { name: name("a"), server: server.into() };
    let both = guarded(vec![remove(A), remove(B)]);
    let preview = run(table.preview(both.clone())).expect("it is told");
    assert_eq!((preview.leaves_nobody, preview.generation), (vec![name("a")], 2));
    assert!(matches!(run(table.change(both)), Err(Refused::NobodyLeft(_))));
    run(table.change(guarded(vec![remove(A)]))).expect("one is left");
    assert!(run(table.change(guarded(vec![remove(B)]))).is_err());
    // Replaced at once, and a pool as a whole.
    run(table.change(guarded(vec![put("a", &[A])]))).expect("another one is there");
    run(table.change(guarded(vec![delete("a")]))).expect("a pool may go");
    run(table.change(guarded(vec![put("e", &[])]))).expect("there was none before");
    let mut empty = spec(&[A]);
    empty.servers.as_mut().expect("a list")[0].weight = 0;
    let none = Operation::Put { name: name("e"), spec: empty, resolved: Default::default() };
    run(table.change(guarded(vec![none]))).expect("nobody was there before");
}
