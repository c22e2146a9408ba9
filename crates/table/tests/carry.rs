//! Live numbers across changes: what runs on a server is neither forgotten nor invented, and a
//! removed server is marked before anybody can learn of its removal.

use std::sync::{Arc, Mutex};

use tidegate_model::{Span, UpstreamSpec, upstream::OnRemove};
use tidegate_table::{Change, Departure, Table};

mod kit;
use kit::{change, delete, file, in_memory, listing, merge, put, run, server, spec};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

#[test]
fn a_surviving_server_keeps_what_is_known_of_it() {
    let table = in_memory(file(&[("p", &[A, B])]));
    let (a, b) = (server(&table, "p", 0), server(&table, "p", 1));
    let running = b.lease(0).expect("a place");
    b.failed(&table.snapshot().pool("p").expect("it is there").servers[1].spec, 1_000);
    run(table.change(change([put("p", &[B, "10.0.0.3:80"])]))).expect("it is applied");
    let now = server(&table, "p", 0);
    assert_eq!((now.id(), now.busy(), now.fails()), (b.id(), 1, 1));
    assert!(a.is_gone() && !b.is_gone());
    drop(running);
    assert_eq!(now.busy(), 0);
}

#[test]
fn equal_addresses_are_told_apart_by_their_place_among_them() {
    let table = in_memory(file(&[("p", &[A, A])]));
    let (first, second) = (server(&table, "p", 0), server(&table, "p", 1));
    assert_ne!(first.id(), second.id());
    run(table.change(change([put("p", &[B, A])]))).expect("it is applied");
    assert_eq!(server(&table, "p", 1).id(), first.id());
    assert!(second.is_gone());
}

#[test]
fn a_removed_server_is_listed_while_something_runs_on_it() {
    let table = in_memory(file(&[("p", &[A, B])]));
    let a = server(&table, "p", 0);
    let (tunnel, id) = (a.lease(0).expect("a place").into_tunnel(), a.id());
    drop(a);
    run(table.change(change([delete("p")]))).expect("it is there");
    let departed = table.departed();
    assert_eq!(departed.iter().map(|state| state.id()).collect::<Vec<_>>(), [id]);
    drop((departed, tunnel));
    assert!(table.departed().is_empty());
}

#[test]
fn a_busy_server_that_returns_brings_its_load_and_not_its_failures() {
    let table = in_memory(file(&[("p", &[A, B])]));
    let a = server(&table, "p", 0);
    let _tunnel = a.lease(0).expect("a place").into_tunnel();
    a.failed(&table.snapshot().pool("p").expect("it is there").servers[0].spec, 1_000);
    run(table.change(change([delete("p")]))).expect("it is there");
    assert!(a.is_gone());
    run(table.change(change([put("P", &[B, A])]))).expect("it is applied");
    let back = server(&table, "p", 1);
    assert_eq!((back.id(), back.tunnels(), back.fails()), (a.id(), 1, 0));
    assert!(!back.is_gone() && table.departed().is_empty());
}

#[test]
fn one_change_may_delete_and_create_without_losing_a_server() {
    let table = in_memory(file(&[("p", &[A])]));
    let a = server(&table, "p", 0);
    let done = run(table.change(change([delete("p"), put("p", &[A, B])]))).expect("it is applied");
    assert_eq!((done.added, done.removed), (1, 0));
    assert!(!a.is_gone() && server(&table, "p", 0).id() == a.id());
}

#[test]
fn departures_are_told_after_the_swap_and_marked_before_it() {
    let table = in_memory(file(&[("p", &[A, B])]));
    let told = Arc::new(Mutex::new(Vec::new()));
    let (log, observed) = (Arc::clone(&told), Arc::downgrade(&table));
    let mut reader = table.reader();
    assert_eq!(reader.snapshot().generation, 1);
    table.on_departure(move |left| {
        let table = observed.upgrade().expect("the table is still there");
        let gone = left.iter().all(|one| one.state.is_gone());
        log.lock().expect("no panic").push((table.snapshot().generation, left.len(), gone));
    });
    run(table.change(change([put("p", &[B])]))).expect("it is applied");
    run(table.change(change([put("q", &[A])]))).expect("it is applied");
    assert_eq!(*told.lock().expect("no panic"), [(2, 1, true)]);
    assert_eq!(reader.snapshot().generation, 3);
}

/// What was told of each departure.
fn departures(table: &Table) -> Arc<Mutex<Vec<Departure>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    table.on_departure(move |left| log.lock().expect("no panic").extend(left.iter().cloned()));
    told
}

/// A pool that says what is to become of tunnels.
fn with_verb(servers: &[&str], on_remove: OnRemove, drain_over: u64) -> UpstreamSpec {
    let mut spec = spec(servers);
    spec.tunnel.on_remove = Some(on_remove);
    spec.tunnel.drain_over = Some(Span::from_secs(drain_over));
    spec
}

#[test]
fn a_departure_goes_by_the_change_then_the_new_definition_then_the_last() {
    let table = in_memory(file(&[("p", &[A, B])]));
    let told = departures(&table);
    let verb = || {
        let one = told.lock().expect("no panic").pop().expect("one left");
        (one.existing, one.drain_over.as_millis() / 1_000, one.generation)
    };
    let put = |spec| [merge("p", spec)];
    run(table.change(change(put(with_verb(&[A], OnRemove::Close, 5))))).expect("it is applied");
    assert_eq!(verb(), (OnRemove::Close, 5, 2), "as the pool is from now on");
    let drain = Change { existing: Some(OnRemove::Drain), ..change(put(spec(&[B]))) };
    run(table.change(drain)).expect("it is applied");
    assert_eq!(verb(), (OnRemove::Drain, 5, 3), "the change has a verb of its own");
    let anew = [delete("p"), merge("p", with_verb(&[A], OnRemove::Drain, 7))];
    run(table.change(change(anew))).expect("it is applied");
    assert_eq!(verb(), (OnRemove::Drain, 7, 4), "deleted and created again");
    run(table.change(change([delete("p")]))).expect("it is there");
    assert_eq!(verb(), (OnRemove::Drain, 7, 5), "as the pool was");
    run(table.reload(file(&[("p", &[A])]), String::new())).expect("it is back");
    run(table.reload(file(&[("p", &[B])]), String::new())).expect("it is applied");
    assert_eq!(verb(), (OnRemove::Keep, 60, 7), "a file goes by its pools");
}

/// dyups case C27: a pool that is deleted and created again is listed last.
#[test]
fn a_pool_keeps_its_place_until_it_is_deleted() {
    let table = in_memory(file(&[]));
    for pool in ["dyhost", "host1", "host2"] {
        run(table.change(change([put(pool, &[A])]))).expect("it is applied");
    }
    run(table.change(change([put("dyhost", &[B])]))).expect("it is applied");
    assert_eq!(listing(&table)[0], format!("dyhost: {B}"));
    for pool in ["dyhost", "host1"] {
        run(table.change(change([delete(pool)]))).expect("it is there");
    }
    run(table.change(change([put("dyhost", &[A])]))).expect("it is applied");
    assert_eq!(listing(&table), [format!("host2: {A}"), format!("dyhost: {A}")]);
}

#[test]
fn what_is_counted_of_a_pool_lives_as_long_as_the_pool() {
    let table = in_memory(file(&[("p", &[A])]));
    let live = || Arc::clone(&table.snapshot().pool("p").expect("it is there").live);
    let before = live();
    run(table.change(change([put("p", &[B])]))).expect("it is applied");
    assert!(Arc::ptr_eq(&before, &live()));
    run(table.change(change([delete("p")]))).expect("it is there");
    run(table.change(change([put("p", &[B])]))).expect("it is applied");
    assert!(!Arc::ptr_eq(&before, &live()));
}
