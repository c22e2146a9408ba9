//! The recent latency of a server: an average in which a sample counts for the time since the one
//! before, so that a burst of requests weighs no more than a trickle. It forgets with age: a server
//! that was slow, and is therefore left alone, is tried again.
//!
//! Workers read and write it at once with plain loads and stores. Of two samples at the same
//! instant one may be lost, which an average does not notice and a contended retry would.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// After so many milliseconds without a sample, the next and all those before count the same.
const TAU_MS: f32 = 2_000.0;
/// In so many milliseconds an untouched average costs e times less.
const FORGET_MS: f32 = 10_000.0;
/// Clocks of workers differ by less than this many milliseconds; stamps are compared around 2³².
const BACKWARDS_MS: u32 = 1 << 16;

/// An average of latency. See the file's head.
///
/// The upper half is the average in microseconds as a float, since one of whole numbers could not
/// move by the two-thousandth that a sample of a busy server counts; the lower half is the time of
/// the last sample in milliseconds, cut to 32 bits. No sample yet is 0, and no average is.
#[derive(Debug, Default)]
pub struct Ewma(AtomicU64);

impl Ewma {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a latency of `micros` microseconds seen at `now_ms`, of a clock of the caller's.
    pub fn observe(&self, micros: u64, now_ms: u64) {
        let sample = micros as f32;
        let average = match self.load() {
            None => sample,
            Some((average, stamp)) => {
                let gap = age(stamp, now_ms).max(1) as f32;
                average + (sample - average) * (gap / (TAU_MS + gap))
            }
        };
        let packed = u64::from(average.max(1.0).to_bits()) << 32 | u64::from(now_ms as u32);
        self.0.store(packed, Relaxed);
    }

    /// The average after the last sample, in microseconds; `None` before the first.
    pub fn value(&self) -> Option<u64> {
        self.load().map(|(average, _)| average as u64)
    }

    /// The average as of `now_ms`, in microseconds: less and less the longer nobody has observed
    /// anything. `None` before the first sample.
    pub fn cost(&self, now_ms: u64) -> Option<u64> {
        let (average, stamp) = self.load()?;
        Some((average * (-(age(stamp, now_ms) as f32) / FORGET_MS).exp()) as u64)
    }

    fn load(&self) -> Option<(f32, u32)> {
        let packed = self.0.load(Relaxed);
        (packed != 0).then(|| (f32::from_bits((packed >> 32) as u32), packed as u32))
    }
}

/// Milliseconds from a stamp to now. One of a worker whose clock is a little ahead is new.
fn age(stamp: u32, now_ms: u64) -> u32 {
    let age = (now_ms as u32).wrapping_sub(stamp);
    if age > u32::MAX - BACKWARDS_MS { 0 } else { age }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_sample_sets_it() {
        let ewma = Ewma::new();
        assert_eq!((ewma.value(), ewma.cost(5)), (None, None));
        ewma.observe(1_500, 0);
        assert_eq!((ewma.value(), ewma.cost(0)), (Some(1_500), Some(1_500)));
    }

    #[test]
    fn an_instant_answer_is_a_sample_too() {
        let ewma = Ewma::new();
        ewma.observe(0, 0);
        assert_eq!(ewma.value(), Some(1));
    }

    #[test]
    fn a_sample_after_two_seconds_counts_half() {
        let ewma = Ewma::new();
        ewma.observe(1_000, 10_000);
        ewma.observe(3_000, 12_000);
        assert_eq!(ewma.value(), Some(2_000));
    }

    #[test]
    fn a_burst_counts_for_the_time_it_took() {
        let burst = Ewma::new();
        burst.observe(1_000, 0);
        (0..100).for_each(|_| burst.observe(2_000, 1));
        assert!(burst.value().is_some_and(|value| (1_040..1_060).contains(&value)));
    }

    #[test]
    fn small_latencies_of_a_busy_server_are_followed_up_and_down() {
        let ewma = Ewma::new();
        ewma.observe(300, 0);
        (1..20_000).for_each(|now| ewma.observe(400, now));
        assert!(ewma.value().is_some_and(|value| (399..=400).contains(&value)));
        (20_000..40_000).for_each(|now| ewma.observe(100, now));
        assert!(ewma.value().is_some_and(|value| (100..=101).contains(&value)));
    }

    #[test]
    fn it_costs_less_with_age_and_nothing_in_the_end() {
        let ewma = Ewma::new();
        ewma.observe(1_000_000, 1_000);
        let costs = [1_000, 2_000, 11_000, 31_000, 301_000].map(|now| ewma.cost(now));
        assert!(costs.is_sorted_by(|a, b| a > b), "{costs:?}");
        assert!(costs[2].is_some_and(|cost| (367_000..369_000).contains(&cost)));
        assert_eq!(costs[4], Some(0));
        assert_eq!(ewma.value(), Some(1_000_000));
    }

    #[test]
    fn a_clock_behind_or_past_32_bits_is_no_age() {
        let wrap = 1_u64 << 32;
        let ewma = Ewma::new();
        ewma.observe(1_000, wrap - 1_000);
        assert_eq!(ewma.cost(wrap - 1_500), Some(1_000));
        ewma.observe(3_000, wrap + 1_000);
        assert_eq!(ewma.value(), Some(2_000));
    }

    proptest! {
        #[test]
        fn it_stays_among_its_samples(
            samples in prop::collection::vec((1_u64..1 << 24, 0_u64..100_000), 1..50),
        ) {
            let (ewma, mut now) = (Ewma::new(), 0);
            for (micros, gap) in &samples {
                now += gap;
                ewma.observe(*micros, now);
            }
            let value = ewma.value().expect("there were samples");
            let (low, high) = samples.iter().fold((u64::MAX, 0), |(low, high), (micros, _)| {
                (low.min(*micros), high.max(*micros))
            });
            // One for the rounding of the float.
            prop_assert!(value + 1 >= low && value <= high + 1);
            prop_assert!(ewma.cost(now + 60_000) <= Some(value));
        }

        #[test]
        fn no_number_is_too_large(samples in prop::collection::vec((any::<u64>(), any::<u64>()), 1..20)) {
            let ewma = Ewma::new();
            for (micros, now) in &samples {
                ewma.observe(*micros, *now);
                prop_assert!(ewma.value() >= Some(1));
                prop_assert!(ewma.cost(now.wrapping_add(1)).is_some());
            }
        }
    }
}
