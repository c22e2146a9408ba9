//! How many tunnels may have been closed by now. A clock that pauses, changes its speed and never
//! makes up for more than a moment: whoever was held up must not cause the rush it is to prevent.

use std::time::{Duration, Instant};

/// So much of what was missed is made up for; the rest is forgiven.
const MADE_UP: Duration = Duration::from_millis(50);

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speed {
    pub(crate) count: u64,
    pub(crate) per: Duration,
}

/// The pace of one emptying.
#[derive(Debug)]
pub(crate) struct Pace {
    speed: Speed,
    /// What was due before `since`, and what of that is forgiven.
    base: u64,
    forgiven: u64,
    /// `None`: it is paused.
    since: Option<Instant>,
}

impl Speed {
    /// How many in `time`.
    fn within(self, time: Duration) -> u64 {
        let due = u128::from(self.count) * time.as_nanos() / self.per.as_nanos().max(1);
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// How long so many take.
    pub(crate) fn time_for(self, count: u64) -> Duration {
        let nanos = self.per.as_nanos() * u128::from(count) / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Pace {
    pub(crate) fn new(speed: Speed, now: Instant) -> Self {
        Self { speed, base: 0, forgiven: 0, since: Some(now) }
    }

    pub(crate) fn speed(&self) -> Speed {
        self.speed
    }

    /// How many may have been closed, of which `done` are. One that is far behind forgets most of it.
    pub(crate) fn due(&mut self, done: u64, now: Instant) -> u64 {
        let due = self.at(now);
        let most = self.speed.within(MADE_UP).max(1);
        let missed = due.saturating_sub(done);
        if missed > most {
            self.forgiven += missed - most;
            return done + most;
        }
        due
    }

    pub(crate) fn set_speed(&mut self, speed: Speed, now: Instant) {
        if speed == self.speed {
            return;
        }
        self.rest(now);
        self.since = self.since.map(|_| now);
        self.speed = speed;
    }

    pub(crate) fn set_paused(&mut self, paused: bool, now: Instant) {
        match (paused, self.since) {
            (true, Some(_)) => {
                self.rest(now);
                self.since = None;
            }
            (false, None) => self.since = Some(now),
            _ => (),
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.since.is_none()
    }

    /// What is due by now is settled, whatever comes.
    fn rest(&mut self, now: Instant) {
        (self.base, self.forgiven) = (self.at(now), 0);
    }

    fn at(&self, now: Instant) -> u64 {
        let passed = self.since.map(|since| now.saturating_duration_since(since));
        let due = self.base.saturating_add(passed.map_or(0, |passed| self.speed.within(passed)));
        due.saturating_sub(self.forgiven)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn speed(count: u64) -> Speed {
        Speed { count, per: Duration::from_secs(1) }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(speed(100), start);
        assert_eq!(pace.due(48, at(500)), 50);
        pace.set_paused(true, at(500));
        assert_eq!(pace.due(50, at(60_000)), 50);
        pace.set_paused(false, at(60_000));
        assert_eq!(pace.due(50, at(60_010)), 51);
        pace.set_speed(speed(1_000), at(60_010));
        assert_eq!(pace.due(51, at(60_020)), 61);
    }

    #[test]
    fn who_is_far_behind_does_not_rush() {
        let start = Instant::now();
        let mut pace = Pace::new(speed(200), start);
        let late = start + Duration::from_secs(10);
        assert_eq!(pace.due(0, late), 10, "fifty milliseconds' worth");
        assert_eq!(pace.due(10, late), 10);
        assert_eq!(pace.due(10, late + Duration::from_secs(1)), 20);
        let mut slow = Pace::new(Speed { count: 1, per: Duration::from_secs(60) }, start);
        assert_eq!(slow.due(0, start + Duration::from_secs(600)), 1);
    }

    proptest! {
        /// Whoever looks often enough closes the rate, in every second.
        #[test]
        fn every_second_has_its_share(
            rate in 1_u64..2_000,
            looks in prop::collection::vec(1_u64..20, 600),
        ) {
            let start = Instant::now();
            let mut pace = Pace::new(speed(rate), start);
            let (mut done, mut millis, mut seconds) = (0, 0, vec![0_u64; 20]);
            for wait in looks {
                millis += wait;
                let due = pace.due(done, start + Duration::from_millis(millis));
                if let Some(second) = seconds.get_mut(usize::try_from(millis / 1_000).unwrap_or(99)) {
                    *second += due - done;
                }
                done = due;
            }
            let whole = usize::try_from(millis / 1_000).unwrap_or(0).min(20);
            // A look is up to 20 ms off.
            let off = rate.div_ceil(50) + 1;
            for second in &seconds[..whole] {
                prop_assert!(second.abs_diff(rate) <= off, "{seconds:?}");
            }
            prop_assert!(done.abs_diff(rate * millis / 1_000) <= 1);
        }
    }
}
