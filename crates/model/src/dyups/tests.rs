//! The grammar at its corners, the conformance cases that need no server, and the round trip.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::{Address, Resolved, ServerSpec, Span};

fn read(body: &str) -> UpstreamSpec {
    parse(body.as_bytes()).unwrap_or_else(|refusal| panic!("{body:?}: {refusal}"))
}

fn refused(body: &str) -> String {
    match parse(body.as_bytes()) {
        Ok(spec) => panic!("{body:?} was read as {spec:?}"),
        Err(refusal) => refusal.to_string(),
    }
}

fn servers(body: &str) -> Vec<ServerSpec> {
    read(body).servers.expect("always set")
}

fn server(address: &str) -> ServerSpec {
    ServerSpec::new(Address::parse(address).expect("an address"))
}

#[test]
fn every_server_parameter_is_read_and_the_last_of_a_kind_wins() {
    let body = "server 10.0.0.1:8080 weight=2 weight=5 max_conns=7 max_fails=0 fail_timeout=1m30s \
                slow_start=1m backup;\nserver unix:/tmp/s down;server \"a.example\" ;";
    let mut first = server("10.0.0.1:8080");
    first.weight = 5;
    first.max_conns = 7;
    first.max_fails = 0;
    first.fail_timeout = Span::from_secs(90);
    first.slow_start = Span::from_secs(60);
    first.backup = true;
    let mut second = server("unix:/tmp/s");
    second.down = true;
    assert_eq!(servers(body), [first, second, server("a.example")]);
}

#[test]
fn a_body_always_says_how_to_balance_and_else_only_what_it_says() {
    let plain = read("server 10.0.0.1;");
    assert_eq!(plain.balance, Some(Balance::RoundRobin));
    assert_eq!((plain.keepalive, plain.keepalive_requests), (None, None));
    let full = read(
        "ip_hash; keepalive 16 local; keepalive_requests 0; keepalive_time 1h; \
         keepalive_timeout 250ms; zone a 64k; zone b; server 10.0.0.1;",
    );
    assert_eq!(full.balance, Some(Balance::IpHash));
    assert_eq!(full.keepalive, Some(16));
    assert_eq!(full.keepalive_requests, Some(1), "nginx: one request per connection");
    assert_eq!(full.keepalive_time, Some(Span::from_secs(3_600)));
    assert_eq!(full.keepalive_timeout, Some(Span::from_millis(250)));
    assert_eq!(full.timeouts, crate::upstream::TimeoutsSpec::default());
}

#[test]
fn a_parameter_offends_only_a_method_named_before_it() {
    for (method, word, parameter) in [
        ("ip_hash;", "ip_hash", "backup"),
        ("hash $request_uri consistent;", "hash", "backup"),
        ("random two;", "random_two", "backup"),
        ("ip_hash;", "ip_hash", "slow_start=1s"),
        ("hash $request_uri consistent;", "hash", "slow_start=1s"),
    ] {
        assert_eq!(servers(&format!("server a; server b {parameter}; {method}")).len(), 2);
        let refused = refused(&format!("{method} server a;\nserver b {parameter};"));
        let parameter = parameter.trim_end_matches("=1s");
        assert_eq!(
            refused,
            format!("line 2: balancing method {word} does not support parameter \"{parameter}\"")
        );
    }
    assert!(servers("least_conn; server a; server b backup slow_start=1s;")[1].backup);
    assert_eq!(servers("random two; server a slow_start=1s;").len(), 1);
}

#[test]
fn x16_odd_spacing_quotes_and_comments_are_fine() {
    let specs = servers("server \"127.0.0.1:8088\"  weight=2 ;\n#c\n");
    assert_eq!((specs[0].address.as_str(), specs[0].weight), ("127.0.0.1:8088", 2));
}

#[test]
fn x8_to_x13_and_c40_to_c41_are_refused() {
    for (body, reason) in [
        ("server 127.0.0.1:8088", "line 1: unexpected end, expecting ';' after \"127.0.0.1:8088\""),
        ("server 127.0.0.1:8088;;", "line 1: unexpected \";\""),
        (" # only a comment", "no servers in upstream (backup ones do not count)"),
        (
            "server 127.0.0.1:8088 weight=0;",
            "line 1: invalid server parameter \"weight=0\": a weight is a number from 1 to \
             4294967295; to stop traffic use \"down\"",
        ),
        (
            "server 127.0.0.1:8088 max_fails=-1;",
            "line 1: invalid server parameter \"max_fails=-1\": expected a number from 0 to \
             4294967295",
        ),
        (
            "server 127.0.0.1:8088 fail_timeout=5ms;",
            "line 1: invalid server parameter \"fail_timeout=5ms\": expected a time such as 10s or \
             1m30s, without ms",
        ),
        ("server 127.0.0.1:8088 bogus=1;", "line 1: invalid server parameter \"bogus=1\": unknown"),
        (
            "ip_hash; server 127.0.0.1:8088; server 127.0.0.1:8089 backup;",
            "line 1: balancing method ip_hash does not support parameter \"backup\"",
        ),
        ("server 127.0.0.1:8088 backup;", "no servers in upstream (backup ones do not count)"),
        (
            "ip_hash aaa;server 127.0.0.1:8088;",
            "line 1: invalid number of arguments in \"ip_hash\" directive",
        ),
        ("ip_hash;aaserver 127.0.0.1:8088;", "line 1: unknown directive \"aaserver\""),
    ] {
        assert_eq!(refused(body), reason, "{body:?}");
    }
}

#[test]
fn what_tidegate_lacks_is_named() {
    for (body, reason) in [
        ("\nsession_sticky;", "line 2: session_sticky: not available yet"),
        ("include /etc/passwd;", "line 1: include: refused, a body may not read files"),
        (
            "server a.b slow_start=5ms;",
            "line 1: invalid server parameter \"slow_start=5ms\": expected a time such as 10s or \
             1m30s, without ms",
        ),
        ("server a.b drain;", "line 1: server parameter \"drain\": not available yet"),
        ("server a.b id=1;", "line 1: server parameter \"id=1\": not available yet"),
        ("server a.b draining;", "line 1: invalid server parameter \"draining\": unknown"),
        ("Server a.b;", "line 1: unknown directive \"Server\""),
        ("server;", "line 1: invalid number of arguments in \"server\" directive"),
        ("server \"\";", "line 1: \"\" is no server address: no host"),
        ("server a.b weight;", "line 1: invalid server parameter \"weight\": unknown"),
        ("server a.b down=1;", "line 1: invalid server parameter \"down=1\": unknown"),
        ("keepalive 1; keepalive 2;", "line 1: \"keepalive\" directive is duplicate"),
        ("keepalive x;", "line 1: invalid value \"x\" in \"keepalive\" directive"),
        ("keepalive 1 global;", "line 1: invalid keepalive parameter \"global\""),
        (
            "keepalive_timeout 1y;",
            "line 1: invalid value \"1y\" in \"keepalive_timeout\" directive",
        ),
        ("zone a 1x;", "line 1: invalid value \"1x\" in \"zone\" directive"),
        ("zone;", "line 1: invalid number of arguments in \"zone\" directive"),
    ] {
        assert_eq!(refused(body), reason, "{body:?}");
    }
}

#[test]
fn bodies_have_a_bound() {
    let many = "server a;".repeat(MAX_SERVERS);
    assert_eq!(servers(&many).len(), MAX_SERVERS);
    assert_eq!(refused(&format!("{many}server a;")), "line 1: more than 10000 servers");
    let long = vec![b' '; MAX_BODY + 1];
    assert!(parse(&long).is_err());
}

#[test]
fn a_reason_quotes_one_short_line() {
    let reason = refused(&format!("server \"a\n\x7f{}\";", "x".repeat(5_000)));
    assert!(reason.len() < 200 && !reason.contains(char::is_control), "{reason}");
    let reason = parse(b"\xff\xfe;").map_err(|refusal| refusal.to_string());
    assert_eq!(reason, Err("line 1: unknown directive \"\\xff\\xfe\"".into()));
}

#[test]
fn blocks_are_printed_as_tengine_prints_them() {
    let specs =
        servers("server 127.0.0.1 weight=3; server unix:/tmp/s down; server n.example:81 backup;");
    let address: SocketAddr = "10.0.0.9:81".parse().expect("an address");
    let resolved = Resolved::from([("n.example:81".to_owned(), vec![address])]);
    let shown_of = |server: &'_ ServerSpec| shown(&server.address, &resolved).to_string();
    let all = || specs.iter().map(|server| (shown(&server.address, &resolved), server));
    let mut out = String::new();
    detail(&mut out, "host1", all());
    assert_eq!(
        out,
        "host1\n\
         server 127.0.0.1:80 weight=3 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n\
         server unix:/tmp/s weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=1\n\
         server 10.0.0.9:81 weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=1 down=0\n\n"
    );
    out.clear();
    lines(&mut out, all().map(|(shown, _)| shown));
    assert_eq!(out, "server 127.0.0.1:80\nserver unix:/tmp/s\nserver 10.0.0.9:81\n");
    assert_eq!(shown_of(&server("[::1]:8080")), "[::1]:8080");
    assert_eq!(shown_of(&server("never.resolved")), "never.resolved");
}

/// The body that asks for these servers.
fn body(specs: &[ServerSpec]) -> String {
    let flag = |set: bool, word: &'static str| if set { word } else { "" };
    let line = |server: &ServerSpec| {
        format!(
            "server \"{}\" weight={} max_conns={} max_fails={} fail_timeout={} slow_start={}{}{};\n",
            server.address.as_str().replace('\\', "\\\\").replace('"', "\\\""),
            server.weight,
            server.max_conns,
            server.max_fails,
            server.fail_timeout.as_millis() / 1_000,
            server.slow_start.as_millis() / 1_000,
            flag(server.backup, " backup"),
            flag(server.down, " down"),
        )
    };
    specs.iter().map(line).collect()
}

fn any_server() -> impl Strategy<Value = ServerSpec> {
    let address = "([0-9]{1,2}\\.){3}[0-9]{1,2}(:[1-9][0-9]{0,3})?|unix:/[ -~]{1,30}|[a-z]{1,8}";
    let address = address.prop_filter_map("an address", |text| Address::parse(&text).ok());
    let seconds = 0..1_000_000_u64;
    let numbers = (1..=u32::MAX, any::<u32>(), any::<u32>(), seconds.clone(), seconds);
    (address, numbers, any::<bool>(), any::<bool>()).prop_map(
        |(address, (weight, max_conns, max_fails, seconds, slow), backup, down)| ServerSpec {
            weight,
            max_conns,
            max_fails,
            fail_timeout: Span::from_secs(seconds),
            slow_start: Span::from_secs(slow),
            backup,
            down,
            ..ServerSpec::new(address)
        },
    )
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(mut specs in prop::collection::vec(any_server(), 1..8)) {
        specs[0].backup = false;
        prop_assert_eq!(parse(body(&specs).as_bytes()).map(|spec| spec.servers), Ok(Some(specs)));
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body);
    }

    #[test]
    fn no_words_make_it_panic(
        body in "((server|keepalive|zone|ip_hash|hash|random|check|check_http_send|type=|http_2xx|[ ;{}#\"'\\\\$\n]|1.1.1.1|weight=|[0-9ysm]){0,3} ?){0,20}"
    ) {
        if let Err(refusal) = parse(body.as_bytes()) {
            prop_assert!(!refusal.to_string().contains(char::is_control));
        }
    }
}
