//! What an answered change means: it is there after a kill, whatever the disk and the file do. And
//! what SIGHUP makes of a changed file.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use fastrand::Rng;
use rustix::process::{Signal, geteuid};

use crate::kit::{Edge, Message, Origin, RaiseOnDrop, Socket, bytes, env_number, eventually, skip};

/// What `/detail` says, by pool.
fn detail(edge: &Edge) -> BTreeMap<String, String> {
    let text = edge.call("GET", "/detail", "").text();
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| block.split_once('\n').expect("a name and its servers"))
        .map(|(name, servers)| (name.to_owned(), servers.to_owned()))
        .collect()
}

/// The size of every file of the state.
fn sizes(edge: &Edge) -> BTreeMap<PathBuf, u64> {
    let files = fs::read_dir(edge.state_dir()).unwrap().map(|entry| entry.unwrap());
    files.map(|file| (file.path(), file.metadata().unwrap().len())).collect()
}

/// Creates a pool, and tells the file that grew by it, with its size.
fn post_and_find_journal(edge: &Edge, pool: &str) -> (PathBuf, u64) {
    let before = sizes(edge);
    edge.post(pool, "server 127.0.0.1:1;");
    let grown = sizes(edge).into_iter().find(|(path, size)| before.get(path) < Some(size));
    grown.expect("the change was appended to a file")
}

#[test]
fn acknowledged_changes_survive_kill_9() {
    let mut edge = Edge::new().durable().start();
    edge.post("a", "server 127.0.0.1:1 weight=3; server 127.0.0.1:2 backup;");
    edge.post("b", "ip_hash; server 127.0.0.1:3 max_fails=0 fail_timeout=1h;");
    edge.post("c", "server 127.0.0.1:4;");
    assert_eq!(edge.call("DELETE", "/upstream/c", "").status(), 200);
    let before = edge.call("GET", "/detail", "").text();
    edge.kill9();
    edge.restart();
    assert_eq!(edge.call("GET", "/detail", "").text(), before);
}

/// One change somebody asks for.
#[derive(Clone)]
struct Wish {
    pool: String,
    /// `None` is a DELETE.
    server: Option<String>,
}

impl Wish {
    fn random(random: &mut Rng) -> Self {
        let pool = format!("pool{}", random.usize(..5));
        let server = (random.usize(..4) > 0).then(|| {
            format!("server 127.0.0.1:{} weight={}", 1 + random.usize(..9), 1 + random.usize(..99))
        });
        Self { pool, server }
    }

    /// Asks, and says whether there was an answer.
    fn ask(&self, edge: &Edge) -> bool {
        let (method, body) = match &self.server {
            Some(server) => ("POST", format!("{server};")),
            None => ("DELETE", String::new()),
        };
        let Ok(stream) = std::net::TcpStream::connect(edge.admin()) else { return false };
        let mut socket = Socket::over(stream);
        let request = format!(
            "{method} /upstream/{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            self.pool,
            body.len()
        );
        let answered = |answer: Message| matches!(answer.status(), 200 | 404);
        socket.try_send(request).is_ok() && socket.response().is_ok_and(answered)
    }

    fn apply(&self, pools: &mut BTreeMap<String, String>) {
        match &self.server {
            Some(server) => {
                let rest = " max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0";
                pools.insert(self.pool.clone(), format!("{server}{rest}"));
            }
            None => drop(pools.remove(&self.pool)),
        }
    }
}

/// `TIDEGATE_ROUNDS` (20) rounds: random changes until a kill at a random moment; after the restart
/// everything acknowledged is there, and of the one change in flight all or nothing.
#[test]
fn random_changes_and_kills() {
    let mut random = Rng::with_seed(7);
    let mut edge = Edge::new().durable().start();
    let mut known = BTreeMap::new();
    for round in 0..env_number("TIDEGATE_ROUNDS", 20) {
        let in_flight = change_until_killed(&edge, &mut random, &mut known);
        edge.restart();
        let found = detail(&edge);
        let mut with_last = known.clone();
        in_flight.apply(&mut with_last);
        assert!(found == known || found == with_last, "round {round}: {found:?}, known {known:?}");
        known = found;
    }
}

/// Returns the change that got no answer.
fn change_until_killed(
    edge: &Edge,
    random: &mut Rng,
    known: &mut BTreeMap<String, String>,
) -> Wish {
    let patience = Duration::from_micros(random.u64(..30_000));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(patience);
            edge.signal(Signal::KILL);
        });
        loop {
            let wish = Wish::random(random);
            if !wish.ask(edge) {
                return wish;
            }
            wish.apply(known);
        }
    })
}

#[test]
fn a_torn_tail_loses_at_most_what_was_torn() {
    let mut edge = Edge::new().durable().start();
    edge.post("whole", "server 127.0.0.1:1;");
    let (file, size) = post_and_find_journal(&edge, "torn");
    edge.kill9();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(size - 3).unwrap();
    edge.restart();
    assert_eq!(edge.call("GET", "/list", "").text(), "whole\n");
    edge.post("next", "server 127.0.0.1:3;");
    edge.restart();
    assert_eq!(edge.call("GET", "/list", "").text(), "whole\nnext\n");
}

#[test]
fn garbage_at_the_end_is_cut_off() {
    let mut edge = Edge::new().durable().start();
    let (file, _) = post_and_find_journal(&edge, "whole");
    edge.kill9();
    let mut tail = fs::OpenOptions::new().append(true).open(&file).unwrap();
    tail.write_all(&bytes(&mut Rng::with_seed(8), 100)).unwrap();
    drop(tail);
    edge.restart();
    assert_eq!(edge.call("GET", "/list", "").text(), "whole\n");
}

#[test]
fn what_was_loaded_is_said() {
    let mut edge = Edge::new().durable().start();
    edge.post("a", "server 127.0.0.1:1;");
    edge.post("b", "server 127.0.0.1:1;");
    edge.restart();
    let log = edge.log().to_ascii_lowercase();
    assert!(log.contains("state"), "{log}");
}

#[test]
fn without_a_state_dir_start_up_says_so() {
    let edge = Edge::new().start();
    assert!(edge.log().contains("state_dir"), "{}", edge.log());
}

#[test]
fn the_state_is_nobody_elses_business() {
    let edge = Edge::new().durable().start();
    let mode = fs::metadata(edge.state_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_second_process_on_the_directory_refuses() {
    let edge = Edge::new().durable().start();
    let second = edge.command(&["run"]);
    assert!(!second.status.success());
    let directory = edge.state_dir().display().to_string();
    assert!(second.said().contains(&directory), "it names the directory: {}", second.said());
    edge.post("a", "server 127.0.0.1:1;");
}

#[test]
fn a_directory_that_cannot_be_made_stops_the_start() {
    let edge = Edge::new().process("state_dir = \"/proc/tidegate/state\"");
    let output = edge.command(&["run"]);
    assert!(!output.status.success());
    assert!(output.said().contains("/proc/tidegate/state"), "{}", output.said());
}

/// A small file system of its own, when this machine allows it.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(at).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    fn read_only(&self) {
        let mount = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).output().unwrap();
        assert!(mount.status.success(), "{mount:?}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_refuses_the_change_and_serves_on() {
    let origin = Origin::named("up");
    let edge = Edge::new().durable().pool("app", &[&origin]);
    let Some(_mount) = Mount::tmpfs(&edge.state_dir(), "size=256k,mode=0700") else {
        return skip("a_full_disk_refuses_the_change_and_serves_on", "no right to mount a tmpfs");
    };
    let edge = edge.start();
    edge.post("before", "server 127.0.0.1:1;");
    let ballast = edge.state_dir().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    let mut refused = None;
    // Some room may be left in the page that the journal has begun.
    for n in 0..2_000 {
        let answer = edge.call("POST", &format!("/upstream/after{n}"), "server 127.0.0.1:1;");
        if answer.status() != 200 {
            refused = Some((n, answer));
            break;
        }
    }
    let (n, answer) = refused.expect("a full disk refuses");
    assert_eq!(answer.status(), 507, "{answer:?}");
    assert!(answer.head.has("x-tidegate-reason"), "{answer:?}");
    assert_eq!(
        edge.call("GET", &format!("/upstream/after{n}"), "").status(),
        404,
        "nothing changed"
    );
    assert_eq!(edge.get("app", "/").text(), "up", "serving goes on");
    fs::remove_file(&ballast).unwrap();
    eventually("with room again changes are taken again", || {
        edge.call("POST", "/upstream/later", "server 127.0.0.1:1;").status() == 200
    });
    let before = detail(&edge);
    let mut edge = edge;
    edge.restart();
    assert_eq!(detail(&edge), before, "and they are kept");
}

#[test]
fn a_read_only_directory_stops_the_start_and_says_so() {
    let edge = Edge::new().durable();
    let directory = edge.state_dir();
    let _mount = match Mount::tmpfs(&directory, "size=256k,mode=0700") {
        Some(mount) => {
            mount.read_only();
            Some(mount)
        }
        None if geteuid().is_root() => {
            let test = "a_read_only_directory_stops_the_start_and_says_so";
            return skip(test, "root may write everywhere, and may not mount here");
        }
        None => {
            fs::create_dir_all(&directory).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o500)).unwrap();
            None
        }
    };
    let output = edge.command(&["run"]);
    assert!(!output.status.success());
    let said = output.said();
    assert!(said.contains(&directory.display().to_string()), "{said}");
}

#[test]
fn the_api_wins_over_the_file_until_the_file_changes() {
    let (file, api, newer) = (Origin::named("file"), Origin::named("api"), Origin::named("newer"));
    let mut edge = Edge::new().durable().pool("app", &[&file]).start();
    edge.post("app", &format!("server {};", api.address()));
    edge.restart();
    assert_eq!(edge.get("app", "/").text(), "api", "the file did not change");
    edge.signal(Signal::HUP);
    edge.rewrite(|text| text.replace(&file.address(), &newer.address()));
    edge.restart();
    assert_eq!(edge.get("app", "/").text(), "newer", "the file changed while it was down");
}

#[test]
fn a_deleted_file_pool_stays_deleted() {
    let (file, newer) = (Origin::named("file"), Origin::named("newer"));
    let mut edge = Edge::new().durable().pool("app", &[&file]).start();
    assert_eq!(edge.call("DELETE", "/upstream/app", "").status(), 200);
    edge.restart();
    assert_eq!(edge.get("app", "/").status(), 502, "the deletion is a tombstone");
    edge.rewrite(|text| text.replace(&file.address(), &newer.address()));
    edge.signal(Signal::HUP);
    eventually("a new definition brings it back", || edge.get("app", "/").text() == "newer");
}

#[test]
fn sighup_applies_pools_and_routes() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let edge = Edge::new().pool("app", &[&old]).start();
    assert_eq!(edge.get("app", "/").text(), "old");
    edge.rewrite(|text| text.replace(&old.address(), &new.address()));
    edge.signal(Signal::HUP);
    eventually("the pool is the new one", || edge.get("app", "/").text() == "new");
    edge.rewrite(|text| text.replace("upstream = \"${host}\"", "upstream = \"app\""));
    edge.signal(Signal::HUP);
    eventually("the route is the new one", || edge.get("anything", "/").text() == "new");
}

#[test]
fn a_pool_that_leaves_the_file_goes_unless_the_api_made_it_its_own() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = Edge::new().pool("mine", &[&a]).pool("changed", &[&a]).start();
    edge.post("changed", &format!("server {};", b.address()));
    edge.rewrite(|text| text.split("[upstream.").next().unwrap().to_owned());
    edge.signal(Signal::HUP);
    eventually("the pool of the file is gone", || edge.get("mine", "/").status() == 502);
    assert_eq!(edge.get("changed", "/").text(), "b");
}

#[test]
fn a_bad_file_changes_nothing_and_says_so() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let edge = Edge::new().pool("app", &[&old]).start();
    edge.rewrite(|text| text.replace(&old.address(), &new.address()) + "\nnonsense = 1\n");
    edge.forget_log();
    edge.signal(Signal::HUP);
    edge.wait_for_log("tidegate.toml:");
    assert_eq!(edge.get("app", "/").text(), "old");
    edge.rewrite(|text| text.replace("\nnonsense = 1\n", ""));
    edge.signal(Signal::HUP);
    eventually("the mended file is taken", || edge.get("app", "/").text() == "new");
}

/// A reload under load loses no request.
#[test]
fn reloads_lose_no_request() {
    let origin = Origin::named("up");
    let edge = Edge::new().pool("app", &[&origin]).start();
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = RaiseOnDrop(&stopped);
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = edge.client();
                while !stopped.load(Ordering::SeqCst) {
                    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").text(), "up");
                }
            });
        }
        for weight in 2..12 {
            let address = origin.address();
            let line = format!("[{{ address = {address:?}, weight = {weight} }}]");
            edge.rewrite(|text| {
                let (head, _) = text.split_once("servers = ").unwrap();
                format!("{head}servers = {line}\n")
            });
            edge.signal(Signal::HUP);
            eventually("the reload is done", || {
                edge.call("GET", "/detail", "").text().contains(&format!("weight={weight} "))
            });
        }
    });
}
