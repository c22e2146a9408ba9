//! What `check` says: every problem of a file in one run, each at its line and column, and nothing
//! about what is right.

use tidegate_config::{Config, parse};
use tidegate_model::{Access, Role};

/// What every file needs, on one line so that the lines of a test count from 2.
const LISTENER: &str = "listener = [{ address = '0.0.0.0:8080' }]\n";

fn problems(text: &str) -> Vec<String> {
    let problems = parse("t", text).expect_err("it should not read");
    problems.iter().map(ToString::to_string).collect()
}

/// The one problem of `text` after the listener.
fn problem(text: &str) -> String {
    let mut problems = problems(&format!("{LISTENER}{text}"));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = parse("t", &format!("{LISTENER}{text}")).expect("it reads");
    loaded.warnings.iter().map(ToString::to_string).collect()
}

fn config(text: &str) -> Config {
    parse("t", &format!("{LISTENER}{text}")).expect("it reads").config
}

#[test]
fn every_problem_is_reported_at_once_in_order() {
    let text = r#"
[process]
wokers = 2
graceful_timeout = 30

[[listener]]
adress = "0.0.0.0:8080"
[listener.limits]
head = "1m"

[[route]]
path = "ws"
host = ["a b", "ok.example.com", 7]
upstream = "${nope}"

[upstream."a b"]
servers = ["1.2.3.4:99999", { weight = 70000 }]
protocol = "http3"
"#;
    assert_eq!(
        problems(text),
        [
            r#"t:3:1: process.wokers: unknown key; did you mean "workers"?"#,
            r#"t:4:20: process.graceful_timeout: expected a duration in quotes such as "10s", found an integer"#,
            r#"t:6:1: listener.address: this key is required"#,
            r#"t:7:1: listener.adress: unknown key; did you mean "address"?"#,
            r#"t:9:8: listener.limits.head: has to be from 1k to 256k"#,
            r#"t:12:8: route.path: a path starts with '/'"#,
            r#"t:13:9: route.host: "a b" is no host such as example.com or *.example.com"#,
            r#"t:13:34: route.host: expected a host name in quotes, found an integer"#,
            r#"t:14:12: route.upstream: "${nope}": unknown variable "nope""#,
            r#"t:17:12: upstream."a b".servers: "1.2.3.4:99999" is no server address: a port is a number from 1 to 65535"#,
            r#"t:17:29: upstream."a b".servers.address: this key is required"#,
            r#"t:17:40: upstream."a b".servers.weight: has to be from 0 to 65535"#,
            r#"t:18:12: upstream."a b".protocol: expected "http1" or "http2", found "http3""#,
        ]
    );
}

#[test]
fn a_syntax_error_stands_alone_at_its_place() {
    let found = problems("[process]\nworkers = \n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("t:2:11: "), "{}", found[0]);
    let found = problems("[log]\nlevel = 'info'\nlevel = 'warn'\n");
    assert_eq!(found, ["t:3:1: duplicate key"]);
}

#[test]
fn columns_count_characters_not_bytes() {
    assert_eq!(
        problem("access_log = { path = 'zugriffe-größe', format = 'cvs' }"),
        r#"t:2:50: access_log.format: expected "json" or "combined", found "cvs""#
    );
}

#[test]
fn a_listener_is_needed() {
    assert_eq!(problems(""), ["t:1:1: listener: at least one [[listener]] is needed"]);
    assert_eq!(
        problems("[listener]\naddress = '0.0.0.0:80'"),
        [
            "t:1:1: listener: expected [[listener]], with double brackets, found a table",
            "t:1:1: listener: at least one [[listener]] is needed",
        ]
    );
}

#[test]
fn listeners_do_not_share_names_or_addresses() {
    assert_eq!(
        problems("[[listener]]\naddress = '[::]:80'\n[[listener]]\naddress = '[::]:80'"),
        ["t:4:11: listener.address: defined twice: also at t:2:11 (listener.address)"]
    );
    assert_eq!(
        problems(
            "[[listener]]\nname = 'a'\naddress = 'unix:a'\n[[listener]]\nname = 'a'\naddress = 'unix:b'"
        ),
        ["t:5:8: listener.name: defined twice: also at t:2:8 (listener.name)"]
    );
    assert_eq!(
        problem("admin = { listen = ['127.0.0.1:1', '127.0.0.1:1'] }"),
        "t:2:36: admin.listen: defined twice: also at t:2:21 (admin.listen)"
    );
    assert_eq!(
        problems("[[listener]]\naddress = '127.0.0.1:18882'"),
        ["t:1:1: admin.listen: defined twice: also at t:2:11 (listener.address)"]
    );
    let free = "[[listener]]\nname = 'a'\naddress = '[::]:0'\n[[listener]]\naddress = '[::]:0'";
    assert!(parse("t", free).is_ok(), "port 0 is a different one each time");
}

#[test]
fn histograms_by_server_are_refused_rather_than_ignored() {
    let text = "[[listener]]\naddress = \"127.0.0.1:1\"\n[metrics]\nper_server_histograms = true\n";
    let problems = tidegate_config::parse("t", text).expect_err("it is not there");
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].line, problems[0].key.as_str()), (4, "metrics.per_server_histograms"));
    assert!(tidegate_config::parse("t", &text.replace("true", "false")).is_ok());
}

#[test]
fn an_admin_listener_for_others_wants_a_token() {
    assert_eq!(
        problem("admin.listen = ['127.0.0.1:1', '0.0.0.0:2']"),
        "t:2:32: admin.listen: 0.0.0.0:2 is not a loopback address: set token_file or tokens"
    );
    let missing = problem("admin = { listen = ['0.0.0.0:2'], token_file = 'no/such/token' }");
    assert!(missing.starts_with("t:2:48: admin.token_file: no/such/token cannot be read: "));
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("token");
    std::fs::write(&path, "secret\n").expect("it is written");
    let text = format!("admin = {{ listen = ['0.0.0.0:2'], token_file = '{}' }}", path.display());
    let tokens = config(&text).admin.tokens;
    assert_eq!((tokens[0].name.as_str(), tokens[0].secret.reveal()), ("token_file", "secret"));
    assert_eq!(tokens[0].access, Access::of(Role::Admin));
}

#[test]
fn routes_name_listeners_that_exist() {
    assert_eq!(
        problem("[[route]]\nlistener = ['0.0.0.0:8080', 'edge']\nupstream = 'a'"),
        r#"t:3:29: route.listener: there is no listener "edge""#
    );
}

#[test]
fn a_route_says_what_it_means() {
    for (line, message) in [
        ("upgrade = ['h2c']", "t:4:12: route.upgrade: h2c is never passed on (RFC 9113 §3.1)"),
        ("upgrade = ['a b']", "t:4:12: route.upgrade: \"a b\" is no upgrade token"),
        (
            "host = []",
            "t:4:8: route.host: an empty list matches nothing; leave the key out to match everything",
        ),
        ("upstream_in = ['*a*b*']", "t:4:16: route.upstream_in: a pattern has at most 2 stars"),
        ("upstream_in = ['b*']", "t:3:12: route.upstream: \"app\" is not among upstream_in"),
    ] {
        assert_eq!(problem(&format!("[[route]]\nupstream = 'app'\n{line}")), message);
    }
    assert_eq!(
        problem("[[route]]\nupstream = '${server}'"),
        "t:3:12: route.upstream: ${upstream} and ${server} are not known before a pool is chosen"
    );
}

#[test]
fn a_routes_label_is_its_first_host_and_its_path() {
    let routes =
        "[[route]]\nupstream = 'a'\n[[route]]\nhost = 'A.b'\npath = '= /x'\nupstream = 'a'";
    let labels: Vec<_> = config(routes).routes.into_iter().map(|route| route.label).collect();
    assert_eq!(labels, ["/", "A.b = /x"]);
}

#[test]
fn what_hardly_is_meant_gets_a_warning() {
    assert_eq!(warnings(""), ["t:1:1: route: there is no [[route]]: every request gets 404"]);
    assert_eq!(
        warnings("[[route]]\nupstream = 'A'\nfallback = 'b'\n[upstream.a]"),
        [r#"t:4:12: route.fallback: no pool "b" here: 502 until the API makes it"#]
    );
    assert_eq!(
        warnings(
            "[[route]]\nupstream = 'a'\n[[route]]\npath = '/ws'\nupstream = 'a'\n[upstream.a]"
        ),
        ["t:4:1: route: never matches: the route at t:2:1 takes all of it"]
    );
    assert_eq!(
        warnings("[[route]]\nupstream = 'a'\npath = '/a//b'\n[upstream.a]"),
        ["t:4:8: route.path: never matches: slashes are merged and dot segments resolved before"]
    );
}

#[test]
fn pools_keep_nginxs_rules() {
    assert_eq!(
        problem("upstream.a.servers = [{ address = 'a', backup = true }]"),
        "t:2:22: upstream.a.servers: every server is a backup; a pool has at least one that is not"
    );
    assert_eq!(
        problem(
            "upstream_defaults.balance = 'ip_hash'\nupstream.a.servers = ['b', { address = 'a', backup = true }]"
        ),
        "t:3:10: upstream.a: ip_hash does not go with backup servers"
    );
    assert_eq!(
        problem("[upstream.a]\n[upstream.A]"),
        "t:3:11: upstream.A: defined twice: also at t:2:11 (upstream.a)"
    );
    assert_eq!(
        problem("upstream_defaults.servers = ['a']"),
        "t:2:29: upstream_defaults.servers: servers belong to one pool, in [upstream.NAME]"
    );
    assert_eq!(
        problem("upstream.a.host_header = \"a\\r\\nb\""),
        "t:2:26: upstream.a.host_header: may only hold visible ASCII characters"
    );
    assert_eq!(
        problem("upstream.\"\".keepalive = 1"),
        "t:2:10: upstream.\"\": a pool name may not be empty"
    );
}

#[test]
fn time_outs_that_would_end_everything_are_refused() {
    for key in [
        "upstream.a.timeouts.connect",
        "upstream.a.timeouts.send",
        "upstream.a.timeouts.read",
        "upstream.a.tunnel.idle_timeout",
        "upstream.a.keepalive_timeout",
        "upstream.a.keepalive_time",
    ] {
        let found = problem(&format!("{key} = '0s'"));
        assert!(found.ends_with(&format!("{key}: has to be longer than 0s")), "{found}");
    }
    for key in ["header", "keepalive", "body", "send"] {
        let found = problems(&format!("[[listener]]\naddress='[::]:1'\ntimeouts.{key} = '0s'"));
        let column = key.len() + 13;
        assert_eq!(
            found,
            [format!("t:3:{column}: listener.timeouts.{key}: has to be longer than 0s")]
        );
    }
}

#[test]
fn numbers_stay_in_their_range() {
    for (text, message) in [
        ("process.workers = 0", "has to be \"auto\" or from 1 to 1024"),
        ("process.workers = 1025", "has to be \"auto\" or from 1 to 1024"),
        ("process.workers = 'two'", "expected \"auto\" or a number, found a string"),
        ("process.max_idle_upstream = -1", "has to be from 0 to 4294967295"),
        ("upstream.a.keepalive = 0x1_0000_0000", "has to be from 0 to 4294967295"),
        ("upstream.a.keepalive = 1.5", "expected an integer, found a float"),
        ("process.graceful_timeout = '30'", "\"30\" is no duration such as 250ms, 10s, 5m or 1h"),
    ] {
        let found = problem(text);
        assert!(found.ends_with(message), "{found}");
    }
    let keepalive = |value: &str| {
        parse("t", &format!("[[listener]]\naddress = '[::]:1'\ntcp_keepalive = '{value}'")).is_ok()
    };
    assert!(keepalive("0s") && keepalive("9h") && !keepalive("10h") && !keepalive("1500ms"));
}

#[test]
fn the_target_fits_into_the_head() {
    let limits = |text: &str| {
        let text = format!("[[listener]]\naddress = '[::]:1'\nlimits = {{ {text} }}");
        parse("t", &text).map(|loaded| loaded.config.listeners[0].limits)
    };
    assert_eq!(limits("head = '4k'").expect("it reads").target, 4096);
    assert_eq!(limits("head = '64k'").expect("it reads").target, 8192);
    assert!(limits("head = '4k', target = '5k'").is_err());
}

#[test]
fn networks_and_single_addresses_are_trusted() {
    let trusted = |text: &str| {
        let text = format!("[[listener]]\naddress = '[::]:1'\ntrusted_proxies = ['{text}']");
        parse("t", &text).map(|loaded| loaded.config.listeners[0].trusted_proxies[0].to_string())
    };
    assert_eq!(trusted("10.0.0.0/8").expect("it reads"), "10.0.0.0/8");
    assert_eq!(trusted("::1").expect("it reads"), "::1/128");
    let found = trusted("10.0.0.1/8").expect_err("it should not read");
    assert_eq!(
        found[0].message,
        "10.0.0.1/8 has bits beyond its prefix; the network is 10.0.0.0/8"
    );
}

#[test]
fn pools_come_in_file_order() {
    let names = |text: &str| -> Vec<String> {
        config(text).upstreams.iter().map(|(name, _)| name.to_string()).collect()
    };
    assert_eq!(
        names("[upstream.b.timeouts]\nread='1s'\n[upstream.c]\n[upstream.a]"),
        ["b", "c", "a"]
    );
}

#[test]
fn a_quick_configuration_is_one_that_could_be_written() {
    let listen = parse("t", LISTENER).expect("it reads").config.listeners[0].address.clone();
    let address = tidegate_model::Address::parse("10.0.0.1:80").expect("an address");
    let quick = Config::quick(vec![address], listen);
    let written = config(
        "[[route]]\nupstream = 'default'\nmax_body = 0\n[upstream.default]\nservers = ['10.0.0.1:80']",
    );
    assert_eq!(format!("{quick:?}"), format!("{written:?}"));
}

#[test]
fn spans_are_exported_to_somewhere_and_of_some_requests() {
    let whole = config("[otlp]\nendpoint = 'http://[::1]:4318/v1/traces'\nsample = 1");
    let otlp = whole.otlp.expect("it is there");
    assert_eq!((otlp.endpoint.authority(), otlp.sample), ("[::1]:4318".into(), 1.0));
    let plain = config("[otlp]\nendpoint = 'http://collector'").otlp.expect("it is there");
    assert_eq!((&*plain.service_name, plain.sample), ("tidegate", 0.01));
    assert!(problem("[otlp]").contains("otlp.endpoint: this key is required"));
    for sample in ["1.1", "-0.5", "nan", "2", "'5%'"] {
        let text = format!("[otlp]\nendpoint = 'http://a'\nsample = {sample}");
        assert!(problem(&text).contains("otlp.sample"), "{sample}: {}", problem(&text));
    }
    let https = problem("[otlp]\nendpoint = 'https://a'");
    assert!(https.contains("otlp.endpoint: https is not available here"), "{https}");
}
