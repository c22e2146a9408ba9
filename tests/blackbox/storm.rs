//! Servers swapped under load: nothing fails, and once a change is answered no request that begins
//! later reaches a server of the list before.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::kit::{Edge, Origin, RaiseOnDrop, Swap, env_number, eventually};

const CLIENTS: usize = 64;
const NAMES: [&str; 2] = ["server 0", "server 1"];

/// What the clients have to say.
#[derive(Default)]
struct Tally {
    stopped: AtomicBool,
    answered: AtomicUsize,
    /// Requests that no change overlapped, so that only one server may have answered them.
    certain: AtomicUsize,
    failed: AtomicUsize,
    late: AtomicUsize,
}

/// `TIDEGATE_STORM` (300) POSTs swap two servers while 64 keep-alive clients ask all the time.
#[test]
fn swapping_servers_under_load() {
    let origins = NAMES.map(Origin::named);
    let edge = Edge::new().workers(2).pool("app", &[&origins[0]]).start();
    let (swap, tally) = (Swap::default(), Tally::default());
    thread::scope(|scope| {
        let _stop = RaiseOnDrop(&tally.stopped);
        for _ in 0..CLIENTS {
            scope.spawn(|| ask_until_stopped(&edge, &swap, &tally));
        }
        for _ in 0..env_number("TIDEGATE_STORM", 300) {
            let list = swap.begin();
            edge.post("app", &format!("server {};", origins[list % 2].address()));
            swap.answer(list);
            // So that some requests live wholly under each list.
            let seen = tally.answered.load(Ordering::SeqCst);
            eventually("the clients go on", || {
                tally.answered.load(Ordering::SeqCst) > seen + CLIENTS
            });
        }
    });
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    println!("{} requests, {} of them certain", count(&tally.answered), count(&tally.certain));
    assert_eq!((count(&tally.failed), count(&tally.late)), (0, 0), "failed, late");
    assert!(count(&tally.certain) > 1_000, "too few requests to mean anything");
}

fn ask_until_stopped(edge: &Edge, swap: &Swap, tally: &Tally) {
    let mut client = edge.client();
    while !tally.stopped.load(Ordering::SeqCst) {
        let list = swap.answered();
        let sent = client.try_send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        let answer = sent.ok().and_then(|()| client.response().ok());
        let certain = swap.is_still(list);
        tally.answered.fetch_add(1, Ordering::SeqCst);
        match answer {
            Some(answer) if answer.status() == 200 => {
                tally.certain.fetch_add(usize::from(certain), Ordering::SeqCst);
                let late = certain && answer.text() != NAMES[list % 2];
                tally.late.fetch_add(usize::from(late), Ordering::SeqCst);
            }
            _ => {
                tally.failed.fetch_add(1, Ordering::SeqCst);
                client = edge.client();
            }
        }
    }
}

/// Pools come and go by the hundred while another one serves.
#[test]
fn many_pools_come_and_go() {
    let origin = Origin::named("up");
    let edge = Edge::new().pool("app", &[&origin]).start();
    let line = format!("server {};", origin.address());
    for n in 0..300 {
        edge.post(&format!("pool{n}"), &line);
    }
    assert_eq!(edge.call("GET", "/list", "").text().lines().count(), 301);
    for n in (0..300).step_by(7) {
        assert_eq!(edge.get(&format!("pool{n}"), "/").text(), "up");
    }
    for n in 0..300 {
        assert_eq!(edge.call("DELETE", &format!("/upstream/pool{n}"), "").status(), 200);
    }
    assert_eq!(edge.call("GET", "/list", "").text(), "app\n");
    assert_eq!(edge.get("app", "/").text(), "up");
}
