//! What a route sets that most do not: what of it is read, and what is refused.

use tidegate_config::{Config, Problem, load, parse};
use tidegate_model::{
    Size, Span,
    route::{Encoding, Policy},
    upstream::{Condition, NextSpec, TimeoutsSpec},
};

fn text(lines: &str) -> String {
    format!(
        "listener = [{{ address = '0.0.0.0:80' }}]\nupstream.a.servers = []\n\
         [[route]]\nupstream = 'a'\n{lines}"
    )
}

fn config(lines: &str) -> Config {
    parse("t", &text(lines)).expect("it reads").config
}

fn policy(lines: &str) -> Option<Policy> {
    config(lines).routes[0].policy.as_deref().cloned()
}

#[track_caller]
fn refused(lines: &str, problems: &[&str]) {
    let found = parse("t", &text(lines)).expect_err("it is wrong");
    let found: Vec<String> = found.iter().map(Problem::to_string).collect();
    assert_eq!(found, problems, "{lines}");
}

#[test]
fn nothing_is_set_unless_the_file_says_so() {
    assert!(policy("").is_none());
    assert!(
        policy("allow = []\ndeny = []\ntimeouts = {}\nnext = {}\nerror_pages = {}\ncompress = []")
            .is_none()
    );
}

#[test]
fn limits_are_read() {
    let policy = policy(
        "allow = ['10.0.0.0/8', '2001:db8::1']\ndeny = '10.1.0.0/16'\n\
         rate_limit = { key = 'header:X-User', rate = '30/m', burst = 5 }\n\
         conn_limit = { count = 9 }\ntimeouts = { read = '2s' }\nnext = { on = [], tries = 3 }",
    )
    .expect("a policy");
    let nets = |nets: &tidegate_model::route::Nets| {
        nets.iter().map(|net| net.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(nets(&policy.allow), ["10.0.0.0/8", "2001:db8::1/128"]);
    assert_eq!(nets(&policy.deny), ["10.1.0.0/16"]);
    let rate = policy.rate_limit.expect("a limit");
    assert_eq!(
        (rate.key.to_string(), rate.rate.to_string()),
        ("header:x-user".into(), "30/m".into())
    );
    assert_eq!(rate.burst, 5);
    let conns = policy.conn_limit.expect("a limit");
    assert_eq!((conns.key.to_string(), conns.count), ("client_ip".into(), 9));
    let timeouts = TimeoutsSpec { read: Some(Span::from_secs(2)), ..TimeoutsSpec::default() };
    assert_eq!(policy.timeouts, timeouts);
    let NextSpec { on, tries, .. } = policy.next;
    assert!(on.is_some_and(|on| !on.contains(Condition::Error)));
    assert_eq!(tries, Some(3));
}

#[test]
fn a_body_is_a_megabyte_unless_the_file_says_otherwise() {
    for (lines, limit) in [
        ("", Some(1 << 20)),
        ("max_body = '8k'", Some(8 << 10)),
        ("max_body = '0'", None),
        ("max_body = 0", None),
    ] {
        assert_eq!(config(lines).routes[0].max_body.map(Size::bytes), limit, "{lines}");
    }
    refused(
        "max_body = 1",
        &["t:5:12: route.max_body: expected a size in quotes such as \"64k\", found an integer"],
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    refused(
        "allow = ['10.0.0.1/8', 'localhost']",
        &[
            "t:5:10: route.allow: 10.0.0.1/8 has bits beyond its prefix; the network is 10.0.0.0/8",
            "t:5:24: route.allow: \"localhost\" is no network such as 10.0.0.0/8",
        ],
    );
    refused("rate_limit = {}", &["t:5:14: route.rate_limit.rate: this key is required"]);
    refused(
        "rate_limit = { rate = '10', key = 'ip', burst = -1, delay = 1 }",
        &[
            "t:5:23: route.rate_limit.rate: \"10\" is no rate such as 100/s, 30/m or 5/h, from 1 to 1000000/s",
            "t:5:35: route.rate_limit.key: \"ip\" is none of client_ip, uri, header:NAME, cookie:NAME and query:NAME",
            "t:5:49: route.rate_limit.burst: has to be from 0 to 4294967295",
            "t:5:53: route.rate_limit.delay: unknown key; known here: key, rate, burst",
        ],
    );
    refused(
        "rate_limit = { rate = '1/s', burst = 1000001 }",
        &["t:5:38: route.rate_limit.burst: has to be from 0 to 1000000"],
    );
    refused(
        "conn_limit = { count = 0, key = 'cookie:a b' }",
        &[
            "t:5:24: route.conn_limit.count: has to be from 1 to 4294967295",
            "t:5:33: route.conn_limit.key: \"a b\" is no name of a header or cookie",
        ],
    );
    refused(
        "timeouts = { read = '0s' }",
        &["t:5:21: route.timeouts.read: has to be longer than 0s"],
    );
    refused(
        "next = { on = ['http_200'] }\nconn_limit = 5",
        &[
            "t:5:16: route.next.on: expected \"error\" or \"http_403\" or \"http_404\" or \"http_429\" or \"http_500\" or \"http_502\" or \"http_503\" or \"http_504\" or \"invalid_header\" or \"non_idempotent\" or \"timeout\", found \"http_200\"",
            "t:6:14: route.conn_limit: expected a table, found an integer",
        ],
    );
}

#[test]
fn codings_are_a_list_in_an_order() {
    let policy = policy("compress = ['br', 'gzip']").expect("a policy");
    assert_eq!(policy.compress, [Encoding::Brotli, Encoding::Gzip]);
    refused(
        "compress = ['br', 'deflate']",
        &["t:5:19: route.compress: expected \"gzip\" or \"br\" or \"zstd\", found \"deflate\""],
    );
    refused("compress = ['br', 'gzip', 'br']", &["t:5:12: route.compress: \"br\" is there twice"]);
}

#[test]
fn pages_are_read_beside_the_file_that_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.toml");
    std::fs::write(folder.path().join("502.html"), "<p>soon").expect("it is written");
    let pages = "error_pages = { 502 = '502.html', 5xx = '502.html' }\n[[route]]\nupstream = 'a'\n\
                 path = '/x'\nerror_pages = { 404 = '502.html' }";
    std::fs::write(&path, text(pages)).expect("it is written");
    let config = load(&path).expect("it reads").config;
    let page = |route: usize, status| {
        let policy = config.routes[route].policy.as_deref().expect("a policy");
        policy.error_pages.of(status).map(|page| page.body.clone())
    };
    assert_eq!(page(0, 502).as_deref(), Some(&b"<p>soon"[..]));
    assert!(page(0, 500).is_some() && page(0, 404).is_none() && page(1, 404).is_some());
}

#[test]
fn pages_that_cannot_be_shown_are_all_told() {
    refused(
        "error_pages = { 502 = 'nowhere.html', 200 = 'a.html', 5x = 'a.html', 404 = 'a.png' }",
        &[
            "t:5:45: route.error_pages.200: has to be one of 4xx and 5xx: other answers are none of Tidegate's own",
            "t:5:60: route.error_pages.5x: \"5x\" is neither a status such as 204 nor a class such as 2xx",
        ],
    );
    refused(
        "error_pages = { 502 = 'nowhere.html', 404 = 'a.png' }",
        &[
            "t:5:23: route.error_pages.502: nowhere.html cannot be shown: No such file or directory (os error 2)",
            "t:5:45: route.error_pages.404: a.png cannot be shown: its name does not end in .html, .json or .txt, which tells its type",
        ],
    );
}
