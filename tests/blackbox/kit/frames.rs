//! WebSocket frames (RFC 6455 §5) spelt out byte by byte, read by a strict reader, and a server that
//! keeps every frame it was sent. What the product says of its own accord must pass here.

use std::{
    ops::Deref,
    sync::{Arc, Condvar, Mutex},
};

use super::{Broken, Conn, DEADLINE, Origin, SWITCHING, Socket, named_reply};

/// The first byte of a frame: final, but for those that begin or carry on a fragmented message.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const TEXT_BEGINS: u8 = 0x01;
pub const CONTINUES: u8 = 0x00;
pub const ENDS: u8 = 0x80;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub is_masked: bool,
    pub payload: Vec<u8>,
}

/// A server that echoes messages, answers pings and Closes, and keeps every frame it was sent. Plain
/// requests are answered with its name.
pub struct Chat {
    origin: Origin,
    heard: Heard,
}

/// The frames that servers were sent, with the number of the connection they came on.
#[derive(Clone, Default)]
pub struct Heard(Arc<(Mutex<Frames>, Condvar)>);

type Frames = Vec<(usize, Frame)>;

/// As a server sends it.
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [header(first, payload.len(), 0).as_slice(), payload].concat()
}

/// As a client sends it.
pub fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = header(first, payload.as_ref().len(), 0x80);
    bytes.extend(KEY);
    bytes.extend(payload.as_ref().iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// What a Close says.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// The first bytes of a frame, for one whose payload comes in parts.
pub fn header(first: u8, length: usize, mask_bit: u8) -> Vec<u8> {
    match length {
        0..126 => vec![first, mask_bit | length as u8],
        126..65_536 => {
            [&[first, mask_bit | 126], (length as u16).to_be_bytes().as_slice()].concat()
        }
        _ => [&[first, mask_bit | 127], (length as u64).to_be_bytes().as_slice()].concat(),
    }
}

impl Frame {
    /// The code and the reason of a Close.
    #[track_caller]
    pub fn goodbye(&self) -> (u16, String) {
        assert_eq!(self.first, CLOSE, "no Close: {self:?}");
        let (code, reason) = self.payload.split_first_chunk().expect("a Close with a code");
        (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).unwrap())
    }

    pub fn is(&self, first: u8, payload: impl AsRef<[u8]>) -> bool {
        self.first == first && self.payload == payload.as_ref()
    }
}

impl Socket {
    /// The next frame, whole.
    pub fn frame(&mut self) -> Result<Frame, Broken> {
        let head = self.exactly(2)?;
        let (first, is_masked) = (head[0], head[1] & 0x80 != 0);
        let is_control = first & 0x08 != 0;
        if !matches!(first & 0x0f, 0x0..=0x2 | 0x8..=0xa)
            || first & 0x70 != 0
            || is_control && (first & 0x80 == 0 || head[1] & 0x7f > 125)
        {
            return Err(Broken::Malformed(format!("a frame that begins with {head:02x?}")));
        }
        let length = match head[1] & 0x7f {
            126 => self.exactly(2)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            127 => self.exactly(8)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            length => length.into(),
        };
        let key = if is_masked { self.exactly(4)? } else { vec![0; 4] };
        let mut payload = self.exactly(length)?;
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        Ok(Frame { first, is_masked, payload })
    }

    /// The next frame, as a server sends it.
    #[track_caller]
    pub fn hear(&mut self) -> Frame {
        let frame = self.frame().unwrap_or_else(|broken| panic!("no whole frame: {broken:?}"));
        assert!(!frame.is_masked, "a server masks nothing: {frame:?}");
        frame
    }

    /// Says something and hears it back.
    #[track_caller]
    pub fn chats(&mut self, text: &str) {
        self.send(masked(TEXT, text));
        let heard = self.hear();
        assert!(heard.is(TEXT, text), "said {text:?}, heard {heard:?}");
    }

    /// The next thing is a Close: answers it, and waits until the connection has ended.
    #[track_caller]
    pub fn leaves(&mut self) -> (u16, String) {
        let heard = self.hear();
        let goodbye = heard.goodbye();
        self.send(masked(CLOSE, &heard.payload));
        self.expect_end();
        goodbye
    }
}

impl Chat {
    pub fn new() -> Self {
        Self::named("chat")
    }

    pub fn named(name: &'static str) -> Self {
        Self::run(name, |conn, heard| heard.chat(conn))
    }

    /// One that does as the script says once a tunnel is open.
    pub fn with(script: impl Fn(&mut Conn, &Heard) + Send + Sync + 'static) -> Self {
        Self::run("chat", script)
    }

    fn run(name: &'static str, script: impl Fn(&mut Conn, &Heard) + Send + Sync + 'static) -> Self {
        let heard = Heard::default();
        let kept = heard.clone();
        let origin = Origin::new(move |conn| {
            while let Ok(request) = conn.receive() {
                let upgrades = request.head.has("upgrade");
                let reply = if upgrades { SWITCHING.into() } else { named_reply(name) };
                if conn.try_send(reply).is_err() {
                    return;
                }
                if upgrades {
                    return script(conn, &kept);
                }
            }
        });
        Self { origin, heard }
    }

    /// The frames that came on that connection, once there is one like this among them.
    #[track_caller]
    pub fn heard(
        &self,
        connection: usize,
        what: &str,
        is_it: impl Fn(&Frame) -> bool,
    ) -> Vec<Frame> {
        let (lock, grown) = &*self.heard.0;
        let of_it = |all: &[(usize, Frame)]| -> Vec<Frame> {
            all.iter().filter(|one| one.0 == connection).map(|one| one.1.clone()).collect()
        };
        let lacks = |all: &mut Vec<(usize, Frame)>| !of_it(all).iter().any(&is_it);
        let (all, _) = grown.wait_timeout_while(lock.lock().unwrap(), DEADLINE, lacks).unwrap();
        let heard = of_it(&all);
        drop(all);
        assert!(heard.iter().any(&is_it), "the server never heard {what}: {heard:?}");
        heard
    }

    /// The Close that the server was sent on that connection; all of its frames were masked.
    #[track_caller]
    pub fn goodbye(&self, connection: usize) -> (u16, String) {
        let heard = self.heard(connection, "a Close", |frame| frame.first == CLOSE);
        assert!(heard.iter().all(|frame| frame.is_masked), "a client masks all: {heard:?}");
        heard.last().unwrap().goodbye()
    }
}

impl Deref for Chat {
    type Target = Origin;

    fn deref(&self) -> &Origin {
        &self.origin
    }
}

impl Heard {
    /// Reads a frame and keeps it.
    pub fn frame(&self, conn: &mut Conn) -> Result<Frame, Broken> {
        let frame = conn.frame()?;
        self.0.0.lock().unwrap().push((conn.number, frame.clone()));
        self.0.1.notify_all();
        Ok(frame)
    }

    /// Keeps the frames that come until a Close or the end, without a word.
    pub fn listen(&self, conn: &mut Conn) {
        while self.frame(conn).is_ok_and(|frame| frame.first != CLOSE) {}
    }

    /// Echoes until a Close, which is answered, or the end.
    pub fn chat(&self, conn: &mut Conn) {
        while let Ok(Frame { first, payload, .. }) = self.frame(conn) {
            let answer = match first {
                PING => PONG,
                PONG => continue,
                first => first,
            };
            if conn.try_send(frame(answer, payload)).is_err() || first == CLOSE {
                return;
            }
        }
    }
}
