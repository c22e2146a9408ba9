//! The state directory on a real file system: crashes, torn tails, damage, and a second process.

use std::{fs, path::Path, sync::Arc};

use proptest::prelude::*;
use tempfile::TempDir;
use tidegate_table::{Change, FileState, OpenError, Table};

mod kit;
use kit::{change, delete, file, listing, open, put, run};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn opened(dir: &Path) -> Arc<Table> {
    open(dir, FileState::default()).expect("it opens").0
}

/// What a process that was killed right now leaves behind.
fn killed(dir: &Path) -> TempDir {
    let copy = self::dir();
    for file in ["snapshot", "journal"] {
        fs::copy(dir.join(file), copy.path().join(file)).expect("it can be copied");
    }
    copy
}

fn refusal(dir: &Path) -> String {
    open(dir, FileState::default()).expect_err("it must not open").to_string()
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = dir();
    let (table, first) = open(dir.path(), file(&[("f", &[A])])).expect("it opens");
    assert_eq!((first.generation, first.pools), (1, 1));
    let done = run(table.change(change([put("a", &[A, B]), put("b", &[B])]))).expect("applied");
    assert!(done.durable && table.is_durable());
    run(table.change(change([delete("f")]))).expect("it is there");
    let copy = killed(dir.path());
    let (again, recovered) = open(copy.path(), file(&[("f", &[A])])).expect("it opens");
    assert_eq!(listing(&again), listing(&table));
    assert_eq!((recovered.generation, recovered.records, recovered.torn), (3, 2, 0));
    let changed = |table: &Table| table.snapshot().pool("a").expect("it is there").generation;
    assert_eq!((changed(&again), changed(&table)), (2, 2));
    assert_eq!(run(again.change(change([delete("a")]))).expect("it is there").generation, 4);
}

#[test]
fn a_record_torn_at_any_byte_is_dropped_whole() {
    let dir = dir();
    let table = opened(dir.path());
    run(table.change(change([put("a", &[A])]))).expect("it is applied");
    let before = fs::metadata(dir.path().join("journal")).expect("a journal").len();
    run(table.change(change([put("a", &[B]), put("b", &[B])]))).expect("it is applied");
    let whole = fs::metadata(dir.path().join("journal")).expect("a journal").len();
    for length in before..=whole {
        let copy = killed(dir.path());
        let journal = fs::File::options().write(true).open(copy.path().join("journal"));
        journal.expect("a journal").set_len(length).expect("it can be cut");
        let (table, recovered) = open(copy.path(), FileState::default()).expect("it opens");
        let expected = if length == whole {
            vec!["a: 10.0.0.2:80", "b: 10.0.0.2:80"]
        } else {
            vec!["a: 10.0.0.1:80"]
        };
        assert_eq!(listing(&table), expected, "cut at {length}");
        assert_eq!(recovered.torn, if length == whole { 0 } else { length - before });
        if length % 32 == 0 {
            run(table.change(change([put("c", &[A])]))).expect("it goes on");
            drop(table);
            assert_eq!(listing(&opened(copy.path())).len(), expected.len() + 1);
        }
    }
}

#[test]
fn damage_before_sound_records_stops_the_start_with_file_and_offset() {
    let dir = dir();
    let table = opened(dir.path());
    for pool in ["a", "b", "c"] {
        run(table.change(change([put(pool, &[A])]))).expect("it is applied");
    }
    drop(table);
    let at = dir.path().join("journal");
    let mut bytes = fs::read(&at).expect("a journal");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&at, &bytes).expect("it can be written");
    let refusal = refusal(dir.path());
    assert!(refusal.contains("journal, offset "), "{refusal}");
    assert_eq!(fs::read(&at).expect("a journal"), bytes, "it is left as it was");
}

#[test]
fn a_damaged_or_incomplete_snapshot_stops_the_start() {
    let dir = dir();
    drop(open(dir.path(), file(&[("a", &[A]), ("b", &[B])])).expect("it opens"));
    let at = dir.path().join("snapshot");
    let bytes = fs::read(&at).expect("a snapshot");
    let starts: Vec<usize> =
        (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"\xfftdg")).collect();
    for end in [0, *starts.last().expect("records"), bytes.len() - 1] {
        fs::write(&at, &bytes[..end]).expect("it can be written");
        let refusal = refusal(dir.path());
        assert!(refusal.contains("snapshot, offset "), "{refusal}");
    }
    fs::remove_file(&at).expect("it is there");
    let table = opened(dir.path());
    assert!(listing(&table).is_empty());
}

#[test]
fn a_missing_snapshot_under_a_journal_is_noticed() {
    let dir = dir();
    let table = opened(dir.path());
    // Long enough for the journal to be laid aside.
    let reason = Some("x".repeat(1 << 20));
    run(table.change(Change { reason, ..change([put("a", &[A])]) })).expect("it is applied");
    drop(table);
    let table = opened(dir.path());
    run(table.change(change([put("a", &[B])]))).expect("it is applied");
    drop(table);
    fs::remove_file(dir.path().join("snapshot")).expect("it is there");
    let refusal = refusal(dir.path());
    assert!(refusal.contains("generation 3 follows 0"), "{refusal}");
}

#[test]
fn a_second_process_is_refused() {
    let dir = dir();
    let table = opened(dir.path());
    let error = open(dir.path(), FileState::default()).expect_err("it is in use");
    assert!(
        matches!(error, OpenError::Held { holder: Some(pid), .. } if pid == std::process::id())
    );
    let text = error.to_string();
    assert!(text.contains(&dir.path().display().to_string()) && text.contains("another"), "{text}");
    drop(table);
    drop(opened(dir.path()));
}

#[test]
fn what_is_no_directory_is_refused_by_name() {
    let dir = dir();
    let at = dir.path().join("file");
    fs::write(&at, "").expect("it can be written");
    for path in [at.clone(), at.join("below")] {
        let text = refusal(&path);
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("name a directory"), "{text}");
    }
}

#[test]
fn the_directory_is_made_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = dir();
    let path = dir.path().join("made/here");
    drop(opened(&path));
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in ["lock", "journal", "snapshot"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
}

#[test]
fn the_start_says_what_it_found() {
    let dir = dir();
    let (table, first) = open(dir.path(), file(&[("a", &[A])])).expect("it opens");
    assert!(first.to_string().contains("1 pools, generation 1, from 0 records"), "{first}");
    run(table.change(change([put("a", &[B])]))).expect("it is applied");
    drop(table);
    let mut journal =
        fs::File::options().append(true).open(dir.path().join("journal")).expect("a journal");
    std::io::Write::write_all(&mut journal, b"\xfftdg half").expect("it can be written");
    let (_, second) = open(dir.path(), file(&[("a", &["10.0.0.3:80"])])).expect("it opens");
    let text = second.to_string();
    for part in [
        "1 pools, generation 3, from 1 records",
        "torn tail of 9 bytes dropped",
        "the configuration file changed a",
        "replaced what the API had changed of a",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Delete(u8),
    Kill,
    Put(u8, Vec<u8>),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let servers = prop::collection::vec(1..9_u8, 0..4);
    let step = prop_oneof![
        4 => (0..5_u8, servers).prop_map(|(pool, servers)| Step::Put(pool, servers)),
        2 => (0..5_u8).prop_map(Step::Delete),
        1 => Just(Step::Kill),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A list of pools, newest last, is all that a table must be.
    #[test]
    fn any_history_comes_back_as_it_was(steps in steps()) {
        let mut dir = dir();
        let mut table = opened(dir.path());
        let mut model: Vec<(u8, String)> = Vec::new();
        for step in steps {
            match step {
                Step::Put(pool, servers) => {
                    let servers: Vec<_> = servers.iter().map(|n| format!("10.0.0.{n}:80")).collect();
                    let texts: Vec<&str> = servers.iter().map(String::as_str).collect();
                    let line = format!("p{pool}: {}", servers.join(" ")).trim_end().to_owned();
                    match model.iter_mut().find(|(known, _)| *known == pool) {
                        Some((_, known)) => *known = line,
                        None => model.push((pool, line)),
                    }
                    run(table.change(change([put(&format!("P{pool}"), &[]), put(&format!("p{pool}"), &texts)])))
                        .expect("it is applied");
                }
                Step::Delete(pool) => {
                    let known = model.iter().any(|(known, _)| *known == pool);
                    model.retain(|(known, _)| *known != pool);
                    let done = run(table.change(change([delete(&format!("P{pool}"))])));
                    prop_assert_eq!(done.is_ok(), known);
                }
                Step::Kill => {
                    let copy = killed(dir.path());
                    table = opened(copy.path());
                    dir = copy;
                }
                Step::Restart => {
                    drop(table);
                    table = opened(dir.path());
                }
            }
            let lines: Vec<String> = model.iter().map(|(_, line)| line.clone()).collect();
            prop_assert_eq!(listing(&table), lines);
        }
    }
}
