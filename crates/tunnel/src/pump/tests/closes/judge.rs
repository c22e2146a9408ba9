//! What an end has heard, judged by tungstenite's idea of a frame: the other end's frames, whole,
//! unaltered and in order, and between two of them such of the tunnel's own as may stand there.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::{
    Error,
    protocol::frame::{
        FrameHeader,
        coding::{Control, OpCode},
    },
};

use super::{
    played::Played,
    speaker::{Said, What},
};

/// A frame as tungstenite reads it.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    pub(super) payload: Vec<u8>,
    /// Of all of it.
    pub(super) length: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// How much of what the other end has said has come.
    pub(super) delivered: usize,
    /// Our Close came last, in the middle of a message or not.
    pub(super) close: Option<bool>,
    /// The other end's own Close came.
    pub(super) own_close: bool,
    pub(super) pings: u64,
    /// It ends within a frame of ours.
    pub(super) is_torn: bool,
}

/// What the tunnel may say of itself.
#[derive(Debug)]
pub(super) struct May<'a> {
    /// The payload of its Close.
    pub(super) close: &'a [u8],
    pub(super) ping: bool,
    pub(super) masked: bool,
}

impl Frame {
    /// The frame at the front of `bytes`, if all of it is there.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let mut cursor = Cursor::new(bytes);
        let Some((header, length)) = FrameHeader::parse(&mut cursor)? else { return Ok(None) };
        let start = cursor.position() as usize;
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let Some(payload) = end.and_then(|end| bytes.get(start..end)) else { return Ok(None) };
        let key = header.mask.unwrap_or_default();
        let payload: Vec<_> = payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
        Ok(Some(Self { length: start + payload.len(), header, payload }))
    }
}

/// Judges all of `heard`, whose frames `speaker` said.
pub(super) fn judge(heard: &[u8], speaker: &Played, may: &May<'_>) -> Heard {
    let mut found = Heard::default();
    let (mut at, mut in_message, mut next) = (0, false, 0);
    while at < heard.len() {
        while speaker.frames.get(next).is_some_and(|said| said.what == What::OwnPong) {
            next += 1;
        }
        let (rest, said) = (&heard[at..], speaker.frames.get(next));
        if let Some(said) = said {
            let bytes = bytes_of(speaker, next, said);
            let is_whole = said.what != What::Bytes && rest.starts_with(bytes);
            if is_whole || bytes.starts_with(rest) {
                let length = bytes.len().min(rest.len());
                found.delivered = said.start + length;
                found.own_close |= said.what == What::Close && is_whole;
                (at, in_message, next) = (at + length, said.in_message, next + 1);
                continue;
            }
        }
        assert!(!found.own_close, "ours behind a Close of theirs");
        let Ok(Some(frame)) = Frame::parse(rest) else {
            found.is_torn = true;
            assert!(begins_like_ours(rest, may), "altered: {rest:x?} for {said:?}");
            break;
        };
        at += ours(&frame, may, &mut found, in_message);
        assert!(found.close.is_none() || at == heard.len(), "something behind our Close");
    }
    found
}

fn bytes_of<'a>(speaker: &'a Played, index: usize, said: &Said) -> &'a [u8] {
    let end = match said.what {
        What::Bytes => None,
        _ => speaker.frames.get(index + 1).map(|next| next.start),
    };
    &speaker.said[said.start..end.unwrap_or(speaker.said.len())]
}

/// Judges a frame that the other end has not said, and answers how long it is.
fn ours(frame: &Frame, may: &May<'_>, found: &mut Heard, in_message: bool) -> usize {
    let header = &frame.header;
    assert!(header.is_final && !header.rsv1 && !header.rsv2 && !header.rsv3, "{frame:?}");
    assert_eq!(header.mask.is_some(), may.masked, "{frame:?}");
    match header.opcode {
        OpCode::Control(Control::Ping) => {
            assert!(may.ping && frame.payload.len() == 8, "{frame:?}");
            found.pings += 1;
        }
        OpCode::Control(Control::Close) => {
            assert_eq!(frame.payload, may.close);
            found.close = Some(in_message);
        }
        _ => panic!("nobody said {frame:?}"),
    }
    frame.length
}

/// Whether it may be the beginning of a Close or of a ping.
fn begins_like_ours(bytes: &[u8], may: &May<'_>) -> bool {
    let mask = if may.masked { 0x80 } else { 0 };
    let close = [0x88, mask | may.close.len() as u8];
    let ping = [0x89, mask | 8];
    let head = &bytes[..bytes.len().min(2)];
    close.starts_with(head) || may.ping && ping.starts_with(head)
}
