//! The product itself: a configuration written into a directory of its own, the real binary run on
//! it, and its ports learnt from the lines that say what it listens on.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::ExitStatus,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Message, Origin, Socket, audit, eventually,
    names::Names,
    process::{Output, Running, binary, finished, limited},
};

/// A running proxy, or one about to run: configure it, then [`Edge::start`]. Killed when dropped.
pub struct Edge {
    directory: TempDir,
    plan: Plan,
    running: Option<Running>,
}

/// The parts of the configuration file.
#[derive(Clone)]
struct Plan {
    workers: usize,
    process: String,
    admin: String,
    listener: String,
    routes: Vec<String>,
    rest: String,
    listeners: Vec<&'static str>,
    descriptors: Option<usize>,
    names: Option<Names>,
}

impl Edge {
    /// A proxy with two workers, a listener "edge", an admin listener, and one route: the pool is
    /// the Host.
    pub fn new() -> Self {
        let plan = Plan {
            workers: 2,
            process: String::new(),
            admin: String::new(),
            listener: String::new(),
            routes: Vec::new(),
            rest: String::new(),
            listeners: vec!["edge", "admin"],
            descriptors: None,
            names: None,
        };
        Self { directory: TempDir::new().unwrap(), plan, running: None }
    }

    /// A proxy whose every request goes to one pool, "app", of these servers.
    pub fn to(origins: &[&Origin]) -> Self {
        Self::new().route("upstream = \"app\"").pool("app", origins)
    }

    pub fn workers(mut self, workers: usize) -> Self {
        self.plan.workers = workers;
        self
    }

    /// Further lines of `[process]`.
    pub fn process(mut self, lines: &str) -> Self {
        self.plan.process += &format!("{lines}\n");
        self
    }

    /// Further lines of `[admin]`.
    pub fn admin_section(mut self, lines: &str) -> Self {
        self.plan.admin += &format!("{lines}\n");
        self
    }

    /// Further lines of the listener, also of its sub-tables.
    pub fn listener(mut self, lines: &str) -> Self {
        self.plan.listener += &format!("{lines}\n");
        self
    }

    /// One `[[route]]`; the first one replaces the route by Host.
    pub fn route(mut self, lines: &str) -> Self {
        self.plan.routes.push(lines.to_owned());
        self
    }

    /// A pool of these servers, with nothing else said about them.
    pub fn pool(self, name: &str, origins: &[&Origin]) -> Self {
        let servers: Vec<String> = origins.iter().map(|o| format!("{:?}", o.address())).collect();
        self.toml(&format!("[upstream.{name}]\nservers = [{}]", servers.join(", ")))
    }

    /// A pool of servers with parameters, each `(server, ", weight = 2")`, and with further keys.
    pub fn pool_of(self, name: &str, servers: &[(&Origin, &str)], keys: &str) -> Self {
        let line = |(origin, parameters): &(&Origin, &str)| {
            format!("  {{ address = {:?}{parameters} }},\n", origin.address())
        };
        let lines: String = servers.iter().map(line).collect();
        self.toml(&format!("[upstream.{name}]\nservers = [\n{lines}]\n{keys}"))
    }

    /// With an access log in JSON, to be read with [`Edge::records`].
    pub fn logging(self) -> Self {
        let path = self.access_log();
        self.toml(&format!("[access_log]\npath = {path:?}"))
    }

    /// Anything else, at the end of the file.
    pub fn toml(mut self, text: &str) -> Self {
        self.plan.rest += &format!("{text}\n");
        self
    }

    /// One more listener to wait for, described with [`Edge::toml`].
    pub fn expect_listener(mut self, name: &'static str) -> Self {
        self.plan.listeners.push(name);
        self
    }

    /// A hard limit on open files.
    pub fn descriptors(mut self, limit: usize) -> Self {
        self.plan.descriptors = Some(limit);
        self
    }

    /// With no other host names than those of this text, in the form of `/etc/hosts`; `None` where
    /// that cannot be.
    pub fn knowing(mut self, hosts: &str) -> Option<Self> {
        self.plan.names = Some(Names::of(hosts, self.directory())?);
        Some(self)
    }

    /// Other host names, for a proxy that runs.
    #[track_caller]
    pub fn learn(&self, hosts: &str) {
        self.plan.names.as_ref().expect("it has names of its own").become_text(hosts);
    }

    /// State that outlives the process.
    pub fn durable(self) -> Self {
        let line = format!("state_dir = {:?}", self.state_dir());
        self.process(&line)
    }

    /// Runs it and waits until it listens.
    #[track_caller]
    pub fn start(mut self) -> Self {
        self.write_config();
        self.run();
        self
    }

    /// Runs `tidegate ARGUMENT… -c FILE` to its end.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.write_config();
        let mut command = binary();
        command.args(arguments).arg("-c").arg(self.config_path());
        finished(&mut command)
    }

    /// Runs the binary with just these arguments, and waits until these listeners are up.
    #[track_caller]
    pub fn from_arguments(arguments: &[&str], listeners: &[&'static str]) -> Self {
        let mut edge = Self::new();
        edge.plan.listeners = listeners.to_vec();
        let mut command = binary();
        command.args(arguments).current_dir(edge.directory.path());
        edge.running = Some(Running::start(&mut command, &edge.plan.listeners));
        edge
    }

    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("tidegate.toml")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The file as it would be written now.
    pub fn config(&self) -> String {
        let plan = &self.plan;
        let routes = match plan.routes.as_slice() {
            [] => "[[route]]\nupstream = \"${host}\"\n".to_owned(),
            routes => routes.iter().map(|route| format!("[[route]]\n{route}\n")).collect(),
        };
        format!(
            "[process]\nworkers = {}\n{}\n[admin]\nlisten = [\"127.0.0.1:0\"]\n{}\n\
             [[listener]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n{}\n{routes}\n{}",
            plan.workers, plan.process, plan.admin, plan.listener, plan.rest
        )
    }

    /// Changes the file of the running proxy; nothing happens before a SIGHUP.
    pub fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.config_path()).unwrap();
        fs::write(self.config_path(), change(text)).unwrap();
    }

    /// Where a listener is.
    #[track_caller]
    pub fn port(&self, listener: &str) -> SocketAddr {
        let addresses = &self.running().addresses;
        *addresses.get(listener).unwrap_or_else(|| panic!("no listener {listener}: {addresses:?}"))
    }

    pub fn admin(&self) -> SocketAddr {
        self.port("admin")
    }

    /// A fresh connection to the proxy.
    #[track_caller]
    pub fn client(&self) -> Socket {
        Socket::connect(self.port("edge"))
    }

    /// One GET over a connection of its own.
    #[track_caller]
    pub fn get(&self, host: &str, path: &str) -> Message {
        self.client()
            .ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    /// One admin call over a connection of its own.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &str) -> Message {
        admin_call(self.admin(), method, path, body)
    }

    /// One call of the JSON API: the status, and what was said. Without a body for null.
    #[track_caller]
    pub fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.call(method, path, &body);
        let said = serde_json::from_slice(&answer.body);
        (answer.status(), said.unwrap_or_else(|_| panic!("{method} {path}: {answer:?}")))
    }

    /// Replaces a pool through the dyups interface.
    #[track_caller]
    pub fn post(&self, pool: &str, servers: &str) {
        let answer = self.call("POST", &format!("/upstream/{pool}"), servers);
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "success"),
            "POST {pool} {servers:?}: {:?}",
            answer.field("x-tidegate-reason")
        );
    }

    /// Runs a steering command, whose arguments hold no blanks, to its end.
    pub fn steer(&self, line: &str) -> Output {
        Output::steering(&format!("http://{}", self.admin()), line)
    }

    /// `/metrics` as it stands. What it says of tunnels adds up, whenever it is asked.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let page = self.call("GET", "/metrics", "").text();
        audit(&page);
        page
    }

    /// The value of the first series that starts with this text.
    #[track_caller]
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The records of the access log once there are that many.
    #[track_caller]
    pub fn records(&self, count: usize) -> Vec<Value> {
        let whole = || {
            let text = fs::read_to_string(self.access_log()).unwrap_or_default();
            let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            lines.map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        };
        eventually(&format!("{count} records"), || whole().len() >= count);
        whole()
    }

    fn access_log(&self) -> PathBuf {
        self.directory.path().join("access.log")
    }

    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it as a power cut would; [`Edge::restart`] brings it back.
    pub fn kill9(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    /// Runs it again on the same file and state; ports may change.
    #[track_caller]
    pub fn restart(&mut self) {
        if self.running.is_some() {
            self.kill9();
        }
        self.run();
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let running = self.running.as_mut().expect("it was started");
        let mut status = None;
        eventually("the proxy ends", || {
            status = running.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// What it wrote so far, standard output and standard error together.
    pub fn log(&self) -> String {
        self.running().log.text()
    }

    /// Forgets what was logged, so that [`Edge::wait_for_log`] sees only what comes.
    pub fn forget_log(&self) {
        self.running().log.forget();
    }

    /// Waits for a line that holds this text.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        self.running().log.wait_where(text, |line| line.contains(text))
    }

    fn write_config(&self) {
        fs::write(self.config_path(), self.config()).unwrap();
    }

    #[track_caller]
    fn run(&mut self) {
        let mut command = match (&self.plan.names, self.plan.descriptors) {
            (Some(names), _) => names.binary(),
            (None, Some(limit)) => limited(limit),
            (None, None) => binary(),
        };
        command.arg("run").arg("-c").arg(self.config_path());
        self.running = Some(Running::start(&mut command, &self.plan.listeners));
    }

    /// The metrics of one that may be about to end, or may not let us ask.
    fn last_metrics(&self) -> Option<String> {
        let admin = *self.running.as_ref()?.addresses.get("admin")?;
        let mut socket = Socket::over(TcpStream::connect(admin).ok()?);
        socket.inner().set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        socket.try_send(request).ok()?;
        let answer = socket.response().ok()?;
        (answer.status() == 200).then(|| answer.text())
    }

    #[track_caller]
    fn running(&self) -> &Running {
        self.running.as_ref().expect("the proxy was started")
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let page = if thread::panicking() { None } else { self.last_metrics() };
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
            if thread::panicking() {
                println!("the proxy's last words:\n{}", running.log.text());
            }
        }
        page.as_deref().into_iter().for_each(audit);
    }
}

/// One admin call over a connection of its own.
#[track_caller]
pub fn admin_call(admin: SocketAddr, method: &str, path: &str, body: &str) -> Message {
    let mut socket = Socket::connect(admin);
    socket.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = socket.response_to(method);
    answer.unwrap_or_else(|broken| panic!("{method} {path}: {broken:?}"))
}

/// The status of a raw answer, 0 when it has none.
pub fn status_of(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer);
    text.split(' ').nth(1).and_then(|code| code.get(..3)?.parse().ok()).unwrap_or(0)
}
