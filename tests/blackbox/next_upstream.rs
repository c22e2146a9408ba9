//! Next-upstream as nginx has it (`proxy_next_upstream`): which failures of a server send a request
//! on to the next one, what counts against the server, and what a client sees when nobody is left.
//! `retry.rs` has what holds without any key of `next`.

mod answers; // servers that fail in every way there is
mod bodies; // requests with bodies are replayed whole, or not at all
mod budget; // retries do not make an overload worse
mod cases; // nginx's own cases, N1 to N27
mod ejection; // consecutive 5xx
mod records; // what the log and the metrics say of it
mod rules; // the ten rules behind the cases
mod upgrades; // until the 101

use serde_json::Value;

use crate::kit::{Edge, Origin};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

/// A server that once failed stays out for as long as any test runs.
const HOUR: &str = ", fail_timeout = \"1h\"";

/// A running edge that sends everything to these servers, and keeps an access log.
fn edge(servers: &[(&Origin, &str)], keys: &str) -> Edge {
    let edge = Edge::new().route("upstream = \"app\"").logging();
    edge.pool_of("app", servers, keys).start()
}

/// The same of servers that fail for an hour.
fn plain(origins: &[&Origin], keys: &str) -> Edge {
    let servers: Vec<_> = origins.iter().map(|origin| (*origin, HOUR)).collect();
    edge(&servers, keys)
}

/// The key that sends a request on after these.
fn on(conditions: &[&str]) -> String {
    format!("next = {{ on = {conditions:?} }}")
}

/// How the attempts of a record ended.
fn outcomes(record: &Value) -> Vec<&str> {
    let attempts = record["attempts"].as_array().unwrap();
    attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect()
}
