//! The same pool behind nginx and behind Tidegate: who replaces `hash $arg_k consistent` keeps the
//! server of every key. nginx plays the servers, too.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    thread,
};

use tempfile::TempDir;

use super::{answers, get};
use crate::kit::{Edge, Socket, skip};

const KEYS: usize = 10_000;
/// Four clients at once, each with its part of the keys.
const CLIENTS: usize = 4;
const WEIGHTS: [u32; 6] = [1, 3, 10, 2, 1, 7];
/// A port can be lost to somebody else between its choice and its use.
const STARTS: usize = 5;

#[test]
fn ten_thousand_keys_go_where_nginx_sends_them() {
    let test = "ten_thousand_keys_go_where_nginx_sends_them";
    let Some(program) = nginx() else {
        assert!(
            env::var_os("TIDEGATE_SKIP_NGINX").is_some(),
            "there is no nginx here: run scripts/test, or set TIDEGATE_SKIP_NGINX"
        );
        return skip(test, "no nginx, and TIDEGATE_SKIP_NGINX is set");
    };
    let nginx = Nginx::start(&program);
    let line = |(address, weight)| format!("{{ address = {address:?}, weight = {weight} }}");
    let servers: Vec<String> = nginx.servers.iter().zip(WEIGHTS).map(line).collect();
    let toml = format!(
        "[upstream.app]\nbalance = \"hash\"\nhash_key = \"query:k\"\nservers = [{}]",
        servers.join(", ")
    );
    let edge = Edge::new().route("upstream = \"app\"").toml(&toml).start();
    let all = thread::scope(|scope| {
        let part = |client| {
            let requests = || keys(client).map(|key| get(&format!("/?x=1&k={key}")));
            let theirs = nginx.answers(requests());
            let ours = answers(&edge, requests());
            keys(client).zip(theirs.into_iter().zip(ours)).collect::<Vec<_>>()
        };
        let parts: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || part(client))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect::<Vec<_>>()
    });
    let other: Vec<_> = all.iter().filter(|(_, (theirs, ours))| theirs != ours).collect();
    assert!(other.is_empty(), "{} of {KEYS} differ, such as {:?}", other.len(), other[0]);
    for server in 0..WEIGHTS.len() {
        let name = server.to_string();
        assert!(all.iter().any(|(_, (_, ours))| *ours == name), "nobody went to {name}");
    }
}

/// One client's part of the keys, some of them odd.
fn keys(client: usize) -> impl Iterator<Item = String> {
    (client * KEYS / CLIENTS..(client + 1) * KEYS / CLIENTS).map(|at| match at % 5 {
        0 => format!("{at}"),
        1 => format!("user-{at}"),
        2 => format!("%7B{at}%7D"),
        3 => format!("{at}=={at}"),
        _ => format!("/a+b/{at}/~._-"),
    })
}

fn nginx() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join("nginx")).find(|file| file.is_file())
}

/// A running nginx, ended when dropped.
struct Nginx {
    directory: TempDir,
    servers: Vec<String>,
    child: Child,
    /// Held open, so that nginx can go on writing.
    _errors: BufReader<ChildStderr>,
}

impl Nginx {
    fn start(program: &Path) -> Self {
        let mut said = String::new();
        for _ in 0..STARTS {
            said.clear();
            let directory = TempDir::new().unwrap();
            let servers = free_addresses();
            fs::write(directory.path().join("nginx.conf"), config(&servers)).unwrap();
            let mut child = Command::new(program)
                .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
                .arg(directory.path())
                .current_dir(directory.path())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut errors = BufReader::new(child.stderr.take().unwrap());
            // It says so once all of its sockets are open.
            let mut listens = false;
            while !listens && errors.read_line(&mut said).is_ok_and(|read| read > 0) {
                listens = said.ends_with(" event method\n");
            }
            let started = Self { directory, servers, child, _errors: errors };
            if listens {
                return started;
            }
        }
        panic!("nginx does not start: {said}");
    }

    /// Who answers each of these requests.
    fn answers(&self, requests: impl Iterator<Item = String>) -> Vec<String> {
        let front = UnixStream::connect(self.directory.path().join("front")).unwrap();
        let mut client = Socket::over(front);
        requests.map(|request| client.ask(request).text()).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Addresses nobody listens on, as far as one can know.
fn free_addresses() -> Vec<String> {
    let held = WEIGHTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

/// Servers that answer with their place in the pool, and a front that hashes. Paths are relative to
/// the directory it is started in.
fn config(servers: &[String]) -> String {
    let listed = servers.iter().zip(WEIGHTS);
    let pool: String =
        listed.map(|(address, weight)| format!("server {address} weight={weight};\n")).collect();
    let played: String = servers
        .iter()
        .enumerate()
        .map(|(at, address)| format!("server {{ listen {address}; return 200 '{at}'; }}\n"))
        .collect();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"))
        .concat();
    format!(
        "daemon off; master_process off; pid pid; error_log stderr notice;
        events {{ worker_connections 512; }}
        http {{
            access_log off; keepalive_requests 1000000;
            {paths}
            upstream pool {{ hash $arg_k consistent; {pool} keepalive 16; }}
            {played}
            server {{
                listen unix:front;
                proxy_http_version 1.1;
                proxy_set_header Connection '';
                location / {{ proxy_pass http://pool; }}
            }}
        }}"
    )
}
