//! The binary as a process: run to its end, or left running with its output read along and its ports
//! learnt from the lines that say what it listens on.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Instant,
};

use super::DEADLINE;

/// One that was left running.
pub struct Running {
    pub child: Child,
    pub log: Arc<Log>,
    pub addresses: HashMap<String, SocketAddr>,
}

/// What it wrote, standard output and standard error together.
#[derive(Default)]
pub struct Log {
    state: Mutex<LogState>,
    grown: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

/// What a command said and how it ended.
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Running {
    #[track_caller]
    pub fn start(command: &mut Command, listeners: &[&'static str]) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Log::default());
        log.follow(child.stdout.take().unwrap(), false);
        log.follow(child.stderr.take().unwrap(), true);
        let mut running = Self { child, log, addresses: HashMap::new() };
        for listener in listeners {
            let place = |line: &str| word_of(line, "address=").parse::<SocketAddr>();
            let is_it = |line: &str| {
                line.contains("listening")
                    && word_of(line, "listener=") == *listener
                    && place(line).is_ok()
            };
            let line = running.log.wait_where(&format!("listening listener={listener}"), is_it);
            let address = place(&line).expect("that is how the line was found");
            running.addresses.insert((*listener).to_owned(), address);
        }
        running
    }
}

impl Log {
    pub fn text(&self) -> String {
        self.state.lock().unwrap().lines.join("\n")
    }

    pub fn forget(&self) {
        self.state.lock().unwrap().lines.clear();
    }

    fn follow(self: &Arc<Self>, source: impl Read + Send + 'static, is_last: bool) {
        let log = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                log.state.lock().unwrap().lines.push(line);
                log.grown.notify_all();
            }
            log.state.lock().unwrap().ended |= is_last;
            log.grown.notify_all();
        });
    }

    #[track_caller]
    pub fn wait_where(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let found = |state: &LogState| state.lines.iter().find(|line| is_it(line)).cloned();
        let waiting = |state: &mut LogState| found(state).is_none() && !state.ended;
        let state = self.state.lock().unwrap();
        let (state, _) = self.grown.wait_timeout_while(state, DEADLINE, waiting).unwrap();
        let (line, all) = (found(&state), state.lines.join("\n"));
        drop(state);
        line.unwrap_or_else(|| panic!("the log never said {what:?}:\n{all}"))
    }
}

impl Output {
    /// Runs the binary with just these arguments to its end.
    pub fn of(arguments: &[&str]) -> Self {
        finished(binary().args(arguments))
    }

    /// Runs a steering command against an admin API there to its end.
    pub fn steering(admin: &str, line: &str) -> Self {
        finished(binary().env("TIDEGATE_ADMIN", admin).args(line.split(' ')))
    }

    /// Everything it said.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// The product, without what the environment might tell it.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for name in ["TIDEGATE_LOG", "TIDEGATE_ADMIN", "TIDEGATE_TOKEN", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

/// The product with a hard limit on its open files.
pub fn limited(descriptors: usize) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={descriptors}:{descriptors}")).arg(binary().get_program());
    command
}

/// Runs to its end, but not for ever.
pub fn finished(command: &mut Command) -> Output {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let readers = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
    let end = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            break child.wait().unwrap();
        }
        thread::sleep(std::time::Duration::from_millis(5));
    };
    Output { status, stdout: readers.0.join().unwrap(), stderr: readers.1.join().unwrap() }
}

fn collect(mut source: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        let _ = source.read_to_string(&mut text);
        text
    })
}

/// The word after `key` in a log line, without quotes.
fn word_of<'a>(line: &'a str, key: &str) -> &'a str {
    let rest = line.split_once(key).map_or("", |(_, rest)| rest);
    rest.split_whitespace().next().unwrap_or_default().trim_matches('"')
}
