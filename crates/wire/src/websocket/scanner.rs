//! Where the frames of one direction begin and end. A tunnel keeps a scanner for as long as it
//! lives, so it is small; it sees every byte, so a payload is stepped over by its length.

use super::{FIN, MASKED, MAX_CONTROL, Opcode, Sender};

/// Follows the frames that one end sends.
///
/// What breaks the framing turns the scanner off for good: where frames begin is then anybody's
/// guess, and a frame of ours among them could do harm. Off are a mask bit that is wrong for the
/// sender, a reserved opcode, a control frame that is fragmented or longer than 125 bytes, a
/// length above 63 bits, a continuation of nothing, a new message inside a fragmented one, and
/// anything behind a Close. RSV bits belong to extensions the ends have agreed on, and a length in
/// more bytes than it needs is still a length; both are let through.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    /// A length being read, then the bytes still to come behind it: masking key and payload.
    left: u64,
    stage: Stage,
    sender: Sender,
    /// A message has begun whose last fragment has not.
    in_message: bool,
    has_closed: bool,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first of a frame.
    Start,
    /// The one with the mask bit and the 7-bit length.
    Length { is_control: bool },
    /// One of so many that are missing from an extended length.
    Extended { is_control: bool, missing: u8 },
    /// Behind the length.
    Rest,
    /// Unknown.
    Off,
}

impl Scanner {
    /// Before the first frame.
    pub fn new(sender: Sender) -> Self {
        Self { left: 0, stage: Stage::Start, sender, in_message: false, has_closed: false }
    }

    /// Follows all of `bytes`.
    pub fn follow(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += self.step(&bytes[at..]);
        }
    }

    /// Follows `bytes` until the scanner stands between two frames, and says where that is: 0 when
    /// it stands there already. `None`: it has followed all and is within a frame, or off.
    pub fn find_boundary(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while !self.is_at_boundary() {
            if at == bytes.len() {
                return None;
            }
            at += self.step(&bytes[at..]);
        }
        Some(at)
    }

    /// Follows `bytes` until right before a frame of that opcode, and says where its first byte
    /// is. `None`: it has followed all, and none begins there.
    pub fn find_opcode(&mut self, bytes: &[u8], opcode: Opcode) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.stage == Stage::Start && self.would_start(bytes[at], opcode) {
                return Some(at);
            }
            at += self.step(&bytes[at..]);
        }
        None
    }

    /// Whether it stands between two frames. Unless a Close has gone by, one of ours may go here.
    pub fn is_at_boundary(&self) -> bool {
        self.stage == Stage::Start
    }

    /// Whether it stands between two frames and no fragmented message is under way.
    pub fn is_between_messages(&self) -> bool {
        self.is_at_boundary() && !self.in_message
    }

    /// Whether the framing was broken.
    pub fn is_off(&self) -> bool {
        self.stage == Stage::Off
    }

    /// Whether a Close frame has at least begun: nothing may follow it (§5.5.1).
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    pub(super) fn sender(&self) -> Sender {
        self.sender
    }

    /// Follows at least one byte of `bytes`, which is not empty, and says how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let next = match self.stage {
            Stage::Start => self.start(bytes[0]),
            Stage::Length { is_control } => self.length(bytes[0], is_control),
            Stage::Extended { is_control, missing } => self.extended(bytes[0], is_control, missing),
            Stage::Rest => return self.rest(bytes.len()),
            Stage::Off => return bytes.len(),
        };
        self.stage = next.unwrap_or(Stage::Off);
        1
    }

    /// Whether `first`, as the first byte of a frame, is sound and of that opcode.
    fn would_start(&self, first: u8, opcode: Opcode) -> bool {
        Opcode::of(first) == Some(opcode) && Self::start(&mut self.clone(), first).is_some()
    }

    fn start(&mut self, first: u8) -> Option<Stage> {
        let opcode = Opcode::of(first).filter(|_| !self.has_closed)?;
        let is_final = first & FIN != 0;
        match opcode {
            Opcode::Continuation if self.in_message => self.in_message = !is_final,
            Opcode::Text | Opcode::Binary if !self.in_message => self.in_message = !is_final,
            Opcode::Close if is_final => self.has_closed = true,
            Opcode::Ping | Opcode::Pong if is_final => {}
            _ => return None,
        }
        Some(Stage::Length { is_control: opcode.is_control() })
    }

    fn length(&mut self, second: u8, is_control: bool) -> Option<Stage> {
        if second & MASKED != self.sender.mask_bit() {
            return None;
        }
        self.left = 0;
        match second & !MASKED {
            126 => Some(Stage::Extended { is_control, missing: 2 }),
            127 => Some(Stage::Extended { is_control, missing: 8 }),
            length => self.behind_length(u64::from(length), is_control),
        }
    }

    fn extended(&mut self, byte: u8, is_control: bool, missing: u8) -> Option<Stage> {
        self.left = self.left << 8 | u64::from(byte);
        match missing {
            1 => self.behind_length(self.left, is_control),
            _ => Some(Stage::Extended { is_control, missing: missing - 1 }),
        }
    }

    fn behind_length(&mut self, length: u64, is_control: bool) -> Option<Stage> {
        if length > i64::MAX as u64 || is_control && length > MAX_CONTROL as u64 {
            return None;
        }
        // Nobody here needs the key: it is stepped over with what it masks.
        self.left = length + self.sender.key() as u64;
        Some(if self.left == 0 { Stage::Start } else { Stage::Rest })
    }

    fn rest(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= taken as u64;
        if self.left == 0 {
            self.stage = Stage::Start;
        }
        taken
    }
}
