//! What every test here is made of: an [`Edge`] (the real binary with a configuration of its own on
//! ports of its own), [`Origin`]s that do as they are told, and raw [`Socket`]s with a strict reader
//! of their own, so that nothing of the product judges the product. Plain threads and blocking
//! sockets; every wait ends after [`DEADLINE`].

mod audit;
mod certificates;
mod datagrams;
mod edge;
pub mod frames;
pub mod http2;
mod load;
mod message;
mod multiplexed;
mod names;
mod origin;
mod process;
mod script;
mod secure;
mod socket;

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub use audit::audit;
pub use certificates::{Authority, Pair, TlsClient};
pub use datagrams::{LARGEST, UdpClient, UdpOrigin, refusing};
pub use edge::{Edge, status_of};
pub use frames::Chat;
pub use load::{Swap, bytes, checksum};
pub use message::{Head, Message};
pub use multiplexed::{Call, Multiplexed};
pub use origin::{Conn, Origin, SWITCHING, named_reply};
pub use process::{Output, binary};
pub use script::Script;
pub use secure::Guarded;
pub use socket::{Broken, Socket};

/// How long anything may take before a test fails. Nothing should come near it.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Waits until `condition` holds, for what gives no event to wait for.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "never came true: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A number from the environment, for runs larger than the everyday one.
pub fn env_number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Says aloud that a test could not run here, and why: a silent skip is a lie.
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    println!("SKIPPED {test}: {why}");
}

/// Raises a flag when dropped, also by a panic, so that the threads that watch it end.
pub struct RaiseOnDrop<'a>(pub &'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Holds the threads that wait until somebody opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn wait(&self) {
        let (lock, changed) = &*self.0;
        let (open, _) =
            changed.wait_timeout_while(lock.lock().unwrap(), DEADLINE, |open| !*open).unwrap();
        assert!(*open, "the gate was never opened");
    }
}
