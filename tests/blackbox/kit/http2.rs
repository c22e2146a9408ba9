//! A client of HTTP/2 that says whatever frames it is told to, sound or not. Heads are written plainly,
//! without any compression, and read with a decoder that is not the product's.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use httlib_hpack::Decoder;

use super::DEADLINE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITISED: u8 = 32;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What came of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub interim: Vec<u16>,
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The code it was reset with.
    pub reset: Option<u32>,
    pub ended: bool,
}

/// How a connection or a stream ended that ought to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Goaway(u32),
    Reset(u32, u32),
    Closed,
}

pub struct Http2 {
    socket: TcpStream,
    decoder: Decoder<'static>,
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Fields, none of which is indexed.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let size = text.len();
        let mut out = if size < 127 {
            vec![u8::try_from(size).unwrap()]
        } else {
            let (mut rest, mut out) = (size - 127, vec![127]);
            while rest >= 128 {
                out.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            out.push(u8::try_from(rest).unwrap());
            out
        };
        out.extend_from_slice(text.as_bytes());
        out
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The head of a GET, with further fields.
pub fn get(fields: &[(&str, &str)]) -> Vec<u8> {
    request("GET", "/", fields)
}

pub fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo =
        [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.example")];
    block(&[&pseudo, fields].concat())
}

/// Settings, each a number and a value.
pub fn settings(all: &[(u16, u32)]) -> Vec<u8> {
    let one = |(key, value): &(u16, u32)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat();
    all.iter().flat_map(one).collect()
}

impl Http2 {
    /// Connected, with nothing said.
    pub fn silent(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { socket, decoder: Decoder::default() }
    }

    /// Ready for requests.
    pub fn connect(address: SocketAddr) -> Self {
        Self::with(address, &[])
    }

    pub fn with(address: SocketAddr, ours: &[(u16, u32)]) -> Self {
        let mut this = Self::silent(address);
        this.raw(PREFACE);
        this.frame(SETTINGS, 0, 0, &settings(ours));
        while this.next().unwrap().kind != SETTINGS {}
        this.frame(SETTINGS, ACK, 0, &[]);
        while this.next().unwrap()
            != (Frame { kind: SETTINGS, flags: ACK, stream: 0, payload: vec![] })
        {}
        this
    }

    pub fn preface(&mut self) {
        self.raw(PREFACE);
    }

    /// Writes it, unless the other side has closed: what is read next tells.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.raw(&frame(kind, flags, stream, payload));
    }

    /// A whole request without a body.
    pub fn ask(&mut self, stream: u32, block: &[u8]) {
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, block);
    }

    /// The next frame; `None`: the connection has ended.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        let stream = u32::from_be_bytes([head[5] & 127, head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    fn fill(&mut self, room: &mut [u8]) -> Option<()> {
        match self.socket.read_exact(room) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {DEADLINE:?}")
            }
            Err(_) => None,
        }
    }

    pub fn fields(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let (mut block, mut fields) = (block.to_vec(), Vec::new());
        self.decoder.decode(&mut block, &mut fields).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        fields.into_iter().map(|(name, value, _)| (text(name), text(value))).collect()
    }

    /// What comes on that stream, to its end. Frames of others are passed over, but for their effect
    /// on the decoder.
    pub fn answer(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        while !answer.ended && answer.reset.is_none() {
            let frame = self.next().unwrap_or_else(|| panic!("closed, and so far: {answer:?}"));
            self.take(frame, stream, &mut answer);
        }
        answer
    }

    /// The head of an answer, however long its body.
    pub fn head(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        while answer.status == 0 && answer.reset.is_none() {
            let frame = self.next().unwrap_or_else(|| panic!("closed, and so far: {answer:?}"));
            self.take(frame, stream, &mut answer);
        }
        answer
    }

    /// The next data of that stream, and whether it is the last.
    pub fn data(&mut self, stream: u32) -> (Vec<u8>, bool) {
        loop {
            let frame = self.next().expect("the connection has ended");
            if frame.stream == stream && frame.kind == DATA {
                return (frame.payload, frame.flags & END_STREAM != 0);
            }
        }
    }

    fn take(&mut self, frame: Frame, stream: u32, answer: &mut Answer) {
        let fields = if frame.kind == HEADERS { self.fields(&frame.payload) } else { Vec::new() };
        match frame.kind {
            _ if frame.stream != stream => return,
            RST_STREAM => {
                answer.reset = Some(u32::from_be_bytes(frame.payload.try_into().unwrap()));
                return;
            }
            DATA => answer.body.extend_from_slice(&frame.payload),
            HEADERS if answer.status > 0 => answer.trailers = fields,
            HEADERS => {
                let status = fields[0].1.parse().unwrap();
                if (100..200).contains(&status) {
                    answer.interim.push(status);
                } else {
                    (answer.status, answer.fields) = (status, fields[1..].to_vec());
                }
            }
            _ => return,
        }
        answer.ended = frame.flags & END_STREAM != 0;
    }

    /// Waits until the other side ends the connection, or a stream.
    pub fn end(&mut self) -> End {
        loop {
            match self.next() {
                None => return End::Closed,
                Some(Frame { kind: GOAWAY, payload, .. }) => {
                    return End::Goaway(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
                }
                Some(Frame { kind: RST_STREAM, stream, payload, .. }) => {
                    return End::Reset(stream, u32::from_be_bytes(payload.try_into().unwrap()));
                }
                Some(_) => (),
            }
        }
    }

    /// A ping comes back.
    pub fn is_alive(&mut self) -> bool {
        self.frame(PING, 0, 0, b"tidegate");
        std::iter::from_fn(|| self.next())
            .take_while(|frame| frame.kind != GOAWAY)
            .any(|frame| frame.kind == PING && frame.flags == ACK)
    }
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}
