//! `ip_hash`, `hash` and `maglev`: a key stays with its server, and when a server leaves, its keys
//! move and hardly any other.

use std::{collections::BTreeSet, net::Ipv4Addr};

use rustix::process::Signal;

use super::{answers, count, get, named};
use crate::{
    kit::{Edge, Origin, Socket, eventually},
    pools::{counts, pool},
};

/// Requests with this many keys.
fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|key| get(&format!("/?k=user-{key}")))
}

/// nginx's upstream_ip_hash.t: clients of thirty networks.
#[test]
fn i1_to_i3_ip_hash_is_nginxs_to_the_bit() {
    let [a, b, c] = named(["a", "b", "c"]);
    for (case, servers, wanted) in [
        ("I1", vec![(&a, ""), (&b, "")], counts(&[("a", 15), ("b", 15)])),
        ("I2", vec![(&a, ""), (&b, ""), (&c, "")], counts(&[("a", 10), ("b", 10), ("c", 10)])),
        ("I3", vec![(&a, "")], counts(&[("a", 30)])),
    ] {
        let edge = pool(&servers, "balance = \"ip_hash\"");
        let names = (1..=30).map(|net| {
            let source = Ipv4Addr::new(127, 0, net, 2).into();
            let ask = || Socket::connect_from(source, edge.port("edge")).ask(get("/")).text();
            let name = ask();
            assert_eq!(ask(), name, "{case}: {source} stays");
            name
        });
        assert_eq!(count(names), wanted, "{case}");
    }
}

/// Requests that differ in one thing, by what `hash_key` calls it.
fn keyed(hash_key: &str, key: usize) -> String {
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n";
    match hash_key {
        "uri" => get(&format!("/path-{key}")),
        "query:k" => get(&format!("/?other=1&k={key}")),
        "header:x-user" => format!("{plain}X-User: {key}\r\n\r\n"),
        "cookie:user" => format!("{plain}Cookie: a=b; user={key}; c=d\r\n\r\n"),
        other => panic!("{other}"),
    }
}

#[test]
fn equal_keys_go_to_one_server_and_others_elsewhere() {
    for method in ["hash", "maglev"] {
        for hash_key in ["uri", "query:k", "header:x-user", "cookie:user"] {
            let origins = named(["a", "b", "c", "d"]);
            let servers = origins.each_ref().map(|origin| (origin, ""));
            let edge =
                pool(&servers, &format!("balance = \"{method}\"\nhash_key = \"{hash_key}\""));
            let requests = || (0..200).map(|key| keyed(hash_key, key));
            let first = answers(&edge, requests());
            assert_eq!(answers(&edge, requests()), first, "{method} by {hash_key}");
            let seen: BTreeSet<_> = first.into_iter().collect();
            assert_eq!(seen.len(), 4, "{method} by {hash_key}: {seen:?}");
        }
    }
}

#[test]
fn clients_are_told_apart_by_their_address() {
    for method in ["hash", "maglev"] {
        let origins = named(["a", "b", "c"]);
        let servers = origins.each_ref().map(|origin| (origin, ""));
        let edge = pool(&servers, &format!("balance = \"{method}\""));
        let names: BTreeSet<_> = (1..=60)
            .map(|host| {
                let source = Ipv4Addr::new(127, 0, 0, host).into();
                let ask = || Socket::connect_from(source, edge.port("edge")).ask(get("/")).text();
                let name = ask();
                assert_eq!(ask(), name, "{method}: {source} stays");
                name
            })
            .collect();
        assert_eq!(names.len(), 3, "{method}: the last octet counts, unlike with ip_hash");
    }
}

#[test]
fn requests_without_the_key_go_round_robin() {
    for method in ["hash", "maglev"] {
        let [a, b] = named(["a", "b"]);
        let keys = format!("balance = \"{method}\"\nhash_key = \"query:k\"");
        let edge = pool(&[(&a, ""), (&b, "")], &keys);
        for target in ["/", "/?k=", "/?key=1"] {
            let seen = count(answers(&edge, vec![get(target); 20]));
            assert_eq!(seen, counts(&[("a", 10), ("b", 10)]), "{method}, {target}");
        }
    }
}

#[test]
fn weights_are_shares_of_the_keys() {
    // A ring of 160 points for each weight is as even as that lets it be.
    for (method, tolerance) in [("hash", 60), ("maglev", 30)] {
        let [a, b] = named(["a", "b"]);
        let keys_of = format!("balance = \"{method}\"\nhash_key = \"query:k\"");
        let edge = pool(&[(&a, ", weight = 30"), (&b, ", weight = 10")], &keys_of);
        let seen = count(answers(&edge, keys(5_000)));
        let share = seen["a"] * 1_000 / 5_000;
        assert!(share.abs_diff(750) <= tolerance, "{method}: {share} per mille");
    }
}

const SERVERS: usize = 20;
const KEYS: usize = 5_000;

/// Twenty servers, in an edge that hashes `k`.
fn twenty(method: &str) -> (Vec<Origin>, Edge) {
    let origins: Vec<Origin> =
        (0..SERVERS).map(|at| Origin::named(String::leak(format!("server {at}")))).collect();
    let servers: Vec<_> = origins.iter().map(|origin| (origin, "")).collect();
    let keys = format!("balance = \"{method}\"\nhash_key = \"query:k\"");
    let edge = pool(&servers, &keys);
    (origins, edge)
}

/// Keys that went to another server, and those of them that had not been the removed one's.
fn moved(before: &[String], after: &[String], gone: &str) -> (usize, usize) {
    let pairs = || before.iter().zip(after).filter(|(before, after)| before != after);
    (pairs().count(), pairs().filter(|(before, _)| *before != gone).count())
}

/// One server in twenty, and 2 %.
const MOST_MOVED: usize = KEYS / SERVERS + KEYS / 50;

#[test]
fn when_a_server_leaves_a_hash_only_its_own_keys_move() {
    let (origins, edge) = twenty("hash");
    let before = answers(&edge, keys(KEYS));
    let list = |without: usize| -> String {
        let left = origins.iter().enumerate().filter(|(at, _)| *at != without);
        left.map(|(_, origin)| format!("server {};", origin.address())).collect()
    };
    edge.post("app", &format!("hash $arg_k consistent; {}", list(7)));
    let after = answers(&edge, keys(KEYS));
    let (all, others) = moved(&before, &after, "server 7");
    assert_eq!(others, 0, "nobody else's keys");
    assert!((1..=MOST_MOVED).contains(&all), "{all} of {KEYS}");
    assert!(!after.iter().any(|name| name == "server 7"));
    edge.post("app", &format!("hash $arg_k consistent; {}", list(SERVERS)));
    assert!(answers(&edge, keys(KEYS)) == before, "and back again");
}

#[test]
fn when_a_server_leaves_a_maglev_few_others_keys_move() {
    let (origins, edge) = twenty("maglev");
    let before = answers(&edge, keys(KEYS));
    let line = format!("  {{ address = {:?} }},\n", origins[7].address());
    edge.rewrite(|text| text.replace(&line, ""));
    edge.signal(Signal::HUP);
    let listed = || edge.call("GET", "/upstream/app", "").text().contains(&origins[7].address());
    eventually("it has left", || !listed());
    let after = answers(&edge, keys(KEYS));
    let (all, others) = moved(&before, &after, "server 7");
    assert!((1..=MOST_MOVED).contains(&all), "{all} of {KEYS}, {others} of others");
    assert!(!after.iter().any(|name| name == "server 7"));
}

/// A server that is down for a while moves nobody but its own clients, and they come back to it.
#[test]
fn when_a_server_is_down_only_its_own_keys_move() {
    for method in ["hash", "maglev"] {
        let (origins, edge) = twenty(method);
        let before = answers(&edge, keys(KEYS));
        let line = |parameters: &str| {
            format!("  {{ address = {:?}{parameters} }},\n", origins[7].address())
        };
        let set = |from: &str, to: &str| {
            let generation = edge.metric("tidegate_generation ");
            edge.rewrite(|text| text.replace(&line(from), &line(to)));
            edge.signal(Signal::HUP);
            eventually("it is applied", || edge.metric("tidegate_generation ") != generation);
        };
        set("", ", down = true");
        let (all, others) = moved(&before, &answers(&edge, keys(KEYS)), "server 7");
        assert_eq!(others, 0, "{method}: nobody else's keys");
        assert!((1..=MOST_MOVED).contains(&all), "{method}: {all} of {KEYS}");
        set(", down = true", "");
        assert!(answers(&edge, keys(KEYS)) == before, "{method}: and back again");
    }
}

/// The order of the list says nothing, for every worker and every process.
#[test]
fn the_mapping_is_one_of_the_list_and_not_of_its_order() {
    let [a, b, c] = named(["a", "b", "c"]);
    for method in ["hash", "maglev"] {
        let keys_of = format!("balance = \"{method}\"\nhash_key = \"query:k\"");
        let one = pool(&[(&a, ""), (&b, ", weight = 2"), (&c, "")], &keys_of);
        let other = pool(&[(&c, ""), (&b, ", weight = 2"), (&a, "")], &keys_of);
        assert!(answers(&one, keys(1_000)) == answers(&other, keys(1_000)), "{method}");
    }
}
