//! What probes and answers say of a server's health. A pick reads one word of it; the rest is
//! written by whoever found something out, and carried over with the server from list to list.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::SystemTime,
};

use tidegate_model::{
    Check, Span,
    upstream::{CheckStart, Eject},
};

/// Probes have taken it out.
const UNHEALTHY: u32 = 1;
/// It has yet to pass its first probes.
const CHECKING: u32 = 2;
/// Its answers have taken it out, for a time.
const EJECTED: u32 = 4;

/// A slow start that no pick has seen yet: who sees it first says when it began.
const FROM_NOW: u64 = u64::MAX;
const NO_RAMP: u64 = 0;

/// No ejection lasts longer (Envoy's `max_ejection_time`).
const LONGEST_EJECTION: Span = Span::from_secs(300);

/// The health of one server.
#[derive(Debug, Default)]
pub struct Health {
    /// Any of them keeps it out of rotation.
    marks: AtomicU32,
    /// Answers of 5xx, time-outs and broken connections in a row.
    bad_answers: AtomicU32,
    ejected_until: AtomicU64,
    ejections: AtomicU32,
    ramp_from: AtomicU64,
    /// Somebody asks for a probe, which has not begun yet.
    suspected: AtomicBool,
    probes: Mutex<Probes>,
}

/// What its check has found so far.
#[derive(Debug, Default)]
struct Probes {
    /// Counts how often a check began anew: what an older one still reports is not heard.
    epoch: u64,
    is_checked: bool,
    rises: u32,
    falls: u32,
    passed: u64,
    failed: u64,
    since: Option<SystemTime>,
    last: Option<Probed>,
}

/// How one probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    pub at: SystemTime,
    pub ok: bool,
    /// What was seen, in a line.
    pub detail: String,
}

/// What a probe has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    Down,
    Up,
}

/// What a check has found, for those who look.
#[derive(Clone, Debug)]
pub struct Checked {
    pub is_up: bool,
    /// Probes in a row; they go on counting after a turn, as Tengine's do.
    pub rises: u32,
    pub falls: u32,
    /// Probes since the check began.
    pub passed: u64,
    pub failed: u64,
    /// When it last turned, or began.
    pub since: Option<SystemTime>,
    pub last: Option<Probed>,
}

/// Why health keeps a server out of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    Checking,
    Ejected,
    Unhealthy,
}

impl Health {
    /// Whether anything but passive failures keeps it out. One load as long as nothing does.
    pub fn is_out(&self, now: u64) -> bool {
        self.marks.load(Relaxed) != 0 && self.ailment(now).is_some()
    }

    /// What keeps it out at `now`. Ends an ejection whose time is over.
    pub fn ailment(&self, now: u64) -> Option<Ailment> {
        let marks = self.marks.load(Acquire);
        if marks & UNHEALTHY != 0 {
            return Some(Ailment::Unhealthy);
        }
        if marks & CHECKING != 0 {
            return Some(Ailment::Checking);
        }
        if marks & EJECTED == 0 {
            return None;
        }
        if now < self.ejected_until.load(Relaxed) {
            return Some(Ailment::Ejected);
        }
        if self.marks.fetch_and(!EJECTED, Relaxed) & EJECTED != 0 {
            self.ramp();
        }
        None
    }

    /// Its share begins to grow from nothing, if it is to start slowly.
    pub(crate) fn ramp(&self) {
        self.ramp_from.store(FROM_NOW, Relaxed);
    }

    /// The share of its usual picks that it gets at `now`, of 1,024; `None`: all of them.
    pub fn ramp_share(&self, slow_start: Span, now: u64) -> Option<u32> {
        match self.ramp_from.load(Relaxed) {
            NO_RAMP => None,
            from => share(if from == FROM_NOW { now } else { from }, slow_start, now),
        }
    }

    /// The same, for a pick: the first one says when the slow start began, the last that it is over.
    pub(crate) fn ramp_at_pick(&self, slow_start: Span, now: u64) -> Option<u32> {
        self.begin_ramp(now);
        let from = match self.ramp_from.load(Relaxed) {
            NO_RAMP => return None,
            from => from,
        };
        let share = share(from, slow_start, now);
        if share.is_none() {
            let _ = self.ramp_from.compare_exchange(from, NO_RAMP, Relaxed, Relaxed);
        }
        share
    }

    /// It is being picked: a slow start that has not begun begins. So it does for a server that has
    /// none, or one that it gets much later would begin then.
    pub(crate) fn begin_ramp(&self, now: u64) {
        if self.ramp_from.load(Relaxed) == FROM_NOW {
            // Another worker may have been first, by a millisecond.
            let _ = self.ramp_from.compare_exchange(FROM_NOW, now, Relaxed, Relaxed);
        }
    }

    /// A check begins, or begins anew; `None`: there is none any more. Ejections are forgotten too
    /// when `wholly`.
    pub(crate) fn restart(&self, start: Option<CheckStart>, wholly: bool) {
        let mut probes = self.lock();
        *probes = Probes {
            epoch: probes.epoch + 1,
            is_checked: start.is_some(),
            since: Some(SystemTime::now()),
            ..Probes::default()
        };
        let kept = if wholly { 0 } else { self.marks.load(Relaxed) & EJECTED };
        let marks = if start == Some(CheckStart::Down) { CHECKING } else { 0 };
        self.marks.store(marks | kept, Relaxed);
        self.suspected.store(false, Relaxed);
        if wholly {
            self.bad_answers.store(0, Relaxed);
            self.ejections.store(0, Relaxed);
        }
    }

    /// What a prober shows with its findings, so that those of an older check are not heard.
    pub fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// Takes note of a probe; whether it was one of the present check, and what it has changed.
    /// `confirms`: a request has failed here, so that one failed probe is enough.
    pub(crate) fn record(
        &self,
        epoch: u64,
        check: &Check,
        probed: Probed,
        confirms: bool,
    ) -> (bool, Option<Turned>) {
        let mut probes = self.lock();
        if probes.epoch != epoch {
            return (false, None);
        }
        let marks = self.marks.load(Relaxed);
        let turned = probes.count(check, probed.ok, confirms, marks);
        if turned.is_some() {
            probes.since = Some(probed.at);
        }
        probes.last = Some(probed);
        match turned {
            Some(Turned::Up) => {
                self.ramp();
                self.marks.fetch_and(!(UNHEALTHY | CHECKING), Relaxed);
            }
            Some(Turned::Down) => {
                self.marks.fetch_or(UNHEALTHY, Relaxed);
            }
            None => (),
        }
        (true, turned)
    }

    /// Whether the next probe should come soon: the last ones do not agree with the state.
    pub fn is_between(&self) -> bool {
        let probes = self.lock();
        match self.marks.load(Relaxed) {
            marks if marks & CHECKING != 0 && marks & UNHEALTHY == 0 => true,
            marks if marks & UNHEALTHY != 0 => probes.rises > 0,
            _ => probes.falls > 0,
        }
    }

    /// When its check last turned or began; without one, when it joined.
    pub fn since(&self) -> Option<SystemTime> {
        self.lock().since
    }

    /// What the check has found; `None` without one.
    pub fn checked(&self) -> Option<Checked> {
        let probes = self.lock();
        probes.is_checked.then(|| Checked {
            is_up: self.marks.load(Relaxed) & (UNHEALTHY | CHECKING) == 0,
            rises: probes.rises,
            falls: probes.falls,
            passed: probes.passed,
            failed: probes.failed,
            since: probes.since,
            last: probes.last.clone(),
        })
    }

    /// A request failed: `true` for the first who says so since the last probe.
    pub fn suspect(&self) -> bool {
        !self.suspected.swap(true, Relaxed)
    }

    /// A probe begins; `true` when somebody had asked for it.
    pub fn begin_probe(&self) -> bool {
        self.suspected.swap(false, Relaxed)
    }

    /// Counts an answer, good or bad; `true` when there were `limit` bad ones in a row.
    pub(crate) fn answered(&self, bad: bool, limit: u32) -> bool {
        if !bad {
            if self.bad_answers.load(Relaxed) > 0 {
                self.bad_answers.store(0, Relaxed);
            }
            return false;
        }
        self.bad_answers.fetch_add(1, Relaxed) + 1 >= limit
    }

    /// Leaves it out for a while that grows with each time; how long, in milliseconds. `None` when
    /// it is out already.
    pub(crate) fn eject(&self, eject: &Eject, now: u64) -> Option<u64> {
        // One at a time, and the mark last: whoever sees it must see how long it holds.
        let _alone = self.lock();
        if self.marks.load(Relaxed) & EJECTED != 0 {
            return None;
        }
        self.bad_answers.store(0, Relaxed);
        let base = eject.base.as_millis();
        let before = self.ejected_until.load(Relaxed);
        // Each `base` without an ejection makes up for one.
        let quiet = now.saturating_sub(before) / base.max(1);
        let made_up = u32::try_from(quiet).unwrap_or(u32::MAX);
        let times = self.ejections.load(Relaxed).saturating_sub(made_up) + 1;
        self.ejections.store(times, Relaxed);
        let lasts = base.saturating_mul(times.into()).min(LONGEST_EJECTION.as_millis().max(base));
        self.ejected_until.store(now.saturating_add(lasts), Relaxed);
        self.marks.fetch_or(EJECTED, Release);
        Some(lasts)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Probes> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The share at `now` of a slow start that began at `from`; `None` once it is over.
fn share(from: u64, slow_start: Span, now: u64) -> Option<u32> {
    let (passed, whole) = (now.saturating_sub(from), slow_start.as_millis());
    // Never nothing at all: what nobody asks can show nobody that it is well.
    (passed < whole)
        .then(|| u32::try_from(passed.saturating_mul(1_024) / whole).map_or(1_024, |s| s.max(8)))
}

impl Probes {
    fn count(&mut self, check: &Check, ok: bool, confirms: bool, marks: u32) -> Option<Turned> {
        if ok {
            self.passed += 1;
            self.rises = self.rises.saturating_add(1);
            self.falls = 0;
            let is_out = marks & (UNHEALTHY | CHECKING) != 0;
            return (is_out && self.rises >= check.rise).then_some(Turned::Up);
        }
        self.failed += 1;
        self.falls = self.falls.saturating_add(1);
        if confirms {
            self.falls = self.falls.max(check.fall);
        }
        self.rises = 0;
        // By the mark, not by the count: a change may have asked for fewer than there are already.
        (marks & UNHEALTHY == 0 && self.falls >= check.fall).then_some(Turned::Down)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_model::upstream::{CheckKind, CheckSpec, EjectSpec, Share, UpstreamSpec};

    use super::*;

    fn check() -> Arc<Check> {
        let check = CheckSpec { kind: Some(CheckKind::Tcp), ..CheckSpec::default() };
        let spec = UpstreamSpec { check: Some(check), ..UpstreamSpec::default() };
        spec.resolve(&UpstreamSpec::default()).check.expect("a check")
    }

    fn probed(ok: bool) -> Probed {
        Probed { at: SystemTime::now(), ok, detail: String::new() }
    }

    fn record(health: &Health, ok: bool) -> Option<Turned> {
        health.record(health.epoch(), &check(), probed(ok), false).1
    }

    #[test]
    fn fall_takes_it_out_and_rise_brings_it_back() {
        let health = Health::default();
        health.restart(Some(CheckStart::Up), false);
        let turns: Vec<_> =
            [false, false, true, false, false, false, false, true, false, true, true]
                .map(|ok| record(&health, ok))
                .into_iter()
                .collect();
        let mut expected = vec![None; 11];
        expected[5] = Some(Turned::Down);
        expected[10] = Some(Turned::Up);
        assert_eq!(turns, expected);
        assert_eq!(health.ailment(1), None);
    }

    #[test]
    fn who_starts_down_waits_for_rise() {
        let health = Health::default();
        health.restart(Some(CheckStart::Down), false);
        assert_eq!(health.ailment(1), Some(Ailment::Checking));
        assert!(health.is_between());
        assert_eq!((record(&health, true), record(&health, true)), (None, Some(Turned::Up)));
        assert!(!health.is_out(1) && !health.is_between());
    }

    #[test]
    fn a_request_that_failed_makes_one_failed_probe_enough() {
        let health = Health::default();
        health.restart(Some(CheckStart::Up), false);
        assert!(health.suspect() && !health.suspect());
        assert!(health.begin_probe() && health.suspect());
        let turned = health.record(health.epoch(), &check(), probed(false), true);
        assert_eq!(turned, (true, Some(Turned::Down)));
    }

    #[test]
    fn what_an_older_check_still_reports_is_not_heard() {
        let health = Health::default();
        health.restart(Some(CheckStart::Up), false);
        let old = health.epoch();
        health.restart(Some(CheckStart::Up), false);
        assert_eq!(health.record(old, &check(), probed(false), true), (false, None));
        health.restart(None, false);
        assert!(health.checked().is_none());
    }

    #[test]
    fn fewer_probes_may_be_enough_after_a_change() {
        let health = Health::default();
        health.restart(Some(CheckStart::Up), false);
        let patient = Check { fall: 100, ..Check::clone(&check()) };
        for _ in 0..10 {
            assert_eq!(health.record(health.epoch(), &patient, probed(false), false).1, None);
        }
        assert_eq!(record(&health, false), Some(Turned::Down));
        assert_eq!(record(&health, false), None, "it is down already");
    }

    #[test]
    fn ejections_last_longer_each_time_and_end_by_themselves() {
        let spec = EjectSpec { base: Some(Span::from_secs(10)), ..EjectSpec::default() };
        let spec = UpstreamSpec { eject: spec, ..UpstreamSpec::default() };
        let eject = spec.resolve(&UpstreamSpec::default()).eject;
        let health = Health::default();
        assert!(!health.answered(true, 2) && health.answered(true, 2));
        assert_eq!(health.eject(&eject, 1_000), Some(10_000));
        assert_eq!(health.eject(&eject, 1_001), None);
        assert_eq!(health.ailment(10_999), Some(Ailment::Ejected));
        assert_eq!(health.ailment(11_000), None);
        assert_eq!(health.ramp_at_pick(Span::from_secs(1), 11_000), Some(8));
        assert_eq!(health.eject(&eject, 12_000), Some(20_000));
        assert_eq!(health.ailment(40_000), None);
        assert_eq!(health.eject(&eject, 60_000), Some(10_000), "two quiet spells made up for two");
        assert_eq!(eject.max_share, Share::from_percent(10));
        assert_eq!((eject.most(3), eject.most(1), eject.most(50)), (1, 0, 5));
    }

    #[test]
    fn a_slow_start_grows_and_ends() {
        let health = Health::default();
        let second = Span::from_secs(1);
        assert_eq!(health.ramp_at_pick(second, 5), None);
        health.ramp();
        assert_eq!(health.ramp_share(second, 900), Some(8), "looking does not begin it");
        assert_eq!(health.ramp_at_pick(second, 1_000), Some(8));
        assert_eq!(health.ramp_at_pick(second, 1_500), Some(512));
        assert_eq!(health.ramp_at_pick(second, 2_000), None);
        assert_eq!(health.ramp_at_pick(second, 1_500), None, "it has ended");
    }
}
