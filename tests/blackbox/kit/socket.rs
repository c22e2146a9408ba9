//! A blocking socket that remembers what it has read but not yet given out: the client of the tests,
//! and the server's side inside an origin.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Type};
use tokio_rustls::rustls::Connection;

use super::{
    DEADLINE, Head, Message,
    message::{Body, Framing, field},
};

/// A connected socket, TCP or unix, with or without TLS.
pub struct Socket {
    inner: socket2::Socket,
    tls: Option<Box<Connection>>,
    unread: Vec<u8>,
}

/// Why no whole message came.
#[derive(Debug)]
#[allow(dead_code, reason = "the fields are for whoever reads why a test failed")]
pub enum Broken {
    /// The other side closed before the first byte.
    Closed,
    /// The other side closed in the middle.
    Cut(Vec<u8>),
    Malformed(String),
    Reset,
    TimedOut(Vec<u8>),
}

/// Far above what any test wants to see.
const MOST_INTERIM: usize = 1_000;
/// Far above any line a test sends.
const LONGEST_HEAD: usize = 256 * 1024;

impl Socket {
    pub fn over(inner: impl Into<socket2::Socket>) -> Self {
        let inner = inner.into();
        inner.set_read_timeout(Some(DEADLINE)).unwrap();
        inner.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { inner, tls: None, unread: Vec::new() }
    }

    /// Shakes hands; everything afterwards is what is in TLS.
    pub fn secure(mut self, mut tls: Connection) -> io::Result<Self> {
        while tls.is_handshaking() {
            tls.complete_io(&mut self.inner)?;
        }
        while tls.wants_write() {
            tls.write_tls(&mut self.inner)?;
        }
        Ok(Self { tls: Some(Box::new(tls)), ..self })
    }

    /// Ends TLS in good order; reading goes on.
    pub fn goodbye(&mut self) {
        let tls = self.tls.as_mut().expect("a connection with TLS");
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut self.inner).unwrap();
        }
    }

    pub fn connect(address: SocketAddr) -> Self {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Connects from one of the many addresses of the loopback network.
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(socket)
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the other side takes the bytes");
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.inner.write_all(bytes.as_ref()) };
        // It takes only so much at a time.
        for piece in bytes.as_ref().chunks(16 * 1024) {
            tls.writer().write_all(piece)?;
            while tls.wants_write() {
                tls.write_tls(&mut self.inner)?;
            }
        }
        Ok(())
    }

    /// One chunk of a chunked body; an empty one would end it.
    pub fn send_chunk(&mut self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        self.send([format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat());
    }

    /// Sends a request and reads its whole answer.
    #[track_caller]
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request);
        self.response().unwrap_or_else(|broken| panic!("no whole answer: {broken:?}"))
    }

    pub fn head(&mut self) -> Result<Head, Broken> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if self.unread.len() > LONGEST_HEAD {
                return Err(Broken::Malformed("a head without an end".into()));
            }
            self.fill()?;
        };
        let raw: Vec<u8> = self.unread.drain(..end).collect();
        Head::parse(&raw).map_err(Broken::Malformed)
    }

    pub fn request(&mut self) -> Result<Message, Broken> {
        let head = self.head()?;
        let framing = head.request_framing().map_err(Broken::Malformed)?;
        let (body, trailers) = self.body(framing)?;
        Ok(Message { head, body, trailers, interim: Vec::new() })
    }

    /// The final answer to a request that was not HEAD, with what came before it.
    pub fn response(&mut self) -> Result<Message, Broken> {
        self.response_to("GET")
    }

    pub fn response_to(&mut self, method: &str) -> Result<Message, Broken> {
        let mut interim = Vec::new();
        loop {
            let head = self.head()?;
            match head.status() {
                0 => return Err(Broken::Malformed(format!("status line {:?}", head.start))),
                100 | 102..200 if interim.len() < MOST_INTERIM => interim.push(head),
                100 | 102..200 => return Err(Broken::Malformed("endless interim answers".into())),
                _ => {
                    let framing = head.response_framing(method).map_err(Broken::Malformed)?;
                    let (body, trailers) = self.body(framing)?;
                    return Ok(Message { head, body, trailers, interim });
                }
            }
        }
    }

    fn body(&mut self, framing: Framing) -> Result<Body, Broken> {
        match framing {
            Framing::Length(length) => Ok((self.exactly(length)?, Vec::new())),
            Framing::UntilEnd => Ok((self.rest()?, Vec::new())),
            Framing::Chunked => self.chunks(),
        }
    }

    fn chunks(&mut self) -> Result<Body, Broken> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let bad = || Broken::Malformed(format!("chunk size {line:?}"));
            let length = usize::from_str_radix(&line, 16).map_err(|_| bad())?;
            if length == 0 {
                return Ok((body, self.trailers()?));
            }
            body.extend(self.exactly(length).map_err(|broken| broken.with_before(&body))?);
            if self.exactly(2)? != b"\r\n" {
                return Err(Broken::Malformed("a chunk that is longer than it said".into()));
            }
        }
    }

    fn trailers(&mut self) -> Result<Vec<(String, String)>, Broken> {
        let mut trailers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push(field(&line).map_err(Broken::Malformed)?);
        }
    }

    /// The text before the next CRLF.
    pub fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill()?;
        }
    }

    pub fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        while self.unread.len() < length {
            self.fill()?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    /// Everything until the other side closes in good order.
    pub fn rest(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(Broken::Closed | Broken::Cut(_)) => {
                    return Ok(std::mem::take(&mut self.unread));
                }
                Err(broken) => return Err(broken),
            }
        }
    }

    /// The next bytes, whatever they are.
    pub fn some(&mut self) -> Result<Vec<u8>, Broken> {
        if self.unread.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.unread))
    }

    /// Nothing more comes, and the connection ends: by a close or a reset.
    #[track_caller]
    pub fn expect_end(&mut self) {
        match self.fill() {
            Err(Broken::Closed | Broken::Reset) => {}
            other => panic!("the connection should have ended: {other:?}, {:?}", self.text()),
        }
    }

    /// Whether nothing at all comes for that long.
    pub fn is_quiet_for(&mut self, time: Duration) -> bool {
        self.inner.set_read_timeout(Some(time)).unwrap();
        let quiet = self.unread.is_empty() && matches!(self.fill(), Err(Broken::TimedOut(_)));
        self.inner.set_read_timeout(Some(DEADLINE)).unwrap();
        quiet
    }

    /// Says that no more will be sent.
    pub fn finish(&self) {
        self.inner.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends with a reset instead of a close.
    pub fn reset(self) {
        self.inner.set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub fn inner(&self) -> &socket2::Socket {
        &self.inner
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    fn fill(&mut self) -> Result<(), Broken> {
        let mut part = [0; 64 * 1024];
        let read = match &mut self.tls {
            Some(tls) => read_tls(tls, &mut self.inner, &mut part),
            None => self.inner.read(&mut part),
        };
        match read {
            Ok(0) if self.unread.is_empty() => Err(Broken::Closed),
            Ok(0) => Err(Broken::Cut(self.unread.clone())),
            Ok(length) => {
                self.unread.extend_from_slice(&part[..length]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    Err(Broken::TimedOut(self.unread.clone()))
                }
                _ => Err(Broken::Reset),
            },
        }
    }
}

impl Broken {
    /// Puts the chunks that were whole before the part of the one that was cut.
    fn with_before(self, before: &[u8]) -> Self {
        match self {
            Self::Cut(part) => Self::Cut([before, &part].concat()),
            Self::Closed => Self::Cut(before.to_vec()),
            other => other,
        }
    }

    /// Whether the message ended early in a way no reader can take for its end.
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Closed | Self::Cut(_) | Self::Reset)
    }
}

/// 0 after a goodbye; an end without one is an error.
fn read_tls(
    tls: &mut Connection,
    inner: &mut socket2::Socket,
    part: &mut [u8],
) -> io::Result<usize> {
    loop {
        match tls.reader().read(part) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
        tls.read_tls(inner)?;
        tls.process_new_packets().map_err(io::Error::other)?;
        while tls.wants_write() {
            tls.write_tls(inner)?;
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
