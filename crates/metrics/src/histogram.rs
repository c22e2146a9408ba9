//! A latency histogram with one writer.

use std::time::Duration;

use crate::Counter;

/// Upper bounds of the buckets in seconds; the last bucket, above all of them, is not listed.
pub const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const BOUNDS_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Durations seen; one writer.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BOUNDS.len() + 1],
    micros: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), micros: Counter::default() }
    }
}

/// The sum of any number of histograms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// How many durations were at most the bound of the same index, not cumulated.
    pub buckets: [u64; BOUNDS.len() + 1],
    pub seconds: f64,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[at].add(1);
        self.micros.add(micros);
    }

    pub fn collect(&self, into: &mut Totals) {
        for (total, bucket) in into.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.value();
        }
        // Lossy above 2^53 µs, 285 years of waiting.
        #[allow(clippy::cast_precision_loss)]
        let seconds = self.micros.value() as f64 / 1e6;
        into.seconds += seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [1, 500, 501, 3_000_000, 60_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut totals = Totals::default();
        histogram.collect(&mut totals);
        assert_eq!(totals.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
        assert!((totals.seconds - 63.001_002).abs() < 1e-9);
    }

    #[test]
    fn both_lists_of_bounds_are_the_same() {
        for (seconds, micros) in BOUNDS.iter().zip(BOUNDS_MICROS) {
            assert!(
                (seconds * 1e6 - f64::from(u32::try_from(micros).expect("small"))).abs() < 1e-6
            );
        }
    }
}
