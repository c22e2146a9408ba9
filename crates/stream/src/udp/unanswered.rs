//! The last datagrams of a client that nobody has answered yet: should their server turn out not to be
//! there, they go to the next one. Few, small and not old: what was sent long ago has arrived, and
//! may have had an effect.

/// Bytes of all of them. One that does not fit is sent once and not kept.
const MAX_BYTES: usize = 4_096;
const MAX_COUNT: usize = 8;
/// In milliseconds: an answer that nobody listens there takes a round trip.
const MAX_AGE: u64 = 1_000;

/// Bounded by the constants above.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// When the first was sent, in milliseconds of the coarse clock.
    since: u64,
}

impl Unanswered {
    /// Whether it was kept.
    pub(super) fn keep(&mut self, datagram: &[u8], now: u64) -> bool {
        self.forget_old(now);
        if self.ends.len() == MAX_COUNT || self.bytes.len() + datagram.len() > MAX_BYTES {
            return false;
        }
        if self.ends.is_empty() {
            self.since = now;
        }
        self.bytes.extend_from_slice(datagram);
        self.ends.push(self.bytes.len());
        true
    }

    pub(super) fn forget_old(&mut self, now: u64) {
        if now.saturating_sub(self.since) > MAX_AGE {
            self.bytes.clear();
            self.ends.clear();
        }
    }

    /// There was an answer: no more of them is kept, and the memory is given back.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_small_few_and_young() {
        let mut kept = Unanswered::default();
        assert!(kept.keep(b"one", 5_000) && kept.keep(b"", 5_100) && kept.keep(b"two", 6_000));
        assert!(!kept.keep(&[0; MAX_BYTES], 6_000), "too large beside the others");
        assert_eq!(kept.iter().collect::<Vec<_>>(), [&b"one"[..], b"", b"two"]);
        assert!(kept.keep(b"three", 6_001));
        assert_eq!(kept.iter().collect::<Vec<_>>(), [b"three"], "the others were too old");
        assert!((1..MAX_COUNT).all(|_| kept.keep(b"x", 6_002)) && !kept.keep(b"x", 6_002));
        kept.answered();
        assert!(kept.is_empty());
    }
}
