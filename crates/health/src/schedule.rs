//! When the next probe of a server is due. Probes of many servers must neither come at the same
//! moment nor fall into step, and a server between two states is asked more often than others.

use std::time::Duration;

use fastrand::Rng;
use tidegate_model::{Check, upstream::MIN_INTERVAL};
use tokio::time::Instant;

/// Requests that keep failing cannot ask for probes more often than this: a server that passes its
/// check and fails its requests would be probed without a pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// Servers that come at the same time are asked at once up to so many; further ones over a while.
const AT_ONCE: usize = 100;
const CROWD_OVER: Duration = Duration::from_secs(1);
/// The first probes of a process come within this time, however long the interval.
const START_OVER: Duration = Duration::from_secs(5);

/// The turns of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    due: Instant,
    /// When the last probe began.
    began: Option<Instant>,
    /// Whether it is out of step with servers that came at the same time.
    is_apart: bool,
}

/// A server that comes to be checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer {
    /// Nothing is sent to it before its first probes.
    pub(crate) is_awaited: bool,
    /// It was there when the process started.
    pub(crate) is_first: bool,
    /// How many came with it, before it.
    pub(crate) before: usize,
}

impl Schedule {
    pub(crate) fn new(check: &Check, newcomer: Newcomer, now: Instant, rng: &mut Rng) -> Self {
        let Newcomer { is_awaited, is_first, before } = newcomer;
        let over = match before {
            _ if is_awaited => Duration::ZERO,
            _ if is_first => check.interval.as_duration().min(START_OVER),
            AT_ONCE.. => CROWD_OVER,
            _ => Duration::ZERO,
        };
        Self { due: now + over.mul_f64(rng.f64()), began: None, is_apart: false }
    }

    /// When to probe next; `hurried`: somebody asks for it.
    pub(crate) fn due(&self, hurried: bool, now: Instant) -> Instant {
        if !hurried {
            return self.due;
        }
        self.due.min(self.began.map_or(now, |began| began + SHORTEST_PAUSE))
    }

    pub(crate) fn begins(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// Plans the next turn, after a probe or because the check has another pace now. Intervals are
    /// counted from the beginning of a probe.
    pub(crate) fn plan(&mut self, check: &Check, is_between: bool, now: Instant, rng: &mut Rng) {
        let interval = check.interval.max(MIN_INTERVAL).as_duration();
        let Some(began) = self.began else {
            self.due = self.due.min(now + interval);
            return;
        };
        let pause = if is_between {
            check.fast_interval.max(MIN_INTERVAL).as_duration()
        } else if self.is_apart {
            interval.mul_f64(0.9 + 0.2 * rng.f64())
        } else {
            self.is_apart = true;
            interval.mul_f64(rng.f64())
        };
        self.due = (began + pause).max(now);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::{
        Span,
        upstream::{CheckSpec, UpstreamSpec},
    };

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn check(interval: u64) -> std::sync::Arc<Check> {
        let check =
            CheckSpec { interval: Some(Span::from_millis(interval)), ..CheckSpec::default() };
        let spec = UpstreamSpec { check: Some(check), ..UpstreamSpec::default() };
        spec.resolve(&UpstreamSpec::default()).check.expect("a check")
    }

    fn newcomer(is_awaited: bool, is_first: bool, before: usize) -> Newcomer {
        Newcomer { is_awaited, is_first, before }
    }

    /// The longest of many first waits.
    fn longest(interval: u64, newcomer: Newcomer) -> Duration {
        let (now, mut rng) = (Instant::now(), Rng::with_seed(1));
        let wait = |_| Schedule::new(&check(interval), newcomer, now, &mut rng).due - now;
        (0..1_000).map(wait).max().unwrap_or_default()
    }

    #[test]
    fn who_is_awaited_is_asked_at_once_the_others_are_spread() {
        assert_eq!(longest(60_000, newcomer(true, true, 500)), Duration::ZERO);
        assert_eq!(longest(60_000, newcomer(false, false, 99)), Duration::ZERO);
        assert!((900 * MS..=CROWD_OVER).contains(&longest(60_000, newcomer(false, false, 100))));
        assert!((4_500 * MS..=START_OVER).contains(&longest(60_000, newcomer(false, true, 0))));
        assert!((900 * MS..=1_000 * MS).contains(&longest(1_000, newcomer(false, true, 0))));
    }

    #[test]
    fn turns_fall_out_of_step_first_and_then_keep_their_pace() {
        let (start, mut rng) = (Instant::now(), Rng::with_seed(1));
        let (check, mut waits) = (check(1_000), Vec::new());
        for _ in 0..1_000 {
            let mut schedule = Schedule::new(&check, newcomer(true, false, 0), start, &mut rng);
            for turn in 0..3 {
                schedule.begins(start);
                schedule.plan(&check, false, start, &mut rng);
                waits.push((turn, schedule.due - start));
            }
        }
        let of = |turn| waits.iter().filter(move |wait| wait.0 == turn).map(|wait| wait.1);
        assert!(of(0).min() < Some(100 * MS) && of(0).max() > Some(900 * MS));
        assert!(of(1).chain(of(2)).all(|wait| (900 * MS..=1_100 * MS).contains(&wait)));
    }

    #[test]
    fn between_states_it_is_asked_soon_but_not_before_the_last_probe_has_ended() {
        let (start, mut rng) = (Instant::now(), Rng::with_seed(1));
        let check = check(60_000);
        let mut schedule = Schedule::new(&check, newcomer(true, false, 0), start, &mut rng);
        schedule.begins(start);
        schedule.plan(&check, true, start + 200 * MS, &mut rng);
        assert_eq!(schedule.due(false, start), start + 1_000 * MS);
        schedule.plan(&check, true, start + 3_000 * MS, &mut rng);
        assert_eq!(schedule.due(false, start), start + 3_000 * MS);
    }

    #[test]
    fn a_suspicion_brings_it_forward_but_not_without_a_pause() {
        let (start, mut rng) = (Instant::now(), Rng::with_seed(1));
        let check = check(60_000);
        let mut schedule = Schedule::new(&check, newcomer(false, true, 0), start, &mut rng);
        assert_eq!(schedule.due(true, start), start);
        schedule.begins(start);
        schedule.is_apart = true;
        schedule.plan(&check, false, start + MS, &mut rng);
        assert_eq!(schedule.due(true, start + MS), start + SHORTEST_PAUSE);
    }

    #[test]
    fn a_new_pace_counts_from_the_last_probe() {
        let (start, mut rng) = (Instant::now(), Rng::with_seed(1));
        let mut schedule = Schedule::new(&check(60_000), newcomer(true, false, 0), start, &mut rng);
        schedule.begins(start);
        schedule.is_apart = true;
        schedule.plan(&check(60_000), false, start, &mut rng);
        schedule.plan(&check(1_000), false, start + 10 * MS, &mut rng);
        assert!(schedule.due <= start + 1_100 * MS);
    }
}
