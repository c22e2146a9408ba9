//! Every balancing method, as clients and servers see it: shares, limits, mappings that stay, cookies,
//! and servers that start slowly. `pools.rs` has round robin and what all methods have in common.

mod against_nginx; // the same keys to the same servers
mod hashing; // ip_hash, hash, maglev: who stays, and who moves
mod limits; // max_conns, with every method
mod shares; // weights, load, latency, backups
mod slow_start; // a new server is not flooded
mod sticky; // the cookie

use std::collections::BTreeMap;

use crate::kit::{Edge, Message, Origin};

/// Those that choose by load.
const BY_LOAD: [&str; 3] = ["least_conn", "random_two", "ewma"];
/// All of them.
const METHODS: [&str; 7] =
    ["round_robin", "least_conn", "random_two", "ip_hash", "hash", "maglev", "ewma"];

/// Servers that answer with their name.
fn named<const N: usize>(names: [&'static str; N]) -> [Origin; N] {
    names.map(Origin::named)
}

/// Who answers each of these requests, one after the other over one connection.
fn answers(edge: &Edge, requests: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut client = edge.client();
    requests.into_iter().map(|request| name(&client.ask(request))).collect()
}

/// Who answered, or the status of an error.
fn name(answer: &Message) -> String {
    if answer.status() == 200 { answer.text() } else { answer.status().to_string() }
}

/// Requests that run on a server now. A place is given back a moment after the answer has gone out.
fn active(edge: &Edge, origin: &Origin) -> Option<f64> {
    let series = "tidegate_server_requests_active{upstream=\"app\",server=";
    edge.metric(&format!("{series}\"{}\"}}", origin.address()))
}

/// How often each name is there.
fn count(names: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

/// A GET of this target.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}
