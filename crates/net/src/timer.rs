//! A worker's timers. A connection moves its deadline at every step of every request, and nearly
//! none is ever reached: so moving one later is a store, and the queue learns of it only when the
//! old time comes. tokio's own timers would take a lock and re-sort at each move.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::clock::{LAG, coarse};

/// Deadlines are kept to this precision: they fire up to three ticks late, never early.
const TICK: Duration = Duration::from_millis(10);

/// No entry is queued further ahead than this, and looked at again then. An entry whose timer is
/// gone cannot be found in the queue, so it must not stay there for a deadline of a day.
const HORIZON: u64 = 6_000;

/// After so many that were due the others of the worker have their turn: thousands of clients who came
/// together are too slow together, and who has bytes to move would wait until each was seen off.
const AT_ONCE: usize = 32;

const NEVER: u64 = u64::MAX;

/// The deadline of a timer that has expired.
const PASSED: u64 = 0;

/// The timers of one worker; clones share them. Somebody must run [`Timers::drive`].
#[derive(Clone, Debug)]
pub struct Timers(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    epoch: Instant,
    coarse_epoch: Duration,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Entries to look at when their tick has come; an entry may stand in several, and counts in
    /// the one it knows itself to be queued in.
    queue: BTreeMap<u64, Vec<u32>>,
    driver: Option<Waker>,
    /// The tick the driver sleeps for.
    sleeping_for: u64,
}

#[derive(Debug)]
struct Entry {
    deadline: u64,
    queued: u64,
    waker: Option<Waker>,
    idle: Option<u32>,
}

/// One deadline, of one task. Freed when dropped.
#[derive(Debug)]
pub struct Timer {
    timers: Timers,
    key: u32,
}

impl Default for Timers {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Inner {
            epoch: Instant::now(),
            coarse_epoch: coarse(),
            entries: Vec::new(),
            free: Vec::new(),
            queue: BTreeMap::new(),
            driver: None,
            sleeping_for: NEVER,
        })))
    }
}

impl Timers {
    /// A new timer, not set.
    pub fn timer(&self) -> Timer {
        let mut inner = self.0.borrow_mut();
        let key = inner.free.pop().unwrap_or_else(|| {
            inner.entries.push(Entry { deadline: NEVER, queued: NEVER, waker: None, idle: None });
            u32::try_from(inner.entries.len() - 1).expect("descriptors run out long before")
        });
        Timer { timers: self.clone(), key }
    }

    /// Brings the deadlines of idle timers of that group forward to `after` from now.
    pub fn hurry_idle(&self, group: u32, after: Duration) {
        let inner = &mut *self.0.borrow_mut();
        let now = inner.now();
        let deadline = Inner::tick_after(now, after);
        for key in 0..inner.entries.len() {
            let entry = &mut inner.entries[key];
            if entry.idle == Some(group) && entry.deadline > deadline {
                entry.deadline = deadline;
                inner.queue_up(key, now);
            }
        }
    }

    /// Wakes the task that waits for the timer of that key, if any does: it may look at something.
    pub fn wake(&self, key: u32) {
        let waker = self.0.borrow_mut().entries.get_mut(key as usize).and_then(|e| e.waker.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes all of them.
    pub fn wake_all(&self) {
        let wakers: Vec<Waker> =
            self.0.borrow_mut().entries.iter_mut().filter_map(|e| e.waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Wakes tasks whose deadline has come. Never ends.
    pub async fn drive(&self) {
        loop {
            while self.fire() {
                tokio::task::yield_now().await;
            }
            let next = self.next_due();
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let earlier = poll_fn(|cx| self.poll_earlier(cx, next));
            tokio::select! {
                () = sleep => (),
                () = earlier => (),
            }
        }
    }

    /// Ready when a deadline before the one slept for was set.
    fn poll_earlier(&self, cx: &Context<'_>, slept_for: Option<Instant>) -> Poll<()> {
        let mut inner = self.0.borrow_mut();
        let first = inner.queue.keys().next().map(|tick| inner.instant(*tick));
        if first != slept_for {
            return Poll::Ready(());
        }
        inner.sleeping_for = inner.queue.keys().next().copied().unwrap_or(NEVER);
        inner.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// When to come back.
    fn next_due(&self) -> Option<Instant> {
        let inner = self.0.borrow();
        inner.queue.keys().next().map(|tick| inner.instant(*tick))
    }

    /// Wakes those who are due, and says whether there may be more of them.
    fn fire(&self) -> bool {
        let inner = &mut *self.0.borrow_mut();
        inner.sleeping_for = NEVER;
        let (now, mut left) = (inner.now(), AT_ONCE);
        while let Some(bucket) = inner.queue.first_entry().filter(|bucket| *bucket.key() <= now) {
            let (tick, mut keys) = bucket.remove_entry();
            while let Some(key) = keys.pop() {
                if left == 0 {
                    keys.push(key);
                    inner.queue.insert(tick, keys);
                    return true;
                }
                let entry = &mut inner.entries[key as usize];
                if entry.queued != tick {
                    continue;
                }
                entry.queued = NEVER;
                if entry.deadline > now {
                    inner.queue_up(key as usize, now);
                } else {
                    left -= 1;
                    entry.deadline = PASSED;
                    if let Some(waker) = entry.waker.take() {
                        waker.wake();
                    }
                }
            }
        }
        false
    }
}

impl Inner {
    /// Whole ticks that have passed.
    fn now(&self) -> u64 {
        let ticks = (coarse() - self.coarse_epoch).as_millis() / TICK.as_millis();
        u64::try_from(ticks).unwrap_or(NEVER - 1)
    }

    /// The tick at which `after` has surely passed, though the clock lags and ticks are coarse.
    fn tick_after(now: u64, after: Duration) -> u64 {
        let ticks = (LAG + after).as_millis().div_ceil(TICK.as_millis()) + 1;
        now.saturating_add(u64::try_from(ticks).unwrap_or(NEVER)).min(NEVER - 1)
    }

    fn instant(&self, tick: u64) -> Instant {
        // The sum of an uptime and the longest span configurable is far below the type's range.
        self.epoch + LAG + Duration::from_millis(tick.saturating_mul(10))
    }

    fn queue_up(&mut self, key: usize, now: u64) {
        let entry = &mut self.entries[key];
        let tick = entry.deadline.min(now + HORIZON);
        if entry.deadline == NEVER || tick >= entry.queued {
            return;
        }
        entry.queued = tick;
        let key = u32::try_from(key).expect("keys are made from u32");
        self.queue.entry(tick).or_default().push(key);
        if tick < self.sleeping_for
            && let Some(driver) = self.driver.take()
        {
            driver.wake();
        }
    }
}

impl Timer {
    /// For [`Timers::wake`]. A later timer may have the same.
    pub fn key(&self) -> u32 {
        self.key
    }

    /// Moves the deadline to `after` from now.
    pub fn set(&self, after: Duration) {
        let inner = &mut *self.timers.0.borrow_mut();
        let now = inner.now();
        inner.entries[self.key as usize].deadline = Inner::tick_after(now, after);
        inner.queue_up(self.key as usize, now);
    }

    pub fn clear(&self) {
        self.timers.0.borrow_mut().entries[self.key as usize].deadline = NEVER;
    }

    /// Whether its owner only waits for something to do, and to which group it belongs then: see
    /// [`Timers::hurry_idle`].
    pub fn set_idle(&self, group: Option<u32>) {
        self.timers.0.borrow_mut().entries[self.key as usize].idle = group;
    }

    /// Ready when the deadline has passed; else the task is woken when it does.
    pub fn poll_expired(&self, cx: &Context<'_>) -> Poll<()> {
        let entry = &mut self.timers.0.borrow_mut().entries[self.key as usize];
        if entry.deadline == PASSED {
            return Poll::Ready(());
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            entry.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for the deadline. Cancel safe.
    pub async fn expired(&self) {
        poll_fn(|cx| self.poll_expired(cx)).await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let inner = &mut *self.timers.0.borrow_mut();
        let entry = &mut inner.entries[self.key as usize];
        entry.deadline = NEVER;
        entry.waker = None;
        entry.idle = None;
        // `queued` stays: the next owner is found through the old place in the queue, if any.
        inner.free.push(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn driven() -> Timers {
        let timers = Timers::default();
        let driver = timers.clone();
        tokio::task::spawn_local(async move { driver.drive().await });
        timers
    }

    #[test]
    fn deadlines_fire_in_their_order_and_not_before() {
        run(async {
            let timers = driven();
            let started = Instant::now();
            let (late, early) = (timers.timer(), timers.timer());
            late.set(millis(80));
            tokio::task::yield_now().await;
            early.set(millis(20));
            tokio::select! {
                () = late.expired() => panic!("the late one came first"),
                () = early.expired() => assert!(started.elapsed() >= millis(20)),
            }
            late.expired().await;
            assert!(started.elapsed() >= millis(80));
        });
    }

    #[test]
    fn a_deadline_moved_later_or_cleared_does_not_fire() {
        run(async {
            let timers = driven();
            let (moved, cleared, other) = (timers.timer(), timers.timer(), timers.timer());
            moved.set(millis(20));
            cleared.set(millis(20));
            moved.set(Duration::from_secs(3_600));
            cleared.clear();
            other.set(millis(60));
            tokio::select! {
                () = moved.expired() => panic!("it was moved"),
                () = cleared.expired() => panic!("it was cleared"),
                () = other.expired() => (),
            }
        });
    }

    #[test]
    fn many_that_are_due_together_leave_room_for_others() {
        run(async {
            let timers = Timers::default();
            let all: Vec<Timer> = (0..2 * AT_ONCE + 1).map(|_| timers.timer()).collect();
            all.iter().for_each(|timer| timer.set(millis(10)));
            tokio::time::sleep(millis(100)).await;
            let passed = || {
                let cx = Context::from_waker(Waker::noop());
                all.iter().filter(|timer| timer.poll_expired(&cx).is_ready()).count()
            };
            assert_eq!((timers.fire(), passed()), (true, AT_ONCE));
            assert_eq!((timers.fire(), passed()), (true, 2 * AT_ONCE));
            assert_eq!((timers.fire(), passed()), (false, 2 * AT_ONCE + 1));
        });
    }

    #[test]
    fn a_timer_of_a_new_owner_knows_nothing_of_the_last_one() {
        run(async {
            let timers = driven();
            let first = timers.timer();
            first.set(millis(10));
            drop(first);
            let (second, other) = (timers.timer(), timers.timer());
            other.set(millis(50));
            tokio::select! {
                () = second.expired() => panic!("it was never set"),
                () = other.expired() => (),
            }
            second.set(millis(10));
            second.expired().await;
        });
    }

    #[test]
    fn idle_timers_of_a_group_can_be_hurried() {
        run(async {
            let timers = driven();
            let (idle, busy, other) = (timers.timer(), timers.timer(), timers.timer());
            for timer in [&idle, &busy, &other] {
                timer.set(Duration::from_secs(3_600));
            }
            idle.set_idle(Some(1));
            other.set_idle(Some(2));
            timers.hurry_idle(1, millis(10));
            tokio::select! {
                () = idle.expired() => (),
                () = busy.expired() => panic!("it was not idle"),
                () = other.expired() => panic!("it is of another group"),
            }
        });
    }
}
