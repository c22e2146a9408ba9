//! File against API, case by case (interface §2, "File and API"): every case at a reload and, from a
//! state directory, at a start.

use tidegate_model::{
    Balance, UpstreamSpec,
    upstream::{Protocol, SendProxy},
};
use tidegate_table::{FileState, Operation, Refused, Source, Table};

mod kit;
use kit::{change, delete, file, in_memory, listing, merge, name, open, put, run, spec};

const ONE: &[&str] = &["10.0.0.1:80"];
const TWO: &[&str] = &["10.0.0.2:80"];
const API: &[&str] = &["10.0.0.9:80"];

type Pools<'p> = &'p [(&'p str, &'p [&'p str])];

struct Case<'c> {
    what: &'c str,
    before: Pools<'c>,
    by_api: Vec<Operation>,
    after: Pools<'c>,
    expected: &'c [&'c str],
    changed: &'c [&'c str],
    removed: &'c [&'c str],
    replaced: &'c [&'c str],
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            what: "",
            before: &[("a", ONE)],
            by_api: Vec::new(),
            after: &[("a", ONE)],
            expected: &["a: 10.0.0.1:80"],
            changed: &[],
            removed: &[],
            replaced: &[],
        }
    }
}

fn cases() -> Vec<Case<'static>> {
    vec![
        Case { what: "nothing changed", ..Case::default() },
        Case {
            what: "a changed definition",
            after: &[("a", TWO)],
            expected: &["a: 10.0.0.2:80"],
            changed: &["a"],
            ..Case::default()
        },
        Case {
            what: "an unchanged definition leaves the API's change alone",
            by_api: vec![put("a", API)],
            expected: &["a: 10.0.0.9:80"],
            ..Case::default()
        },
        Case {
            what: "a changed definition replaces the API's change",
            by_api: vec![put("a", API)],
            after: &[("a", TWO)],
            expected: &["a: 10.0.0.2:80"],
            changed: &["a"],
            replaced: &["a"],
            ..Case::default()
        },
        Case {
            what: "an API deletion stands while the definition is the same",
            by_api: vec![delete("a")],
            expected: &[],
            ..Case::default()
        },
        Case {
            what: "a changed definition brings a deleted pool back",
            by_api: vec![delete("a")],
            after: &[("a", TWO)],
            expected: &["a: 10.0.0.2:80"],
            changed: &["a"],
            replaced: &["a"],
            ..Case::default()
        },
        Case {
            what: "a pool of the API's own is left alone",
            by_api: vec![put("b", API)],
            expected: &["a: 10.0.0.1:80", "b: 10.0.0.9:80"],
            ..Case::default()
        },
        Case {
            what: "a new definition wins over an API pool of that name, and its spelling",
            by_api: vec![put("b", API)],
            after: &[("a", ONE), ("B", TWO)],
            expected: &["a: 10.0.0.1:80", "B: 10.0.0.2:80"],
            changed: &["B"],
            replaced: &["B"],
            ..Case::default()
        },
        Case {
            what: "a pool that vanished from the file goes",
            after: &[],
            expected: &[],
            removed: &["a"],
            ..Case::default()
        },
        Case {
            what: "a pool that vanished from the file stays if the API changed it",
            by_api: vec![put("a", API)],
            after: &[],
            expected: &["a: 10.0.0.9:80"],
            ..Case::default()
        },
        Case {
            what: "a new pool comes last",
            after: &[("b", TWO), ("a", ONE)],
            expected: &["a: 10.0.0.1:80", "b: 10.0.0.2:80"],
            changed: &["b"],
            ..Case::default()
        },
    ]
}

impl Case<'_> {
    fn prepare(&self, table: &Table) {
        for operation in &self.by_api {
            run(table.change(change([operation.clone()]))).expect("it is applied");
        }
    }

    /// `reports`: changed, removed, replaced.
    fn judge(&self, how: &str, table: &Table, reports: [&[tidegate_model::Name]; 3]) {
        assert_eq!(listing(table), self.expected, "{how}: {}", self.what);
        let expected = [self.changed, self.removed, self.replaced];
        let texts = reports.map(|names| names.iter().map(|n| n.as_str()).collect::<Vec<_>>());
        assert_eq!(texts, expected.map(<[&str]>::to_vec), "{how}: {}", self.what);
    }
}

#[test]
fn at_a_reload() {
    for case in cases() {
        let table = in_memory(file(case.before));
        case.prepare(&table);
        let done = run(table.reload(file(case.after), "SIGHUP".into())).expect("it is applied");
        let reports = [&*done.changed, &*done.removed, &*done.replaced_api_changes];
        case.judge("reload", &table, reports);
        let again = run(table.reload(file(case.after), "SIGHUP".into())).expect("it is applied");
        assert_eq!(again.generation, done.generation, "the second time nothing changes");
    }
}

#[test]
fn at_a_start() {
    for case in cases() {
        let dir = tempfile::tempdir().expect("a directory");
        let (table, _) = open(dir.path(), file(case.before)).expect("it opens");
        case.prepare(&table);
        drop(table);
        let (table, done) = open(dir.path(), file(case.after)).expect("it opens");
        case.judge("start", &table, [&done.changed, &done.removed, &done.replaced_api_changes]);
        let generation = table.snapshot().generation;
        drop(table);
        let (table, done) = open(dir.path(), file(case.after)).expect("it opens");
        assert_eq!(listing(&table), case.expected, "second start: {}", case.what);
        assert_eq!((done.generation, done.changed.len()), (generation, 0));
    }
}

#[test]
fn a_pool_that_came_back_to_the_file_is_new_to_it() {
    let table = in_memory(file(&[("a", ONE)]));
    run(table.change(change([delete("a")]))).expect("it is there");
    run(table.reload(file(&[]), String::new())).expect("it is applied");
    run(table.reload(file(&[("a", ONE)]), String::new())).expect("it is applied");
    assert_eq!(listing(&table), ["a: 10.0.0.1:80"], "the tombstone went with the definition");
}

#[test]
fn defaults_reach_the_pools_that_they_alter_and_states_are_carried_over() {
    let table = in_memory(file(&[("a", ONE)]));
    let keepalive = UpstreamSpec { keepalive: Some(7), ..spec(TWO) };
    run(table.change(change([merge("b", keepalive)]))).expect("it is applied");
    let state = kit::server(&table, "a", 0).id();
    let defaults = UpstreamSpec { keepalive: Some(9), ..UpstreamSpec::default() };
    let state_of_file = FileState { defaults, ..file(&[("a", ONE)]) };
    let done = run(table.reload(state_of_file, String::new())).expect("it is applied");
    assert_eq!(done.changed, [name("a")]);
    let snapshot = table.snapshot();
    let keepalive = |pool: &str| snapshot.pool(pool).expect("it is there").upstream.keepalive;
    assert_eq!((keepalive("a"), keepalive("b")), (9, 7));
    assert_eq!(kit::server(&table, "a", 0).id(), state);
}

#[test]
fn a_file_with_a_pool_that_cannot_serve_changes_nothing() {
    let table = in_memory(file(&[("a", ONE)]));
    let bad = file(&[("a", TWO), ("b", &["backup 10.0.0.3:80"])]);
    let refused = run(table.reload(bad, String::new())).expect_err("only a backup");
    assert!(matches!(refused, Refused::Invalid { .. }));
    assert_eq!(listing(&table), ["a: 10.0.0.1:80"]);
}

#[test]
fn a_host_that_is_not_found_at_a_reload_keeps_its_addresses() {
    let with = |ips: &[&str]| {
        let mut state = file(&[("a", &["node.example:80"])]);
        let ips = ips.iter().map(|ip| ip.parse().expect("an address")).collect();
        state.pools[0].resolved.insert("node.example:80".into(), ips);
        state
    };
    let table = in_memory(with(&["10.0.0.1:80", "10.0.0.2:80"]));
    for same in [with(&["10.0.0.2:80", "10.0.0.1:80"]), with(&[])] {
        let done = run(table.reload(same, String::new())).expect("it is applied");
        assert_eq!(done.generation, 1);
    }
    let done = run(table.reload(with(&["10.0.0.3:80"]), String::new())).expect("it is applied");
    assert_eq!((done.generation, done.changed), (2, vec![name("a")]));
}

#[test]
fn what_could_never_serve_is_refused_with_its_reason() {
    let table = in_memory(FileState::default());
    let ip_hash = |servers: &[&str]| {
        let spec = UpstreamSpec { balance: Some(Balance::IpHash), ..spec(servers) };
        merge("p", spec)
    };
    let introduced = UpstreamSpec {
        send_proxy: Some(SendProxy::V2),
        protocol: Some(Protocol::Http2),
        ..spec(ONE)
    };
    for (operation, reason) in [
        (put("p", &["backup 10.0.0.1:80"]), "backup"),
        (ip_hash(&["10.0.0.1:80", "backup 10.0.0.2:80"]), "ip_hash"),
        (merge("p", introduced), "send_proxy: does not go with protocol"),
        (put("p", &["10.0.0.1:80", "nowhere.example"]), "\"nowhere.example\""),
        (delete("P"), "no upstream \"P\""),
    ] {
        let refused = run(table.change(change([put("q", ONE), operation]))).expect_err(reason);
        assert!(refused.to_string().contains(reason), "{refused}");
    }
    assert!(listing(&table).is_empty(), "all of a change or none of it");
    run(table.change(change([put("empty", &[])]))).expect("a pool may be empty");
    assert_eq!(table.changes().counts[&("dyups", "refused")], 5);
}

#[test]
fn a_merge_replaces_what_it_names_and_keeps_the_rest() {
    let table = in_memory(FileState::default());
    let protocol = Some(Protocol::Http2);
    let first = UpstreamSpec { keepalive: Some(7), protocol, ..spec(ONE) };
    run(table.change(change([merge("Pool", first)]))).expect("it is applied");
    run(table.change(change([merge("POOL", spec(TWO))]))).expect("it is applied");
    let snapshot = table.snapshot();
    let pool = snapshot.pool("pool").expect("it is there");
    assert_eq!((pool.upstream.keepalive, pool.source), (7, Source::Api));
    assert_eq!(pool.upstream.protocol, Protocol::Http2);
    assert_eq!(listing(&table), ["POOL: 10.0.0.2:80"]);
}
