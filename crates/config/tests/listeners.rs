//! The protocols of listeners: each is read as what it means, and what means nothing to it, or cannot
//! be together, is refused in its place.

use tidegate_config::{Config, Http2, Listener, Protocol, SniRule, Tcp, Udp, parse};
use tidegate_model::{HostPattern, Name, Span};

const POOLS: &str = "\n[upstream.a]\n[upstream.b]\n";

fn parsed(text: &str) -> (Option<Config>, Vec<String>) {
    let (config, problems) = match parse("t", &format!("{text}{POOLS}")) {
        Ok(loaded) => (Some(loaded.config), loaded.warnings),
        Err(problems) => (None, problems),
    };
    (config, problems.iter().map(ToString::to_string).collect())
}

/// The only listener, in a file without any problem.
#[track_caller]
fn listener(text: &str) -> Listener {
    let (config, problems) = parsed(&format!("[[listener]]\n{text}"));
    assert_eq!(problems, [""; 0], "{text}");
    config.expect("it reads").listeners.remove(0)
}

#[track_caller]
fn refused(text: &str, problems: &[&str]) {
    let (config, found) = parsed(&format!("[[listener]]\n{text}"));
    assert_eq!(found, problems, "{text}");
    assert!(config.is_none(), "{text} is only warned of");
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

#[test]
fn http_is_the_default() {
    let route = "\n[[route]]\nupstream = 'a'";
    let plain = listener(&format!("address = '[::]:1'{route}"));
    assert_eq!(plain.protocol, Protocol::Http { accept_proxy: false });
    let said = format!("address = '[::]:1'\nprotocol = 'http'\naccept_proxy = false{route}");
    assert_eq!(listener(&said), plain);
    let proxied =
        format!("address = '[::]:1'\naccept_proxy = true\ntrusted_proxies = ['10.0.0.0/8']{route}");
    assert_eq!(listener(&proxied).protocol, Protocol::Http { accept_proxy: true });
}

#[test]
fn a_tcp_listener_is_read() {
    let plain = listener("address = '[::]:1'\nprotocol = 'tcp'\nupstream = 'a'");
    let tcp = Tcp { accept_proxy: false, upstream: Some(name("a")), sni: Vec::new() };
    assert_eq!((plain.name.as_str(), plain.protocol), ("[::]:1", Protocol::Tcp(tcp)));
    let full = listener(
        "address = 'unix:/run/a.sock'\nprotocol = 'tcp'\nupstream = 'a'\nmax_connections = 5\n\
         tcp_keepalive = '5s'\ntcp_user_timeout = '6s'",
    );
    assert_eq!((full.max_connections, full.tcp_keepalive), (5, Span::from_secs(5)));
}

#[test]
fn sni_rules_come_the_most_specific_first() {
    let sni = |default: &str| {
        let text = format!(
            "address = '[::]:1'\nprotocol = 'tcp'\n{default}\naccept_proxy = true\n\
             trusted_proxies = ['10.0.0.9']\ntimeouts.header = '2s'\n\
             [[listener.sni]]\nname = '*.test'\nupstream = 'a'\n\
             [[listener.sni]]\nname = 'A.im.test'\nupstream = 'b'\n"
        );
        listener(&text)
    };
    let rule = |pattern: &str, pool: &str| SniRule {
        pattern: HostPattern::parse(pattern).expect("a pattern"),
        upstream: name(pool),
    };
    let rules = || vec![rule("a.im.test", "b"), rule("*.test", "a")];
    let without = Tcp { accept_proxy: true, upstream: None, sni: rules() };
    assert_eq!(sni("").protocol, Protocol::Tcp(without));
    let with = Tcp { accept_proxy: true, upstream: Some(name("a")), sni: rules() };
    let listener = sni("upstream = 'a'");
    assert_eq!(listener.protocol, Protocol::Tcp(with));
    assert_eq!(listener.timeouts.header, Span::from_secs(2));
}

#[test]
fn a_udp_listener_is_read() {
    let udp = |text: &str| {
        listener(&format!("address = '[::]:53'\nprotocol = 'udp'\nupstream = 'a'\n{text}"))
    };
    let defaults = Udp {
        upstream: name("a"),
        idle_timeout: Span::from_secs(30),
        max_sessions: 4096,
        responses: 0,
    };
    assert_eq!(udp("").protocol, Protocol::Udp(defaults));
    assert_eq!(udp("").name, "[::]:53/udp");
    let given = Udp {
        upstream: name("a"),
        idle_timeout: Span::from_secs(2),
        max_sessions: 1,
        responses: 1,
    };
    let listener = udp("[listener.udp]\nidle_timeout = '2s'\nmax_sessions = 1\nresponses = 1");
    assert_eq!(listener.protocol, Protocol::Udp(given));
}

#[test]
fn a_key_without_a_use_is_refused_by_the_name_of_the_protocol() {
    let keys = [
        ("accept_proxy", "true", &["http", "tcp"] as &[_]),
        ("h2c", "false", &["http"]),
        ("http2", "{}", &["http"]),
        ("limits", "{}", &["http"]),
        ("max_connections", "1", &["http", "tcp"]),
        ("max_connections_per_client", "1", &["http", "tcp"]),
        ("sni", "[{ name = 'x.test', upstream = 'a' }]", &["tcp"]),
        ("tcp_keepalive", "'1s'", &["http", "tcp"]),
        ("tcp_user_timeout", "'1s'", &["http", "tcp"]),
        ("tls", "{ certificates = [{ cert = 'c', key = 'k' }] }", &["http", "tcp"]),
        ("timeouts.body", "'1s'", &["http"]),
        ("timeouts.header", "'1s'", &["http", "tcp"]),
        ("timeouts.keepalive", "'1s'", &["http"]),
        ("timeouts.send", "'1s'", &["http"]),
        ("trusted_proxies", "['10.0.0.0/8']", &["http", "tcp"]),
        ("udp", "{}", &["udp"]),
        ("upstream", "'a'", &["tcp", "udp"]),
    ];
    for protocol in ["http", "tcp", "udp"] {
        let pool = if protocol == "http" { "" } else { "upstream = 'a'" };
        for (key, value, _) in keys.iter().filter(|(.., uses)| !uses.contains(&protocol)) {
            let text =
                format!("address = '[::]:1'\nprotocol = '{protocol}'\n{key} = {value}\n{pool}");
            let problem = format!(
                "t:4:{}: listener.{key}: means nothing to a listener of protocol \"{protocol}\"",
                key.len() + 4
            );
            refused(&text, &[&problem]);
        }
    }
}

#[test]
fn http2_is_read_with_its_limits() {
    let http =
        |text: &str| listener(&format!("address = '[::]:1'\n{text}\n[[route]]\nupstream = 'a'"));
    let plain = http("");
    assert!(!plain.h2c);
    let defaults = Http2 { max_concurrent_streams: 128, max_resets: 100, window: 65_536 };
    assert_eq!(plain.http2, defaults);
    assert_eq!(http("h2c = false\nhttp2 = {}"), plain);
    let given = http(
        "h2c = true\nhttp2 = { max_concurrent_streams = 10000, max_resets = 1, window = '16m' }",
    );
    assert!(given.h2c);
    let limits = Http2 { max_concurrent_streams: 10_000, max_resets: 1, window: 16 << 20 };
    assert_eq!(given.http2, limits);
}

#[test]
fn limits_of_http2_have_bounds() {
    for (setting, problem) in [
        (
            "max_concurrent_streams = 0",
            "32: listener.http2.max_concurrent_streams: has to be from 1 to 10000",
        ),
        (
            "max_concurrent_streams = 10001",
            "32: listener.http2.max_concurrent_streams: has to be from 1 to 10000",
        ),
        ("max_resets = 0", "20: listener.http2.max_resets: has to be from 1 to 10000"),
        ("window = '65535'", "16: listener.http2.window: has to be from 64k to 16m"),
        ("window = '17m'", "16: listener.http2.window: has to be from 64k to 16m"),
    ] {
        let text = format!("address = '[::]:1'\nhttp2.{setting}\n[[route]]\nupstream = 'a'");
        let problem = format!("t:3:{problem}");
        refused(&text, &[&problem]);
    }
}

#[test]
fn what_the_protocol_needs_is_required() {
    for protocol in ["tcp", "udp"] {
        refused(
            &format!("address = '[::]:1'\nprotocol = '{protocol}'"),
            &["t:1:1: listener.upstream: this key is required"],
        );
    }
    refused(
        "address = '[::]:1'\nprotocol = 'tcp'\nsni = []",
        &["t:1:1: listener.upstream: this key is required"],
    );
    refused(
        "address = '[::]:1'\nprotocol = 'tcp'\n[[listener.sni]]",
        &[
            "t:4:1: listener.sni.name: this key is required",
            "t:4:1: listener.sni.upstream: this key is required",
        ],
    );
    refused(
        "address = '[::]:1'\nprotocol = 'sctp'\nlimits = {}\nupstream = 'a'\naccept_proxy = false",
        &["t:3:12: listener.protocol: expected \"http\" or \"tcp\" or \"udp\", found \"sctp\""],
    );
}

#[test]
fn somebodys_proxy_header_is_believed() {
    for protocol in ["http", "tcp"] {
        let accepting = |address: &str, rest: &str| {
            let pool = if protocol == "http" { "" } else { "upstream = 'a'" };
            format!(
                "address = '{address}'\nprotocol = '{protocol}'\naccept_proxy = true\n{rest}\n{pool}"
            )
        };
        refused(
            &accepting("[::]:1", ""),
            &[
                "t:4:16: listener.accept_proxy: needs trusted_proxies: without them nobody would be \
               believed",
            ],
        );
        refused(
            &accepting("[::]:1", "trusted_proxies = []"),
            &[
                "t:5:19: listener.trusted_proxies: with accept_proxy an empty list means that nobody \
               would be believed",
            ],
        );
        refused(
            &accepting("[::]:1", "trusted_proxies = ['lb']"),
            &["t:5:20: listener.trusted_proxies: \"lb\" is no network such as 10.0.0.0/8"],
        );
        refused(
            &accepting("unix:/run/a.sock", "trusted_proxies = ['::1']"),
            &[
                "t:4:16: listener.accept_proxy: nobody would be believed: peers at a unix socket have \
               no address",
            ],
        );
    }
}

#[test]
fn a_tcp_listener_waits_and_believes_only_with_a_reason() {
    let tcp = |text: &str| format!("address = '[::]:1'\nprotocol = 'tcp'\nupstream = 'a'\n{text}");
    refused(
        &tcp("accept_proxy = false\ntrusted_proxies = ['10.0.0.0/8']"),
        &[
            "t:6:19: listener.trusted_proxies: means nothing to a listener of protocol \"tcp\" without \
           accept_proxy",
        ],
    );
    refused(
        &tcp("timeouts = { header = '1s' }"),
        &["t:5:23: listener.timeouts.header: a tcp listener waits for a header only with \
           accept_proxy, [[listener.sni]] or [listener.tls]"],
    );
    listener(&tcp("sni = [{ name = 'x.test', upstream = 'a' }]\ntimeouts = { header = '1s' }"));
}

#[test]
fn bad_values_of_sni_are_refused() {
    let sni = |names: &[&str]| {
        let rule = |name: &&str| format!("{{ name = '{name}', upstream = 'a' }},\n");
        let rules: String = names.iter().map(rule).collect();
        format!("address = '[::]:1'\nprotocol = 'tcp'\nsni = [\n{rules}]")
    };
    refused(
        &sni(&["a b", "*", "10.0.0.1", "[::1]", "x.test."]),
        &[
            "t:5:10: listener.sni.name: \"a b\" is no host such as example.com or *.example.com",
            "t:6:10: listener.sni.name: \"*\" is no host such as example.com or *.example.com",
            "t:7:10: listener.sni.name: no client asks for \"10.0.0.1\": TLS knows neither addresses \
             here nor a dot at the end",
            "t:8:10: listener.sni.name: no client asks for \"[::1]\": TLS knows neither addresses \
             here nor a dot at the end",
            "t:9:10: listener.sni.name: no client asks for \"x.test.\": TLS knows neither addresses \
             here nor a dot at the end",
        ],
    );
    refused(
        &sni(&["x.test", "*.x.test", "X.test", "*.X.test"]),
        &[
            "t:7:10: listener.sni.name: defined twice: also at t:5:10 (listener.sni.name)",
            "t:8:10: listener.sni.name: defined twice: also at t:6:10 (listener.sni.name)",
        ],
    );
    refused(
        "address = '[::]:1'\nprotocol = 'tcp'\nupstream = 'a'\n[listener.sni]\nname = 'x.test'",
        &["t:5:1: listener.sni: expected [[listener.sni]], with double brackets, found a table"],
    );
}

#[test]
fn bad_values_of_udp_are_refused() {
    let udp = |address: &str, text: &str| {
        format!("address = '{address}'\nprotocol = 'udp'\nupstream = 'a'\n{text}")
    };
    for (setting, problem) in [
        ("idle_timeout = '0s'", "24: listener.udp.idle_timeout: has to be longer than 0s"),
        ("max_sessions = 0", "24: listener.udp.max_sessions: has to be from 1 to 4294967295"),
        ("responses = -1", "21: listener.udp.responses: has to be from 0 to 4294967295"),
        (
            "session = 1",
            "9: listener.udp.session: unknown key; known here: idle_timeout, \
          max_sessions, responses",
        ),
    ] {
        let text = udp("[::]:1", &format!("udp = {{ {setting} }}"));
        refused(&text, &[&format!("t:5:{problem}")]);
    }
    refused(
        &udp("unix:/run/a.sock", ""),
        &["t:2:11: listener.address: a udp listener cannot be a unix socket"],
    );
}

#[test]
fn tcp_and_udp_may_share_an_address_and_two_of_a_kind_may_not() {
    let of = |protocol: &str| {
        format!("[[listener]]\naddress = '[::]:53'\nprotocol = '{protocol}'\nupstream = 'a'\n")
    };
    let (config, problems) = parsed(&[of("tcp"), of("udp")].concat());
    assert_eq!(problems, [""; 0]);
    assert_eq!(config.map(|config| config.listeners.len()), Some(2));
    let twice = "t:6:11: listener.address: defined twice: also at t:2:11 (listener.address)";
    assert_eq!(parsed(&[of("udp"), of("udp")].concat()).1, [twice]);
    assert_eq!(parsed(&[of("tcp"), of("tcp")].concat()).1, [twice]);
    let http = "[[listener]]\naddress = '[::]:53'\n";
    assert_eq!(parsed(&[&of("tcp"), http].concat()).1, [twice]);
    let admin = |protocol: &str| {
        parsed(&format!("admin.listen = ['[::1]:53']\n{}", of(protocol).replace("[::]", "[::1]"))).1
    };
    assert_eq!(admin("udp"), [""; 0]);
    assert_eq!(admin("tcp").len(), 1, "the admin API's is one of tcp");
    let named = |text: &str| text.replace("upstream", "name = 'dns'\nupstream");
    assert_eq!(
        parsed(&[named(&of("tcp")), named(&of("udp"))].concat()).1,
        ["t:9:8: listener.name: defined twice: also at t:4:8 (listener.name)"]
    );
}

#[test]
fn routes_are_for_http() {
    let tcp = "[[listener]]\nname = 'mqtt'\naddress = '[::]:1'\nprotocol = 'tcp'\nupstream = 'a'\n";
    assert_eq!(parsed(tcp).1, [""; 0], "and a file without http needs none");
    assert_eq!(
        parsed(&format!("{tcp}[[route]]\nupstream = 'a'\n[[route]]\nhost = 'x'\nupstream = 'a'")).1,
        [
            "t:6:1: route: never matches: no listener speaks http",
            "t:8:1: route: never matches: the route at t:6:1 takes all of it",
        ]
    );
    let http = "[[listener]]\naddress = '[::]:2'\n";
    assert_eq!(
        parsed(&format!("{tcp}{http}[[route]]\nlistener = ['[::]:2', 'mqtt']\nupstream = 'a'")).1,
        ["t:9:23: route.listener: listener \"mqtt\" speaks tcp: routes are for http"]
    );
    assert_eq!(
        parsed(&format!("{tcp}{http}")).1,
        ["t:1:1: route: there is no [[route]]: every request gets 404"]
    );
}

#[test]
fn a_pool_that_is_not_there_may_come_through_the_api() {
    let text = "[[listener]]\naddress = '[::]:1'\nprotocol = 'tcp'\nupstream = 'A'\n\
                sni = [{ name = 'x.test', upstream = 'mqtt' }]\n\
                [[listener]]\naddress = '[::]:1'\nprotocol = 'udp'\nupstream = 'dns'";
    let (config, warnings) = parsed(text);
    assert!(config.is_some());
    assert_eq!(
        warnings,
        [
            "t:5:38: listener.sni.upstream: no pool \"mqtt\" here: nothing is passed on until the \
             API makes it",
            "t:9:12: listener.upstream: no pool \"dns\" here: nothing is passed on until the API \
             makes it",
        ]
    );
}
