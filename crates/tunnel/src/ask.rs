//! What a tunnel can be asked from outside: to close, for a reason, in a manner.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tidegate_model::upstream::CloseCode;
use tidegate_table::Close;

/// A request to close. One is shared by all tunnels that are asked for the same reason.
#[derive(Debug)]
pub struct Ask {
    pub why: Why,
    pub how: How,
    /// What a WebSocket peer is told.
    pub code: CloseCode,
    pub reason: Box<str>,
    pub tally: Arc<Tally>,
}

/// On whose behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Admin,
    /// The drain of that id.
    Drain(u64),
    /// The server left with that generation.
    Removal(u64),
    Stop,
}

/// In what manner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// At once, whatever is under way: both sides get FIN.
    Cut,
    /// Politely and now, or not at all: for who has others to ask.
    IfBetweenFrames,
    /// So, and only if nobody is in the middle of a fragmented message.
    IfBetweenMessages,
    /// Politely, as soon as it can be done; if that takes too long, as [`How::Cut`].
    WhenQuiet,
}

/// What became of those who were asked.
#[derive(Debug, Default)]
pub struct Tally {
    closed: AtomicU64,
    cut: AtomicU64,
}

impl Why {
    pub fn cause(self) -> Close {
        match self {
            Self::Admin => Close::Admin,
            Self::Drain(_) => Close::Drain,
            Self::Removal(_) => Close::Removal,
            Self::Stop => Close::Stop,
        }
    }

    /// The drain's id or the removal's generation.
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Drain(number) | Self::Removal(number) => Some(number),
            Self::Admin | Self::Stop => None,
        }
    }
}

impl Tally {
    /// Clients that were told to leave: a Close frame was written or, where there are no frames,
    /// FIN was sent.
    pub fn closed(&self) -> u64 {
        self.closed.load(Relaxed)
    }

    /// Tunnels that were cut.
    pub fn cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }

    pub(crate) fn count_closed(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }
}
