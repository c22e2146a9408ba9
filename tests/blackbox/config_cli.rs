//! The command line: what it prints, how it exits, and what the checker says of a bad file.

use std::{fs, net::TcpListener, path::PathBuf};

use crate::kit::{Authority, Edge, Origin, Output, Socket};

#[test]
fn version_and_help() {
    let version = Output::of(&["--version"]);
    assert!(version.status.success());
    assert!(version.stdout.starts_with("tidegate "), "{:?}", version.stdout);
    for arguments in [["help"].as_slice(), &["--help"]] {
        let help = Output::of(arguments);
        assert!(help.status.success());
        for word in ["run", "check", "to"] {
            assert!(help.stdout.contains(word), "{word} in {:?}", help.stdout);
        }
    }
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [["nonsense"].as_slice(), &["run"], &["check"], &["--nope"], &["to"]] {
        let output = Output::of(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", output.said());
    }
}

#[test]
fn a_good_file_is_0() {
    let edge = Edge::new().pool("app", &[]);
    let output = edge.command(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", output.said());
}

/// The files in `config/` are examples people start from. What certificates they name is theirs to have.
#[test]
fn the_examples_are_good() {
    let edge = Edge::new();
    let (authority, tls) = (Authority::new("devices"), edge.directory().join("tls"));
    fs::create_dir(&tls).unwrap();
    authority.write(tls.join("devices.pem"));
    authority.pair(&["*.im.example.com"]).write(&tls, "im");
    authority.pair(&["shop.example.com"]).write(&tls, "shop");
    let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let pages = edge.directory().join("pages");
    fs::create_dir(&pages).unwrap();
    fs::copy(config.join("from-nginx/pages/sorry.html"), pages.join("sorry.html")).unwrap();
    let files = [&config, &config.join("from-nginx")].map(|folder| fs::read_dir(folder).unwrap());
    let is_ours = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let all = files.into_iter().flatten().map(|entry| entry.unwrap().path());
    let examples: Vec<PathBuf> = all.filter(is_ours).collect();
    assert!(examples.len() >= 5, "{examples:?}");
    for (at, example) in examples.iter().enumerate() {
        let path = edge.directory().join(format!("example-{at}.toml"));
        fs::copy(example, &path).unwrap();
        let output = Output::of(&["check", "-c", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{example:?}: {}", output.said());
    }
}

#[test]
fn every_error_is_named_at_once_with_its_place() {
    let edge = Edge::new();
    let text = "[process]\nworkers = \"many\"\ntypo = 1\n\n\
                [[listener]]\nname = \"edge\"\naddress = \"nowhere\"\n\n\
                [[route]]\nupstream = \"a\"\n\n\
                [upstream.a]\nservers = [\"127.0.0.1:99999\"]\nkeepalive_timeout = \"4 parsecs\"\n";
    let path = edge.directory().join("bad.toml");
    fs::write(&path, text).unwrap();
    let output = Output::of(&["check", "-c", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64), "{}", output.said());
    let said = output.said();
    for (place, key) in [
        ("bad.toml:2:11", "workers"),
        ("bad.toml:3:1", "typo"),
        ("bad.toml:7:11", "address"),
        ("bad.toml:13:12", "servers"),
        ("bad.toml:14:21", "keepalive_timeout"),
    ] {
        let line = said.lines().find(|line| line.contains(&format!("{place}:")));
        assert!(line.is_some_and(|line| line.contains(key)), "{place} {key} in:\n{said}");
    }
}

#[test]
fn a_file_that_is_no_toml_and_one_that_is_not_there() {
    let edge = Edge::new();
    let path = edge.directory().join("bad.toml");
    fs::write(&path, "[process\nworkers = 1\n").unwrap();
    for command in ["check", "run"] {
        let output = Output::of(&[command, "-c", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(64), "{}", output.said());
        assert!(output.said().contains("bad.toml:1:"), "{}", output.said());
    }
    let output = Output::of(&["check", "-c", "/nonexistent/tidegate.toml"]);
    assert_eq!(output.status.code(), Some(64), "{}", output.said());
    assert!(output.said().contains("/nonexistent/tidegate.toml"), "{}", output.said());
}

#[test]
fn keys_that_nobody_knows_are_refused_not_ignored() {
    for (key, section) in [
        ("proxy_cache", "[upstream.other]\nproxy_cache = true"),
        ("quic", "[[listener]]\naddress = \"127.0.0.1:0\"\nquic = true"),
    ] {
        let output = Edge::new().toml(section).command(&["check"]);
        assert_eq!(output.status.code(), Some(64), "{key}: {}", output.said());
        assert!(output.said().contains(key), "{key}: {}", output.said());
    }
}

#[test]
fn spans_are_exported_by_builds_that_can() {
    let otlp = "[otlp]\nendpoint = \"http://127.0.0.1:4318/v1/traces\"";
    let output = Edge::new().toml(otlp).command(&["check"]);
    if cfg!(feature = "otlp") {
        assert_eq!(output.status.code(), Some(0), "{}", output.said());
    } else {
        assert_eq!(output.status.code(), Some(64), "{}", output.said());
        assert!(output.said().contains("--features otlp"), "{}", output.said());
    }
}

#[test]
fn included_files_are_part_of_the_file() {
    let origin = Origin::named("included");
    let edge = Edge::new();
    fs::create_dir(edge.directory().join("conf.d")).unwrap();
    let pool = format!("[upstream.more]\nservers = [{:?}]\n", origin.address());
    fs::write(edge.directory().join("conf.d/more.toml"), &pool).unwrap();
    let main = format!("include = [\"conf.d/*.toml\"]\n{}", edge.config());
    let path = edge.directory().join("main.toml");
    fs::write(&path, main).unwrap();
    let path = path.to_str().unwrap();
    let running = Edge::from_arguments(&["run", "-c", path], &["edge", "admin"]);
    assert_eq!(running.get("more", "/").text(), "included");
    fs::write(edge.directory().join("conf.d/twice.toml"), pool).unwrap();
    let output = Output::of(&["check", "-c", path]);
    assert_eq!(output.status.code(), Some(64));
    for name in ["more.toml", "twice.toml"] {
        assert!(output.said().contains(name), "both files are named: {}", output.said());
    }
}

#[test]
fn an_admin_address_for_everybody_needs_a_token() {
    let edge = Edge::new().admin_section("dyups = \"tengine\"");
    let path = edge.directory().join("open.toml");
    fs::write(&path, edge.config().replace("\"127.0.0.1:0\"]", "\"0.0.0.0:0\"]")).unwrap();
    for command in ["check", "run"] {
        let output = Output::of(&[command, "-c", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(64), "{}", output.said());
        assert!(output.said().contains("token_file"), "{}", output.said());
    }
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let edge = Edge::new();
    let path = edge.directory().join("taken.toml");
    let config =
        edge.config().replace("address = \"127.0.0.1:0\"", &format!("address = {address:?}"));
    fs::write(&path, config).unwrap();
    let output = Output::of(&["run", "-c", path.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(output.said().contains(&address), "{}", output.said());
}

/// Two tidegates must not share a port by accident, though both use SO_REUSEPORT.
#[test]
fn a_port_taken_by_another_tidegate_is_taken() {
    let first = Edge::new().start();
    let address = first.port("edge").to_string();
    let path = first.directory().join("second.toml");
    let config =
        first.config().replace("address = \"127.0.0.1:0\"", &format!("address = {address:?}"));
    fs::write(&path, config).unwrap();
    let output = Output::of(&["run", "-c", path.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(output.said().contains(&address), "{}", output.said());
}

#[test]
fn the_demo_serves_and_says_what_to_try() {
    let demo =
        Edge::from_arguments(&["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], &["admin"]);
    let admin = demo.admin();
    let line = demo.wait_for_log(&format!("http://{admin}/list"));
    assert!(line.contains("curl"), "{line}");
    let list = demo.call("GET", "/list", "").text();
    let pool = list.lines().next().expect("the demo has a pool").to_owned();
    assert_eq!(demo.call("GET", &format!("/upstream/{pool}"), "").text().lines().count(), 2);
    let proxy = proxy_of(&demo);
    let ask = || {
        let mut client = Socket::connect(proxy);
        client.ask(format!("GET / HTTP/1.1\r\nHost: {proxy}\r\nConnection: close\r\n\r\n")).text()
    };
    let (first, second) = (ask(), ask());
    assert!(
        first != second && !first.is_empty(),
        "two origins say who they are: {first:?} {second:?}"
    );
    websocket_echo(proxy);
}

/// Where the first `curl http://…/` line of the demo points that is not the admin listener.
fn proxy_of(demo: &Edge) -> std::net::SocketAddr {
    let log = demo.log();
    let urls = log.split("http://").skip(1).filter_map(|rest| {
        rest.split(|c: char| c == '/' || c.is_whitespace()).next()?.parse().ok()
    });
    let admin = demo.admin();
    urls.into_iter().find(|address| *address != admin).unwrap_or_else(|| panic!("{log}"))
}

fn websocket_echo(proxy: std::net::SocketAddr) {
    use tokio_tungstenite::tungstenite::{Message, client};
    let stream = std::net::TcpStream::connect(proxy).unwrap();
    let (mut socket, _) = client(format!("ws://{proxy}/"), stream).unwrap();
    socket.send(Message::text("ebb")).unwrap();
    let heard =
        (0..3).map(|_| socket.read().unwrap()).any(|message| message == Message::text("ebb"));
    assert!(heard, "the demo's origins echo WebSockets");
}

#[test]
fn the_demo_names_a_taken_port_and_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--listen", "--admin"), ("--admin", "--listen")] {
        let output = Output::of(&[flag, &address, other, "127.0.0.1:0"]);
        assert!(!output.status.success());
        let said = output.said();
        assert!(said.contains(&address) && said.contains(flag), "{said}");
    }
}

#[test]
fn to_is_a_proxy_in_one_line() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let edge =
        Edge::from_arguments(&["to", &a.address(), &b.address(), "--listen", "127.0.0.1:0"], &[]);
    let line = edge.wait_for_log("listening");
    let (_, rest) = line.split_once("address=").expect("it says where it listens");
    let address = rest.split_whitespace().next().unwrap().trim_matches('"').parse().unwrap();
    let ask = || Socket::connect(address).ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").text();
    assert_eq!((ask(), ask()), ("a".into(), "b".into()));
}
