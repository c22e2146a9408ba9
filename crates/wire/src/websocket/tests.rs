//! What the tests of frames share: sound streams drawn at random, frame by frame.

use proptest::{collection::vec, prelude::*};

use super::*;

mod pong;
mod scanner;

/// How many bytes the length of a frame takes behind its second byte, at least.
const WIDTHS: [usize; 3] = [0, 2, 8];

#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) first: u8,
    width: usize,
    key: [u8; 4],
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn new(first: u8, payload: &[u8]) -> Self {
        Self { first, width: 0, key: [0x37, 0xfa, 0x21, 0x3d], payload: payload.to_vec() }
    }

    pub(super) fn bytes(&self, sender: Sender) -> Vec<u8> {
        let length = self.payload.len();
        let mask_bit = if sender == Sender::Client { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        match length {
            0..=125 if self.width == 0 => bytes.push(mask_bit | length as u8),
            0..=0xffff if self.width <= 2 => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        match sender {
            Sender::Client => {
                bytes.extend(self.key);
                let key = self.key.iter().cycle();
                bytes.extend(self.payload.iter().zip(key).map(|(byte, key)| byte ^ key));
            }
            Sender::Server => bytes.extend(&self.payload),
        }
        bytes
    }
}

pub(super) fn senders() -> impl Strategy<Value = Sender> {
    prop::sample::select(&[Sender::Client, Sender::Server][..])
}

/// A sound stream: messages in fragments, control frames between them, perhaps a Close at the end.
pub(super) fn streams() -> impl Strategy<Value = Vec<Frame>> {
    let lengths = prop_oneof![8 => 0..20_usize, 2 => 120..130_usize, 1 => 65_530..65_540_usize];
    let frame = (0..6_u8, 0..8_u8, lengths, prop::sample::select(&WIDTHS[..]), any::<[u8; 4]>());
    (vec(frame, 0..12), any::<bool>()).prop_map(|(drawn, closes)| {
        let mut is_in_message = false;
        let mut frames: Vec<_> = drawn
            .into_iter()
            .map(|(kind, rsv, length, width, key)| {
                let first = first_byte(kind, &mut is_in_message) | rsv << 4;
                let is_control = kind < 2;
                let length = if is_control { length.min(125) } else { length };
                Frame { first, width, key, payload: vec![0x8a; length] }
            })
            .collect();
        frames.extend(closes.then(|| Frame::new(0x88, b"\x03\xe8")));
        frames
    })
}

/// The first byte of a frame: a ping, a pong, or the next one of a message, which may be its last.
fn first_byte(kind: u8, is_in_message: &mut bool) -> u8 {
    match kind {
        0 => return 0x89,
        1 => return 0x8a,
        _ => {}
    }
    let opcode = if *is_in_message { 0 } else { kind % 2 + 1 };
    *is_in_message = kind < 4;
    if *is_in_message { opcode } else { 0x80 | opcode }
}

/// `bytes` in pieces of these sizes, over and over.
pub(super) fn pieces<'a>(
    mut bytes: &'a [u8],
    sizes: &'a [usize],
) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = sizes.next().map_or(bytes.len(), |size| bytes.len().min(*size));
        let (piece, rest) = bytes.split_at(size);
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

pub(super) fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![4 => 1..16_usize, 1 => 1..70_000_usize], 1..8)
}
