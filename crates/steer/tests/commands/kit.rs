//! A server of canned answers, and commands run against it.

use std::{
    io::{BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use clap::Parser;
use serde_json::Value;
use tidegate_steer::{Environment, Screen, Steering, steer};

/// What a command asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

/// What it is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    etag: Option<u64>,
    kind: &'static str,
    body: String,
}

/// Who answers.
pub struct Proxy {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Output {
    pub code: u8,
    pub out: String,
    pub err: String,
}

#[derive(Parser)]
#[command(name = "tidegate")]
struct Line {
    #[command(subcommand)]
    asked: Steering,
}

impl Proxy {
    /// One that answers by the method and the target.
    pub fn new(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self { address, asked }
    }

    /// One that has these answers by `METHOD TARGET`, and 404 for everything else.
    pub fn of(answers: &[(&'static str, Reply)]) -> Self {
        let answers = answers.to_vec();
        Self::new(move |asked| {
            let wanted = format!("{} {}", asked.method, asked.target);
            let found = answers.iter().find(|(line, _)| *line == wanted);
            found.map_or_else(
                || Reply::refusal(404, "there is nothing at this path"),
                |(_, reply)| reply.clone(),
            )
        })
    }

    /// Runs a command against it. An argument holds no blanks.
    pub fn run(&self, line: &str) -> Output {
        let admin = format!("http://{}", self.address);
        run(line, &Environment { admin: Some(admin), ..Environment::default() })
    }

    /// What was asked, `METHOD TARGET`.
    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|asked| format!("{} {}", asked.method, asked.target)).collect()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The last thing that was asked.
    #[track_caller]
    pub fn last(&self) -> Asked {
        self.asked().pop().expect("something was asked")
    }
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn read(reader: &mut impl std::io::BufRead) -> Option<Self> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut asked = Self { method, target, headers, body: Value::Null };
        let length = asked.header("content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if !body.is_empty() {
            asked.body = serde_json::from_slice(&body).unwrap();
        }
        Some(asked)
    }
}

impl Reply {
    pub fn json(body: Value) -> Self {
        Self { status: 200, etag: None, kind: "application/json", body: body.to_string() }
    }

    pub fn events(body: &str) -> Self {
        Self { status: 200, etag: None, kind: "text/event-stream", body: body.to_owned() }
    }

    pub fn refusal(status: u16, detail: &str) -> Self {
        Self::refusal_of(status, detail, &[])
    }

    pub fn refusal_of(status: u16, detail: &str, errors: &[(&str, &str)]) -> Self {
        let error =
            |(field, reason): &(&str, &str)| serde_json::json!({"field": field, "reason": reason});
        let errors: Vec<Value> = errors.iter().map(error).collect();
        let body = serde_json::json!({
            "type": "about:blank", "title": "", "status": status, "detail": detail, "errors": errors
        });
        let kind = "application/problem+json";
        Self { status, etag: None, kind, body: body.to_string() }
    }

    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn etag(mut self, generation: u64) -> Self {
        self.etag = Some(generation);
        self
    }

    fn text(&self) -> String {
        let etag = self.etag.map(|etag| format!("ETag: \"{etag}\"\r\n")).unwrap_or_default();
        format!(
            "HTTP/1.1 {} Said\r\nContent-Type: {}\r\n{etag}Content-Length: {}\r\n\r\n{}",
            self.status,
            self.kind,
            self.body.len(),
            self.body
        )
    }
}

/// The answer to a change.
pub fn changed(generation: u64, pools: &[&str]) -> Reply {
    Reply::json(serde_json::json!({
        "generation": generation, "durable": true, "visible_us": 87, "changed": pools
    }))
}

/// Runs a command as it would be typed.
pub fn run(line: &str, environment: &Environment) -> Output {
    let words = std::iter::once("tidegate").chain(line.split(' '));
    let asked = match Line::try_parse_from(words) {
        Ok(line) => line.asked,
        Err(error) => {
            return Output { code: 2, out: String::new(), err: error.to_string() };
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut screen = Screen::piped(&mut out, &mut err);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_secs(10);
    let done = runtime.block_on(async {
        tokio::time::timeout(limit, steer(asked, environment, &mut screen)).await
    });
    let code = match done.expect("it ends") {
        Ok(()) => 0,
        Err(failure) => {
            err.extend(format!("tidegate: {failure}\n").into_bytes());
            failure.exit_code()
        }
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output { code, out: text(out), err: text(err) }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(asked) = Asked::read(&mut reader) {
        log.lock().unwrap().push(asked.clone());
        if (&stream).write_all(answer(&asked).text().as_bytes()).is_err() {
            return;
        }
    }
}
