//! Pings of our own (`ping_interval`): they find peers whose machine or network is gone without a
//! word, sooner than the kernel would, and keep middle boxes from forgetting a quiet connection.

use std::{ops::Range, time::Duration};

use tidegate_net::End;
use tidegate_table::Close;
use tidegate_wire::websocket::{Control, Filtered, PongFilter, Scanner};

use super::{Pump, direction::Direction};

/// The pings of one tunnel, to both sides.
#[derive(Debug)]
pub(super) struct Pings {
    pub(super) interval: Duration,
    /// What the client says, and what the server does.
    up: Asked,
    down: Asked,
    pub(super) injected: u64,
    pub(super) swallowed: u64,
}

/// One side that is pinged.
#[derive(Debug)]
struct Asked {
    pongs: PongFilter,
    /// What it had said when it was last pinged.
    received: u64,
    /// What it had been told before that, and how long the ping was.
    sent: u64,
    length: u64,
}

impl Pings {
    pub(super) fn new(interval: Duration) -> Self {
        let asked = || {
            let [tag @ .., _, _] = fastrand::u64(..).to_be_bytes();
            Asked { pongs: PongFilter::new(tag), received: 0, sent: 0, length: 0 }
        };
        Self { interval, up: asked(), down: asked(), injected: 0, swallowed: 0 }
    }

    pub(super) fn filter_up(
        &mut self,
        scanner: &mut Scanner,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Range<usize> {
        let filtered = self.up.filter(scanner, buffer, range);
        self.swallowed += filtered.swallowed;
        filtered.range
    }

    pub(super) fn filter_down(
        &mut self,
        scanner: &mut Scanner,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Range<usize> {
        let filtered = self.down.filter(scanner, buffer, range);
        self.swallowed += filtered.swallowed;
        filtered.range
    }

    /// Bytes that came and went by now only because of our pings.
    pub(super) fn passed(&self, told_client: &Direction, told_server: &Direction) -> u64 {
        let waiting = self.up.waiting(told_client) + self.down.waiting(told_server);
        self.injected - waiting + self.swallowed + self.held()
    }

    /// Bytes held back.
    pub(super) fn held(&self) -> u64 {
        (self.up.pongs.held().len() + self.down.pongs.held().len()) as u64
    }
}

impl Asked {
    /// Whether nothing at all came since the last ping.
    fn is_silent(&self, heard: &Direction) -> bool {
        self.pongs.awaits_answer() && heard.received == self.received
    }

    /// How much of the last ping has not been sent. It stands in front of what waits.
    fn waiting(&self, told: &Direction) -> u64 {
        self.length.saturating_sub(told.sent - self.sent)
    }

    fn filter(
        &mut self,
        scanner: &mut Scanner,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Filtered {
        if !range.is_empty() {
            return self.pongs.filter(scanner, buffer, range);
        }
        // The stream has ended: what is held back is no pong of ours any more, and goes on.
        let held = self.pongs.held();
        let range = range.start..range.start + held.len();
        buffer[range.clone()].copy_from_slice(held);
        scanner.follow(held);
        self.pongs = PongFilter::new(Default::default());
        Filtered { range, swallowed: 0, answered: false }
    }

    fn ping(&mut self, heard: &Direction, told: &mut Direction, mask: Option<[u8; 4]>) -> u64 {
        let ping = Control::ping(&self.pongs.next_ping(), mask);
        (self.received, self.sent) = (heard.received, told.sent);
        self.length = ping.as_bytes().len() as u64;
        told.append(ping.as_bytes());
        self.length
    }
}

impl<C: End, S: End> Pump<C, S> {
    /// Pings both sides, where a frame may stand, but for one that does not speak in frames: its
    /// answer could not be told from the rest. It has been quiet for the interval.
    ///
    /// # Errors
    /// The cause of the end, when a side has not answered the last one.
    pub(super) fn ping(&mut self) -> Result<(), Close> {
        let Some(frames) = &mut self.frames else { return Ok(()) };
        let closing = frames.is_closing();
        let to_client = frames.down.is_at_boundary() && !frames.up.is_off();
        let to_server = frames.up.is_at_boundary() && !frames.down.is_off();
        let Some(pings) = frames.pings.as_mut().filter(|_| !closing) else { return Ok(()) };
        let (up, down) = (&mut self.to_server, &mut self.to_client);
        if up.ended || down.ended {
            // Who has said the last word cannot answer.
            return Ok(());
        }
        if pings.up.is_silent(up) || pings.down.is_silent(down) {
            return Err(Close::ErrorPing);
        }
        if to_client && down.waiting() == 0 {
            pings.injected += pings.up.ping(up, down, None);
        }
        if to_server && up.waiting() == 0 {
            let mask = fastrand::u32(..).to_be_bytes();
            pings.injected += pings.down.ping(down, up, Some(mask));
        }
        Ok(())
    }
}
