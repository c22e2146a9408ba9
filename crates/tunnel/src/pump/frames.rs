//! What a tunnel knows of the WebSocket frames it carries, and what of the bytes that were read
//! goes on to the other side.

use std::ops::Range;

use tidegate_net::ROOM;
use tidegate_wire::websocket::{Control, Opcode, Scanner, Sender};

use super::{
    closing::{Closing, Stage},
    ping::Pings,
};

/// Both directions of a WebSocket.
#[derive(Debug)]
pub(super) struct Frames {
    /// What goes to the server, and to the client.
    pub(super) up: Scanner,
    pub(super) down: Scanner,
    pub(super) pings: Option<Pings>,
}

/// What of a buffer goes on.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) range: Range<usize>,
    /// A frame of our own behind it, and nothing after that.
    pub(super) end: Option<Box<Control>>,
}

impl Frames {
    pub(super) fn new(pings: Option<Pings>) -> Self {
        Self { up: Scanner::new(Sender::Client), down: Scanner::new(Sender::Server), pings }
    }

    /// What was said before the tunnel began.
    pub(super) fn begin(&mut self, up: &[u8], down: &[u8]) {
        self.up.follow(up);
        self.down.follow(down);
    }

    /// Whether the client may be sent a Close here and now: neither side has sent one. RFC 6455
    /// §5.4 lets it stand between two fragments of a message, but not every client knows that: only
    /// where a `patient` one has waited long enough.
    pub(super) fn may_close(&self, patient: bool) -> bool {
        self.down.is_at_boundary() && !self.is_closing() && !(patient && self.is_within_message())
    }

    /// Whether the server may be sent a Close here and now: the client has not, and the server has
    /// not before the client was told to.
    pub(super) fn may_answer(&self, closing: &Closing) -> bool {
        let server_began = self.down.has_closed() && !closing.has_said();
        self.up.is_at_boundary() && !self.up.has_closed() && !server_began
    }

    /// Whether a side has begun to close it.
    pub(super) fn is_closing(&self) -> bool {
        self.down.has_closed() || self.up.has_closed()
    }

    /// Whether what goes to the client are frames for all that is known.
    pub(super) fn are_sound(&self) -> bool {
        !self.down.is_off()
    }

    pub(super) fn is_within_message(&self) -> bool {
        !self.down.is_between_messages()
    }

    /// What of the client's bytes, which begin behind the spare room of `buffer`, goes to the
    /// server: all, until it answers our Close, or hangs up instead.
    pub(super) fn pass_up(
        &mut self,
        closing: Option<&mut Closing>,
        buffer: &mut [u8],
        length: usize,
    ) -> Passage {
        let mut before = self.up;
        let range = match &mut self.pings {
            Some(pings) => pings.filter_up(&mut self.up, buffer, ROOM..ROOM + length),
            None => follow(&mut self.up, buffer, ROOM..ROOM + length),
        };
        let hears = |closing: &&mut Closing| {
            closing.stage == Stage::HearClient && closing.has_said() && !before.has_closed()
        };
        let found = closing.filter(hears).and_then(|closing| {
            let bytes = &buffer[range.clone()];
            let at = match length {
                0 => before.find_boundary(bytes)?,
                _ => before.find_opcode(bytes, Opcode::Close)?,
            };
            Some((at, closing))
        });
        let Some((at, closing)) = found else { return Passage { range, end: None } };
        closing.swallowed += (range.len() - at) as u64;
        let end = closing.goodbye(Sender::Client);
        Passage { range: range.start..range.start + at, end: Some(end) }
    }

    /// What of the server's bytes goes to the client: all, until it is to be told to leave.
    pub(super) fn pass_down(
        &mut self,
        closing: Option<&mut Closing>,
        buffer: &mut [u8],
        length: usize,
    ) -> Passage {
        let mut before = self.down;
        let range = match &mut self.pings {
            Some(pings) => pings.filter_down(&mut self.down, buffer, ROOM..ROOM + length),
            None => follow(&mut self.down, buffer, ROOM..ROOM + length),
        };
        let free = !before.has_closed() && !self.up.has_closed();
        let tells = closing.filter(|closing| free && closing.stage == Stage::TellClient);
        let found = tells.and_then(|closing| {
            Some((find_place(&mut before, &buffer[range.clone()], closing.patient)?, closing))
        });
        let Some((at, closing)) = found else { return Passage { range, end: None } };
        if before.has_closed() {
            // What ended there was a Close of the server's own.
            return Passage { range, end: None };
        }
        closing.discarded += (range.len() - at) as u64;
        let end = closing.goodbye(Sender::Server);
        Passage { range: range.start..range.start + at, end: Some(end) }
    }
}

/// Where a frame of ours may stand.
fn find_place(scanner: &mut Scanner, bytes: &[u8], patient: bool) -> Option<usize> {
    let mut at = scanner.find_boundary(bytes)?;
    while patient && !scanner.is_between_messages() {
        scanner.follow(bytes.get(at..=at)?);
        at += 1 + scanner.find_boundary(&bytes[at + 1..])?;
    }
    Some(at)
}

fn follow(scanner: &mut Scanner, buffer: &[u8], range: Range<usize>) -> Range<usize> {
    scanner.follow(&buffer[range.clone()]);
    range
}
