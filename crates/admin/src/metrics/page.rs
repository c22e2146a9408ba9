//! A page of Prometheus text, written one family at a time so that only one is held in parts.

use prometheus::{
    TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};
use tidegate_metrics::{BOUNDS, Totals};

/// The text so far.
#[derive(Default)]
pub(crate) struct Page(String);

/// The samples of one family.
pub(crate) struct Samples {
    kind: MetricType,
    metrics: Vec<Metric>,
}

type Labels<'l> = &'l [(&'static str, &'l str)];

impl Page {
    pub(crate) fn counter(&mut self, name: &str, help: &str, fill: impl FnOnce(&mut Samples)) {
        self.family(name, help, MetricType::COUNTER, fill);
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, fill: impl FnOnce(&mut Samples)) {
        self.family(name, help, MetricType::GAUGE, fill);
    }

    pub(crate) fn histogram(&mut self, name: &str, help: &str, fill: impl FnOnce(&mut Samples)) {
        self.family(name, help, MetricType::HISTOGRAM, fill);
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        fill: impl FnOnce(&mut Samples),
    ) {
        let mut samples = Samples { kind, metrics: Vec::new() };
        fill(&mut samples);
        if samples.metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.into());
        family.set_help(help.into());
        family.set_field_type(kind);
        family.set_metric(samples.metrics);
        if let Err(error) = TextEncoder::new().encode_utf8(&[family], &mut self.0) {
            tracing::error!(name, %error, "a metric cannot be shown");
        }
    }
}

impl Samples {
    pub(crate) fn add(&mut self, labels: Labels<'_>, value: f64) {
        let mut metric = labelled(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// A whole number. Above 2^53 it is rounded.
    pub(crate) fn count(&mut self, labels: Labels<'_>, value: u64) {
        #[allow(clippy::cast_precision_loss)]
        self.add(labels, value as f64);
    }

    /// A whole number, unless it is 0: for the many counters that most servers never need.
    pub(crate) fn count_some(&mut self, labels: Labels<'_>, value: u64) {
        if value > 0 {
            self.count(labels, value);
        }
    }

    pub(crate) fn distribution(&mut self, labels: Labels<'_>, totals: &Totals) {
        let mut so_far = 0;
        let bucket = |(bound, count): (&f64, &u64)| {
            so_far += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(so_far);
            bucket
        };
        let mut histogram = Histogram::default();
        // The encoder adds the bucket above all bounds, which holds everything.
        histogram.set_bucket(BOUNDS.iter().zip(&totals.buckets).map(bucket).collect());
        histogram.set_sample_count(totals.buckets.iter().sum());
        histogram.set_sample_sum(totals.seconds);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pair = |(name, value): &(&'static str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_with_its_samples_and_left_out_without() {
        let mut page = Page::default();
        page.counter("a_total", "As.", |samples| {
            samples.count(&[("x", "1\n\"")], 2);
            samples.count_some(&[], 0);
        });
        page.gauge("b", "Bs.", |_| {});
        assert_eq!(
            page.into_text(),
            "# HELP a_total As.\n# TYPE a_total counter\na_total{x=\"1\\n\\\"\"} 2\n"
        );
    }

    #[test]
    fn a_distribution_is_cumulated() {
        let mut totals = Totals::default();
        totals.buckets[0] = 1;
        totals.buckets[2] = 2;
        totals.buckets[BOUNDS.len()] = 4;
        totals.seconds = 9.5;
        let mut page = Page::default();
        page.histogram("h_seconds", "H.", |samples| samples.distribution(&[], &totals));
        let text = page.into_text();
        for line in [
            "h_seconds_bucket{le=\"0.0005\"} 1\n",
            "h_seconds_bucket{le=\"0.0025\"} 3\n",
            "h_seconds_bucket{le=\"10\"} 3\n",
            "h_seconds_bucket{le=\"+Inf\"} 7\n",
            "h_seconds_sum 9.5\n",
            "h_seconds_count 7\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
