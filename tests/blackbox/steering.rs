//! The command line that steers: what the commands do to a running proxy, what they print, and how
//! they end. How each call of the API is made is in `crates/steer/tests`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    os::unix::net::UnixStream,
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    drains::{leaving, open_to},
    kit::{Chat, Edge, Origin, Output, binary, eventually},
    websocket::edge,
};

/// The one drain there is.
#[track_caller]
fn drain(edge: &Edge) -> Value {
    let (_, said) = edge.json("GET", "/api/v1/drains", &Value::Null);
    said["drains"][0].clone()
}

/// A command that goes on.
fn start(edge: &Edge, line: &str) -> Child {
    let mut command = binary();
    command.env("TIDEGATE_ADMIN", format!("http://{}", edge.admin())).args(line.split(' '));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn status_says_what_runs() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = Edge::to(&[&a, &b]).start();
    let said = edge.steer("status");
    assert_eq!(said.status.code(), Some(0), "{}", said.said());
    for part in
        ["version ", "state       in memory only\n", "servers     2 up\n", "LISTENER  ADDRESS"]
    {
        assert!(said.stdout.contains(part), "{part:?} in\n{}", said.stdout);
    }
    assert!(!said.stdout.contains('\u{1b}'), "no colours into a pipe");
    let json: Value = serde_json::from_str(&edge.steer("status --json").stdout).unwrap();
    assert_eq!(json["pools"], 1);
    let coloured = edge.steer("explain --host x --color always").stdout;
    assert!(coloured.contains("\u{1b}[32m"), "{coloured:?}");
}

#[test]
fn explain_leads_from_the_request_to_the_server() {
    let a = Origin::named("a");
    let edge = Edge::new().pool("shop", &[&a]).start();
    let said = edge.steer("explain --host shop --path /cart --header x-user:7");
    assert_eq!(said.status.code(), Some(0), "{}", said.said());
    for part in
        ["request   GET shop/cart, by listener edge", "which is \"shop\"", &a.address(), "yes"]
    {
        assert!(said.stdout.contains(part), "{part:?} in\n{}", said.stdout);
    }
    let nobody = edge.steer("explain --host nobody");
    assert!(nobody.stdout.contains("answered 502"), "{}", nobody.stdout);
    let refused = edge.steer("explain --listener none");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stderr.starts_with("tidegate: ") && refused.stderr.contains("\n  listener: "),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_drain_from_its_order_to_its_end() {
    let (old, new) = (Chat::named("old"), Chat::named("new"));
    let edge = edge().pool("app", &[&old, &new]).start();
    let clients = open_to(&edge, &old, 3);
    let began =
        edge.steer(&format!("server drain app {} --rate 1/h --reason moving", old.address()));
    assert_eq!(began.status.code(), Some(0), "{}", began.said());
    assert!(began.stdout.contains("3 of 3 tunnels remain"), "{}", began.stdout);
    let id = drain(&edge)["id"].as_u64().unwrap();

    let paused = edge.steer(&format!("drain pause {id}"));
    assert!(paused.stdout.contains("paused"), "{}", paused.said());
    assert_eq!(drain(&edge)["state"], "paused");
    assert_eq!(edge.steer(&format!("drain resume {id}")).status.code(), Some(0));
    let listed = edge.steer("drain list").stdout;
    assert!(listed.contains("running") && listed.contains("1/h"), "{listed}");

    let leaving = leaving(clients);
    let faster = edge.steer(&format!("drain rate {id} 100/s"));
    assert!(faster.stdout.contains("100/s"), "{}", faster.said());
    let followed = edge.steer(&format!("drain show {id} --follow"));
    assert_eq!(followed.status.code(), Some(0), "{}", followed.said());
    assert!(
        followed.stdout.ends_with("0 of 3 tunnels left, 0 requests, drained\n"),
        "{}",
        followed.stdout
    );
    for client in leaving {
        assert_eq!(client.join().unwrap().1.1, "moving");
    }

    assert_eq!(edge.steer(&format!("drain cancel {id}")).status.code(), Some(0));
    assert_eq!(edge.steer("drain list").stdout, "no server is being drained\n");
    let gone = edge.steer(&format!("drain show {id}"));
    assert_eq!(gone.status.code(), Some(1), "{}", gone.said());
}

#[test]
fn who_stops_waiting_leaves_the_drain_running() {
    let (old, new) = (Chat::named("old"), Chat::named("new"));
    let edge = edge().pool("app", &[&old, &new]).start();
    let _client = open_to(&edge, &old, 1);
    let mut waiting =
        start(&edge, &format!("server drain app {} --rate 1/h --wait", old.address()));
    let mut lines = BufReader::new(waiting.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("1 of 1 tunnels left")));
    let pid = Pid::from_raw(waiting.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let mut said = String::new();
    waiting.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(130));
    assert!(said.contains("goes on") && said.contains("drain cancel"), "{said}");
    assert_eq!(drain(&edge)["state"], "running");
}

#[test]
fn tunnels_are_listed_and_closed() {
    let (a, b) = (Chat::named("a"), Chat::named("b"));
    let edge = edge().pool("app", &[&a, &b]).start();
    let _clients = open_to(&edge, &a, 2);
    let listed = edge.steer(&format!("tunnels --server {} --sort age --limit 1", a.address()));
    assert_eq!(listed.stdout.lines().count(), 2, "{}", listed.stdout);
    assert!(listed.stderr.starts_with("1 of 2 are shown"), "{}", listed.stderr);
    let id = listed.stdout.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let closed = edge.steer(&format!("tunnels close {id}"));
    assert_eq!(
        (closed.status.code(), closed.stdout),
        (Some(0), format!("tunnel {id} was told to close\n"))
    );
    assert_eq!(edge.steer("tunnels close 999999999").status.code(), Some(1));
}

#[test]
fn the_proxys_no_is_1_with_its_reasons() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = Edge::to(&[&a]).start();
    let last = edge.steer(&format!("server drain app {}", a.address()));
    assert_eq!(last.status.code(), Some(1));
    assert!(last.stderr.contains("last server"), "{}", last.stderr);
    let nobody = edge.steer(&format!("server drain app {}", b.address()));
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        nobody.stderr.starts_with("tidegate: ") && nobody.stdout.is_empty(),
        "{}",
        nobody.said()
    );
}

#[test]
fn wrong_usage_is_2_and_nobody_there_is_69() {
    for line in ["upstream", "server drain app", "drain show x", "completions tcsh", "top"] {
        let said = Output::steering("http://127.0.0.1:1", line);
        assert_eq!(said.status.code(), Some(2), "{line}: {}", said.said());
    }
    for admin in ["https://127.0.0.1:1", "unix:", "http://"] {
        assert_eq!(Output::steering(admin, "status").status.code(), Some(2), "{admin}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = Output::steering(&format!("http://{nobody}"), "status");
    assert_eq!(said.status.code(), Some(69));
    assert!(said.stderr.contains("--admin"), "{}", said.stderr);
}

#[test]
fn over_a_unix_socket() {
    let edge = Edge::new();
    let socket = edge.directory().join("admin.sock");
    let path = edge.directory().join("unix.toml");
    let listen = format!("\"127.0.0.1:0\", \"unix:{}\"]", socket.display());
    fs::write(&path, edge.config().replacen("\"127.0.0.1:0\"]", &listen, 1)).unwrap();
    let _running = Edge::from_arguments(&["run", "-c", path.to_str().unwrap()], &["edge", "admin"]);
    eventually("the socket is there", || UnixStream::connect(&socket).is_ok());
    let said = Output::steering(&format!("unix:{}", socket.display()), "drain list");
    assert_eq!(said.stdout, "no server is being drained\n", "{}", said.stderr);
}

#[test]
fn with_a_token() {
    let edge = Edge::new().admin_section("token_file = \"token\"");
    let file = edge.directory().join("token");
    fs::write(&file, "s3cret\n").unwrap();
    let edge = edge.start();
    let without = edge.steer("drain list");
    assert_eq!(without.status.code(), Some(1));
    assert!(without.stderr.contains("--token-file"), "{}", without.stderr);
    let with = edge.steer(&format!("drain list --token-file {}", file.display()));
    assert_eq!(with.status.code(), Some(0), "{}", with.stderr);
}

#[test]
fn one_frame_of_top() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge = Edge::to(&[&a, &b]).start();
    let said = edge.steer("top --once --interval 100ms");
    assert_eq!(said.status.code(), Some(0), "{}", said.said());
    assert!(said.stdout.starts_with("tidegate "), "{}", said.stdout);
}

#[test]
fn help_reads_well_and_every_command_has_a_page() {
    let help = Output::of(&["--help"]).stdout;
    for word in
        ["run", "check", "to", "upstream", "server", "drain", "top", "explain", "completions", "69"]
    {
        assert!(help.contains(word), "{word} in\n{help}");
    }
    assert!(!help.contains("__complete"), "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    let edge = Edge::new();
    let directory = edge.directory().join("man");
    let said = Output::of(&["man", "--dir", directory.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(0), "{}", said.said());
    for page in ["tidegate.1", "tidegate-server-drain.1", "tidegate-top.1"] {
        assert!(fs::read_to_string(directory.join(page)).unwrap().contains(".TH"), "{page}");
    }
}

#[test]
fn shells_complete_commands_and_are_silent_about_trouble() {
    let completed = |words: &[&str]| {
        let all = [["__complete", "--", "tidegate"].as_slice(), words].concat();
        let said = Output::of(&all);
        assert_eq!((said.status.code(), said.stderr.as_str()), (Some(0), ""), "{words:?}");
        said.stdout
    };
    assert!(completed(&["up"]).starts_with("upstream\t"), "{}", completed(&["up"]));
    assert!(completed(&["server", "dr"]).starts_with("drain\t"));
    assert!(
        completed(&["server", "drain", "a", "b:1", "--over", "1m", "--dead"])
            .contains("--deadline")
    );
    let nobody = ["upstream", "show", "--admin", "http://127.0.0.1:1", ""];
    assert!(!completed(&nobody).contains("panicked"));
    for shell in ["bash", "zsh", "fish"] {
        let script = Output::of(&["completions", shell]);
        assert!(script.stdout.contains("__complete"), "{shell}: {}", script.said());
    }
    let script = Output::of(&["completions", "bash"]).stdout;
    let checked = std::process::Command::new("bash").args(["-n", "-c", &script]).status();
    assert!(checked.is_ok_and(|status| status.success()));
}

#[test]
fn the_proxy_may_be_named_before_the_command() {
    let edge = Edge::new().start();
    let url = format!("http://{}", edge.admin());
    for line in [["--admin", &url, "status"], ["status", "--admin", &url]] {
        let said = Output::of(&line);
        assert_eq!(said.status.code(), Some(0), "{}", said.said());
        assert!(said.stdout.contains("generation"), "{}", said.said());
    }
}

#[test]
fn the_demo_keeps_its_own_arguments() {
    let said = Output::of(&["--listen", "127.0.0.1:0", "status"]);
    assert_eq!(said.status.code(), Some(2), "that is the demo's: {}", said.said());
    let help = json!(Output::of(&["--help"]).stdout).to_string();
    assert!(help.contains("--listen") && help.contains("--admin"));
}
