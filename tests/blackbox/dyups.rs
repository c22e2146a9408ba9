//! Tengine's own conformance cases for dyups, C1 to C73, in its order and sent as its harness sends
//! them: HTTP/1.0, bare LF, one LF too many after a body, read until the server closes. C44 to C50
//! (active checks) are not here: they come with the checks.

use crate::kit::{Edge, Origin, Socket, status_of};

const ALL: std::ops::RangeInclusive<u16> = 200..=599;

/// Two servers that say 8088 and 8089, one on a unix socket, one that refuses, and the proxy in
/// front: what the original harness has.
pub struct Bench {
    pub edge: Edge,
    pub first: Origin,
    pub second: Origin,
    pub unix: Origin,
    pub refusing: Origin,
}

impl Bench {
    /// With the pools host1 and host2 of the original.
    pub fn with_hosts(workers: usize) -> Self {
        Self::start(workers, |edge, first, second| {
            edge.pool("host1", &[first]).pool("host2", &[second])
        })
    }

    /// With the pools `define` gives it.
    pub fn start(workers: usize, define: impl FnOnce(Edge, &Origin, &Origin) -> Edge) -> Self {
        let (first, second) = (Origin::named("8088"), Origin::named("8089"));
        let edge = Edge::new().workers(workers);
        let path = edge.directory().join("dyupssocket");
        let unix = Origin::unix(&path, |conn| conn.answer_all(&crate::kit::named_reply("unix")));
        let edge = define(edge, &first, &second).start();
        Self { edge, first, second, unix, refusing: Origin::refusing() }
    }

    /// Puts the real addresses where the original has its own.
    pub fn filled(&self, text: &str) -> String {
        text.replace("127.0.0.1:8088", &self.first.address())
            .replace("127.0.0.1:8089", &self.second.address())
            .replace("127.0.0.1:18089", &self.refusing.address())
            .replace("unix:dyupssocket", &self.unix.address())
    }

    /// One admin call, as the harness sends it; the whole raw answer.
    pub fn admin(&self, method: &str, path: &str, body: Option<&str>) -> String {
        let head = format!("{method} {path} HTTP/1.0\nHost: localhost\n");
        let request = match body.map(|body| self.filled(body)) {
            Some(body) => format!("{head}Content-Length: {}\n\n{body}\n", body.len()),
            None => format!("{head}\n"),
        };
        exchange(self.edge.admin(), &request)
    }

    /// One request through the proxy; the whole raw answer.
    pub fn front(&self, host: &str) -> String {
        exchange(self.edge.port("edge"), &format!("GET / HTTP/1.0\nHost: {host}\n\n"))
    }

    #[track_caller]
    fn get(&self, case: &str, path: &str, wanted: &[&str]) -> String {
        let answer = self.admin("GET", path, None);
        let mut from = 0;
        for text in wanted.iter().map(|text| self.filled(text)) {
            let at = answer[from..].find(&text);
            let at = at.unwrap_or_else(|| panic!("{case}: GET {path}: no {text:?} in {answer:?}"));
            from += at;
        }
        answer
    }

    #[track_caller]
    fn post(&self, case: &str, name: &str, body: &str, wanted: &str) {
        let answer = self.admin("POST", &format!("/upstream/{name}"), Some(body));
        assert!(answer.ends_with(wanted), "{case}: POST {name} {body:?}: {answer:?}");
    }

    #[track_caller]
    fn delete(&self, case: &str, name: &str, wanted: &str) {
        let answer = self.admin("DELETE", &format!("/upstream/{name}"), None);
        assert!(answer.contains(wanted), "{case}: DELETE {name}: {answer:?}");
    }

    /// A request through the proxy is answered by one of these servers.
    #[track_caller]
    fn served(&self, case: &str, host: &str, by: &[&str]) {
        let answer = self.front(host);
        assert!(by.iter().any(|name| answer.ends_with(name)), "{case}: {host}: {answer:?}");
    }

    /// A request through the proxy finds no server: classic dyups says 502.
    #[track_caller]
    fn unserved(&self, case: &str, host: &str) {
        let answer = self.front(host);
        assert_eq!(status_of(answer.as_bytes()), 502, "{case}: {host}: {answer:?}");
    }
}

/// Sends, and reads until the server closes.
#[track_caller]
pub fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let mut socket = Socket::connect(address);
    socket.send(request);
    let answer = socket.rest().unwrap_or_else(|broken| panic!("{request:?}: {broken:?}"));
    let answer = String::from_utf8(answer).unwrap();
    assert!(ALL.contains(&status_of(answer.as_bytes())), "{request:?}: {answer:?}");
    answer
}

const LINE_1: &str = "server 127.0.0.1:8088 weight=1 ";
const LINE_2: &str = "server 127.0.0.1:8089 weight=1 ";
const BOTH: &str = "server 127.0.0.1:8088;server 127.0.0.1:8089;";
const ONE: &str = "server 127.0.0.1:8088;";
const WEIGHTED: &str = "server 127.0.0.1:8088 weight=3; server 127.0.0.1:8089 weight=1;";
const WITH_BACKUP: &str = "server 127.0.0.1:8088; server 127.0.0.1:18089 backup;";
const IP_HASH: &str = "ip_hash;server 127.0.0.1:8088; server 127.0.0.1:8089;";
const BAD_ARGUMENT: &str = "ip_hash aaa;server 127.0.0.1:8088; server 127.0.0.1:8089;";
const BAD_DIRECTIVE: &str = "ip_hash;aaserver 127.0.0.1:8088; server 127.0.0.1:8089;";
const UNIX: &str = "server unix:dyupssocket;";

#[test]
fn block_1_one_worker_c1_to_c54() {
    let bench = Bench::with_hosts(1);
    static_and_created(&bench);
    two_servers(&bench);
    deletion(&bench);
    parameters(&bench);
    re_creation(&bench);
}

fn static_and_created(bench: &Bench) {
    bench.get("C1", "/list", &["\nhost1\nhost2\n"]);
    bench.get("C2", "/detail", &["host1\n", LINE_1, "\n\n", "host2\n", LINE_2, "\n\n"]);
    bench.get("C3", "/upstream/host1", &["server 127.0.0.1:8088"]);
    bench.post("C4", "dyhost", ONE, "success");
    bench.served("C5", "dyhost", &["8088"]);
    bench.served("C6", "host1", &["8088"]);
    bench.served("C7", "host2", &["8089"]);
    bench.get("C8", "/list", &["host1\nhost2\ndyhost\n"]);
    bench.get(
        "C9",
        "/detail",
        &["host1\n", LINE_1, "\n\n", "host2\n", LINE_2, "\n\n", "dyhost\n", LINE_1, "\n\n"],
    );
}

fn two_servers(bench: &Bench) {
    bench.post("C10", "dyhost", BOTH, "success");
    bench.served("C11", "dyhost", &["8088", "8089"]);
    bench.served("C12", "dyhost", &["8088", "8089"]);
    bench.served("C13", "host1", &["8088"]);
    bench.served("C14", "host2", &["8089"]);
    bench.get(
        "C15",
        "/detail",
        &["host1\n", LINE_1, "\n\nhost2\n", LINE_2, "\n\ndyhost\n", LINE_1, LINE_2, "\n\n"],
    );
}

fn deletion(bench: &Bench) {
    bench.delete("C16", "dyhost", "success");
    bench.unserved("C17", "dyhost");
    let detail = bench.get("C18", "/detail", &[]);
    assert!(!detail.contains("dyhost"), "C18: {detail:?}");
    bench.get("C19", "/list", &["\nhost1\nhost2\n"]);
    bench.get("C20", "/detail", &["host1\n", LINE_1, "\n\n", "host2\n", LINE_2, "\n\n"]);
    bench.delete("C21", "dyhost", " 404 ");
    bench.delete("C22", "host1", "success");
    bench.unserved("C23", "host1");
    bench.get("C24", "/detail", &["host2\n", LINE_2, "\n\n"]);
    bench.post("C25", "dyhost", ONE, "success");
    bench.served("C26", "dyhost", &["8088"]);
    bench.get("C27", "/detail", &["host2\n", LINE_2, "\n\n", "dyhost\n", LINE_1, "\n\n"]);
}

fn parameters(bench: &Bench) {
    bench.post("C28", "dyhost", WEIGHTED, "success");
    for case in ["C29", "C30", "C31"] {
        bench.served(case, "dyhost", &["8088", "8089"]);
    }
    bench.post("C32", "dyhost", WITH_BACKUP, "success");
    for case in ["C33", "C34", "C35"] {
        bench.served(case, "dyhost", &["8088"]);
    }
    bench.post("C36", "dyhost", IP_HASH, "success");
    for case in ["C37", "C38", "C39"] {
        bench.served(case, "dyhost", &["8088"]);
    }
    bench.post("C40", "dyhost", BAD_ARGUMENT, "add server failed");
    bench.post("C41", "dyhost", BAD_DIRECTIVE, "add server failed");
    bench.post("C42", "dyhost", UNIX, "success");
    bench.served("C43", "dyhost", &["unix"]);
}

fn re_creation(bench: &Bench) {
    bench.post("C51", "host1", "server 127.0.0.1:8089;", "success");
    bench.served("C52", "host1", &["8089"]);
    bench.post("C53", "host1", ONE, "success");
    bench.served("C54", "host1", &["8088"]);
}

#[test]
fn block_2_several_workers_c55_to_c73() {
    let bench = Bench::with_hosts(4);
    bench.get("C55", "/list", &["\nhost1\nhost2\n"]);
    bench.get("C56", "/detail", &["host1\n", LINE_1, "\n\n", "host2\n", LINE_2, "\n\n"]);
    bench.get("C57", "/upstream/host1", &["server 127.0.0.1:8088"]);
    bench.post("C58", "dyhost", ONE, "success");
    bench.get("C59", "/list", &["host1\nhost2\ndyhost\n"]);
    bench.get("C60", "/detail", &["host1\n", LINE_1, "host2\n", LINE_2, "dyhost\n", LINE_1]);
    bench.post("C61", "dyhost", BOTH, "success");
    bench.get("C62", "/detail", &["host1\n", "host2\n", "dyhost\n", LINE_1, LINE_2, "\n\n"]);
    bench.get("C63", "/list", &["host1\nhost2\n"]);
    bench.get("C64", "/detail", &["host1\n", LINE_1, "\n\nhost2\n", LINE_2]);
    bench.get("C65", "/detail", &["host2\n", LINE_2]);
    bench.post("C66", "dyhost", ONE, "success");
    bench.get("C67", "/detail", &["host2\n", LINE_2, "\n\n", "dyhost\n", LINE_1, "\n\n"]);
    bench.post("C68", "dyhost", WEIGHTED, "success");
    bench.post("C69", "dyhost", WITH_BACKUP, "success");
    bench.post("C70", "dyhost", IP_HASH, "success");
    bench.post("C71", "dyhost", BAD_ARGUMENT, "add server failed");
    bench.post("C72", "dyhost", BAD_DIRECTIVE, "add server failed");
    bench.post("C73", "dyhost", UNIX, "success");
}

/// The point of block 2, and more than Tengine promises: once a POST is answered, every worker
/// serves by it.
#[test]
fn every_worker_serves_what_was_acknowledged() {
    let bench = Bench::with_hosts(4);
    for round in 0..20 {
        let (server, name) = [(LINE_1, "8088"), (LINE_2, "8089")][round % 2];
        let body = format!("{};", server.trim_end());
        bench.post("read your writes", "dyhost", &body, "success");
        for _ in 0..8 {
            bench.served("read your writes", "dyhost", &[name]);
        }
    }
}
