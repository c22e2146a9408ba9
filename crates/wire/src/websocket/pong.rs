//! A tunnel that pings its ends has to take the answers out of the stream again: the other end has
//! not pinged and would be told something it cannot make sense of. Pongs that are not ours pass.

use std::{iter, ops::Range};

use super::{FIN, HEADER, KEY, Opcode, Scanner, Sender};

const TAG: usize = 6;
/// A tag and a counter.
const PAYLOAD: usize = TAG + 2;
/// What is one byte short of a whole masked pong may have to be held back.
const MAX_HELD: usize = HEADER + KEY + PAYLOAD - 1;

/// Takes the answers to our pings out of what one end sends.
///
/// The payload of our pings is a tag, drawn at random for this filter, and a counter. A pong with
/// the tag is ours whatever its counter is, so that the late answer to an older ping, which the
/// end may send or leave out as it likes (§5.5.3), does not reach the other end either; only that
/// to the last ping counts as an answer. Before the first ping all pongs pass.
///
/// Our pings have an 8-byte payload and no RSV bits. A pong with RSV bits or a length in more
/// bytes than it needs is not what an end makes of one, and passes.
#[derive(Clone, Debug)]
pub struct PongFilter {
    tag: [u8; TAG],
    /// The counter of the last ping.
    last: Option<u16>,
    awaits: bool,
    held: [u8; MAX_HELD],
    held_length: u8,
}

/// What [`PongFilter::filter`] has left of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtered {
    /// Where in the buffer that is which goes on.
    pub range: Range<usize>,
    /// How many bytes were ours.
    pub swallowed: u64,
    /// Whether the answer to the last ping was among them.
    pub answered: bool,
}

enum Verdict {
    /// All of it is there.
    Own {
        length: usize,
        counter: u16,
    },
    Foreign,
    /// Only more bytes can tell.
    Unsure,
}

impl PongFilter {
    /// How many bytes the buffer needs in front of what was read.
    pub const SPARE: usize = MAX_HELD;

    /// `tag` is random and not that of another filter: an end that knows it can keep pongs with it
    /// from the other end.
    pub fn new(tag: [u8; TAG]) -> Self {
        Self { tag, last: None, awaits: false, held: [0; MAX_HELD], held_length: 0 }
    }

    /// The payload for one more ping, whose answer is awaited from now on.
    pub fn next_ping(&mut self) -> [u8; PAYLOAD] {
        let counter = self.last.map_or(0, |last| last.wrapping_add(1));
        self.last = Some(counter);
        self.awaits = true;
        let mut payload = [0; PAYLOAD];
        payload[..TAG].copy_from_slice(&self.tag);
        payload[TAG..].copy_from_slice(&counter.to_be_bytes());
        payload
    }

    /// Whether the last ping has not been answered yet.
    pub fn awaits_answer(&self) -> bool {
        self.awaits
    }

    /// Takes what is ours out of `buffer[range]`, the next bytes of the stream. All bytes of the
    /// stream have to come through here in order.
    ///
    /// The beginning of a frame that may become ours is held back; when it turns out not to, it
    /// is put in front of the next bytes, so what goes on may begin up to [`SPARE`](Self::SPARE)
    /// bytes before `range` does. `scanner` follows what goes on and not what is held back: when
    /// it is at a boundary, a frame may be sent behind what this gave out.
    ///
    /// # Panics
    /// When `range` is not within `buffer` or has not as many bytes before it as are held back.
    pub fn filter(
        &mut self,
        scanner: &mut Scanner,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Filtered {
        if self.last.is_none() {
            scanner.follow(&buffer[range.clone()]);
            return Filtered { range, swallowed: 0, answered: false };
        }
        let start = self.put_back(&mut buffer[..range.start]);
        self.compact(scanner, buffer, start..range.end)
    }

    /// What is held back, to be passed on when the stream ends.
    pub fn held(&self) -> &[u8] {
        &self.held[..usize::from(self.held_length)]
    }

    /// Puts what is held at the end of `spare`, and says where it starts.
    fn put_back(&mut self, spare: &mut [u8]) -> usize {
        let start = spare.len() - self.held().len();
        spare[start..].copy_from_slice(self.held());
        self.held_length = 0;
        start
    }

    /// Moves what goes on to the front of `range`, each byte at most once.
    fn compact(
        &mut self,
        scanner: &mut Scanner,
        buffer: &mut [u8],
        mut range: Range<usize>,
    ) -> Filtered {
        // `kept` is where that which goes on ends; `from`, where that which is to join it starts.
        let (mut kept, mut from, mut at) = (range.start, range.start, range.start);
        let mut answered = false;
        while let Some(offset) = scanner.find_opcode(&buffer[at..range.end], Opcode::Pong) {
            at += offset;
            match self.judge(scanner.sender(), &buffer[at..range.end]) {
                Verdict::Own { length, counter } => {
                    kept = append(buffer, kept, from..at);
                    at += length;
                    from = at;
                    answered |= self.is_answer(counter);
                }
                Verdict::Foreign => {
                    scanner.follow(&buffer[at..=at]);
                    at += 1;
                }
                Verdict::Unsure => {
                    self.hold(&buffer[at..range.end]);
                    range.end = at;
                    break;
                }
            }
        }
        kept = append(buffer, kept, from..range.end);
        let swallowed = (range.end - kept) as u64;
        Filtered { range: range.start..kept, swallowed, answered }
    }

    fn is_answer(&mut self, counter: u16) -> bool {
        let is_answer = self.awaits && self.last == Some(counter);
        self.awaits &= !is_answer;
        is_answer
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.held[..bytes.len()].copy_from_slice(bytes);
        self.held_length = bytes.len() as u8;
    }

    /// Judges the frame at the front of `bytes` by as much of it as is there.
    fn judge(&self, sender: Sender, bytes: &[u8]) -> Verdict {
        let (header, rest) = bytes.split_at(bytes.len().min(HEADER));
        let own = [FIN | Opcode::Pong as u8, sender.mask_bit() | PAYLOAD as u8];
        if !own.starts_with(header) {
            return Verdict::Foreign;
        }
        let Some((key, masked)) = rest.split_at_checked(sender.key()) else {
            return Verdict::Unsure;
        };
        let payload = unmask(key, masked);
        if !self.tag.starts_with(&payload[..masked.len().min(TAG)]) {
            return Verdict::Foreign;
        }
        if masked.len() < PAYLOAD {
            return Verdict::Unsure;
        }
        let counter = u16::from_be_bytes([payload[TAG], payload[TAG + 1]]);
        Verdict::Own { length: HEADER + sender.key() + PAYLOAD, counter }
    }
}

/// As much of a payload as there is, unmasked; a key of no bytes masks nothing.
fn unmask(key: &[u8], masked: &[u8]) -> [u8; PAYLOAD] {
    let mut payload = [0; PAYLOAD];
    let key = key.iter().cycle().chain(iter::repeat(&0));
    for ((plain, masked), key) in payload.iter_mut().zip(masked).zip(key) {
        *plain = masked ^ key;
    }
    payload
}

/// Moves `part` down to `to`, and says where it ends then.
fn append(buffer: &mut [u8], to: usize, part: Range<usize>) -> usize {
    let end = to + part.len();
    if to != part.start {
        buffer.copy_within(part, to);
    }
    end
}
