//! The order of a publication, in small, under every interleaving and reordering that the memory
//! model allows: the mark of a removed server, the swap, the reply; and a request that picks from
//! what it sees and looks at the mark again right before its first byte.

use loom::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    thread,
};

/// The snapshot without the removed server; the one before it is 0.
const NEW: usize = 1;

#[derive(Default)]
struct Small {
    snapshot: AtomicUsize,
    gone: AtomicBool,
    replied: AtomicBool,
    busy: AtomicUsize,
}

impl Small {
    fn remove(&self) {
        self.gone.store(true, Release);
        self.snapshot.store(NEW, Release);
        self.replied.store(true, Release);
    }

    /// Whether the request went to the removed server; `None` when it found the mark and picks anew.
    fn request(&self) -> Option<bool> {
        if self.snapshot.load(Acquire) == NEW {
            assert!(self.gone.load(Acquire), "whoever sees the new list sees the mark");
            return Some(false);
        }
        self.busy.fetch_add(1, AcqRel);
        let sent = !self.gone.load(Acquire);
        self.busy.fetch_sub(1, AcqRel);
        sent.then_some(true)
    }
}

#[test]
fn no_request_that_begins_after_the_reply_reaches_a_removed_server() {
    loom::model(|| {
        let small = Arc::new(Small::default());
        let request = {
            let small = Arc::clone(&small);
            thread::spawn(move || {
                let after_the_reply = small.replied.load(Acquire);
                let sent = small.request();
                assert!(!(after_the_reply && sent != Some(false)), "it reached what was removed");
            })
        };
        small.remove();
        request.join().expect("its assertions hold");
    });
}

/// What keeps a removed server's state is the lease itself: an `Arc`, not a count that is read.
#[test]
fn what_runs_on_a_removed_server_is_found_when_it_returns() {
    loom::model(|| {
        let state = Arc::new(Small::default());
        let lease = Arc::clone(&state);
        let running = thread::spawn(move || {
            lease.busy.fetch_add(1, AcqRel);
            lease
        });
        state.gone.store(true, Release);
        let lease = running.join().expect("it does not panic");
        state.gone.store(false, Release);
        assert_eq!(lease.busy.load(Acquire), 1);
    });
}
