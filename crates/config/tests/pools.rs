//! How a pool chooses, goes on and leaves servers out: `balance`, `hash_key`, `sticky`, `next`,
//! `eject` and slow start. Each is read as what it means, and each bad value is refused in its place.

mod kit;

use tidegate_model::{
    Balance, Size, Span,
    upstream::{Condition, EjectSpec, NextSpec, Share, Sticky},
};

use kit::{config, found, pool, refused, seconds, warned};

#[test]
fn every_word_for_balance_is_read() {
    for (word, balance) in [
        ("round_robin", Balance::RoundRobin),
        ("least_conn", Balance::LeastConn),
        ("random_two", Balance::RandomTwo),
        ("ip_hash", Balance::IpHash),
        ("hash", Balance::Hash),
        ("maglev", Balance::Maglev),
        ("ewma", Balance::Ewma),
    ] {
        assert_eq!(pool(&format!("upstream.a.balance = '{word}'")).balance, Some(balance));
        assert_eq!(balance.word(), word);
    }
    refused(
        "upstream.a.balance = 'random'",
        "t:2:22: upstream.a.balance: expected \"round_robin\" or \"least_conn\" or \"random_two\" \
         or \"ip_hash\" or \"hash\" or \"maglev\" or \"ewma\", found \"random\"",
    );
}

#[test]
fn hash_keys_are_read() {
    for key in ["client_ip", "uri", "header:x-user", "cookie:uid", "query:room"] {
        let spec = pool(&format!("[upstream.a]\nbalance = 'maglev'\nhash_key = '{key}'"));
        assert_eq!(spec.hash_key.map(|key| key.to_string()).as_deref(), Some(key));
    }
    refused(
        "[upstream.a]\nbalance = 'hash'\nhash_key = 'host'",
        "t:4:12: upstream.a.hash_key: \"host\" is none of client_ip, uri, header:NAME, cookie:NAME \
         and query:NAME",
    );
    refused(
        "[upstream.a]\nbalance = 'hash'\nhash_key = 'header:a b'",
        "t:4:12: upstream.a.hash_key: \"a b\" is no name of a header or cookie",
    );
}

#[test]
fn a_hash_key_without_a_hash_gets_a_warning() {
    for balance in ["", "balance = 'least_conn'"] {
        let word = if balance.is_empty() { "round_robin" } else { "least_conn" };
        warned(
            &format!("[upstream.a]\nhash_key = 'uri'\n{balance}"),
            &format!(
                "t:3:12: upstream.a.hash_key: is not used: only hash and maglev do, not {word}"
            ),
        );
    }
    let inherited = "upstream_defaults.balance = 'hash'\n[upstream.a]\nhash_key = 'uri'";
    assert_eq!(found(inherited), [""; 0]);
    assert_eq!(found("upstream_defaults.hash_key = 'uri'\n[upstream.a]"), [""; 0]);
}

#[test]
fn backups_go_with_all_but_ip_hash() {
    let pool = |balance: &str| {
        let servers = "servers = ['b', { address = 'c', backup = true }]";
        found(&format!("[upstream.a]\nbalance = '{balance}'\n{servers}"))
    };
    for balance in ["round_robin", "least_conn", "random_two", "hash", "maglev", "ewma"] {
        assert_eq!(pool(balance), [""; 0]);
    }
    assert_eq!(pool("ip_hash"), ["t:2:11: upstream.a: ip_hash does not go with backup servers"]);
}

#[test]
fn sticky_is_a_cookie_for_some_time() {
    let sticky = |text: &str| pool(&format!("upstream.a.sticky = {{ {text} }}")).sticky;
    let cookie = || "route".to_owned();
    assert_eq!(sticky("cookie = 'route'"), Some(Sticky { cookie: cookie(), max_age: None }));
    let hour = Sticky { cookie: cookie(), max_age: seconds(3_600) };
    assert_eq!(sticky("cookie = 'route', max_age = '1h'"), Some(hour));
    refused("upstream.a.sticky = {}", "t:2:21: upstream.a.sticky.cookie: this key is required");
    for name in ["", "a b", "a;b", "a=b", "ä"] {
        refused(
            &format!("upstream.a.sticky.cookie = '{name}'"),
            &format!("t:2:28: upstream.a.sticky.cookie: \"{name}\" is no name of a cookie"),
        );
    }
    for age in ["0s", "1500ms"] {
        refused(
            &format!("upstream.a.sticky = {{ cookie = 'a', max_age = '{age}' }}"),
            "t:2:47: upstream.a.sticky.max_age: has to be whole seconds, at least 1s",
        );
    }
}

#[test]
fn names_are_looked_up_again_after_a_while() {
    assert_eq!(pool("upstream.a.resolve_interval = '5s'").resolve_interval, seconds(5));
    refused(
        "upstream.a.resolve_interval = '0s'",
        "t:2:31: upstream.a.resolve_interval: has to be longer than 0s",
    );
}

#[test]
fn slow_start_belongs_to_a_server() {
    let text = "servers = ['b', { address = 'c', slow_start = '30s' }]";
    let servers = pool(&format!("upstream.a.{text}")).servers.expect("servers");
    assert_eq!(
        (servers[0].slow_start, servers[1].slow_start),
        (Span::default(), Span::from_secs(30))
    );
    refused(
        "upstream.a.servers = [{ address = 'c', slow_start = '30' }]",
        "t:2:53: upstream.a.servers.slow_start: \"30\" is no duration such as 250ms, 10s, 5m or 1h",
    );
    for balance in ["hash", "maglev", "ip_hash"] {
        warned(
            &format!("[upstream.a]\nbalance = '{balance}'\n{text}"),
            &format!("t:4:11: upstream.a.servers: slow_start has no effect with {balance}"),
        );
    }
}

#[test]
fn next_is_read() {
    let next = pool(
        "[upstream.a.next]\non = ['http_502', 'non_idempotent']\ntries = 2\ntimeout = '3s'\n\
         replay_buffer = '1m'\nbudget = '50%'",
    )
    .next;
    let on = [Condition::Http502, Condition::NonIdempotent].into_iter().collect();
    let expected = NextSpec {
        on: Some(on),
        tries: Some(2),
        timeout: seconds(3),
        replay_buffer: Some(Size::from_bytes(1 << 20)),
        budget: Some(Share::from_percent(50)),
    };
    assert_eq!(next, expected);
    let off = pool("upstream.a.next.on = []").next.on.expect("it is there");
    assert_eq!(off.words().count(), 0, "nginx's off");
    for (_, word) in Condition::ALL {
        let on = pool(&format!("upstream.a.next.on = ['{word}']")).next.on.expect("it is there");
        assert_eq!(on.words().collect::<Vec<_>>(), [word]);
    }
}

#[test]
fn bad_values_of_next_are_refused() {
    for (setting, problem) in [
        ("on = 'off'", "t:2:22: upstream.a.next.on: expected a list, found a string"),
        ("tries = -1", "t:2:25: upstream.a.next.tries: has to be from 0 to 4294967295"),
        (
            "timeout = 3",
            "t:2:27: upstream.a.next.timeout: expected a duration in quotes such as \"10s\", found \
             an integer",
        ),
        (
            "replay_buffer = '17m'",
            "t:2:33: upstream.a.next.replay_buffer: has to be from 0 to 16m: it is memory of a \
             single request",
        ),
        (
            "budget = 20",
            "t:2:26: upstream.a.next.budget: expected a share in quotes such as \"20%\", found an \
             integer",
        ),
        (
            "budget = '1001%'",
            "t:2:26: upstream.a.next.budget: \"1001%\" is no share from 0% to 1000%",
        ),
    ] {
        refused(&format!("upstream.a.next.{setting}"), problem);
    }
    let unknown = found("upstream.a.next.on = ['error', 'http_200']");
    assert_eq!(unknown.len(), 1);
    assert!(
        unknown[0].starts_with("t:2:32: upstream.a.next.on: expected \"error\" or \"http_403\"")
    );
    assert!(unknown[0].ends_with("or \"timeout\", found \"http_200\""), "{}", unknown[0]);
}

#[test]
fn eject_is_read_and_its_bad_values_are_refused() {
    let eject = pool(
        "[upstream.a.eject]\nconsecutive_5xx = 5\nlatency_factor = 3\nbase = '10s'\n\
         max_share = '50%'",
    )
    .eject;
    let expected = EjectSpec {
        consecutive_5xx: Some(5),
        latency_factor: Some(3),
        base: seconds(10),
        max_share: Some(Share::from_percent(50)),
    };
    assert_eq!(eject, expected);
    for (setting, problem) in [
        (
            "consecutive_5xx = '5'",
            "t:2:36: upstream.a.eject.consecutive_5xx: expected an integer, found a string",
        ),
        (
            "latency_factor = 1",
            "t:2:35: upstream.a.eject.latency_factor: has to be 0, which is off, or at least 2",
        ),
        ("base = '0s'", "t:2:25: upstream.a.eject.base: has to be longer than 0s"),
        ("max_share = '101%'", "t:2:30: upstream.a.eject.max_share: has to be from 0% to 100%"),
    ] {
        refused(&format!("upstream.a.eject.{setting}"), problem);
    }
}

#[test]
fn the_process_bounds_what_is_kept() {
    assert_eq!(config("").process.replay_memory, Size::from_bytes(64 << 20));
    assert_eq!(config("process.replay_memory = '0'").process.replay_memory, Size::default());
    refused(
        "process.replay_memory = 64\n[upstream.a]",
        "t:2:25: process.replay_memory: expected a size in quotes such as \"64k\", found an integer",
    );
}
