//! `[listener.tls]`: read as what it means, wherever it stands; and what names its files, for those
//! who read them.

use std::path::{Path, PathBuf};

use tidegate_config::{Certificate, ClientAuth, Loaded, Tls, TlsVersion, load, parse};

const HTTP: &str = "[[listener]]\nname = 'edge'\naddress = '[::]:1'\n";
const ROUTE: &str = "\n[[route]]\nupstream = 'a'\n[upstream.a]\n";
const PAIR: &str = "certificates = [{ cert = 'c.pem', key = 'k.pem' }]";

fn read(tls: &str) -> Result<Loaded, Vec<String>> {
    let told = |problems: Vec<tidegate_config::Problem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    parse("t", &format!("{HTTP}{tls}{ROUTE}")).map_err(told)
}

#[track_caller]
fn refused(tls: &str, problems: &[&str]) {
    assert_eq!(read(tls).expect_err("it is wrong"), problems, "{tls}");
}

#[test]
fn a_pair_is_enough() {
    let mut loaded = read(&format!("tls = {{ {PAIR} }}")).expect("it reads");
    assert_eq!(loaded.warnings, []);
    let expected = Tls {
        certificates: vec![Certificate { cert: "c.pem".into(), key: "k.pem".into(), ocsp: None }],
        min_version: TlsVersion::V12,
        http2: true,
        client_ca: None,
        client_auth: ClientAuth::Off,
    };
    assert_eq!(loaded.config.listeners.remove(0).tls, Some(expected));
}

#[test]
fn every_key_is_read_and_files_are_beside_the_one_that_names_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("t.toml");
    let text = format!(
        "{HTTP}[listener.tls]\nmin_version = '1.3'\nhttp2 = false\nclient_ca = 'ca.pem'\n\
         client_auth = 'required'\n[[listener.tls.certificates]]\ncert = '/c.pem'\nkey = 'k.pem'\n\
         ocsp = 'o.der'\n[[listener.tls.certificates]]\ncert = 'c2.pem'\nkey = 'k2.pem'\n{ROUTE}"
    );
    std::fs::write(&path, text).expect("it is written");
    let mut loaded = load(&path).expect("it reads");
    let tls = loaded.config.listeners.remove(0).tls.expect("it is there");
    assert_eq!((tls.min_version, tls.http2), (TlsVersion::V13, false));
    assert_eq!(tls.client_auth, ClientAuth::Required);
    let beside = |name: &str| dir.path().join(name);
    assert_eq!(tls.client_ca, Some(beside("ca.pem")));
    let first = &tls.certificates[0];
    assert_eq!((&*first.cert, &first.key), (Path::new("/c.pem"), &beside("k.pem")));
    assert_eq!(first.ocsp, Some(beside("o.der")));
    let named: Vec<&PathBuf> = loaded.mentions.iter().map(|mention| &mention.path).collect();
    let files = ["/c.pem", "k.pem", "o.der", "c2.pem", "k2.pem", "ca.pem"].map(beside);
    assert_eq!(named, files.iter().collect::<Vec<_>>());
    let problem = loaded.mentions[4].problem("is bad".into());
    let key = "listener.tls.certificates.key";
    assert_eq!(problem.to_string(), format!("{}:15:7: {key}: is bad", path.display()));
    assert_eq!(loaded.mentions[4].listener, "edge");
}

#[test]
fn what_is_missing_or_wrong_is_told_in_its_place() {
    refused("tls = {}", &["t:4:7: listener.tls.certificates: this key is required"]);
    refused(
        "tls = { certificates = [] }",
        &["t:4:24: listener.tls.certificates: at least one is needed"],
    );
    refused(
        "tls = { certificates = [{}] }",
        &[
            "t:4:25: listener.tls.certificates.cert: this key is required",
            "t:4:25: listener.tls.certificates.key: this key is required",
        ],
    );
    refused(
        &format!("tls = {{ min_version = '1.1', client_auth = 'maybe', {PAIR} }}"),
        &[
            "t:4:23: listener.tls.min_version: expected \"1.2\" or \"1.3\", found \"1.1\"",
            "t:4:44: listener.tls.client_auth: expected \"off\" or \"optional\" or \"required\", found \
             \"maybe\"",
        ],
    );
    refused(
        &format!("tls = {{ {PAIR}, ciphers = 'ALL' }}"),
        &[
            "t:4:61: listener.tls.ciphers: unknown key; known here: certificates, min_version, http2, \
           client_ca, client_auth",
        ],
    );
    refused("tls = 1", &["t:4:7: listener.tls: expected a table, found an integer"]);
}

#[test]
fn http2_is_agreed_on_where_requests_are_spoken() {
    let tcp = "[[listener]]\naddress = '[::]:1'\nprotocol = 'tcp'\nupstream = 'a'\n";
    let text = format!("{tcp}tls = {{ http2 = false, {PAIR} }}\n[upstream.a]\n");
    let problems = parse("t", &text).expect_err("it is wrong");
    assert_eq!(
        problems[0].to_string(),
        "t:5:17: listener.tls.http2: means nothing to a listener of protocol \"tcp\""
    );
    assert_eq!(problems.len(), 1);
    refused(
        &format!("h2c = true\ntls = {{ {PAIR} }}"),
        &[
            "t:4:7: listener.h2c: is for plain text: with [listener.tls] it is tls.http2 that counts",
        ],
    );
    let off = read(&format!("h2c = false\ntls = {{ {PAIR} }}")).expect("it reads");
    assert_eq!(off.warnings, []);
}

#[test]
fn clients_are_believed_by_somebodys_word() {
    for word in ["optional", "required"] {
        refused(
            &format!("tls = {{ client_auth = '{word}', {PAIR} }}"),
            &["t:4:23: listener.tls.client_auth: needs client_ca: without it no client could be \
               believed"],
        );
    }
    let unasked = read(&format!("tls = {{ client_ca = 'ca', {PAIR} }}")).expect("it reads");
    assert_eq!(
        unasked.warnings[0].to_string(),
        "t:4:21: listener.tls.client_ca: no client is asked for a certificate unless client_auth says so"
    );
    let off = read(&format!("tls = {{ client_ca = 'ca', client_auth = 'off', {PAIR} }}"));
    assert_eq!(off.expect("it reads").warnings, []);
}

#[test]
fn tls_ends_here_or_is_passed_through() {
    let tcp = "[[listener]]\naddress = '[::]:1'\nprotocol = 'tcp'\nupstream = 'a'\n";
    let told = |text: &str| match parse("t", &format!("{tcp}{text}\n[upstream.a]\n")) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    };
    let timeouts = "timeouts = { header = '1s' }";
    assert_eq!(told(&format!("tls = {{ {PAIR} }}\n{timeouts}")), [""; 0]);
    assert_eq!(
        told(&format!("tls = {{ {PAIR} }}\nsni = [{{ name = 'x.test', upstream = 'a' }}]")),
        [
            "t:6:7: listener.sni: cannot be beside [listener.tls]: either TLS ends here or it is passed \
          through"
        ]
    );
}
