//! The ring against nginx itself: an nginx of our own hashes ten thousand keys over servers which
//! it plays as well, and every key has to end where [`Ring`] says.
//!
//! Without nginx the test fails, as nothing else shows that users keep their mapping. Where it
//! cannot be had, set `TIDEGATE_SKIP_NGINX`.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

use tempfile::TempDir;
use tidegate_balance::{Ring, ring_hash};

/// A port can be lost to somebody else between its choice and its use.
const STARTS: usize = 5;

/// A server line of the pool.
#[derive(Debug)]
struct Line {
    address: String,
    weight: u32,
    down: bool,
}

#[test]
fn ten_thousand_keys_go_where_nginx_sends_them() {
    let Some(nginx) = nginx() else { return };
    let pool = |dir: &Path| {
        let [a, b, c] = ports();
        vec![
            line(format!("127.0.0.1:{a}"), 1, false),
            line(format!("127.0.0.1:{b}"), 3, false),
            line("127.0.0.9", 3, true),
            line(format!("127.0.0.1:{c}"), 10, false),
            line(format!("127.0.0.1:{a}"), 2, false),
            line(format!("unix:{}", dir.join("s").display()), 2, false),
        ]
    };
    let missed = compare(&nginx, pool, 10_000);
    assert_eq!(missed, 0, "among so few who are down every key finds a server");
}

#[test]
fn nginx_gives_up_after_as_many_points() {
    let Some(nginx) = nginx() else { return };
    let pool = |_: &Path| {
        let [a, b, c] = ports();
        vec![
            line(format!("127.0.0.1:{a}"), 1, false),
            line(format!("127.0.0.1:{b}"), 60, true),
            line(format!("127.0.0.1:{c}"), 3, false),
        ]
    };
    let missed = compare(&nginx, pool, 1_000);
    assert!((150..400).contains(&missed), "(60/64)^21 of 1000 is about 258, not {missed}");
}

/// Sends keys through nginx and says how many of them the ring knew nobody for. Those nginx hands
/// to round robin, in turns the ring says nothing about.
fn compare(nginx: &Path, pool: impl Fn(&Path) -> Vec<Line>, keys: usize) -> usize {
    let (nginx, lines) = Nginx::start(nginx, pool);
    let servers: Vec<_> = lines.iter().map(|line| (line.address.as_str(), line.weight)).collect();
    let ring = Ring::new(&servers);
    let mut client = nginx.client().expect("nginx listens");
    let mut missed = 0;
    for key in (0..keys).map(|at| format!("user-{at}")) {
        let seen = client.ask(&key).expect("nginx answers");
        match ring.pick(ring_hash(key.as_bytes()), |at| !lines[at].down) {
            Some(at) => assert_eq!(lines[at].address, lines[seen].address, "key {key}"),
            None => missed += 1,
        }
    }
    missed
}

fn line(address: impl Into<String>, weight: u32, down: bool) -> Line {
    Line { address: address.into(), weight, down }
}

/// Free ports, as far as one can know.
fn ports() -> [u16; 3] {
    let held = [(); 3].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    held.map(|listener| listener.local_addr().expect("it is bound").port())
}

/// Where nginx is, or `None` when it is missing and may be.
fn nginx() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|dir| dir.join("nginx"))
        .find(|file| file.is_file());
    if found.is_none() {
        assert!(
            env::var_os("TIDEGATE_SKIP_NGINX").is_some(),
            "there is no nginx here: install nginx-light, or set TIDEGATE_SKIP_NGINX"
        );
        eprintln!("skipped: there is no nginx here, and TIDEGATE_SKIP_NGINX is set");
    }
    found
}

/// A running nginx; dropping it ends it.
struct Nginx {
    dir: TempDir,
    child: Child,
    /// Held open, so that nginx can go on writing.
    _errors: BufReader<ChildStderr>,
}

impl Nginx {
    /// Starts one with a pool and waits until it listens.
    fn start(nginx: &Path, pool: impl Fn(&Path) -> Vec<Line>) -> (Self, Vec<Line>) {
        let mut said = String::new();
        for _ in 0..STARTS {
            said.clear();
            let dir = tempfile::tempdir().expect("a directory");
            let lines = pool(dir.path());
            fs::write(dir.path().join("nginx.conf"), config(&lines)).expect("it is written");
            let mut child = Command::new(nginx)
                .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
                .arg(dir.path())
                .current_dir(dir.path())
                .stderr(Stdio::piped())
                .spawn()
                .expect("nginx can be run");
            let mut errors = BufReader::new(child.stderr.take().expect("it is piped"));
            // It says so once all of its sockets are open.
            let mut listens = false;
            while !listens && errors.read_line(&mut said).is_ok_and(|read| read > 0) {
                listens = said.ends_with(" event method\n");
            }
            let started = Self { dir, child, _errors: errors };
            if listens {
                return (started, lines);
            }
        }
        panic!("nginx does not start: {said}");
    }

    fn client(&self) -> io::Result<Client> {
        let stream = UnixStream::connect(self.dir.path().join("front"))?;
        Ok(Client(BufReader::new(stream)))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A configuration in which servers answer with their place in the pool. Paths are relative to the
/// directory nginx is started in.
fn config(lines: &[Line]) -> String {
    let mut pool = String::new();
    let mut servers = String::new();
    for (at, Line { address, weight, down }) in lines.iter().enumerate() {
        let state = if *down { " down" } else { "" };
        pool += &format!("server {address} weight={weight}{state};\n");
        let first = lines.iter().position(|line| line.address == *address) == Some(at);
        if first && !down {
            servers += &format!("server {{ listen {address}; return 200 '{at}'; }}\n");
        }
    }
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"))
        .concat();
    format!(
        "daemon off; master_process off; pid pid; error_log stderr notice;
        events {{ worker_connections 64; }}
        http {{
            access_log off; keepalive_requests 1000000;
            {paths}
            upstream pool {{
                hash $arg_k consistent;
                {pool}
                keepalive 16;
            }}
            {servers}
            server {{
                listen unix:front;
                proxy_http_version 1.1;
                proxy_set_header Connection '';
                location / {{ proxy_pass http://pool; }}
            }}
        }}"
    )
}

/// A kept connection to nginx.
struct Client(BufReader<UnixStream>);

impl Client {
    /// The place in the pool of whoever answers for a key.
    fn ask(&mut self, key: &str) -> io::Result<usize> {
        write!(self.0.get_mut(), "GET /?k={key} HTTP/1.1\r\nHost: pool\r\n\r\n")?;
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") && self.0.read_line(&mut head)? > 0 {
            let line = head.lines().last().unwrap_or_default();
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        let place = String::from_utf8_lossy(&body).parse();
        place.map_err(|_| io::Error::other(format!("{head}{}", String::from_utf8_lossy(&body))))
    }
}
