//! `max_conns` with every method: nginx's upstream_max_conns.t (M1 to M16) as far as it is not about
//! round robin alone, and the limit under many clients on two workers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{METHODS, active, count, get, name};
use crate::{
    kit::{Edge, Gate, Origin, eventually, named_reply},
    pools::{at_once, counts, holding, pool},
};

const ONE: &str = ", max_conns = 1";

#[test]
fn m_equal_addresses_add_up() {
    let seen = count(at_once(6, &[("1", ONE), ("2", ""), ("1", ONE)], ""));
    assert_eq!(seen, counts(&[("1", 2), ("2", 4)]));
}

#[test]
fn m_least_conn() {
    let keys = "balance = \"least_conn\"";
    assert_eq!(at_once(4, &[("1", ONE), ("2", "")], keys), ["1", "2", "2", "2"]);
    let seen = at_once(5, &[("1", ONE), ("2", ONE), ("3", ", backup = true")], keys);
    assert_eq!(count(seen), counts(&[("1", 1), ("2", 1), ("3", 3)]), "backups take the rest");
    let seen = at_once(4, &[("1", ONE), ("2", ", backup = true, max_conns = 2")], keys);
    assert_eq!(count(seen), counts(&[("1", 1), ("2", 2), ("502", 1)]), "a backup has a limit too");
}

#[test]
fn m_ip_hash_goes_on_to_the_other() {
    let seen = at_once(3, &[("1", ONE), ("2", "")], "balance = \"ip_hash\"");
    assert_eq!(seen, ["1", "2", "2"]);
}

/// One key is for one server, and when that is full the next one has it.
#[test]
fn m_every_method_goes_on_from_a_full_server() {
    for method in METHODS {
        let keys = format!("balance = \"{method}\"");
        let seen = count(at_once(3, &[("1", ONE), ("2", ONE)], &keys));
        assert_eq!(seen, counts(&[("1", 1), ("2", 1), ("502", 1)]), "{method}");
        let seen = count(at_once(6, &[("1", ONE), ("2", ONE), ("3", "")], &keys));
        let third = seen["3"];
        assert!(third >= 4 && seen.values().sum::<usize>() == 6, "{method}: {seen:?}");
    }
}

/// A request that came from a failed server has its place where it ended up.
#[test]
fn m_counts_are_right_after_next_upstream() {
    for method in METHODS {
        let gate = Gate::default();
        let (dead, one, two) = (Origin::refusing(), holding("1", &gate), holding("2", &gate));
        let never_out = ", max_fails = 0";
        let servers = [(&dead, never_out), (&one, ONE), (&two, ", max_conns = 2")];
        let edge = pool(&servers, &format!("balance = \"{method}\""));
        let mut clients: Vec<_> = (0..3).map(|_| edge.client()).collect();
        clients.iter_mut().for_each(|client| client.send(get("/")));
        eventually("all of them are somewhere", || one.count() + two.count() == 3);
        assert_eq!((one.count(), two.count()), (1, 2), "{method}");
        assert_eq!(edge.get("a", "/").status(), 502, "{method}: every place is taken");
        gate.open();
        let seen = count(clients.iter_mut().map(|client| name(&client.response().unwrap())));
        assert_eq!(seen, counts(&[("1", 1), ("2", 2)]), "{method}");
        eventually("the places are free again", || edge.get("a", "/").status() == 200);
    }
}

/// A server that knows how many requests it has at once.
fn counting(most: &Arc<AtomicUsize>) -> Origin {
    let (most, now) = (Arc::clone(most), Arc::new(AtomicUsize::new(0)));
    Origin::new(move |conn| {
        while conn.receive().is_ok() {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            if conn.try_send(named_reply("in")).is_err() {
                return;
            }
        }
    })
}

/// However many clients ask on two workers at once, and whatever fails: never more than the limit,
/// and in the end every place is free.
#[test]
fn max_conns_holds_for_64_clients_on_two_workers() {
    for method in METHODS {
        let most = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
        let (a, b) = (counting(&most[0]), counting(&most[1]));
        let dead = Origin::refusing();
        let servers =
            [(&dead, ", max_fails = 0"), (&a, ", max_conns = 2"), (&b, ", max_conns = 3")];
        let edge = Edge::new()
            .workers(2)
            .route("upstream = \"app\"")
            .pool_of("app", &servers, &format!("balance = \"{method}\""))
            .start();
        let served = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    let mut client = edge.client();
                    for _ in 0..20 {
                        let status = client.ask(get("/")).status();
                        assert!(matches!(status, 200 | 502), "{method}: {status}");
                        served.fetch_add(usize::from(status == 200), Ordering::SeqCst);
                    }
                });
            }
        });
        let most = most.map(|most| most.load(Ordering::SeqCst));
        assert!(most[0] <= 2 && most[1] <= 3, "{method}: {most:?} at once");
        assert_eq!(a.count() + b.count(), served.into_inner(), "{method}");
        for origin in [&a, &b] {
            eventually("every place is free again", || active(&edge, origin) == Some(0.0));
        }
    }
}
