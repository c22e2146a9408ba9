//! What a pool says of its tunnels, and of how its servers are connected to. Each key is read as what
//! it means, and each bad value is refused in its place.

mod kit;

use std::net::IpAddr;

use tidegate_model::{
    UpstreamSpec,
    upstream::{CloseCode, OnRemove, Protocol, SendProxy, TunnelSpec},
};

use kit::{found, pool, refused, seconds};

#[test]
fn tunnel_is_read() {
    let tunnel = pool(
        "[upstream.a.tunnel]\nidle_timeout = '72h'\nping_interval = '30s'\non_remove = 'drain'\n\
         drain_over = '5m'\nclose_code = 1001",
    )
    .tunnel;
    let expected = TunnelSpec {
        idle_timeout: seconds(72 * 3_600),
        ping_interval: seconds(30),
        on_remove: Some(OnRemove::Drain),
        drain_over: seconds(300),
        close_code: Some(CloseCode::GOING_AWAY),
    };
    assert_eq!(tunnel, expected);
    assert_eq!(pool("[upstream.a.tunnel]").tunnel, TunnelSpec::default());
    for never_or_seldom in ["0s", "1s"] {
        let text = format!("upstream.a.tunnel.ping_interval = '{never_or_seldom}'");
        assert!(pool(&text).tunnel.ping_interval.is_some());
    }
    for (meant, word) in OnRemove::ALL {
        let text = format!("upstream.a.tunnel.on_remove = '{word}'");
        assert_eq!(pool(&text).tunnel.on_remove, Some(meant));
    }
}

#[test]
fn a_pool_takes_from_the_defaults_what_it_does_not_say_of_its_tunnels() {
    let config = kit::config(
        "[upstream_defaults]\nsend_proxy = 'v1'\n[upstream_defaults.tunnel]\non_remove = 'close'\n\
         [upstream.a.tunnel]\nclose_code = 4000",
    );
    let meant = config.upstreams[0].1.resolve(&config.upstream_defaults);
    assert_eq!(meant.tunnel.on_remove, OnRemove::Close);
    assert_eq!((meant.tunnel.close_code.get(), meant.send_proxy), (4000, SendProxy::V1));
}

#[test]
fn bad_values_of_tunnel_are_refused() {
    for (setting, problem) in [
        ("idle_timeout = '0s'", "34: upstream.a.tunnel.idle_timeout: has to be longer than 0s"),
        (
            "ping_interval = '999ms'",
            "35: upstream.a.tunnel.ping_interval: has to be 0s, which is never, or at least 1s",
        ),
        (
            "on_remove = 'kill'",
            "31: upstream.a.tunnel.on_remove: expected \"keep\" or \"drain\" or \"close\", found \
             \"kill\"",
        ),
        ("drain_over = '0s'", "32: upstream.a.tunnel.drain_over: has to be longer than 0s"),
        (
            "close_code = 1006",
            "32: upstream.a.tunnel.close_code: 1006 may not stand in a Close frame: use 1000, 1001, \
             1008, 1011 to 1014 or 3000 to 4999",
        ),
        ("close_code = 70000", "32: upstream.a.tunnel.close_code: has to be from 0 to 65535"),
        (
            "close_code = '1012'",
            "32: upstream.a.tunnel.close_code: expected an integer, found a string",
        ),
        (
            "pingInterval = '1s'",
            "19: upstream.a.tunnel.pingInterval: unknown key; did you mean \
          \"ping_interval\"?",
        ),
    ] {
        refused(&format!("upstream.a.tunnel.{setting}"), &format!("t:2:{problem}"));
    }
}

#[test]
fn every_word_for_send_proxy_is_read() {
    for (word, meant) in [("off", SendProxy::Off), ("v1", SendProxy::V1), ("v2", SendProxy::V2)] {
        let spec = pool(&format!("upstream.a.send_proxy = '{word}'"));
        assert_eq!(spec.send_proxy, Some(meant));
    }
    refused(
        "upstream.a.send_proxy = true",
        "t:2:25: upstream.a.send_proxy: expected \"off\" or \"v1\" or \"v2\", found a boolean",
    );
}

#[test]
fn a_pool_speaks_http1_or_http2() {
    for (word, meant) in [("http1", Protocol::Http1), ("http2", Protocol::Http2)] {
        let spec = pool(&format!("upstream.a.protocol = '{word}'"));
        assert_eq!(spec.protocol, Some(meant));
    }
    assert_eq!(pool("[upstream.a]").protocol, None);
    refused(
        "upstream.a.protocol = 'h2'",
        "t:2:23: upstream.a.protocol: expected \"http1\" or \"http2\", found \"h2\"",
    );
}

#[test]
fn what_speaks_for_one_client_or_http1_does_not_go_with_http2() {
    refused(
        "upstream.a = { protocol = 'http2', send_proxy = 'v2' }",
        "t:2:49: upstream.a.send_proxy: does not go with protocol \"http2\": one connection carries \
         many clients",
    );
    refused(
        "upstream_defaults.protocol = 'http2'\nupstream.a.send_proxy = 'v2'",
        "t:3:25: upstream.a.send_proxy: does not go with protocol \"http2\": one connection carries \
         many clients",
    );
    refused(
        "upstream.a = { protocol = 'http2', check = { type = 'websocket' } }",
        "t:2:44: upstream.a.check: type \"websocket\" speaks HTTP/1.1, and protocol is \"http2\": use \
         \"http\", \"grpc\" or \"tcp\", or another port",
    );
    refused(
        "upstream.a = { protocol = 'http2', check = { send = 'GET / HTTP/1.0' } }",
        "t:2:44: upstream.a.check: what send holds is HTTP/1, and protocol is \"http2\": use method, \
         path and headers, or another port",
    );
    let elsewhere =
        "upstream.a = { protocol = 'http2', check = { type = 'websocket', port = 81 } }";
    assert_eq!(found(elsewhere), [""; 0]);
}

#[test]
fn sources_are_addresses_of_this_machine_each_once() {
    let source = |spec: UpstreamSpec| {
        let listed = spec.source.iter().flatten().map(IpAddr::to_string);
        listed.collect::<Vec<_>>()
    };
    let both = pool("upstream.a.source = ['10.0.0.8', '2001:db8::8']");
    assert_eq!(source(both), ["10.0.0.8", "2001:db8::8"]);
    assert_eq!(
        pool("upstream.a.source = []").source,
        Some(Vec::new()),
        "none, in spite of the defaults"
    );
    assert_eq!(
        found(
            "[upstream.a]\nsource = ['10.0.0.8', 'eth0', '10.0.0.0/8', '10.0.0.8:0', '::', '224.0.0.1', 7]"
        ),
        [
            "t:3:23: upstream.a.source: \"eth0\" is no IP address such as 10.0.0.9",
            "t:3:31: upstream.a.source: \"10.0.0.0/8\" is no IP address such as 10.0.0.9",
            "t:3:45: upstream.a.source: \"10.0.0.8:0\" is no IP address such as 10.0.0.9",
            "t:3:59: upstream.a.source: :: is no address of one machine",
            "t:3:65: upstream.a.source: 224.0.0.1 is no address of one machine",
            "t:3:78: upstream.a.source: expected an IP address in quotes such as \"10.0.0.9\", found \
             an integer",
        ]
    );
    refused(
        "upstream.a.source = ['10.0.0.8', '10.0.0.9', '::ffff:10.0.0.8']",
        "t:2:46: upstream.a.source: ::ffff:10.0.0.8 is given twice",
    );
    let many = |count: u8| {
        let listed: Vec<_> = (0..count).map(|at| format!("'10.0.0.{at}'")).collect();
        format!("upstream.a.source = [{}]", listed.join(", "))
    };
    assert_eq!(pool(&many(64)).source.map(|listed| listed.len()), Some(64));
    refused(&many(65), "t:2:21: upstream.a.source: holds more than 64 addresses");
}
