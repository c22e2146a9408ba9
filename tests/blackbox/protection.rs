//! What a route lets in: networks, rates, how many at once; and what it has of its own in place of its
//! pools' settings.

mod access;
mod at_once;
mod clients;
mod overrides;
mod pages;
mod rates;

use serde_json::Value;

use crate::kit::{Edge, Message};

/// Proxies of these tests are the test itself.
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1/32\"]";

/// One GET of that client's, by way of a trusted proxy.
#[track_caller]
fn get_as(edge: &Edge, client: &str, path: &str) -> Message {
    edge.client().ask(format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n"
    ))
}

/// Reads the file again, which has to be taken.
#[track_caller]
fn reload(edge: &Edge) {
    let (status, said) = edge.json("POST", "/api/v1/reload", &Value::Null);
    assert_eq!(status, 200, "{said}");
}

/// How many requests were refused for that reason.
#[track_caller]
fn refused(edge: &Edge, route: &str, reason: &str) -> f64 {
    let labels = format!("{{listener=\"edge\",route=\"{route}\",reason=\"{reason}\"}}");
    edge.metric(&format!("tidegate_requests_refused_total{labels}")).unwrap_or(0.0)
}
