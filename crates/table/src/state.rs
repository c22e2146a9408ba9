//! The live numbers of one server. Workers share them, changes of the pool carry them over, and
//! whoever runs a request or a tunnel holds a [`Lease`] on them.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use tidegate_balance::Ewma;
use tidegate_metrics::PerWorker;
use tidegate_model::{Check, Name, ServerSpec, upstream::CheckStart};

use crate::{
    health::{Health, Probed, Turned},
    live::ServerCells,
};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One server of one pool, for as long as it is listed or anything still runs on it.
#[derive(Debug)]
#[repr(align(128))]
pub struct ServerState {
    id: u64,
    pool: Name,
    label: Arc<str>,
    /// Requests and tunnels.
    busy: AtomicU32,
    tunnels: AtomicU32,
    /// No longer in the newest snapshot.
    gone: AtomicBool,
    /// Requests on it are to end now. Beside `gone`: whoever runs one asks both.
    cut: AtomicBool,
    failures: Failures,
    /// Of its answers' heads.
    pub latency: Ewma,
    pub health: Health,
    pub cells: PerWorker<ServerCells>,
}

/// What a server is called: its address, `#2`, `#3` added to tell equal ones apart.
pub(crate) fn label(address: &str, ordinal: u32) -> Arc<str> {
    match ordinal {
        0 => address.into(),
        _ => format!("{address}#{}", ordinal + 1).into(),
    }
}

/// nginx's passive failure accounting (`max_fails`, `fail_timeout`), shared by all workers. Times
/// are milliseconds of one clock that starts above 0.
#[derive(Debug, Default)]
struct Failures {
    fails: AtomicU32,
    /// The last failure.
    accessed: AtomicU64,
    /// The last failure or probing pick.
    checked: AtomicU64,
}

impl ServerState {
    /// `address` is what the pool knows it by, `ordinal` tells equal ones of a pool apart.
    pub fn new(pool: &Name, address: &str, ordinal: u32, workers: usize) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            pool: pool.clone(),
            label: label(address, ordinal),
            busy: AtomicU32::new(0),
            tunnels: AtomicU32::new(0),
            gone: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            failures: Failures::default(),
            latency: Ewma::new(),
            health: Health::default(),
            cells: PerWorker::new(workers),
        }
    }

    /// Unique within the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The pool it belongs to, in the spelling it had then.
    pub fn pool(&self) -> &Name {
        &self.pool
    }

    /// The address as typed; `#2`, `#3` are added to tell equal ones apart.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Requests and tunnels running on it now.
    pub fn busy(&self) -> u32 {
        self.busy.load(Acquire)
    }

    pub fn tunnels(&self) -> u32 {
        self.tunnels.load(Relaxed)
    }

    /// Whether the newest snapshot no longer lists it. Set before that snapshot is published, so
    /// that whoever still holds a pick learns of it right before the first byte.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    pub fn leave(&self) {
        self.gone.store(true, Release);
    }

    /// Whether requests on it are to end now, answered or not.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Acquire)
    }

    /// Requests on it are to end: its drain is past its deadline, or its removal says so.
    pub fn cut_requests(&self) {
        self.cut.store(true, Release);
    }

    /// Takes that back. The table does so when a drain of it begins or ends and when it is listed
    /// again; whoever cuts and finds that its drain has ended meanwhile must do it too.
    pub fn spare_requests(&self) {
        self.cut.store(false, Release);
    }

    /// Listed again while something still runs on it: what runs stays counted, what was known of
    /// its health does not. `start`: what its check begins with, if it has one.
    pub fn come_back(&self, start: Option<CheckStart>) {
        self.forget_failures();
        self.health.restart(start, true);
        self.health.ramp();
        self.spare_requests();
        self.gone.store(false, Release);
    }

    /// Takes a place on the server, unless `max_conns` (0: no limit) are taken.
    pub fn lease(self: &Arc<Self>, max_conns: u32) -> Option<Lease> {
        if max_conns == 0 {
            self.busy.fetch_add(1, AcqRel);
        } else {
            let below = |busy| (busy < max_conns).then_some(busy + 1);
            self.busy.fetch_update(AcqRel, Acquire, below).ok()?;
        }
        Some(Lease { state: Arc::clone(self), tunnel: false })
    }

    /// Whether failures keep it out of rotation at `now`.
    pub fn is_failed(&self, spec: &ServerSpec, now: u64) -> bool {
        self.has_failed(spec)
            && now.saturating_sub(self.failures.checked.load(Relaxed))
                <= spec.fail_timeout.as_millis()
    }

    /// Told at a pick. After `fail_timeout` exactly one request becomes the probe of a failed
    /// server.
    pub(crate) fn claim(&self, spec: &ServerSpec, now: u64) -> Claim {
        let failures = &self.failures;
        let fails = failures.fails.load(Relaxed);
        if fails == 0 {
            return Claim::NotNeeded;
        }
        let checked = failures.checked.load(Relaxed);
        if now.saturating_sub(checked) <= spec.fail_timeout.as_millis() {
            return Claim::NotNeeded;
        }
        if failures.checked.compare_exchange(checked, now, Relaxed, Relaxed).is_ok() {
            Claim::Probing(checked)
        } else if spec.max_fails == 0 || fails < spec.max_fails {
            Claim::NotNeeded
        } else {
            Claim::Taken
        }
    }

    /// Gives back the claim of a pick at `at` that found nothing out.
    pub(crate) fn unclaim(&self, at: u64, before: u64) {
        // Unless somebody has found something out meanwhile.
        let _ = self.failures.checked.compare_exchange(at, before, Relaxed, Relaxed);
    }

    /// Whether a failure was counted at that time or later.
    pub fn has_failed_since(&self, at: u64) -> bool {
        self.failures.fails.load(Relaxed) > 0 && self.failures.accessed.load(Relaxed) >= at
    }

    /// A failure in nginx's sense. `true` when this one put the server out of rotation.
    pub fn failed(&self, spec: &ServerSpec, now: u64) -> bool {
        let failures = &self.failures;
        failures.accessed.store(now, Relaxed);
        failures.checked.store(now, Relaxed);
        failures.fails.fetch_add(1, Relaxed) + 1 == spec.max_fails
    }

    /// An answer came. Only one that was asked for after the last failure clears the count. `true`
    /// when it brought the server back.
    pub fn answered(&self, spec: &ServerSpec) -> bool {
        let failures = &self.failures;
        failures.fails.load(Relaxed) > 0
            && failures.accessed.load(Relaxed) < failures.checked.load(Relaxed)
            && self.recover(spec)
    }

    /// It has answered a request, or passed a probe, although failures kept it out: they are
    /// forgotten. `true` when it was out until now.
    pub fn recover(&self, spec: &ServerSpec) -> bool {
        let was_out = self.has_failed(spec);
        if was_out {
            self.health.ramp();
        }
        // Another worker may have been first.
        self.failures.fails.swap(0, Relaxed) > 0 && was_out
    }

    /// Whether failures have put it out of rotation, and nothing has brought it back so far. After
    /// `fail_timeout` it may be tried, and is still that.
    pub fn has_failed(&self, spec: &ServerSpec) -> bool {
        let fails = self.fails();
        fails > 0 && spec.max_fails > 0 && fails >= spec.max_fails
    }

    /// Its failures are forgotten.
    fn forget_failures(&self) {
        self.failures.fails.store(0, Relaxed);
    }

    /// Takes note of a probe of its check, whose beginning was that `epoch`. One that passes ends a
    /// `fail_timeout` early. `confirms`: a request has failed, one failed probe is enough.
    pub fn probed(
        &self,
        spec: &ServerSpec,
        check: &Check,
        epoch: u64,
        probed: Probed,
        confirms: bool,
    ) -> Option<Turned> {
        let ok = probed.ok;
        let (is_heard, turned) = self.health.record(epoch, check, probed, confirms);
        if ok && is_heard && self.fails() > 0 {
            self.recover(spec);
        }
        turned
    }

    /// Failures counted now.
    pub fn fails(&self) -> u32 {
        self.failures.fails.load(Relaxed)
    }
}

/// What a pick has to do with a server's failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// There are none that matter.
    NotNeeded,
    /// This request tries whether it is well again; when it was last tried.
    Probing(u64),
    /// Another request does.
    Taken,
}

/// A place on a server, given back when dropped.
#[derive(Debug)]
pub struct Lease {
    state: Arc<ServerState>,
    tunnel: bool,
}

impl Lease {
    pub fn state(&self) -> &Arc<ServerState> {
        &self.state
    }

    /// From now on a tunnel.
    #[must_use]
    pub fn into_tunnel(mut self) -> Self {
        if !self.tunnel {
            self.state.tunnels.fetch_add(1, Relaxed);
            self.tunnel = true;
        }
        self
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.tunnel {
            self.state.tunnels.fetch_sub(1, Relaxed);
        }
        self.state.busy.fetch_sub(1, AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::{Address, Span};

    use super::*;

    fn server(max_fails: u32) -> (Arc<ServerState>, ServerSpec) {
        let mut spec = ServerSpec::new(Address::parse("10.0.0.1:80").expect("an address"));
        spec.max_fails = max_fails;
        spec.fail_timeout = Span::from_secs(10);
        let pool = Name::new("p").expect("a name");
        (Arc::new(ServerState::new(&pool, "10.0.0.1:80", 0, 1)), spec)
    }

    #[test]
    fn max_conns_is_a_limit_on_requests_and_tunnels_together() {
        let (state, _) = server(1);
        let one = state.lease(2).expect("a place").into_tunnel();
        let two = state.lease(2).expect("a place");
        assert!(state.lease(2).is_none());
        assert_eq!((state.busy(), state.tunnels()), (2, 1));
        drop(one);
        assert!(state.lease(2).is_some());
        drop(two);
        assert_eq!((state.busy(), state.tunnels()), (0, 0));
    }

    #[test]
    fn failures_add_up_although_successes_come_between() {
        let (state, spec) = server(3);
        assert!(!state.failed(&spec, 1_000));
        state.answered(&spec);
        assert!(!state.failed(&spec, 2_000));
        state.answered(&spec);
        assert!(state.failed(&spec, 3_000));
        assert!(state.is_failed(&spec, 13_000) && !state.is_failed(&spec, 13_001));
    }

    #[test]
    fn one_request_probes_a_failed_server_and_clears_it() {
        let (state, spec) = server(1);
        state.failed(&spec, 1_000);
        assert_eq!(state.claim(&spec, 20_000), Claim::Probing(1_000), "the first is the probe");
        assert!(state.is_failed(&spec, 20_000), "everybody else waits for it");
        state.answered(&spec);
        assert!(!state.is_failed(&spec, 20_000));
    }

    #[test]
    fn one_failed_probe_puts_it_out_again() {
        let (state, spec) = server(2);
        state.failed(&spec, 1_000);
        state.failed(&spec, 1_000);
        assert_eq!(state.claim(&spec, 20_000), Claim::Probing(1_000));
        state.failed(&spec, 20_001);
        assert!(state.is_failed(&spec, 30_001));
    }

    #[test]
    fn a_probe_that_found_nothing_out_leaves_it_to_another() {
        let (state, spec) = server(1);
        state.failed(&spec, 1_000);
        assert_eq!(state.claim(&spec, 20_000), Claim::Probing(1_000));
        state.unclaim(20_000, 1_000);
        assert_eq!(state.claim(&spec, 20_001), Claim::Probing(1_000));
        state.failed(&spec, 20_002);
        state.unclaim(20_001, 1_000);
        assert!(state.is_failed(&spec, 30_002), "a failure stands");
    }

    #[test]
    fn max_fails_zero_never_puts_it_out() {
        let (state, spec) = server(0);
        assert!(!state.failed(&spec, 1_000) && !state.failed(&spec, 1_000));
        assert!(!state.is_failed(&spec, 1_000) && state.claim(&spec, 50_000) != Claim::Taken);
    }
}
