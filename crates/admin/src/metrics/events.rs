//! What was told to those who follow the events.

use tidegate_events::Totals;

use super::page::Page;

pub(super) fn families(page: &mut Page, totals: &Totals) {
    page.counter("tidegate_events_total", "Events that were told.", |samples| {
        for (kind, count) in &totals.events {
            samples.count(&[("kind", kind.word())], *count);
        }
    });
    page.gauge("tidegate_event_readers", "Connections that follow the events.", |samples| {
        samples.count(&[], totals.readers as u64);
    });
    page.counter(
        "tidegate_event_readers_dropped_total",
        "Connections that did not read the events fast enough.",
        |samples| samples.count(&[], totals.dropped),
    );
}
