//! How many requests were refused for who asked, or how: somebody tries tokens, or an operator's script
//! asks too often. Who it was is in the audit log.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::http::StatusCode;

/// Refused requests of the admin side, by reason.
#[derive(Debug, Default)]
pub struct RefusedTotals {
    forbidden: AtomicU64,
    rate: AtomicU64,
    token: AtomicU64,
}

impl RefusedTotals {
    /// Counts an answer, if it is a refusal.
    pub(crate) fn count(&self, status: StatusCode) {
        let reason = match status {
            StatusCode::UNAUTHORIZED => &self.token,
            StatusCode::FORBIDDEN => &self.forbidden,
            StatusCode::TOO_MANY_REQUESTS => &self.rate,
            _ => return,
        };
        reason.fetch_add(1, Relaxed);
    }

    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        [("forbidden", &self.forbidden), ("rate", &self.rate), ("token", &self.token)]
            .map(|(reason, count)| (reason, count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_reason_and_nothing_else_is() {
        let totals = RefusedTotals::default();
        for status in [200, 401, 403, 403, 404, 409, 412, 429, 500] {
            totals.count(StatusCode::from_u16(status).expect("a status"));
        }
        assert_eq!(totals.counts(), [("forbidden", 2), ("rate", 1), ("token", 1)]);
    }
}
