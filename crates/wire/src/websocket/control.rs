//! The control frames that a tunnel sends of its own accord. One fits on the stack, so that saying
//! goodbye to very many tunnels at once allocates nothing.

use super::{FIN, HEADER, KEY, MASKED, MAX_CONTROL, Opcode};

/// One control frame, ready to be sent.
#[derive(Clone, Debug)]
pub struct Control {
    bytes: [u8; HEADER + KEY + MAX_CONTROL],
    length: usize,
}

impl Control {
    /// A Close frame (§5.5.1). A reason that is too long is cut between two characters. `mask` is
    /// the masking key: drawn at random for what goes to a server, none for what goes to a client.
    pub fn close(code: u16, reason: &str, mask: Option<[u8; KEY]>) -> Self {
        let code = code.to_be_bytes();
        let end = reason.floor_char_boundary(MAX_CONTROL - code.len());
        let mut frame = Self::begin(Opcode::Close, mask);
        frame.push(&code);
        frame.push(&reason.as_bytes()[..end]);
        frame.finish(mask)
    }

    /// A Ping frame (§5.5.2). A payload above 125 bytes is cut.
    pub fn ping(payload: &[u8], mask: Option<[u8; KEY]>) -> Self {
        let mut frame = Self::begin(Opcode::Ping, mask);
        frame.push(&payload[..payload.len().min(MAX_CONTROL)]);
        frame.finish(mask)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn begin(opcode: Opcode, mask: Option<[u8; KEY]>) -> Self {
        let mut frame = Self { bytes: [0; HEADER + KEY + MAX_CONTROL], length: 0 };
        frame.push(&[FIN | opcode as u8, if mask.is_some() { MASKED } else { 0 }]);
        frame.push(mask.as_ref().map_or(&[], <[u8; KEY]>::as_slice));
        frame
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// All of the payload is there: its length goes into the header, and the mask over it.
    fn finish(mut self, mask: Option<[u8; KEY]>) -> Self {
        let start = HEADER + mask.map_or(0, |key| key.len());
        let payload = &mut self.bytes[start..self.length];
        for (byte, key) in payload.iter_mut().zip(mask.iter().flatten().cycle()) {
            *byte ^= key;
        }
        self.bytes[1] |= payload.len() as u8;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::{
        FrameHeader,
        coding::{Control as Kind, OpCode},
    };

    use super::*;

    /// The payload of `frame`, as another implementation reads it.
    fn payload(frame: &Control, kind: Kind, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut cursor = Cursor::new(frame.as_bytes());
        let (header, length) = FrameHeader::parse(&mut cursor).expect("sound").expect("whole");
        assert!(header.is_final && !header.rsv1 && !header.rsv2 && !header.rsv3);
        assert_eq!((header.opcode, header.mask), (OpCode::Control(kind), mask));
        let payload = &frame.as_bytes()[cursor.position() as usize..];
        assert_eq!(payload.len() as u64, length);
        let mut key = mask.unwrap_or_default().into_iter().cycle();
        payload.iter().map(|byte| byte ^ key.next().unwrap_or_default()).collect()
    }

    #[test]
    fn section_5_7_frames_look_like_the_examples() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let masked = Control::ping(b"Hello", Some(key));
        assert_eq!(masked.as_bytes(), b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        assert_eq!(Control::ping(b"Hello", None).as_bytes(), b"\x89\x05Hello");
        assert_eq!(Control::close(1001, "bye", None).as_bytes(), b"\x88\x05\x03\xe9bye");
    }

    #[test]
    fn section_5_5_1_a_long_reason_is_cut_between_characters() {
        let reason = format!("x{}", "é".repeat(70));
        let frame = Control::close(1001, &reason, Some([1, 2, 3, 4]));
        let sent = payload(&frame, Kind::Close, Some([1, 2, 3, 4]));
        assert_eq!(&sent[2..], format!("x{}", "é".repeat(61)).as_bytes());
        let frame = Control::close(1001, &format!("xx{reason}"), None);
        assert_eq!(payload(&frame, Kind::Close, None).len(), 2 + 123);
    }

    #[test]
    fn section_5_5_a_long_payload_is_cut() {
        assert_eq!(payload(&Control::ping(&[7; 126], None), Kind::Ping, None), [7; 125]);
    }

    proptest! {
        #[test]
        fn another_implementation_reads_what_was_meant(
            code in any::<u16>(), reason in ".{0,20}", mask in any::<Option<[u8; 4]>>(),
        ) {
            let close = Control::close(code, &reason, mask);
            let expected = [&code.to_be_bytes(), reason.as_bytes()].concat();
            prop_assert_eq!(payload(&close, Kind::Close, mask), expected);
            let ping = Control::ping(reason.as_bytes(), mask);
            prop_assert_eq!(payload(&ping, Kind::Ping, mask), reason.as_bytes());
        }
    }
}
