//! A request's place in a trace (W3C Trace Context). Without an exporter Tidegate takes no part: what a
//! client says of its trace passes on as any field does. With one, a span of ours stands between the
//! caller's and those that the server begins, which are children of the attempt that reached it.

use std::{
    cell::RefCell,
    num::{NonZeroU64, NonZeroU128},
};

use httparse::Header;
use tidegate_wire::TraceParent;
use tidegate_worker::{SpanIds, Worker};

/// The trace that a request belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    pub(crate) id: NonZeroU128,
    /// Ours in it, if we take one.
    pub(crate) part: Option<Part>,
}

/// The part that we take in a trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) span: SpanIds,
    /// What servers are told, save for the span of the attempt.
    pub(crate) told: TraceParent,
}

impl Trace {
    pub(crate) fn of(worker: &Worker, headers: &[Header<'_>], trusted: bool) -> Option<Self> {
        let Some(traces) = &worker.shared.traces else {
            // Nobody else wants to know.
            let received = worker.shared.logs_all().then(|| TraceParent::received(headers));
            return received.flatten().map(|received| Self { id: received.trace, part: None });
        };
        let received = TraceParent::received(headers);
        // A stranger may name its trace, but not have us record it.
        let sampled = match received {
            Some(received) if trusted => received.is_sampled(),
            _ => traces.samples(&worker.random),
        };
        Some(Self::joined(received, sampled, &worker.random))
    }

    fn joined(
        received: Option<TraceParent>,
        sampled: bool,
        random: &RefCell<fastrand::Rng>,
    ) -> Self {
        let id = span_id(random);
        let span = SpanIds { id, parent: received.map(|received| received.parent) };
        let told = received.unwrap_or_else(|| TraceParent::new(trace_id(random), id));
        let told = told.sampled(sampled);
        Self { id: told.trace, part: Some(Part { span, told }) }
    }

    /// The span to be exported, if it is.
    pub(crate) fn exported(&self) -> Option<SpanIds> {
        self.part.filter(|part| part.told.is_sampled()).map(|part| part.span)
    }
}

impl Part {
    /// Whether a field is ours to say. What goes with a trace that we did not join is dropped.
    pub(crate) fn takes(&self, name: &str) -> bool {
        match name.len() {
            10 => self.span.parent.is_none() && name.eq_ignore_ascii_case("tracestate"),
            11 => name.eq_ignore_ascii_case("traceparent"),
            _ => false,
        }
    }
}

/// A span's id, as good as unique.
pub(crate) fn span_id(random: &RefCell<fastrand::Rng>) -> NonZeroU64 {
    NonZeroU64::new(random.borrow_mut().u64(1..)).unwrap_or(NonZeroU64::MIN)
}

fn trace_id(random: &RefCell<fastrand::Rng>) -> NonZeroU128 {
    NonZeroU128::new(random.borrow_mut().u128(1..)).unwrap_or(NonZeroU128::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn joined(received: Option<&[u8]>, sampled: bool) -> Trace {
        let random = RefCell::new(fastrand::Rng::with_seed(1));
        Trace::joined(received.and_then(TraceParent::parse), sampled, &random)
    }

    #[test]
    fn a_callers_trace_is_joined() {
        let trace = joined(Some(CALLER), true);
        let part = trace.part.expect("we take part");
        assert!(part.told.text().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        assert!(part.told.text().ends_with("-01"));
        assert_eq!(part.span.parent.map(NonZeroU64::get), Some(0xb7ad_6b71_6920_3331));
        assert_eq!(trace.exported(), Some(part.span));
        assert!(
            part.takes("Traceparent") && !part.takes("tracestate") && !part.takes("x-request-id")
        );
    }

    #[test]
    fn one_that_is_not_sampled_is_told_of_and_not_exported() {
        let trace = joined(Some(CALLER), false);
        let part = trace.part.expect("we take part");
        assert!(part.told.text().ends_with("-00"), "{}", part.told.text());
        assert_eq!(trace.exported(), None);
    }

    #[test]
    fn without_a_caller_a_trace_begins() {
        let trace = joined(None, true);
        let part = trace.part.expect("we take part");
        assert_eq!((part.span.parent, part.told.parent), (None, part.span.id));
        assert_eq!(part.told.trace, trace.id);
        assert!(part.takes("tracestate"), "it is another trace's");
    }
}
