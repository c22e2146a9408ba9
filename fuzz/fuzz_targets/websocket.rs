//! Frames of any bytes never panic, end where they end in one piece as in many, and a filter keeps
//! nothing to itself but whole pongs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_wire::websocket::{Opcode, PongFilter, Scanner, Sender};

const TAG: [u8; 6] = *b"tagtag";

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (is_client, piece, bytes) = input;
    let sender = if is_client { Sender::Client } else { Sender::Server };
    let (whole, piece) = (bytes.len().max(1), usize::from(piece).max(1));
    assert_eq!(boundaries(sender, bytes, whole), boundaries(sender, bytes, piece));
    check_find_opcode(sender, bytes);
    let (out, swallowed) = filter(sender, bytes, whole);
    assert_eq!((out.clone(), swallowed), filter(sender, bytes, piece));
    assert_eq!(out.len() + swallowed, bytes.len());
    // Nothing of ours is left, and what was taken out has not made anything ours.
    assert_eq!(filter(sender, &out, whole), (out, 0));
});

/// Where frames end, and the state at the end.
fn boundaries(sender: Sender, bytes: &[u8], piece: usize) -> (Vec<usize>, String) {
    let mut scanner = Scanner::new(sender);
    let (mut found, mut start) = (Vec::new(), 0);
    for piece in bytes.chunks(piece) {
        let mut at = 0;
        while at < piece.len() {
            if scanner.is_at_boundary() {
                scanner.follow(&piece[at..=at]);
                at += 1;
            }
            let was_off = scanner.is_off();
            let Some(offset) = scanner.find_boundary(&piece[at..]) else { break };
            assert!(!was_off && scanner.is_at_boundary() && !scanner.is_off());
            at += offset;
            found.push(start + at);
        }
        start += piece.len();
    }
    (found, format!("{scanner:?}"))
}

/// A frame is found right before its first byte, and following it from there is following it all.
fn check_find_opcode(sender: Sender, bytes: &[u8]) {
    let mut scanner = Scanner::new(sender);
    let mut at = 0;
    while let Some(offset) = scanner.find_opcode(&bytes[at..], Opcode::Close) {
        at += offset;
        assert!(bytes[at] & 0x8f == 0x88 && scanner.is_at_boundary() && !scanner.has_closed());
        scanner.follow(&bytes[at..=at]);
        assert!(scanner.has_closed());
        at += 1;
    }
    let mut plain = Scanner::new(sender);
    plain.follow(bytes);
    assert_eq!(format!("{scanner:?}"), format!("{plain:?}"));
}

/// All that goes on when the stream ends here, and how much was swallowed.
fn filter(sender: Sender, bytes: &[u8], piece: usize) -> (Vec<u8>, usize) {
    let (mut filter, mut scanner) = (PongFilter::new(TAG), Scanner::new(sender));
    filter.next_ping();
    let (mut out, mut swallowed) = (Vec::new(), 0);
    for piece in bytes.chunks(piece) {
        let mut buffer = [&[0; PongFilter::SPARE], piece].concat();
        let range = PongFilter::SPARE..buffer.len();
        let filtered = filter.filter(&mut scanner, &mut buffer, range);
        assert!(!filtered.answered || filtered.swallowed > 0);
        out.extend_from_slice(&buffer[filtered.range]);
        swallowed += filtered.swallowed as usize;
    }
    out.extend_from_slice(filter.held());
    (out, swallowed)
}
