//! TLS passed through: the pool is found by the name in the ClientHello, which real clients say in
//! one piece or in many, and the handshake is the server's own.

use std::{fs, net::Ipv4Addr, path::Path, process::Command};

use crate::{
    kit::{Edge, Origin, Script, skip},
    stream_tcp::{client, echo, tcp},
};

/// A TLS server, and its certificate in hexadecimal.
struct Server {
    script: Script,
    certificate: String,
}

fn server(test: &str, directory: &Path, name: &str) -> Option<Server> {
    let directory = directory.join(name);
    fs::create_dir(&directory).unwrap();
    let made = rcgen::generate_simple_self_signed([format!("{name}.test")]).unwrap();
    let (cert, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
    let certificate = cert.iter().map(|byte| format!("{byte:02x}")).collect();
    let paths = [("cert.der", cert), ("key.der", key)].map(|(name, bytes)| {
        let path = directory.join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    });
    let [cert, key] = paths;
    let script = Script::start(test, "tls.py", Ipv4Addr::LOCALHOST.into(), &[&cert, &key])?;
    Some(Server { script, certificate })
}

/// Whom a real client meets that asks for this name, sending so many bytes at a time.
fn met(edge: &Edge, name: &str, piece: usize) -> String {
    let python = std::env::var("TIDEGATE_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/tls_client.py");
    let port = edge.port("tcp").port().to_string();
    let arguments = [port.as_str(), name, &piece.to_string()];
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const RULES: &str = "sni = [\n{ name = \"*.test\", upstream = \"wild\" },\n\
                     { name = \"a.test\", upstream = \"exact\" },\n]";

#[test]
fn each_name_meets_its_own_server() {
    let test = "each_name_meets_its_own_server";
    let directory = tempfile::tempdir().unwrap();
    let start = |name| server(test, directory.path(), name);
    let (Some(exact), Some(wild), Some(other)) = (start("exact"), start("wild"), start("other"))
    else {
        return skip(test, "no TLS server");
    };
    let pools = [("exact", &exact), ("wild", &wild), ("other", &other)].map(|(name, server)| {
        format!("[upstream.{name}]\nservers = [\"{}\"]\n", server.script.address)
    });
    let edge = tcp(&format!("upstream = \"other\"\n{RULES}")).toml(&pools.concat()).start();
    for (asked, server) in [
        ("a.test", &exact),
        ("A.Test", &exact),
        ("b.test", &wild),
        ("c.b.test", &wild),
        ("test", &other),
        ("elsewhere.example", &other),
        ("-", &other),
    ] {
        assert!(met(&edge, asked, 0) == server.certificate, "{asked} met somebody else");
    }
    assert!(met(&edge, "a.test", 1) == exact.certificate, "a hello in single bytes");
    assert!(met(&edge, "b.test", 100) == wild.certificate, "a hello in pieces");
}

#[test]
fn a_name_without_a_pool_is_turned_away_without_a_word() {
    let origin = echo();
    let edge = tcp(RULES).pool("exact", &[&origin]).pool("wild", &[&origin]).logging().start();
    for name in ["elsewhere.example", "-"] {
        assert_eq!(met(&edge, name, 0), "closed");
    }
    let records = edge.records(2);
    assert!(records.iter().all(|record| record["status"] == 404), "{records:?}");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn what_is_not_tls_or_too_slow_is_turned_away_without_a_word() {
    let origin = Origin::silent();
    let edge = tcp(&format!("upstream = \"exact\"\ntimeouts = {{ header = \"300ms\" }}\n{RULES}"))
        .pool("exact", &[&origin])
        .pool("wild", &[&origin])
        .logging()
        .start();
    let turned_away = |said: &[u8]| {
        let mut client = client(&edge);
        client.send(said);
        assert!(client.rest().unwrap_or_default().is_empty());
    };
    turned_away(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(edge.records(1)[0]["status"], 400);
    // The beginning of a hello, and then nothing.
    turned_away(&[22, 3, 1, 2, 0, 1]);
    assert_eq!(edge.records(2)[1]["status"], 408);
    // One that breaks off.
    let mut cut = client(&edge);
    cut.send([22, 3, 1, 2, 0, 1]);
    cut.finish();
    assert!(cut.rest().unwrap_or_default().is_empty());
    assert_eq!(edge.records(3)[2]["status"], 400);
    // Nobody is told of one that says nothing at all.
    drop(client(&edge));
    turned_away(&[22, 3, 1, 0xff]);
    assert_eq!(edge.records(4).len(), 4);
    assert_eq!(origin.connections(), 0);
}
