//! TLS of listeners, with clients of three makes: rustls in the kit, OpenSSL by Python, and curl.

mod bodies;
mod certificates;
mod clients;
mod files;
mod handshakes;
mod tunnels;

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::kit::{Authority, Edge, Socket, TlsClient};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// Pairs of one authority, and proxies that show them.
struct Site {
    authority: Authority,
    edge: Edge,
}

impl Site {
    /// `edge` with a certificate for a.test; `keys` are further ones of its `tls`.
    fn new(edge: Edge, keys: &str) -> Self {
        Self::listening(edge, "", keys)
    }

    /// The same with further `lines` of the listener.
    fn listening(edge: Edge, lines: &str, keys: &str) -> Self {
        let authority = Authority::new("tests");
        authority.write(edge.directory().join("ca.pem"));
        authority.pair(&["a.test"]).write(edge.directory(), "a");
        let edge = edge.listener(&format!("{lines}\ntls = {}", tls(&["a"], keys)));
        Self { authority, edge: edge.start() }
    }

    fn client(&self) -> TlsClient {
        TlsClient::trusting(&self.authority)
    }

    /// A connection whose handshake is done.
    #[track_caller]
    fn connect(&self) -> Socket {
        self.client().connect(self.edge.port("edge"), "a.test")
    }

    #[track_caller]
    fn handshakes(&self, outcome: &str) -> f64 {
        handshakes(&self.edge, outcome)
    }
}

/// The value of `tls` with the pairs of these names.
fn tls(pairs: &[&str], keys: &str) -> String {
    let pair = |name: &&str| format!("{{ cert = \"{name}.pem\", key = \"{name}.key\" }}");
    let pairs: Vec<String> = pairs.iter().map(pair).collect();
    let comma = if keys.is_empty() { "" } else { ", " };
    format!("{{ certificates = [{}]{comma}{keys} }}", pairs.join(", "))
}

#[track_caller]
fn handshakes(edge: &Edge, outcome: &str) -> f64 {
    let series =
        format!("tidegate_tls_handshakes_total{{listener=\"edge\",outcome=\"{outcome}\"}}");
    edge.metric(&series).unwrap_or_else(|| panic!("no {series}: {}", edge.metrics()))
}

/// What came of clients of OpenSSL; see `tests/python/tls_talk.py` for what may be wanted.
#[track_caller]
fn talk(edge: &Edge, wanted: &Value) -> Vec<Value> {
    let python = std::env::var("TIDEGATE_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/tls_talk.py");
    let port = edge.port("edge").port().to_string();
    let arguments = [port, wanted.to_string()];
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
