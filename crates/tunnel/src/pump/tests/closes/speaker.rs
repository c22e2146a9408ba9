//! What an end says: sound frames, broken ones, and answers to what it has heard.

use fastrand::Rng;
use tidegate_wire::websocket::Sender;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, OpCode};

use super::{judge::Frame, played::Played};

const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// What an end says that closes of its own accord or in answer; never what the tunnel says.
const FAREWELL: &[u8] = b"\x0f\xa0own";

/// What is drawn for an end before a case begins.
#[derive(Debug)]
pub(super) struct Manner {
    /// The most bytes that are read or written at once; 0: all.
    pub(super) pieces: usize,
    /// Now and then it is not ready although it could be.
    pub(super) hesitates: bool,
    /// How many frames it says by itself.
    pub(super) frames: u8,
    /// Then it closes.
    pub(super) closes: bool,
    /// Before that it says something that is no frame.
    pub(super) breaks: bool,
    pub(super) on_close: OnClose,
    pub(super) answers_pings: bool,
    /// RSV bits, and pongs that look like ours.
    pub(super) is_odd: bool,
}

/// What it does when it hears a Close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnClose {
    Answer,
    AnswerAndHangUp,
    HangUp,
    Reset,
    /// It says more, for that is its right, and then answers.
    FinishFirst,
    Nothing,
}

/// A frame, or what follows where frames have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) start: usize,
    pub(super) what: What,
    /// A fragmented message is under way behind it.
    pub(super) in_message: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Frame,
    Pong,
    /// The answer to a ping of the tunnel's.
    OwnPong,
    Close,
    /// No frame, and everything behind it.
    Bytes,
}

impl Manner {
    pub(super) fn draw(random: &mut Rng, is_plain: bool) -> Self {
        use OnClose::{Answer, AnswerAndHangUp, FinishFirst, HangUp, Nothing, Reset};
        let replies = [Answer, AnswerAndHangUp, AnswerAndHangUp, FinishFirst, FinishFirst];
        let rude = [HangUp, Reset, Nothing, Nothing];
        Self {
            pieces: [0, 0, 1, 3, 9, 100][random.usize(0..6)],
            hesitates: random.bool(),
            frames: random.u8(0..8),
            closes: random.u8(0..6) == 0,
            breaks: !is_plain && random.u8(0..8) == 0,
            on_close: match random.u8(0..3) {
                0 => rude[random.usize(0..rude.len())],
                _ => replies[random.usize(0..replies.len())],
            },
            answers_pings: random.u8(0..3) > 0,
            is_odd: !is_plain && random.u8(0..4) == 0,
        }
    }
}

impl Played {
    /// The first thing it said of that kind.
    pub(super) fn first(&self, what: What) -> Option<usize> {
        self.frames.iter().find(|said| said.what == what).map(|said| said.start)
    }

    /// Everything it ever says are bytes.
    pub(super) fn speaks_no_frames(&mut self) {
        self.note(What::Bytes);
    }

    /// Says so much more, as far as it has anything to say.
    pub(super) fn say(&mut self, most: usize) {
        while self.said.len() < self.offered.saturating_add(most) && self.has_more() {
            self.manner.frames -= 1;
            self.say_frame();
            if self.manner.frames == 0 {
                self.say_end();
            }
        }
        self.offered = self.said.len().min(self.offered.saturating_add(most));
    }

    fn has_more(&self) -> bool {
        self.manner.frames > 0 && !self.has_ended
    }

    /// Looks at what it has heard, from `head` on, and answers.
    pub(super) fn look(&mut self, head: usize) {
        if self.first(What::Bytes) == Some(0) {
            return;
        }
        self.looked_at = self.looked_at.max(head);
        while let Some(bytes) = self.heard.get(self.looked_at..)
            && let Ok(Some(frame)) = Frame::parse(bytes)
        {
            self.looked_at += frame.length;
            match frame.header.opcode {
                OpCode::Control(Control::Close) => return self.hear_close(),
                OpCode::Control(Control::Ping) if self.manner.answers_pings => {
                    let is_own = self.is_pinged_with(&frame);
                    let what = if is_own { What::OwnPong } else { What::Pong };
                    self.control(PONG, &frame.payload, what);
                    if what == What::OwnPong && self.manner.is_odd {
                        let mut close_by = frame.payload;
                        close_by[self.random.usize(0..6)] ^= 1;
                        self.control(PONG, &close_by, What::Pong);
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether it is a ping of the tunnel's. The other end's are shorter, but where frames have
    /// ended anything can look like one.
    fn is_pinged_with(&self, frame: &Frame) -> bool {
        let counter = match *frame.payload {
            [_, _, _, _, _, _, high, low] => u16::from_be_bytes([high, low]),
            _ => return false,
        };
        counter < self.pings
    }

    fn hear_close(&mut self) {
        self.heard_close = Some(self.said.len());
        // Nothing that follows a Close is looked at.
        self.looked_at = usize::MAX;
        let reply = self.manner.on_close;
        match reply {
            OnClose::Answer | OnClose::AnswerAndHangUp => {
                self.manner.frames = 0;
                self.close();
                self.hangs_up |= reply == OnClose::AnswerAndHangUp;
            }
            OnClose::HangUp => (self.manner.frames, self.hangs_up) = (0, true),
            OnClose::Reset => self.is_reset = true,
            OnClose::FinishFirst if self.is_over() => {}
            OnClose::FinishFirst => {
                self.manner.frames = self.manner.frames.clamp(1, 4);
                self.manner.closes = true;
            }
            OnClose::Nothing => {}
        }
    }

    fn is_over(&self) -> bool {
        self.frames.iter().any(|said| matches!(said.what, What::Close | What::Bytes))
    }

    fn note(&mut self, what: What) {
        let in_message = self.in_message;
        self.frames.push(Said { start: self.said.len(), what, in_message });
    }

    fn say_frame(&mut self) {
        if self.is_over() {
            return self.say_bytes();
        }
        match self.random.u8(0..8) {
            0 => {
                let payload = self.payload(5);
                self.control(PING, &payload, What::Frame);
            }
            1 => {
                let length = if self.random.bool() { 8 } else { 3 };
                let payload = self.payload(length);
                self.control(PONG, &payload, What::Pong);
            }
            _ => self.say_data(),
        }
    }

    fn say_data(&mut self) {
        let opcode = if self.in_message { 0 } else { self.random.u8(1..=2) };
        self.in_message = self.random.u8(0..5) < 2;
        let last = if self.in_message { 0 } else { 0x80 };
        let odd = if self.manner.is_odd { self.random.u8(0..8) << 4 } else { 0 };
        let length = match self.random.u16(0..2_000) {
            0 => {
                // Not byte by byte: that takes long, and shows nothing more.
                self.manner.pieces = 10_000;
                self.random.usize(65_530..65_540)
            }
            1..50 => self.random.usize(120..140),
            _ => self.random.usize(0..12),
        };
        let payload = self.payload(length);
        self.note(What::Frame);
        let is_wide = self.is_wide();
        self.append(opcode | last | odd, &payload, is_wide);
    }

    fn say_end(&mut self) {
        if self.manner.breaks && !self.is_over() {
            self.say_broken();
        }
        if self.manner.closes {
            self.close();
            if self.manner.breaks {
                self.say_bytes();
            }
        }
    }

    fn close(&mut self) {
        if !self.is_over() {
            self.control(CLOSE, FAREWELL, What::Close);
        }
    }

    /// What no frame begins with, given all that was said.
    fn say_broken(&mut self) {
        self.note(What::Bytes);
        let mask = self.mask_bit();
        let broken: &[u8] = match self.random.u8(0..6) {
            0 => &[0x82, mask ^ 0x80 | 1],
            1 => &[0x83, mask],
            2 => &[0x09, mask],
            3 => &[0x89, mask | 126, 0, 126],
            4 => &[0x80 | u8::from(self.in_message), mask],
            _ => {
                &[if self.in_message { 0x80 } else { 0x82 }, mask | 127, 0x80, 0, 0, 0, 0, 0, 0, 1]
            }
        };
        self.said.extend_from_slice(broken);
        self.manner.frames = self.random.u8(0..3);
    }

    /// Anything, now that frames have ended.
    fn say_bytes(&mut self) {
        if self.first(What::Bytes).is_none() {
            self.note(What::Bytes);
        }
        let bytes = self.payload(6);
        self.said.extend_from_slice(&bytes);
        self.said.extend_from_slice(b"\x88\x00");
    }

    fn control(&mut self, first: u8, payload: &[u8], what: What) {
        if !self.is_over() && !self.has_ended {
            self.note(what);
            // Answers to us in more bytes than they need are not taken out.
            let is_wide = what != What::OwnPong && self.is_wide();
            self.append(first, payload, is_wide);
        }
    }

    fn is_wide(&mut self) -> bool {
        self.manner.is_odd && self.random.u8(0..8) == 0
    }

    fn payload(&mut self, length: usize) -> Vec<u8> {
        let mut payload = vec![0; length];
        self.random.fill(&mut payload);
        payload
    }

    fn mask_bit(&self) -> u8 {
        if self.role == Sender::Client { 0x80 } else { 0 }
    }

    fn append(&mut self, first: u8, payload: &[u8], is_wide: bool) {
        let (mask, length) = (self.mask_bit(), payload.len());
        self.said.push(first);
        match length {
            0..126 if !is_wide => self.said.push(mask | length as u8),
            0..0x1_0000 => {
                self.said.push(mask | 126);
                self.said.extend((length as u16).to_be_bytes());
            }
            _ => {
                self.said.push(mask | 127);
                self.said.extend((length as u64).to_be_bytes());
            }
        }
        let key = if mask == 0 { [0; 4] } else { self.random.u32(..).to_be_bytes() };
        if mask != 0 {
            self.said.extend(key);
        }
        self.said.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
}
