//! Gray releases: the lines of docs/routing.md run as they stand there, and what they promise, that a
//! user stays on a side and that shares move users one way only.

use std::{fs, path::Path, process::Command};

use crate::kit::{Edge, Message, Origin};

const TEXT: &str = include_str!("../../docs/routing.md");

/// The blocks of that language in the text.
fn blocks(language: &str) -> Vec<&'static str> {
    let parts = TEXT.split("```").skip(1).step_by(2);
    parts.filter_map(|part| part.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// With the addresses of real servers.
fn real(text: &str, origins: &[Origin]) -> String {
    let mut text = text.to_owned();
    for (at, origin) in origins.iter().enumerate() {
        text = text.replace(&format!("10.0.0.{}:8080", at + 1), &origin.address());
    }
    text
}

#[track_caller]
fn run(edge: &Edge, origins: &[Origin], block: &str) -> String {
    let text = real(block, origins).replace("edge.toml", "tidegate.toml");
    let bin = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &text]).current_dir(edge.directory());
    shell.env("PATH", path).env("TIDEGATE_ADMIN", format!("http://{}", edge.admin()));
    let done = shell.output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    let wrong = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{text}\n{said}{wrong}");
    said
}

/// One GET over a connection of its own, with these header lines.
fn ask(edge: &Edge, lines: &str) -> Message {
    let head =
        format!("GET / HTTP/1.1\r\nHost: kf.example.com\r\nConnection: close\r\n{lines}\r\n");
    edge.client().ask(head)
}

/// Who serves each of so many users.
fn sides(edge: &Edge, users: usize) -> Vec<String> {
    let user = |uid| ask(edge, &format!("Cookie: a=b; uid={uid}\r\n")).text();
    (0..users).map(user).collect()
}

fn of(sides: &[String], name: &str) -> usize {
    sides.iter().filter(|side| *side == name).count()
}

#[test]
fn the_lines_of_the_documentation_do_what_it_says() {
    let origins = ["a", "b", "c"].map(Origin::named);
    let [release, _others] = blocks("toml")[..] else { panic!("other blocks of TOML") };
    let [looks, more, third, all, back] = blocks("sh")[..] else { panic!("other blocks of sh") };
    let (routes, pools) = release.split_at(release.find("[upstream.").unwrap());
    // The kit writes the first header itself.
    let first = routes.split_once("[[route]]\n").unwrap().1;
    let edge = Edge::new().route(&real(first, &origins)).toml(&real(pools, &origins)).start();

    let said = run(&edge, &origins, looks);
    assert!(said.contains("Webapp_${header:x-env}, which is \"Webapp_b\""), "{said}");
    assert!(said.contains("by cookie:uid = \"42\""), "{said}");
    assert_eq!(ask(&edge, "X-Env: b\r\n").text(), "b");
    assert_eq!(ask(&edge, "X-Env: c\r\n").text(), "a", "nobody runs it");
    assert_eq!(ask(&edge, "Cookie: gray=b\r\n").text(), "b");
    assert_eq!(ask(&edge, "").text(), "a", "without the key");

    const USERS: usize = 300;
    let before = sides(&edge, USERS);
    assert!((1..60).contains(&of(&before, "b")), "5 of 100: {}", of(&before, "b"));
    run(&edge, &origins, more);
    let after = sides(&edge, USERS);
    assert!((60..130).contains(&of(&after, "b")), "30 of 100: {}", of(&after, "b"));
    for (uid, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(before == after || (before == "a" && after == "b"), "{uid} went back");
    }
    run(&edge, &origins, third);
    assert_eq!(ask(&edge, "X-Env: c\r\n").text(), "c");
    run(&edge, &origins, all);
    assert_eq!(of(&sides(&edge, 50), "b"), 50);
    assert_eq!(ask(&edge, "").text(), "b", "the first with weight");
    run(&edge, &origins, back);
    assert_eq!(of(&sides(&edge, 50), "a"), 50);
}

#[test]
fn a_user_stays_on_a_side_over_reconnects_restarts_and_other_proxies() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let split = "split = { key = \"cookie:uid\", to = [{ upstream = \"a\", weight = 1 }, \
                 { upstream = \"b\", weight = 1 }] }";
    let new = || Edge::new().route(split).pool("a", &[&a]).pool("b", &[&b]);
    let mut edge = new().start();
    let first = sides(&edge, 60);
    assert!(of(&first, "a") > 5 && of(&first, "b") > 5);
    assert_eq!(sides(&edge, 60), first);
    let other = new().workers(1).start();
    assert_eq!(sides(&other, 60), first);
    edge.restart();
    assert_eq!(sides(&edge, 60), first);
    // Another weight of a server, another server, other pools: nothing of that is in the hash.
    edge.post("a", &format!("server {} weight=7; server {};", a.address(), a.address()));
    assert_eq!(sides(&edge, 60), first);
    // One connection, many users.
    let mut client = edge.client();
    for (uid, side) in first.iter().enumerate() {
        let head = format!("GET / HTTP/1.1\r\nHost: kf.example.com\r\nCookie: uid={uid}\r\n\r\n");
        assert_eq!(client.ask(head).text(), *side);
    }
}

#[test]
fn shares_go_up_and_down_by_the_same_users() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let split = |new: u32| {
        format!(
            "split = {{ key = \"header:x-user\", to = [{{ upstream = \"a\", weight = {} }}, \
             {{ upstream = \"${{query:to|b}}\", weight = {new} }}] }}\nfallback = \"a\"\n\
             upstream_in = [\"a\", \"b\"]",
            100 - new
        )
    };
    let edge = Edge::new().route(&split(0)).pool("a", &[&a]).pool("b", &[&b]).start();
    let sides = || -> Vec<String> {
        (0..80).map(|user| ask(&edge, &format!("X-User: {user}\r\n")).text()).collect()
    };
    let mut share = 0;
    let mut change = |new: u32| {
        edge.rewrite(|text| text.replace(&split(share), &split(new)));
        share = new;
        assert_eq!(edge.call("POST", "/api/v1/reload", "").status(), 200);
        sides()
    };
    let mut seen = vec![sides()];
    assert_eq!(of(&seen[0], "b"), 0);
    for new in [10, 50, 100] {
        seen.push(change(new));
        let [.., before, after] = &seen[..] else { unreachable!() };
        let back = before.iter().zip(after).filter(|(b, a)| *b == "b" && *a == "a").count();
        assert!(back == 0 && of(after, "b") > of(before, "b"));
    }
    assert_eq!(of(&seen[3], "b"), 80);
    assert_eq!(change(50), seen[2]);
    assert_eq!(change(10), seen[1]);
    assert_eq!(change(0), seen[0]);
    // A share whose template names nobody falls back.
    change(100);
    let head = "GET /?to=secret HTTP/1.1\r\nHost: h\r\nX-User: 1\r\n\r\n";
    assert_eq!(edge.client().ask(head).text(), "a");
    assert!(fs::read_to_string(edge.config_path()).unwrap().contains("weight = 100"));
}
