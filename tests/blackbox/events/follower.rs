//! A client of server-sent events, as strict as the standard allows it to be: each chunk of the
//! answer is one block of lines.

use serde_json::Value;

use crate::kit::{Edge, Socket};

/// One event, or the part of one that a comment with an id is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    pub id: u64,
    pub kind: String,
    pub data: Value,
}

/// A connection that follows.
pub struct Follower(pub Socket);

impl Follower {
    /// Follows from now on.
    #[track_caller]
    pub fn begin(edge: &Edge, query: &str) -> Self {
        Self::on(Socket::connect(edge.admin()), edge, query, "").0
    }

    /// Follows from an id on.
    #[track_caller]
    pub fn after(edge: &Edge, id: u64) -> Self {
        let field = format!("Last-Event-ID: {id}\r\n");
        Self::on(Socket::connect(edge.admin()), edge, "", &field).0
    }

    /// The id that it was greeted with, too: where it begins.
    #[track_caller]
    pub fn on(mut socket: Socket, edge: &Edge, query: &str, fields: &str) -> (Self, u64) {
        let admin = edge.admin();
        socket.send(format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: {admin}\r\n{fields}\r\n"));
        let head = socket.head().unwrap();
        assert_eq!(head.status(), 200, "{head:?}");
        assert_eq!(head.field("content-type"), Some("text/event-stream"));
        assert_eq!(head.field("cache-control"), Some("no-store"));
        assert_eq!(head.field("x-accel-buffering"), Some("no"));
        let mut this = Self(socket);
        let greeting = this.block().expect("a greeting");
        assert!(greeting.starts_with(": connected\n"), "{greeting:?}");
        let id = parse(&greeting).id;
        (this, id)
    }

    /// The next chunk, which is a block of lines; `None` at the end.
    #[track_caller]
    fn block(&mut self) -> Option<String> {
        let length = usize::from_str_radix(&self.0.line().unwrap(), 16).unwrap();
        let text = String::from_utf8(self.0.exactly(length).unwrap()).unwrap();
        assert_eq!(self.0.exactly(2).unwrap(), b"\r\n");
        if length == 0 {
            return None;
        }
        assert!(text.ends_with("\n\n") && !text.trim_end().contains("\n\n"), "{text:?}");
        Some(text)
    }

    /// The next event; `None` at the end.
    #[track_caller]
    pub fn next(&mut self) -> Option<Told> {
        loop {
            let block = self.block()?;
            if !block.starts_with(':') {
                return Some(parse(&block));
            }
        }
    }

    #[track_caller]
    pub fn told(&mut self) -> Told {
        self.next().expect("it goes on")
    }
}

#[track_caller]
fn parse(block: &str) -> Told {
    let mut told = Told::default();
    for line in block.lines() {
        match line.split_once(": ").unwrap_or_default() {
            ("id", id) => told.id = id.parse().unwrap(),
            ("event", kind) => kind.clone_into(&mut told.kind),
            ("data", data) => told.data = serde_json::from_str(data).unwrap(),
            _ => assert!(line.is_empty() || line.starts_with(": "), "{block:?}"),
        }
    }
    told
}
