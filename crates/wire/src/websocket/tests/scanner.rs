//! Each way to break the framing, and the boundaries against two other readings of it.

use std::{io::Cursor, ops::Range};

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

use super::*;

/// Where frames end in `bytes`, and whether the scanner is on at the end. Every boundary is looked
/// for in the rest of a piece behind the one before.
fn boundaries(sender: Sender, bytes: &[u8], sizes: &[usize]) -> (Vec<usize>, bool) {
    let mut scanner = Scanner::new(sender);
    let (mut found, mut start) = (Vec::new(), 0);
    for piece in pieces(bytes, sizes) {
        let mut at = 0;
        while at < piece.len() {
            // Off a boundary first, which a single byte is enough for.
            if scanner.is_at_boundary() {
                scanner.follow(&piece[at..=at]);
                at += 1;
            }
            match scanner.find_boundary(&piece[at..]) {
                Some(offset) => at += offset,
                None => break,
            }
            found.push(start + at);
        }
        start += piece.len();
    }
    (found, !scanner.is_off())
}

/// The same by reading the whole as one slice: where frames end up to the first unsound one, and
/// whether there was none.
fn reference(sender: Sender, bytes: &[u8]) -> (Vec<usize>, bool) {
    let (mut ends, mut at) = (Vec::new(), 0);
    let (mut is_in_message, mut has_closed) = (false, false);
    while let Some(first) = bytes.get(at) {
        let (is_final, opcode) = (first & 0x80 != 0, first & 0x0f);
        let is_sound = match opcode {
            0 => is_in_message,
            1 | 2 => !is_in_message,
            8..=10 => is_final,
            _ => false,
        };
        if has_closed || !is_sound {
            return (ends, false);
        }
        match frame_length(sender, &bytes[at..]) {
            Ok(Some(length)) => at += length,
            Ok(None) => break,
            Err(()) => return (ends, false),
        }
        has_closed = opcode == 8;
        is_in_message = if opcode < 8 { !is_final } else { is_in_message };
        if at > bytes.len() {
            break;
        }
        ends.push(at);
    }
    (ends, true)
}

/// How long the frame at the front of `bytes` is; `None` when its length is not there yet.
fn frame_length(sender: Sender, bytes: &[u8]) -> Result<Option<usize>, ()> {
    let Some(second) = bytes.get(1) else { return Ok(None) };
    if (second & 0x80 != 0) != (sender == Sender::Client) {
        return Err(());
    }
    let field = |range: Range<usize>| {
        bytes.get(range).map(|field| field.iter().fold(0, |all, b| all << 8 | u128::from(*b)))
    };
    let (width, length) = match second & 0x7f {
        126 => (2, field(2..4)),
        127 => (8, field(2..10)),
        length => (0, Some(length.into())),
    };
    let Some(length) = length else { return Ok(None) };
    if length >= 1 << 63 || bytes[0] & 0x08 != 0 && length > 125 {
        return Err(());
    }
    let key = if sender == Sender::Client { 4 } else { 0 };
    Ok(Some(2 + width + key + length as usize))
}

/// Where tungstenite says that frames end.
fn tungstenite(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut cursor) = (Vec::new(), Cursor::new(bytes));
    while let Ok(Some((_, length))) = FrameHeader::parse(&mut cursor) {
        cursor.set_position(cursor.position() + length);
        ends.push(cursor.position() as usize);
    }
    ends
}

fn concat(frames: &[Frame], sender: Sender) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.bytes(sender)).collect()
}

/// A scanner of a server's frames that has followed these.
fn server(frames: &[&[u8]]) -> Scanner {
    let mut scanner = Scanner::new(Sender::Server);
    frames.iter().for_each(|frame| scanner.follow(frame));
    scanner
}

#[test]
fn it_is_small() {
    assert!(size_of::<Scanner>() <= 16);
}

#[test]
fn a_boundary_is_where_it_stands_already() {
    let mut scanner = Scanner::new(Sender::Server);
    assert_eq!(scanner.find_boundary(b""), Some(0));
    assert_eq!(scanner.find_boundary(b"\x81\x01"), Some(0));
    scanner.follow(b"\x81");
    assert_eq!(scanner.find_boundary(b""), None);
    assert_eq!(scanner.find_boundary(b"\x01x\x81"), Some(2));
    assert_eq!(scanner.find_boundary(b"\x81"), Some(0));
}

#[test]
fn section_5_4_control_frames_come_between_fragments() {
    let mut scanner = server(&[b"\x01\x01a", b"\x89\x00"]);
    assert!(scanner.is_at_boundary() && !scanner.is_between_messages());
    scanner.follow(b"\x00\x01b");
    assert!(!scanner.is_between_messages());
    scanner.follow(b"\x80");
    assert!(!scanner.is_between_messages());
    scanner.follow(b"\x01c");
    assert!(scanner.is_between_messages());
}

#[test]
fn section_5_5_1_a_close_shows_in_its_first_byte() {
    let mut scanner = server(&[b"\x81\x00"]);
    assert!(!scanner.has_closed());
    scanner.follow(b"\x88");
    assert!(scanner.has_closed() && !scanner.is_at_boundary());
    scanner.follow(b"\x00");
    assert!(scanner.has_closed() && scanner.is_at_boundary());
}

#[test]
fn find_opcode_stops_right_before_the_frame() {
    let mut scanner = Scanner::new(Sender::Server);
    let bytes = b"\x82\x03\x88\x88\x88\x89\x00\x88\x00";
    assert_eq!(scanner.find_opcode(bytes, Opcode::Close), Some(7));
    assert!(scanner.is_at_boundary() && !scanner.has_closed());
    assert_eq!(scanner.find_opcode(&bytes[7..], Opcode::Close), Some(0));
    assert_eq!(scanner.find_opcode(&bytes[7..], Opcode::Ping), None);
    assert!(scanner.is_at_boundary() && scanner.has_closed());
    assert_eq!(scanner.find_opcode(b"", Opcode::Ping), None);
}

#[test]
fn find_opcode_does_not_stop_at_what_is_unsound() {
    let mut scanner = server(&[b"\x88\x00"]);
    assert_eq!(scanner.find_opcode(b"\x89\x00", Opcode::Ping), None);
    assert!(scanner.is_off());
    assert_eq!(server(&[]).find_opcode(b"\x09\x00", Opcode::Ping), None);
}

#[test]
fn section_5_1_the_mask_bit_is_the_senders() {
    for (sender, second, is_off) in [
        (Sender::Client, 0x80, false),
        (Sender::Client, 0x00, true),
        (Sender::Server, 0x80, true),
        (Sender::Server, 0x00, false),
    ] {
        let mut scanner = Scanner::new(sender);
        scanner.follow(&[0x81, second]);
        assert_eq!(scanner.is_off(), is_off, "{sender:?} {second:#x}");
    }
}

#[test]
fn section_5_2_reserved_opcodes_turn_it_off() {
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        assert!(server(&[&[0x80 | opcode]]).is_off(), "{opcode:#x}");
    }
}

#[test]
fn section_5_2_extensions_have_the_rsv_bits() {
    for rsv in 0..8 {
        let scanner = server(&[&[0x81 | rsv << 4, 0x00, 0x8a | rsv << 4, 0x00]]);
        assert!(scanner.is_between_messages(), "{rsv:#b}");
    }
}

#[test]
fn section_5_2_a_length_fits_63_bits() {
    let mut scanner = server(&[b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"]);
    assert_eq!(scanner.find_boundary(&[0x88; 1000]), None);
    assert!(!scanner.is_off());
    assert!(server(&[b"\x82\x7f\x80\0\0\0\0\0\0\0"]).is_off());
    let mut scanner = Scanner::new(Sender::Client);
    scanner.follow(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!(scanner.find_boundary(&[0x88; 1000]), None);
    assert!(!scanner.is_off());
}

#[test]
fn section_5_2_a_length_may_take_more_bytes_than_it_needs() {
    assert!(server(&[b"\x82\x7e\0\x01x"]).is_between_messages());
    assert!(server(&[b"\x82\x7f\0\0\0\0\0\0\0\x01x"]).is_between_messages());
    assert!(server(&[b"\x82\x7e\0\0"]).is_between_messages());
    assert!(server(&[b"\x8a\x7e\0\x01x"]).is_between_messages());
}

#[test]
fn section_5_4_a_continuation_continues_something() {
    assert!(server(&[b"\x80"]).is_off());
    assert!(server(&[b"\x00"]).is_off());
    assert!(server(&[b"\x81\x00", b"\x80"]).is_off());
    assert!(server(&[b"\x01\x00", b"\x80\x00", b"\x80"]).is_off());
}

#[test]
fn section_5_4_messages_do_not_interleave() {
    assert!(server(&[b"\x01\x00", b"\x81"]).is_off());
    assert!(server(&[b"\x02\x00", b"\x89\x00", b"\x02"]).is_off());
}

#[test]
fn section_5_5_control_frames_are_whole_and_short() {
    for opcode in [0x8, 0x9, 0xa] {
        assert!(server(&[&[opcode]]).is_off(), "{opcode:#x}");
        assert!(!server(&[&[0x80 | opcode, 125]]).is_off(), "{opcode:#x}");
        assert!(server(&[&[0x80 | opcode, 126, 0, 126]]).is_off(), "{opcode:#x}");
        assert!(server(&[&[0x80 | opcode, 127, 0, 0, 0, 0, 0, 0, 1, 0]]).is_off(), "{opcode:#x}");
    }
}

#[test]
fn section_5_5_1_nothing_follows_a_close() {
    for first in 0..=255 {
        assert!(server(&[b"\x88\x00", &[first]]).is_off(), "{first:#x}");
    }
}

#[test]
fn once_off_it_stays_off() {
    let mut scanner = server(&[b"\x83"]);
    scanner.follow(b"\x81\x00\x81\x00");
    assert!(scanner.is_off() && !scanner.is_at_boundary() && !scanner.is_between_messages());
    assert_eq!(scanner.find_boundary(b"\x81\x00"), None);
    assert_eq!(scanner.find_opcode(b"\x81\x00", Opcode::Text), None);
}

proptest! {
    #[test]
    fn boundaries_are_where_another_implementation_has_them(
        frames in streams(), sender in senders(), sizes in sizes(),
    ) {
        let bytes = concat(&frames, sender);
        prop_assert_eq!(boundaries(sender, &bytes, &sizes), (tungstenite(&bytes), true));
    }

    #[test]
    fn find_opcode_finds_every_frame_of_its_kind(
        frames in streams(), sender in senders(), sizes in sizes(),
    ) {
        let (mut expected, mut start) = (Vec::new(), 0);
        for frame in &frames {
            if frame.first & 0x0f == 0xa {
                expected.push(start);
            }
            start += frame.bytes(sender).len();
        }
        let (mut found, mut start) = (Vec::new(), 0);
        let mut scanner = Scanner::new(sender);
        for piece in pieces(&concat(&frames, sender), &sizes) {
            let mut at = 0;
            while let Some(offset) = scanner.find_opcode(&piece[at..], Opcode::Pong) {
                at += offset;
                found.push(start + at);
                scanner.follow(&piece[at..=at]);
                at += 1;
            }
            start += piece.len();
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn unsound_streams_turn_it_off_where_they_are_unsound(
        frames in streams(), sender in senders(), sizes in sizes(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = concat(&frames, sender);
        prop_assume!(!bytes.is_empty());
        for (index, byte) in changes {
            let at = index.index(bytes.len().min(64));
            bytes[at] = byte;
        }
        prop_assert_eq!(boundaries(sender, &bytes, &sizes), reference(sender, &bytes));
    }

    #[test]
    fn any_bytes_are_judged_alike_however_they_arrive(
        bytes in vec(prop::sample::select(&b"\x00\x01\x81\x80\x82\x88\x89\x8a\x7e\x7f"[..]), 0..40),
        sender in senders(), sizes in sizes(),
    ) {
        prop_assert_eq!(boundaries(sender, &bytes, &sizes), reference(sender, &bytes));
    }
}
