//! The keys of `[upstream.NAME.check]`: each is read as what it means, and each bad value is refused
//! in its place.

mod kit;

use std::collections::BTreeMap;

use tidegate_model::{
    Span, WhenAllDown,
    upstream::{CheckKind, CheckSpec, CheckStart, ExpectBody, StatusPattern},
};

use kit::{found, pool, refused, seconds, warned};

#[test]
fn an_http_check_is_read() {
    let check = pool(
        "[upstream.a.check]\ntype = 'http'\npath = '/ping?full'\nmethod = 'OPTIONS'\n\
         headers = { Host = 'im.internal', X-Probe = '' }\nexpect_status = ['204', '3xx']\n\
         expect_body = 'ok'\nport = 9000\ninterval = '2s'\nfast_interval = '200ms'\n\
         timeout = '500ms'\nrise = 1\nfall = 1000\nstart = 'down'\nwhen_all_down = 'fail'",
    )
    .check;
    let headers = [("host", "im.internal"), ("x-probe", "")];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let expected = CheckSpec {
        kind: Some(CheckKind::Http),
        path: Some("/ping?full".into()),
        method: Some("OPTIONS".into()),
        headers: Some(headers.map(owned).into_iter().collect::<BTreeMap<_, _>>()),
        send: None,
        service: None,
        expect_status: Some(vec![StatusPattern::Code(204), StatusPattern::Class(3)]),
        expect_body: Some(ExpectBody::Text("ok".into())),
        port: Some(9000),
        interval: seconds(2),
        fast_interval: Some(Span::from_millis(200)),
        timeout: Some(Span::from_millis(500)),
        rise: Some(1),
        fall: Some(1000),
        start: Some(CheckStart::Down),
        when_all_down: Some(WhenAllDown::Fail),
    };
    assert_eq!(check, Some(expected));
    assert_eq!(pool("[upstream.a.check]").check, Some(CheckSpec::default()));
    assert_eq!(pool("[upstream.a]").check, None);
}

#[test]
fn every_type_of_check_is_read_with_what_it_asks() {
    for (settings, kind) in [
        ("type = 'http', send = \"GET / HTTP/1.0\\r\\n\\r\\n\"", CheckKind::Http),
        ("type = 'tcp', port = 1", CheckKind::Tcp),
        ("type = 'tls', start = 'up'", CheckKind::Tls),
        ("type = 'websocket', path = '/ws', headers = { origin = 'a' }", CheckKind::Websocket),
        ("type = 'grpc', service = 'im.Gateway'", CheckKind::Grpc),
        ("type = 'off', path = '/ping', service = 'x'", CheckKind::Off),
    ] {
        let check = pool(&format!("upstream.a.check = {{ {settings} }}")).check;
        assert_eq!(check.and_then(|check| check.kind), Some(kind), "{settings}");
    }
}

#[test]
fn bad_values_of_a_check_are_refused() {
    for (setting, problem) in [
        (
            "type = 'ping'",
            "25: upstream.a.check.type: expected \"http\" or \"tcp\" or \"tls\" or \"websocket\" or \
             \"grpc\" or \"off\", found \"ping\"",
        ),
        ("path = 'ping'", "25: upstream.a.check.path: a path starts with '/'"),
        ("path = ''", "25: upstream.a.check.path: a path starts with '/'"),
        ("path = '/a b'", "25: upstream.a.check.path: may only hold visible ASCII characters"),
        ("path = \"/\\r\"", "25: upstream.a.check.path: may only hold visible ASCII characters"),
        ("method = 'G T'", "27: upstream.a.check.method: \"G T\" is no method such as GET"),
        ("method = ''", "27: upstream.a.check.method: \"\" is no method such as GET"),
        ("headers.'a b' = ''", "34: upstream.a.check.headers.\"a b\": this is no name of a header"),
        (
            "headers.Connection = 'close'",
            "39: upstream.a.check.headers.Connection: the probe sets this header itself",
        ),
        (
            "headers.content-length = '0'",
            "43: upstream.a.check.headers.content-length: the probe sets this header itself",
        ),
        (
            "headers.Transfer-Encoding = 'chunked'",
            "46: upstream.a.check.headers.Transfer-Encoding: the probe sets this header itself",
        ),
        (
            "headers.a = \"b\\nc\"",
            "30: upstream.a.check.headers.a: may only hold visible ASCII characters, and blanks \
             between them",
        ),
        (
            "headers.a = ' b'",
            "30: upstream.a.check.headers.a: may only hold visible ASCII characters, and blanks \
             between them",
        ),
        (
            "headers.host = ''",
            "33: upstream.a.check.headers.host: expected the name of a host, with a port if need be",
        ),
        ("headers.a = 1", "30: upstream.a.check.headers.a: expected a string, found an integer"),
        ("headers = []", "28: upstream.a.check.headers: expected a table, found a list"),
        (
            "headers = { a = '', A = '' }",
            "42: upstream.a.check.headers.A: given twice: case does not count",
        ),
        ("send = ''", "25: upstream.a.check.send: may not be empty"),
        (
            "service = \"a\\n\"",
            "28: upstream.a.check.service: may only hold visible ASCII characters",
        ),
        (
            "expect_status = []",
            "34: upstream.a.check.expect_status: without a status no probe could ever pass",
        ),
        (
            "expect_status = ['2xx', '600']",
            "42: upstream.a.check.expect_status: \"600\" is neither a status such as 204 nor a class \
             such as 2xx",
        ),
        ("port = 65536", "25: upstream.a.check.port: has to be from 0 to 65535"),
        ("interval = '9ms'", "29: upstream.a.check.interval: has to be at least 10ms"),
        ("fast_interval = '0s'", "34: upstream.a.check.fast_interval: has to be at least 10ms"),
        ("timeout = '0s'", "28: upstream.a.check.timeout: has to be longer than 0s"),
        ("rise = 0", "25: upstream.a.check.rise: has to be from 1 to 1000"),
        ("fall = 1001", "25: upstream.a.check.fall: has to be from 1 to 1000"),
        (
            "start = 'unknown'",
            "26: upstream.a.check.start: expected \"up\" or \"down\", found \"unknown\"",
        ),
    ] {
        refused(&format!("upstream.a.check.{setting}"), &format!("t:2:{problem}"));
    }
    let pattern = found("upstream.a.check.expect_body = '~ ('");
    assert_eq!(pattern.len(), 1);
    assert!(pattern[0].starts_with("t:2:32: upstream.a.check.expect_body: "), "{}", pattern[0]);
}

#[test]
fn keys_that_mean_nothing_to_the_type_are_refused() {
    let values = [
        ("path", "'/'"),
        ("method", "'GET'"),
        ("headers", "{x-a = 'b'}"),
        ("send", "'x'"),
        ("service", "'x'"),
        ("expect_status", "['2xx']"),
        ("expect_body", "'x'"),
    ];
    for (kind, meant) in [
        ("http", &["path", "method", "headers", "send", "expect_status", "expect_body"] as &[_]),
        ("tcp", &[]),
        ("tls", &[]),
        ("websocket", &["path", "headers"]),
        ("grpc", &["service"]),
    ] {
        for (key, value) in values.iter().filter(|(key, _)| !meant.contains(key)) {
            refused(
                &format!("[upstream.a.check]\ntype = '{kind}'\n{key} = {value}"),
                &format!(
                    "t:4:{}: upstream.a.check.{key}: means nothing to a check of type \"{kind}\"",
                    key.len() + 4
                ),
            );
        }
    }
}

#[test]
fn tls_and_grpc_take_the_name_of_the_host_to_ask_for() {
    for kind in ["tls", "grpc"] {
        let config = format!("[upstream.a.check]\ntype = '{kind}'\nheaders = {{host = 'im.test'}}");
        let check = pool(&config).check.expect("a check");
        assert_eq!(check.headers.map(|headers| headers.len()), Some(1));
    }
}

#[test]
fn a_type_from_the_defaults_counts_too() {
    refused(
        "[upstream_defaults.check]\ntype = 'tcp'\n[upstream.a.check]\nrise = 1\npath = '/'",
        "t:4:1: upstream.a.check: path means nothing to a check of type \"tcp\", which is the \
         default here",
    );
    refused(
        "[upstream.a.check]\nservice = 'x'",
        "t:2:1: upstream.a.check: service means nothing to a check of type \"http\", which is the \
         default here",
    );
    let own = "[upstream_defaults.check]\npath = '/'\n[upstream.a.check]\ntype = 'tcp'";
    assert_eq!(found(own), [""; 0]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    for beside in ["path = '/'", "method = 'GET'", "headers = {}"] {
        refused(
            &format!("[upstream.a.check]\nsend = 'x'\n{beside}"),
            "t:3:8: upstream.a.check.send: is the whole request: no path, method or headers beside it",
        );
    }
    refused(
        "[upstream.a.check]\nmethod = 'HEAD'\nexpect_body = 'ok'",
        "t:4:15: upstream.a.check.expect_body: an answer to HEAD has no body",
    );
}

#[test]
fn what_a_check_hardly_means_gets_a_warning() {
    warned(
        "[upstream.a.check]\nmethod = 'get'",
        "t:3:10: upstream.a.check.method: case counts: most servers know GET",
    );
    warned(
        "[upstream.a.check]\ninterval = '1s'\nfast_interval = '2s'",
        "t:4:17: upstream.a.check.fast_interval: is never longer than interval: taken as 1s",
    );
}
