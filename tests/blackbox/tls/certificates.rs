//! Which certificate is shown to whom, and which versions are spoken.

use std::process::Command;

use serde_json::json;

use super::{GET, LAST, Site, hex, talk, tls};
use crate::kit::{Authority, Edge, Origin, TlsClient, eventually, skip};

#[test]
fn the_name_finds_the_certificate() {
    let authority = Authority::new("tests");
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin]);
    let pairs = [
        ("first", authority.pair(&["first.test"])),
        ("exact", authority.pair(&["a.wild.test", "other.test"])),
        ("wild", authority.pair(&["*.wild.test"])),
    ];
    for (name, pair) in &pairs {
        pair.write(edge.directory(), name);
    }
    let names = pairs.each_ref().map(|(name, _)| *name);
    let edge = edge.listener(&format!("tls = {}", tls(&names, ""))).start();
    for (asked, shown) in [
        (Some("first.test"), 0),
        (Some("a.wild.test"), 1),
        (Some("other.test"), 1),
        (Some("OTHER.test"), 1),
        (Some("b.wild.test"), 2),
        (Some("b.a.wild.test"), 0),
        (Some("wild.test"), 0),
        (Some("elsewhere.example"), 0),
        (None, 0),
    ] {
        let mut wanted = json!({ "say": LAST });
        if let Some(name) = asked {
            wanted["name"] = name.into();
        }
        let came = talk(&edge, &wanted).remove(0);
        let (name, pair) = &pairs[shown];
        assert_eq!(came["certificate"], hex(pair.der()), "{asked:?} was not shown {name}: {came}");
        assert!(came["heard"].as_str().unwrap().ends_with("up"), "{came}");
    }
    // With verification, as any client does it.
    for name in ["first.test", "other.test", "b.wild.test"] {
        let client = TlsClient::trusting(&authority);
        assert_eq!(client.connect(edge.port("edge"), name).ask(GET).text(), "up");
    }
}

#[test]
fn who_can_only_verify_rsa_is_shown_rsa() {
    let authority = Authority::new("tests");
    let origin = Origin::named("up");
    let edge = Edge::to(&[&origin]);
    let (curve, rsa) = (authority.pair(&["a.test"]), authority.rsa_pair(&["a.test"]));
    curve.write(edge.directory(), "curve");
    rsa.write(edge.directory(), "rsa");
    let edge = edge.listener(&format!("tls = {}", tls(&["curve", "rsa"], ""))).start();
    for (ciphers, pair) in [
        ("ECDHE-RSA-AES128-GCM-SHA256", &rsa),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", &curve),
        ("ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-CHACHA20-POLY1305", &curve),
    ] {
        let wanted = json!({ "name": "a.test", "highest": "1.2", "ciphers": ciphers, "say": LAST });
        let came = talk(&edge, &wanted).remove(0);
        assert_eq!(came["certificate"], hex(pair.der()), "{ciphers}: {came}");
    }
}

/// Not that its access is denied, which scanners take for a fault.
#[test]
fn who_can_use_no_certificate_hears_that_there_is_no_handshake() {
    let origin = Origin::named("up");
    let site = Site::new(Edge::to(&[&origin]), "");
    let wanted = json!({ "name": "a.test", "highest": "1.2", "ciphers": "AES128-GCM-SHA256" });
    let came = talk(&site.edge, &wanted).remove(0);
    assert!(came["error"].as_str().is_some_and(|e| e.contains("handshake failure")), "{came}");
}

#[test]
fn old_versions_are_refused() {
    let origin = Origin::named("up");
    let site = Site::new(Edge::to(&[&origin]), "");
    let weak = "ALL:@SECLEVEL=0";
    let old = json!({ "lowest": "1.1", "highest": "1.1", "ciphers": weak, "name": "a.test" });
    assert!(talk(&site.edge, &old)[0]["error"].is_string());
    eventually("it is counted", || site.handshakes("failed") >= 1.0);
    for (version, word) in [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")] {
        let wanted = json!({ "lowest": version, "highest": version, "say": LAST });
        assert_eq!(talk(&site.edge, &wanted)[0]["version"], word);
    }
    let origin = Origin::named("up");
    let strict = Site::new(Edge::to(&[&origin]), "min_version = \"1.3\"");
    assert!(strict.client().old().try_connect(strict.edge.port("edge"), "a.test").is_err());
    assert_eq!(strict.connect().ask(GET).text(), "up");
}

/// Whichever of the two workers a client meets.
#[test]
fn sessions_are_resumed() {
    let origin = Origin::named("up");
    let site = Site::new(Edge::to(&[&origin]), "");
    for version in ["1.2", "1.3"] {
        let wanted = json!({
            "name": "a.test", "lowest": version, "highest": version, "say": LAST, "times": 8,
        });
        let came = talk(&site.edge, &wanted);
        let reused: Vec<bool> = came.iter().map(|one| one["reused"] == true).collect();
        assert!(!reused[0] && reused[1..].iter().all(|reused| *reused), "{version}: {reused:?}");
    }
    assert_eq!((site.handshakes("full"), site.handshakes("resumed")), (2.0, 14.0));
}

#[test]
fn http_2_is_agreed_on_unless_it_is_off() {
    let origin = Origin::named("up");
    let wanted = json!({ "name": "a.test", "alpn": ["h2", "http/1.1"], "say": LAST });
    // That this client does not speak it after all is nothing here.
    let site = Site::new(Edge::to(&[&origin]), "");
    assert_eq!(talk(&site.edge, &wanted).remove(0)["alpn"], "h2");
    let site = Site::new(Edge::to(&[&origin]), "http2 = false");
    let came = talk(&site.edge, &wanted).remove(0);
    assert_eq!(came["alpn"], "http/1.1", "{came}");
    assert!(came["heard"].as_str().unwrap().ends_with("up"), "{came}");
    let both = site.client().offering(&["h2", "http/1.1"]);
    assert_eq!(both.connect(site.edge.port("edge"), "a.test").ask(GET).text(), "up");
}

#[test]
fn curl_is_served() {
    let origin = Origin::echo();
    let site = Site::new(Edge::to(&[&origin]), "");
    let port = site.edge.port("edge").port();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--cacert"]);
    command.arg(site.edge.directory().join("ca.pem"));
    command.args(["--resolve", &format!("a.test:{port}:127.0.0.1"), "--data", "hello"]);
    let url = format!("https://a.test:{port}/");
    let Ok(output) = command.args([&url, &url]).output() else {
        return skip("curl_is_served", "there is no curl");
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hellohello");
}
