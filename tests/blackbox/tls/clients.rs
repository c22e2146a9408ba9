//! Certificates of clients, and what is known of a client by its TLS.

use serde_json::{Value, json};

use super::{GET, Site};
use crate::kit::{Authority, Edge, Origin, eventually};

/// A pool whose servers are told the subject, and the scheme with it.
fn telling(origin: &Origin) -> Edge {
    let told =
        "request_headers = { set = { x-told = \"${tls_client_subject|nobody} ${scheme}\" } }";
    Edge::new().route(&format!("upstream = \"app\"\n{told}")).pool("app", &[origin])
}

fn asking(word: &str) -> String {
    format!("client_ca = \"ca.pem\", client_auth = \"{word}\"")
}

/// Whether a client is served: one that is refused hears of it after its own part of the handshake.
fn is_served(connected: std::io::Result<crate::kit::Socket>) -> bool {
    connected.is_ok_and(|mut client| {
        client.try_send(GET).is_ok() && client.response().is_ok_and(|said| said.status() == 200)
    })
}

#[test]
fn an_optional_certificate_is_verified_if_it_is_shown() {
    let origin = Origin::named("up");
    let site = Site::new(telling(&origin).logging(), &asking("optional"));
    let port = site.edge.port("edge");
    let alice = site.authority.client_pair("alice");
    for client in [site.client(), site.client().old()] {
        assert!(is_served(client.try_connect(port, "a.test")));
        assert_eq!(origin.last_request().field("x-told"), Some("nobody https"));
        assert!(is_served(client.showing(&alice).try_connect(port, "a.test")));
        assert_eq!(origin.last_request().field("x-told"), Some("CN=alice https"));
    }
    let mallory = Authority::new("others").client_pair("alice");
    for client in [site.client(), site.client().old()] {
        assert!(!is_served(client.showing(&mallory).try_connect(port, "a.test")));
    }
    assert_eq!(origin.count(), 4);
    eventually("both are counted", || site.handshakes("failed") == 2.0);
    let subjects: Vec<Value> =
        site.edge.records(4).iter().map(|one| one["tls"]["client_subject"].clone()).collect();
    assert_eq!(subjects, [Value::Null, json!("CN=alice"), Value::Null, json!("CN=alice")]);
}

#[test]
fn a_required_certificate_has_to_be_shown() {
    let origin = Origin::named("up");
    let site = Site::new(telling(&origin), &asking("required"));
    let port = site.edge.port("edge");
    let mallory = Authority::new("others").client_pair("mallory");
    for old in [false, true] {
        let client = || if old { site.client().old() } else { site.client() };
        assert!(!is_served(client().try_connect(port, "a.test")), "without one");
        assert!(!is_served(client().showing(&mallory).try_connect(port, "a.test")), "a stranger's");
        let bob = site.authority.client_pair("bob");
        assert!(is_served(client().showing(&bob).try_connect(port, "a.test")));
    }
    assert_eq!(origin.count(), 2);
    let counts = || (site.handshakes("failed"), site.handshakes("full"));
    eventually("all are counted", || counts() == (4.0, 2.0));
}

/// A client that says who it is in a header of its own is not believed.
#[test]
fn what_is_known_by_tls_is_told_and_written_down() {
    let origin = Origin::named("up");
    let site = Site::new(telling(&origin).logging(), "");
    let mut client = site.connect();
    client.ask("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: http\r\n\r\n");
    let request = origin.last_request();
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("x-told"), Some("nobody https"));
    let record = site.edge.records(1).remove(0);
    let known = &record["tls"];
    assert_eq!((&known["version"], &known["server_name"]), (&json!("TLSv1.3"), &json!("a.test")));
    assert!(known["cipher"].as_str().unwrap().starts_with("TLS_"), "{known}");
    let (status, explained) = site.edge.json("GET", "/api/v1/explain?host=a.test", &Value::Null);
    assert_eq!((status, &explained["request"]["scheme"]), (200, &json!("https")));
}

#[test]
fn the_status_page_shows_the_certificates() {
    let site = Site::new(Edge::new(), "");
    let (_, status) = site.edge.json("GET", "/api/v1/status", &Value::Null);
    let shown = &status["listeners"][0]["tls"]["certificates"][0];
    assert_eq!(shown["names"], json!(["a.test"]), "{status}");
    assert!(shown["file"].as_str().unwrap().ends_with("a.pem"), "{status}");
    assert!(shown["not_after"].as_str().unwrap().ends_with('Z'), "{status}");
    let page = site.edge.metrics();
    let line = page.lines().find(|line| line.starts_with("tidegate_certificate_not_after"));
    assert!(line.is_some_and(|line| line.contains("a.pem") && line.contains("edge")), "{page}");
    assert!(!page.contains("listener=\"admin\",outcome"), "{page}");
}
