//! Active health checks: Tengine's own cases by their numbers (C44 to C50 of dyups, H1 to H49 of its
//! check module), the checks of the configuration file, and what requests and probes tell each
//! other. State is read where operators read it, on `/status`, `/metrics` and in the log.

mod changes; // removal, changes, reload: checks follow their servers
mod dyups_cases; // C44 to C50
mod kinds; // http, tls and websocket, from the file
mod page; // the status page, H1 to H13, and strange questions to it
mod rotation; // start, rise and fall, when nobody is well; metrics and log
mod suspicion; // a request that fails makes a probe at once
mod tengine; // H14 to H49

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use crate::kit::{Conn, Edge, Message, Origin, eventually, named_reply};

pub use page::{hostile_targets, raw_status};

/// One line of `/status?format=csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub upstream: String,
    pub server: String,
    pub is_up: bool,
    pub rises: u32,
    pub falls: u32,
    pub kind: String,
    pub port: u16,
}

/// Every server with a check, as the status page has it.
#[track_caller]
pub fn rows(edge: &Edge) -> Vec<Row> {
    let page = edge.call("GET", "/status?format=csv", "");
    assert!(matches!(page.status(), 200 | 500), "500 without checks: {page:?}");
    if page.status() == 500 {
        return Vec::new();
    }
    let rows: Vec<Row> = page.text().lines().map(Row::parse).collect();
    let in_order = page.text().lines().zip(0..).all(|(line, n)| line.starts_with(&format!("{n},")));
    assert!(in_order, "{rows:?}");
    rows
}

impl Row {
    #[track_caller]
    fn parse(line: &str) -> Self {
        let fields: Vec<&str> = line.split(',').collect();
        let [_, upstream, server, status, rises, falls, kind, port] = fields[..] else {
            panic!("not eight fields: {line:?}")
        };
        assert!(["up", "down"].contains(&status), "{line:?}");
        Self {
            upstream: upstream.into(),
            server: server.into(),
            is_up: status == "up",
            rises: rises.parse().unwrap(),
            falls: falls.parse().unwrap(),
            kind: kind.into(),
            port: port.parse().unwrap(),
        }
    }
}

/// The line of a server of the pool "app".
#[track_caller]
pub fn row(edge: &Edge, origin: &Origin) -> Option<Row> {
    let address = origin.address();
    rows(edge).into_iter().find(|row| row.upstream == "app" && row.server == address)
}

/// Waits until the line of a server of the pool "app" is like that.
#[track_caller]
pub fn wait_for_row(edge: &Edge, origin: &Origin, what: &str, is_it: impl Fn(&Row) -> bool) {
    eventually(&format!("{what}: {}", origin.address()), || {
        row(edge, origin).is_some_and(|row| is_it(&row))
    });
}

#[track_caller]
pub fn wait_until_up(edge: &Edge, origin: &Origin) {
    wait_for_row(edge, origin, "the check says up", |row| row.is_up && row.rises > 0);
}

#[track_caller]
pub fn wait_until_down(edge: &Edge, origin: &Origin) {
    wait_for_row(edge, origin, "the check says down", |row| !row.is_up && row.falls > 0);
}

/// A proxy whose every request goes to the pool "app", with a check from the file.
pub fn checked(servers: &[(&Origin, &str)], keys: &str, check: &str) -> Edge {
    Edge::new()
        .route("upstream = \"app\"")
        .pool_of("app", servers, keys)
        .toml(&format!("[upstream.app.check]\n{check}"))
        .start()
}

/// A proxy whose every request goes to the pool "app", which came through dyups.
#[track_caller]
pub fn posted(body: &str) -> Edge {
    let edge = Edge::new().route("upstream = \"app\"").start();
    edge.post("app", body);
    edge
}

/// One request.
#[track_caller]
pub fn ask(edge: &Edge) -> Message {
    edge.get("app", "/")
}

/// The value of a metric of a server of the pool "app"; 0 where it was never counted.
#[track_caller]
pub fn counted(edge: &Edge, metric: &str, origin: &Origin, label: &str) -> u64 {
    let series = format!("{metric}{{upstream=\"app\",server=\"{}\",{label}}}", origin.address());
    edge.metric(&series).map_or(0, |value| value as u64)
}

/// The state that `/metrics` says a server of the pool "app" is in.
#[track_caller]
pub fn state(edge: &Edge, origin: &Origin) -> String {
    let start = format!("tidegate_server_state{{upstream=\"app\",server=\"{}\",", origin.address());
    let text = edge.metrics();
    let lines = text.lines().filter(|line| line.starts_with(&start) && line.ends_with(" 1"));
    let states: Vec<&str> = lines.filter_map(|line| line.split('"').nth(5)).collect();
    assert_eq!(states.len(), 1, "one state: {states:?}");
    states[0].to_owned()
}

/// A server whose health is for the test to say: `/ping` and everything else apart.
pub struct Patient {
    pub origin: Origin,
    inside: Arc<Inside>,
}

/// What a server does with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    #[default]
    Well,
    Status(u16),
    Never,
    Reset,
}

#[derive(Default)]
struct Inside {
    pings: Kind,
    others: Kind,
}

/// Requests of one kind.
#[derive(Default)]
struct Kind {
    answers: Mutex<Answers>,
    came: AtomicUsize,
}

impl Patient {
    /// Well, to begin with: a request is answered with its name.
    pub fn new(name: &'static str) -> Self {
        let inside = Arc::new(Inside::default());
        let serving = Arc::clone(&inside);
        Self { origin: Origin::new(move |conn| serving.serve(name, conn)), inside }
    }

    /// From now on `/ping` is answered like that.
    pub fn ping(&self, answers: Answers) {
        *self.inside.pings.answers.lock().unwrap() = answers;
    }

    /// From now on everything else is answered like that.
    pub fn others(&self, answers: Answers) {
        *self.inside.others.answers.lock().unwrap() = answers;
    }

    /// How many `/ping` have come.
    pub fn pings(&self) -> usize {
        self.inside.pings.came.load(SeqCst)
    }

    /// How many other requests have come.
    pub fn asked(&self) -> usize {
        self.inside.others.came.load(SeqCst)
    }
}

impl Inside {
    fn serve(&self, name: &str, conn: &mut Conn) {
        while let Ok(request) = conn.receive() {
            let is_ping = request.head.target().starts_with("/ping");
            let kind = if is_ping { &self.pings } else { &self.others };
            if !kind.begin().give(name, conn) || request.head.closes() {
                return;
            }
        }
    }
}

impl Kind {
    fn begin(&self) -> Answers {
        self.came.fetch_add(1, SeqCst);
        *self.answers.lock().unwrap()
    }
}

impl Answers {
    /// `false`: the connection ends with it.
    fn give(self, name: &str, conn: &mut Conn) -> bool {
        match self {
            Self::Well => conn.try_send(named_reply(name)).is_ok(),
            Self::Status(status) => {
                let reply = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
                conn.try_send(reply).is_ok()
            }
            Self::Never => {
                // Until the other side has had enough.
                let _ = conn.rest();
                false
            }
            Self::Reset => {
                conn.reset();
                false
            }
        }
    }
}
