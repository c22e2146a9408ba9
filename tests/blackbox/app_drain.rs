//! Applications that leave by themselves, played through with real processes under load: `/ping`
//! answers 501 first and the process ends later, or it just stops. Either way no client sees a
//! failure, what has begun comes to its end, and the restarted process gets its share again.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::Value;

use crate::kit::{Edge, Message, RaiseOnDrop, Script, Socket, bytes, eventually};

const NAMES: [&str; 3] = ["a", "b", "c"];
const CLIENTS: u64 = 6;

/// One application, through all of its processes.
struct App {
    name: &'static str,
    ip: Ipv4Addr,
    script: Script,
}

impl App {
    /// Addresses are of one test alone, so that nobody takes a port while its process is away.
    fn start(test: &str, network: u8, host: usize) -> Option<Self> {
        let ip = Ipv4Addr::new(127, 0, network, host as u8 + 1);
        let name = NAMES[host];
        Some(Self { name, ip, script: Self::run(test, name, ip, 0)? })
    }

    fn run(test: &str, name: &str, ip: Ipv4Addr, port: u16) -> Option<Script> {
        Script::start(test, "app.py", ip.into(), &[name, &ip.to_string(), &port.to_string()])
    }

    fn restart(&mut self) {
        let port = self.script.address.port();
        self.script = Self::run("", self.name, self.ip, port).expect("it ran before");
    }

    /// Asks the application itself.
    #[track_caller]
    fn direct(&self, path: &str) -> Message {
        Socket::connect(self.script.address).ask(get(path))
    }

    #[track_caller]
    fn stat(&self, what: &str) -> u64 {
        let stats: Value = serde_json::from_str(&self.direct("/stats").text()).unwrap();
        stats[what].as_u64().unwrap()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app\r\n\r\n")
}

fn three(test: &str, network: u8) -> Option<Vec<App>> {
    (0..NAMES.len()).map(|host| App::start(test, network, host)).collect()
}

/// A pool of them. Connections are kept for less time than the applications wait for their end.
fn edge(apps: &[App], server: &str, more: &str) -> Edge {
    let line = |app: &App| format!("{{ address = \"{}\"{server} }}", app.script.address);
    let servers: Vec<String> = apps.iter().map(line).collect();
    Edge::new()
        .route("upstream = \"app\"")
        .toml(&format!(
            "[upstream.app]\nservers = [{}]\nkeepalive_timeout = \"1s\"\n{more}",
            servers.join(", ")
        ))
        .start()
}

/// Clients that never pause, and what they saw.
struct Load<'a> {
    edge: &'a Edge,
    stop: AtomicBool,
    gets: AtomicUsize,
    posts: AtomicUsize,
    by_server: Mutex<BTreeMap<String, usize>>,
    failures: Mutex<Vec<String>>,
}

impl<'a> Load<'a> {
    fn on(edge: &'a Edge) -> Self {
        Self {
            edge,
            stop: AtomicBool::default(),
            gets: AtomicUsize::default(),
            posts: AtomicUsize::default(),
            by_server: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// Runs `while_loaded` under the load of several clients.
    fn during(&self, while_loaded: impl FnOnce()) {
        thread::scope(|scope| {
            let _stop = RaiseOnDrop(&self.stop);
            (0..CLIENTS).for_each(|seed| drop(scope.spawn(move || self.client(seed))));
            while_loaded();
        });
    }

    fn client(&self, seed: u64) {
        let mut random = Rng::with_seed(seed);
        let mut socket = self.edge.client();
        while !self.stop.load(SeqCst) {
            let length = if random.bool() { 0 } else { random.usize(1..8_192) };
            let body = bytes(&mut random, length);
            match Self::exchange(&mut socket, &body) {
                Ok(server) => self.note(&server, !body.is_empty()),
                Err(failure) => {
                    self.failures.lock().unwrap().push(failure);
                    socket = self.edge.client();
                }
            }
        }
    }

    /// The server that answered, with just the body it was sent.
    fn exchange(socket: &mut Socket, body: &[u8]) -> Result<String, String> {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let head = format!(
            "{method} /work HTTP/1.1\r\nHost: app\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.try_send([head.as_bytes(), body].concat()).map_err(|error| error.to_string())?;
        let answer = socket.response().map_err(|broken| format!("{method}: {broken:?}"))?;
        if answer.status() != 200 || answer.body != body {
            return Err(format!("{method}: {:?}, {} bytes sent", answer.head, body.len()));
        }
        answer.field("x-server").map(str::to_owned).ok_or_else(|| "nobody's answer".into())
    }

    fn note(&self, server: &str, is_post: bool) {
        if is_post { &self.posts } else { &self.gets }.fetch_add(1, SeqCst);
        *self.by_server.lock().unwrap().entry(server.to_owned()).or_default() += 1;
    }

    /// How many requests that server has answered.
    fn of(&self, app: &App) -> usize {
        self.by_server.lock().unwrap().get(app.name).copied().unwrap_or_default()
    }

    /// Waits until that server has answered so many more.
    #[track_caller]
    fn wait_for(&self, app: &App, more: usize) {
        let until = self.of(app) + more;
        eventually(&format!("{} answers", app.name), || self.of(app) >= until);
    }

    #[track_caller]
    fn expect_no_failure(&self) {
        let failures = self.failures.lock().unwrap();
        let (gets, posts) = (self.gets.load(SeqCst), self.posts.load(SeqCst));
        assert!(
            failures.is_empty(),
            "{} of {gets} GET and {posts} POST: {failures:?}",
            failures.len()
        );
        assert!(gets > 100 && posts > 100, "{gets} GET, {posts} POST");
    }
}

/// A request for half of a body, which that application holds.
#[track_caller]
fn held_at(edge: &Edge, app: &App) -> Socket {
    opened_at(edge, app, &get("/held"), 200)
}

/// A tunnel to that application.
#[track_caller]
fn tunnel_to(edge: &Edge, app: &App) -> Socket {
    let request =
        "GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    opened_at(edge, app, request, 101)
}

#[track_caller]
fn opened_at(edge: &Edge, app: &App, request: &str, status: u16) -> Socket {
    let mut opened = None;
    eventually(&format!("{request:?} comes to {}", app.name), || {
        let mut client = edge.client();
        client.send(request);
        let head = client.head().unwrap();
        assert_eq!(head.status(), status, "{head:?}");
        opened = (head.field("x-server") == Some(app.name)).then_some(client);
        opened.is_some()
    });
    opened.unwrap()
}

#[track_caller]
fn echoes(tunnel: &mut Socket, word: &str) {
    tunnel.send(word);
    assert_eq!(tunnel.exactly(word.len()).unwrap(), word.as_bytes());
}

/// The state of an application, as `/metrics` has it.
fn is(edge: &Edge, app: &App, state: &str) -> bool {
    let series = format!(
        "tidegate_server_state{{upstream=\"app\",server=\"{}\",state=\"{state}\"}}",
        app.script.address
    );
    edge.metric(&series) == Some(1.0)
}

const PING: &str = "[upstream.app.check]\npath = \"/ping\"\nexpect_status = [\"2xx\"]\ninterval = \"200ms\"\n\
                    fast_interval = \"50ms\"\ntimeout = \"5s\"\nfall = 2\nrise = 2";

/// The flow of the guide: SIGUSR2, /ping answers 501, requests stop coming, SIGTERM, and back again.
#[test]
fn an_application_that_says_501_is_left_in_peace_and_loses_nothing() {
    let test = "an_application_that_says_501_is_left_in_peace_and_loses_nothing";
    let Some(mut apps) = three(test, 61) else { return };
    let edge = edge(&apps, ", fail_timeout = \"1h\"", PING);
    let load = Load::on(&edge);
    load.during(|| {
        apps.iter().for_each(|app| load.wait_for(app, 20));
        let mut held = held_at(&edge, &apps[0]);
        let mut tunnel = tunnel_to(&edge, &apps[0]);
        echoes(&mut tunnel, "before");

        apps[0].script.signal(Signal::USR2);
        eventually("/ping has been heard", || is(&edge, &apps[0], "unhealthy"));
        let ping = apps[0].direct("/ping");
        assert_eq!(ping.status(), 501);
        assert!(ping.text().contains("\"code\":-1"), "{ping:?}");
        no_requests_come_any_more(&load, &apps);
        echoes(&mut tunnel, "during");
        assert_eq!(held.exactly(5).unwrap(), b"first");

        let mut control = Socket::connect(apps[0].script.address);
        control.ask(get("/stats"));
        apps[0].script.signal(Signal::TERM);
        let address = apps[0].script.address;
        eventually("it takes no connections", || std::net::TcpStream::connect(address).is_err());
        echoes(&mut tunnel, "at the end");
        control.ask(get("/release"));
        assert_eq!(held.exactly(5).unwrap(), b"later", "what was in flight is whole");
        drop(tunnel);
        assert!(apps[0].script.wait_for_exit().success(), "it had to cut nothing");
        load.wait_for(&apps[1], 50);

        apps[0].restart();
        assert!(apps[0].direct("/ping").text().contains("\"code\":0"));
        eventually("its check passes", || is(&edge, &apps[0], "up"));
        load.wait_for(&apps[0], 20);
    });
    load.expect_no_failure();
}

/// While the others answer hundreds, it gets none.
fn no_requests_come_any_more(load: &Load<'_>, apps: &[App]) {
    let [left, others @ ..] = apps else { unreachable!("three of them") };
    let mut last = u64::MAX;
    eventually("what was picked before has arrived", || {
        others.iter().for_each(|app| load.wait_for(app, 10));
        std::mem::replace(&mut last, left.stat("requests")) == last
    });
    others.iter().for_each(|app| load.wait_for(app, 100));
    assert_eq!(left.stat("requests"), last, "no new request");
    assert_eq!((left.stat("held"), left.stat("tunnels")), (1, 1), "and the old ones go on");
}

/// A plain SIGTERM, one server after the other, with nothing but what requests find out.
#[test]
fn an_upgrade_by_plain_sigterm_loses_nothing() {
    let test = "an_upgrade_by_plain_sigterm_loses_nothing";
    let Some(apps) = three(test, 62) else { return };
    let edge = edge(&apps, ", fail_timeout = \"1s\"", "");
    roll(&edge, apps);
}

/// The same with a check, which notices nothing in time and brings them back early.
#[test]
fn an_upgrade_by_plain_sigterm_under_a_check_loses_nothing() {
    let test = "an_upgrade_by_plain_sigterm_under_a_check_loses_nothing";
    let Some(apps) = three(test, 63) else { return };
    let edge = edge(&apps, ", fail_timeout = \"1h\"", PING);
    roll(&edge, apps);
}

/// Ends and restarts each of them under load.
fn roll(edge: &Edge, mut apps: Vec<App>) {
    let load = Load::on(edge);
    load.during(|| {
        apps.iter().for_each(|app| load.wait_for(app, 20));
        for at in 0..apps.len() {
            let mut held = held_at(edge, &apps[at]);
            let mut control = Socket::connect(apps[at].script.address);
            control.ask(get("/stats"));
            apps[at].script.signal(Signal::TERM);
            load.wait_for(&apps[(at + 1) % apps.len()], 50);
            control.ask(get("/release"));
            assert_eq!(held.exactly(10).unwrap(), b"firstlater", "what was in flight is whole");
            assert!(apps[at].script.wait_for_exit().success(), "it had to cut nothing");
            load.wait_for(&apps[(at + 2) % apps.len()], 50);
            apps[at].restart();
            load.wait_for(&apps[at], 20);
        }
    });
    load.expect_no_failure();
}
