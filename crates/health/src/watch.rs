//! The watch over one server: a small task that waits for the server's turn, probes it and writes
//! down what was found. The checker tells it what changes; ending the task ends the probe.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    convert::Infallible,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tidegate_table::Server;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    facts::Facts,
    probe::{Fault, Found, Inquirer, Subject},
    schedule::{Newcomer, Schedule},
    turns::Turns,
};

/// So often at most it is said that probes cannot be made.
const COMPLAINT_EVERY: Duration = Duration::from_secs(10);
/// A watch that has panicked begins anew after this.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// What all watches share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// One for each probe that may be in flight.
    pub(crate) places: Semaphore,
    pub(crate) inquirer: Inquirer,
    pub(crate) random: RefCell<fastrand::Rng>,
    /// Where it is told what probes change.
    pub(crate) turns: Arc<Turns>,
    complained: Cell<Option<Instant>>,
}

/// The watch over one server.
#[derive(Debug)]
pub(crate) struct Watch {
    facts: RefCell<Facts>,
    schedule: RefCell<Schedule>,
    /// Somebody asks for a probe now.
    hurried: Cell<bool>,
    /// Something of the above has changed.
    bell: Notify,
    shared: Rc<Shared>,
}

impl Shared {
    pub(crate) fn new(at_once: usize, turns: Arc<Turns>) -> Self {
        Self {
            places: Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)),
            inquirer: Inquirer::default(),
            random: RefCell::default(),
            turns,
            complained: Cell::new(None),
        }
    }

    /// Says that probes cannot be made, once in a while.
    fn complain(&self, server: &Server, reason: &str) {
        let now = Instant::now();
        if self.complained.get().is_none_or(|last| now - last >= COMPLAINT_EVERY) {
            self.complained.set(Some(now));
            let state = &server.state;
            tracing::error!(upstream = %state.pool(), server = %state.label(), reason, "cannot probe; the server is not blamed");
        }
    }
}

impl Watch {
    pub(crate) fn new(facts: Facts, newcomer: Newcomer, shared: &Rc<Shared>) -> Self {
        let mut random = shared.random.borrow_mut();
        let schedule = Schedule::new(&facts.check, newcomer, Instant::now(), &mut random);
        Self {
            facts: RefCell::new(facts),
            schedule: RefCell::new(schedule),
            hurried: Cell::new(false),
            bell: Notify::new(),
            shared: Rc::clone(shared),
        }
    }

    /// Takes the facts of a newer snapshot; `true` when the check begins anew with them.
    pub(crate) fn learn(&self, facts: Facts, newcomer: Newcomer) -> bool {
        let now = Instant::now();
        let mut random = self.shared.random.borrow_mut();
        let mut schedule = self.schedule.borrow_mut();
        let old = self.facts.replace(facts.clone());
        let begins_anew = facts.asks_otherwise(&old);
        if begins_anew {
            *schedule = Schedule::new(&facts.check, newcomer, now, &mut random);
        } else if facts.has_other_pace(&old) {
            let is_between = facts.server().state.health.is_between();
            schedule.plan(&facts.check, is_between, now, &mut random);
        } else {
            return false;
        }
        self.bell.notify_one();
        begins_anew
    }

    /// A request failed on the server.
    pub(crate) fn hurry(&self) {
        self.hurried.set(true);
        self.bell.notify_one();
    }

    /// Watches for as long as it is polled. A panic of ours is nobody's failure: it is logged, and
    /// the watch goes on.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            let panic = panic_of(pin!(self.watch())).await;
            let state = Arc::clone(&self.facts.borrow().server().state);
            tracing::error!(upstream = %state.pool(), server = %state.label(), panic, "a health check has panicked and begins anew");
            sleep(AFTER_PANIC).await;
        }
    }

    async fn watch(&self) -> Infallible {
        loop {
            self.wait_for_turn().await;
            // The places are never closed.
            let _place = self.shared.places.acquire().await;
            self.probe().await;
        }
    }

    async fn wait_for_turn(&self) {
        loop {
            let due = self.due(Instant::now());
            tokio::select! {
                biased;
                () = self.bell.notified() => (),
                () = sleep_until(due) => return,
            }
        }
    }

    fn due(&self, now: Instant) -> Instant {
        self.schedule.borrow().due(self.hurried.get(), now)
    }

    async fn probe(&self) {
        let now = Instant::now();
        // It may have waited long for its place.
        if self.due(now) > now {
            return;
        }
        self.hurried.set(false);
        self.schedule.borrow_mut().begins(now);
        let facts = self.facts.borrow().clone();
        let confirms = facts.server().state.health.begin_probe();
        let (pool, server) = (&facts.pool, facts.server());
        let subject = Subject::new(server, &facts.check, pool.upstream.send_proxy);
        let subject = subject.over(pool, server);
        let found = tokio::select! {
            biased;
            () = self.until_asked_otherwise(&facts) => return,
            found = Box::pin(self.shared.inquirer.ask(&subject)) => found,
        };
        self.write_down(facts.epoch, found, confirms);
    }

    /// Until the answer to a probe that began by these facts would say nothing any more.
    async fn until_asked_otherwise(&self, facts: &Facts) {
        while !self.facts.borrow().asks_otherwise(facts) {
            self.bell.notified().await;
        }
    }

    fn write_down(&self, epoch: u64, found: Found, confirms: bool) {
        let facts = self.facts.borrow();
        let (server, health) = (facts.server(), &facts.server().state.health);
        match found {
            // It has left meanwhile; the checker is about to end this watch.
            _ if server.state.is_gone() => (),
            Err(Fault::Local(reason)) => {
                self.shared.complain(server, &reason);
                if confirms {
                    // Nothing has been found out: the next probe still confirms.
                    health.suspect();
                }
            }
            Ok(detail) => facts.take_note(&self.shared.turns, epoch, true, &detail, confirms),
            Err(Fault::Server(detail)) => {
                // A request that failed while the probe ran bears it out as well.
                let confirms = health.begin_probe() || confirms;
                facts.take_note(&self.shared.turns, epoch, false, &detail, confirms);
            }
        }
        let is_between = health.is_between();
        let mut random = self.shared.random.borrow_mut();
        self.schedule.borrow_mut().plan(&facts.check, is_between, Instant::now(), &mut random);
    }
}

/// Polls what never ends until it panics, and says how.
async fn panic_of(mut endless: Pin<&mut impl Future<Output = Infallible>>) -> String {
    poll_fn(|cx| {
        // What it leaves behind is dropped unseen, but for values that are always whole.
        match catch_unwind(AssertUnwindSafe(|| endless.as_mut().poll(cx))) {
            Ok(Poll::Ready(never)) => match never {},
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(words(&*panic)),
        }
    })
    .await
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_and_caught() {
        let endless = async {
            tokio::task::yield_now().await;
            panic!("number {}", 7);
        };
        assert_eq!(panic_of(pin!(endless)).await, "number 7");
    }
}
