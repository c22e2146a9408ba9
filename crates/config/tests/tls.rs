//! TLS to servers: what is read of it, whose files are meant, and where each is named.

mod kit;

use std::{fs, path::Path};

use tidegate_config::{Loaded, load};
use tidegate_model::upstream::{ServerName, TlsSpec};

use kit::{pool, refused, warned};

#[test]
fn every_key_is_read() {
    let spec = pool(
        "[upstream.a.tls]\nserver_name = 'im.internal'\nca = 'ca.pem'\nverify = true\n\
         cert = '/etc/us.pem'\nkey = 'us.key'",
    );
    let expected = TlsSpec {
        enabled: None,
        server_name: ServerName::parse("im.internal").ok(),
        ca: Some("ca.pem".into()),
        verify: Some(true),
        cert: Some("/etc/us.pem".into()),
        key: Some("us.key".into()),
    };
    assert_eq!(spec.tls, Some(expected));
    assert_eq!(pool("upstream.a.tls = {}").tls, Some(TlsSpec::default()));
    assert_eq!(pool("upstream.a.servers = []").tls, None);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    refused(
        "upstream.a.tls = { server_name = 'a b' }",
        "t:2:34: upstream.a.tls.server_name: \"a b\" is no name of a host such as im.example.com, \
         nor an IP address",
    );
    refused(
        "upstream.a.tls = { cert = 'us.pem' }",
        "t:2:18: upstream.a.tls.key: cert and key go together: this one is missing",
    );
    refused(
        "upstream_defaults.tls = { key = 'us.key' }\n[upstream.a]",
        "t:2:25: upstream_defaults.tls.cert: cert and key go together: this one is missing",
    );
    refused("upstream.a.tls = { ca = '' }", "t:2:25: upstream.a.tls.ca: this is no path");
    refused(
        "upstream.a.tls = { verfy = false }",
        "t:2:20: upstream.a.tls.verfy: unknown key; did you mean \"verify\"?",
    );
}

#[test]
fn an_authority_that_nobody_asks_is_warned_of() {
    warned(
        "upstream.a.tls = { ca = 'ca.pem', verify = false }",
        "t:2:25: upstream.a.tls.ca: is not used: verify is false",
    );
}

#[test]
fn datagrams_cannot_have_it() {
    let listener = "listener = [{ address = '0.0.0.0:53', protocol = 'udp', upstream = 'a' }]\n";
    let problems = |text: &str| {
        let found = tidegate_config::parse("t", &format!("{listener}{text}"));
        found.map_or_else(|found| found.iter().map(ToString::to_string).collect(), |_| vec![])
    };
    let expected = ["t:1:68: listener.upstream: this pool wants TLS, which datagrams cannot have"];
    assert_eq!(problems("upstream.a.tls = {}"), expected);
    assert_eq!(problems("upstream_defaults.tls = {}\n[upstream.a]"), expected);
    assert!(problems("upstream_defaults.tls = {}\nupstream.a.tls.enabled = false").is_empty());
}

/// A configuration with a pool in a file of its own.
fn loaded(dir: &Path, main: &str, other: &str) -> Loaded {
    let listener = "include = ['conf.d/*']\nlistener = [{ address = '0.0.0.0:80' }]\n";
    fs::create_dir(dir.join("conf.d")).expect("it is made");
    fs::write(dir.join("conf.d/other.toml"), other).expect("it is written");
    fs::write(dir.join("main.toml"), format!("{listener}{main}")).expect("it is written");
    load(&dir.join("main.toml")).expect("it reads")
}

#[test]
fn files_are_named_from_the_directory_of_the_main_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let main = "[upstream.a.tls]\nca = 'a.pem'\n[upstream.b.tls]\nca = '/b.pem'";
    let loaded = loaded(dir.path(), main, "[upstream.c.tls]\nca = 'c.pem'");
    let ca = |at: usize| {
        let spec = &loaded.config.upstreams[at].1;
        spec.tls.as_ref().and_then(|tls| tls.ca.as_deref()).expect("it is named").to_owned()
    };
    assert_eq!([ca(0), ca(1), ca(2)], ["a.pem", "/b.pem", "conf.d/c.pem"].map(Path::new));
}

#[test]
fn a_file_is_pointed_at_where_it_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let main = "[upstream_defaults.tls]\nca = 'ca.pem'\ncert = 'us.pem'\nkey = 'us.key'\n[upstream.a]\n\
                [upstream.b.tls]\nca = 'b.pem'\n[upstream.d.tls]\nenabled = false";
    let loaded = loaded(dir.path(), main, "[upstream.c.tls]\nverify = true");
    let names: Vec<_> = loaded.tls.iter().map(|files| files.upstream.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let place = |at: usize, key: &str| {
        let problem = loaded.tls[at].problem(key, "bad".into());
        (problem.line, problem.column, problem.key)
    };
    assert_eq!(place(0, "ca"), (4, 6, "upstream_defaults.tls.ca".into()));
    assert_eq!(place(1, "ca"), (9, 6, "upstream.b.tls.ca".into()));
    assert_eq!(place(1, "key"), (6, 7, "upstream_defaults.tls.key".into()));
    assert_eq!(place(2, "cert"), (5, 8, "upstream_defaults.tls.cert".into()));
}
