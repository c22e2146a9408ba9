//! What a connection and its streams know of each other: how many there are, and how much of what
//! costs us and brings nobody anything the other side has done. Each such budget is refilled by time and
//! by work that was worth it, so that no honest client, however busy, runs out.

use std::{
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tidegate_net::coarse_millis;

use crate::{cuts::Cuts, fault::Fault};

/// Frames that carry nothing, at once.
const IDLE_FRAMES: u32 = 1_000;

/// So many come back in a second.
const IDLE_FRAMES_A_SECOND: u32 = 100;

/// So many resets come back in a second.
const RESETS_A_SECOND: u32 = 10;

/// So many streams may be given up for want of room while no other moves. One alone may be a film that
/// somebody has paused, beside a tunnel that goes on.
const STALLED: u32 = 8;

/// The account of one connection. One thread at a time has to do with it, so nothing of it has to be
/// changed at once.
#[derive(Debug)]
pub(crate) struct Tally {
    streams: AtomicU32,
    /// When there last were some, in milliseconds of the coarse clock.
    busy: AtomicU64,
    /// Streams given up for want of room to write since one last had it.
    stalled: AtomicU32,
    resets: Budget,
    frames: Budget,
    /// One more than its place; 0: none.
    fault: AtomicU8,
    pub(crate) cuts: Cuts,
}

/// So many at once, and so many more a second.
#[derive(Debug)]
struct Budget {
    left: AtomicU32,
    most: u32,
    a_second: u32,
    refilled: AtomicU64,
}

impl Tally {
    pub(crate) fn new(resets: u32) -> Self {
        Self {
            streams: AtomicU32::new(0),
            busy: AtomicU64::new(coarse_millis()),
            stalled: AtomicU32::new(0),
            resets: Budget::new(resets, RESETS_A_SECOND),
            frames: Budget::new(IDLE_FRAMES, IDLE_FRAMES_A_SECOND),
            fault: AtomicU8::new(0),
            cuts: Cuts::default(),
        }
    }

    /// A stream begins, of which there ought to be `most`. One that was reset lasts until whoever
    /// serves it has seen that; those must not heap up.
    pub(crate) fn begin(&self, most: u32) {
        if self.streams.fetch_add(1, Relaxed) >= most.saturating_mul(2) {
            self.fail(Fault::Resets);
        }
    }

    /// A stream is over; `answered`: it has got all it asked for.
    pub(crate) fn end(&self, answered: bool) {
        self.streams.fetch_sub(1, Relaxed);
        self.busy.store(coarse_millis(), Relaxed);
        if answered {
            self.resets.give_back(1);
        }
    }

    pub(crate) fn streams(&self) -> u32 {
        self.streams.load(Relaxed)
    }

    /// For how long there has been none.
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(coarse_millis().saturating_sub(self.busy.load(Relaxed)))
    }

    /// Something of worth came or went, `frames` of it.
    pub(crate) fn worked(&self, frames: u32) {
        self.frames.give_back(frames);
    }

    /// A stream could write.
    pub(crate) fn moved(&self) {
        self.stalled.store(0, Relaxed);
    }

    /// A stream was given up that had no room to write.
    pub(crate) fn stalled(&self) {
        if self.stalled.fetch_add(1, Relaxed) + 1 >= STALLED {
            self.fail(Fault::Stalled);
        }
    }

    pub(crate) fn idle_frame(&self) {
        if !self.frames.take() {
            self.fail(Fault::Frames);
        }
    }

    pub(crate) fn reset(&self) {
        if !self.resets.take() {
            self.fail(Fault::Resets);
        }
    }

    /// The connection is not to go on, for that.
    pub(crate) fn fail(&self, fault: Fault) {
        if self.fault().is_none() {
            self.fault.store(fault as u8 + 1, Relaxed);
        }
    }

    /// What was wrong first.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let place = self.fault.load(Relaxed).checked_sub(1)?;
        Fault::ALL.get(usize::from(place)).copied()
    }
}

impl Budget {
    fn new(most: u32, a_second: u32) -> Self {
        let refilled = AtomicU64::new(coarse_millis());
        Self { left: AtomicU32::new(most), most, a_second, refilled }
    }

    /// `false`: nothing is left.
    fn take(&self) -> bool {
        if self.left.load(Relaxed) == 0 {
            self.refill();
        }
        let left = self.left.load(Relaxed);
        self.left.store(left.saturating_sub(1), Relaxed);
        left > 0
    }

    /// Nothing of a started second is lost.
    fn refill(&self) {
        let refilled = self.refilled.load(Relaxed);
        let seconds = coarse_millis().saturating_sub(refilled) / 1_000;
        if seconds > 0 {
            self.refilled.store(refilled + seconds * 1_000, Relaxed);
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            self.give_back(seconds.saturating_mul(self.a_second));
        }
    }

    fn give_back(&self, count: u32) {
        let left = self.left.load(Relaxed).saturating_add(count).min(self.most);
        self.left.store(left, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_paid_for_by_answers() {
        let tally = Tally::new(2);
        for _ in 0..100 {
            tally.begin(10);
            tally.end(true);
            tally.reset();
        }
        assert_eq!(tally.fault(), None);
        (0..3).for_each(|_| tally.reset());
        assert_eq!(tally.fault(), Some(Fault::Resets));
    }

    #[test]
    fn frames_that_carry_nothing_are_bounded_by_those_that_do() {
        let tally = Tally::new(2);
        for _ in 0..10 * IDLE_FRAMES {
            tally.worked(1);
            tally.idle_frame();
        }
        assert_eq!(tally.fault(), None);
        (0..=IDLE_FRAMES).for_each(|_| tally.idle_frame());
        assert_eq!(tally.fault(), Some(Fault::Frames));
    }

    #[test]
    fn a_connection_that_moves_is_not_stalled() {
        let tally = Tally::new(2);
        for _ in 0..10 * STALLED {
            tally.stalled();
            tally.moved();
        }
        assert_eq!(tally.fault(), None);
        (0..STALLED).for_each(|_| tally.stalled());
        assert_eq!(tally.fault(), Some(Fault::Stalled));
    }
}
