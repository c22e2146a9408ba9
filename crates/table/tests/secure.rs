//! What pools have for TLS: made before the change that wants it is seen, kept for as long as the
//! settings stay, and never missing where a pool is to have it.

mod kit;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use kit::{change, delete, file, merge, name, put, run, spec};
use tidegate_model::{
    Resolved, UpstreamSpec,
    upstream::{Tls, TlsSpec},
};
use tidegate_table::{BadFile, FileState, Operation, Options, Refused, Secure, Secures, Table};

const A: &str = "10.0.0.1:443";
const B: &str = "10.0.0.2:443";

/// Knows these files, and how often something was made.
#[derive(Debug, Default)]
struct Files {
    known: Mutex<Vec<&'static str>>,
    made: Mutex<Vec<Tls>>,
}

impl Files {
    fn of(known: &[&'static str]) -> Arc<Self> {
        Arc::new(Self { known: Mutex::new(known.to_vec()), made: Mutex::default() })
    }

    fn made(&self) -> usize {
        self.made.lock().expect("nobody panics").len()
    }

    fn bad(&self, tls: &Tls) -> Option<BadFile> {
        let known = self.known.lock().expect("nobody panics");
        let is_known = |ca: &Path| known.iter().any(|known| Path::new(known) == ca);
        let bad = tls.ca.as_deref().is_some_and(|ca| !is_known(ca));
        bad.then(|| BadFile { key: "ca", reason: "no such file".into() })
    }
}

impl Secures for Files {
    fn secure(&self, tls: &Tls) -> Result<Secure, BadFile> {
        self.made.lock().expect("nobody panics").push(tls.clone());
        self.bad(tls).map_or_else(|| Ok(Arc::new(tls.clone()) as Secure), Err)
    }

    fn secure_later(&self, tls: &Tls) -> (Secure, Option<BadFile>) {
        (Arc::new(tls.clone()), self.bad(tls))
    }
}

fn open(files: &Arc<Files>, dir: Option<&Path>, file: FileState) -> Arc<Table> {
    let options = Options {
        workers: 1,
        state_dir: dir.map(Into::into),
        secures: Some(Arc::clone(files) as _),
        ..Options::default()
    };
    Table::open(options, file).expect("it opens").0
}

fn with_tls(ca: &str, servers: &[&str]) -> UpstreamSpec {
    let tls = TlsSpec { ca: Some(ca.into()), ..TlsSpec::default() };
    UpstreamSpec { tls: Some(tls), ..spec(servers) }
}

fn put_tls(pool: &str, ca: &str, servers: &[&str]) -> Operation {
    let spec = with_tls(ca, servers);
    Operation::Put { name: name(pool), spec, resolved: Resolved::new() }
}

fn secure(table: &Table) -> Option<Secure> {
    table.snapshot().pool("p").expect("the pool").secure().cloned()
}

#[test]
fn what_a_pool_has_stays_as_long_as_its_settings() {
    let files = Files::of(&["a.pem", "b.pem"]);
    let table = open(&files, None, FileState::default());
    let apply = |operation| run(table.change(change([operation]))).expect("applied");
    apply(put_tls("p", "a.pem", &[A]));
    let first = secure(&table).expect("it is there");
    apply(put_tls("p", "a.pem", &[A, B]));
    apply(merge("p", spec(&[B])));
    apply(put("q", &[A]));
    let same = secure(&table).expect("it is there");
    assert!(Arc::ptr_eq(&first, &same) && files.made() == 1);
    apply(put_tls("p", "b.pem", &[B]));
    let other = secure(&table).expect("it is there");
    assert_eq!(other.downcast_ref::<Tls>().and_then(|tls| tls.ca.clone()), Some("b.pem".into()));
    apply(put("p", &[B]));
    assert!(secure(&table).is_none());
    apply(delete("p"));
}

#[test]
fn a_file_that_cannot_be_used_refuses_the_change_and_its_preview() {
    let files = Files::of(&["a.pem"]);
    let table = open(&files, None, FileState::default());
    run(table.change(change([put_tls("p", "a.pem", &[A])]))).expect("applied");
    let bad = || change([put("q", &[A]), put_tls("p", "b.pem", &[A])]);
    let said = "upstream \"p\": tls.ca: no such file";
    assert_eq!(run(table.change(bad())).expect_err("it is bad").to_string(), said);
    assert_eq!(run(table.preview(bad())).expect_err("it is bad").to_string(), said);
    assert_eq!(table.snapshot().generation, 2);
    // One that is gone again when the change is done needs nothing.
    let gone = change([put_tls("r", "b.pem", &[A]), delete("r")]);
    assert!(run(table.change(gone)).is_ok());
    let half = TlsSpec { cert: Some("a.pem".into()), ..TlsSpec::default() };
    let half = UpstreamSpec { tls: Some(half), ..spec(&[A]) };
    let half = Operation::Put { name: name("p"), spec: half, resolved: Resolved::new() };
    let refused = run(table.change(change([half]))).expect_err("a key is missing");
    assert!(matches!(refused, Refused::BadTls { key: "key", .. }), "{refused}");
}

#[test]
fn a_restoration_wants_its_files_again() {
    let files = Files::of(&["a.pem"]);
    let table = open(&files, None, FileState::default());
    let apply = |operation| run(table.change(change([operation])));
    let then = apply(put_tls("p", "a.pem", &[A])).expect("applied").generation;
    apply(put("p", &[A])).expect("applied");
    files.known.lock().expect("nobody panics").clear();
    let restore = || Operation::Restore { generation: then };
    assert!(matches!(apply(restore()), Err(Refused::BadTls { .. })));
    files.known.lock().expect("nobody panics").push("a.pem");
    apply(restore()).expect("applied");
    assert!(secure(&table).is_some());
}

#[test]
fn other_defaults_are_other_settings() {
    let files = Files::of(&["a.pem"]);
    let table = open(&files, None, file(&[("p", &[A])]));
    assert!(secure(&table).is_none());
    let defaulting = |ca| {
        let defaults = UpstreamSpec { servers: None, ..with_tls(ca, &[]) };
        FileState { defaults, ..file(&[("p", &[A])]) }
    };
    run(table.reload(defaulting("a.pem"), "a test".into())).expect("applied");
    let first = secure(&table).expect("it is there");
    let refused = run(table.reload(defaulting("b.pem"), "a test".into()));
    assert!(matches!(refused, Err(Refused::BadTls { .. })));
    assert!(Arc::ptr_eq(&first, &secure(&table).expect("it is there")));
}

#[test]
fn a_start_gives_every_pool_what_it_needs_and_fails_for_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = Files::of(&["a.pem"]);
    let table = open(&files, Some(dir.path()), FileState::default());
    run(table.change(change([put_tls("p", "a.pem", &[A])]))).expect("applied");
    drop(table);
    let files = Files::of(&[]);
    let table = open(&files, Some(dir.path()), FileState::default());
    assert!(secure(&table).is_some(), "it will say what is wrong when it is used");
    run(table.change(change([merge("p", spec(&[B]))]))).expect("its settings have not changed");
}

#[test]
fn without_anybody_who_could_there_is_no_tls() {
    let table = kit::in_memory(FileState::default());
    let refused = run(table.change(change([put_tls("p", "a.pem", &[A])])));
    assert!(matches!(refused, Err(Refused::BadTls { .. })));
}
