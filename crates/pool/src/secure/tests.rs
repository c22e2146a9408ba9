//! Files that are there, change, go and come back; what they are read for has no part in it.

use std::fs;

use tempfile::TempDir;

use super::*;

struct Fixture {
    dir: TempDir,
    securing: Arc<Securing>,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("a directory");
    let securing = Securing::new(dir.path());
    Fixture { dir, securing }
}

fn tls(ca: &str) -> Tls {
    Tls { server_name: None, ca: Some(ca.into()), verify: true, pair: None }
}

impl Fixture {
    /// Somebody's certificate, another one each time.
    fn write(&self, name: &str) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]);
        let made = made.expect("a certificate");
        let line = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        let text: Vec<_> = base64(made.cert.der()).as_bytes().chunks(64).map(line).collect();
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            text.join("\n")
        );
        fs::write(self.dir.path().join(name), pem).expect("it is written");
    }

    fn made(&self, tls: &Tls) -> Secured {
        Secured::new(self.securing.make(tls).0)
    }

    fn files(secured: &Secured) -> (u64, bool) {
        let loaded = secured.client.loaded.load();
        (loaded.number, loaded.client.is_ok())
    }
}

/// The crate that makes certificates can write them so, too, and a few more crates then.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0, |sum, at| sum << 8 | u32::from(*three.get(at).unwrap_or(&0)));
        let letter = |at: usize| char::from(ALPHABET[(number >> (18 - 6 * at)) as usize & 63]);
        text.extend((0..4).map(|at| if at <= three.len() { letter(at) } else { '=' }));
    }
    text
}

#[test]
fn files_are_read_once_for_all_that_name_them() {
    let f = fixture();
    f.write("ca.pem");
    let one = f.made(&tls("ca.pem"));
    let named =
        Tls { server_name: tidegate_model::upstream::ServerName::parse("a").ok(), ..tls("ca.pem") };
    let other = f.made(&named);
    assert_eq!(Fixture::files(&one), Fixture::files(&other));
    assert!(one.number != other.number, "connections of one are not the other's");
    drop((one, other));
    assert!(f.securing.clients().is_empty(), "nobody uses it any more");
}

#[test]
fn what_cannot_be_used_is_named_by_its_key() {
    let f = fixture();
    f.write("ca.pem");
    fs::write(f.dir.path().join("empty.pem"), "").expect("it is written");
    let pair =
        |cert: &str, key: &str| Tls { pair: Some((cert.into(), key.into())), ..tls("ca.pem") };
    for (tls, key) in [
        (tls("missing.pem"), "ca"),
        (tls("empty.pem"), "ca"),
        (tls("."), "ca"),
        (tls("/dev/null"), "ca"),
        (pair("missing.pem", "ca.pem"), "cert"),
        (pair("ca.pem", "missing.key"), "key"),
        (pair("ca.pem", "ca.pem"), "key"),
    ] {
        let bad = f.securing.secure(&tls).expect_err("it cannot be used");
        assert_eq!(bad.key, key, "{tls:?}: {bad:?}");
    }
    let unverified = Tls { verify: false, ..tls("missing.pem") };
    assert!(f.securing.secure(&unverified).is_ok(), "what has no effect need not be there");
}

#[test]
fn files_that_change_are_read_again_and_bad_ones_change_nothing() {
    let f = fixture();
    f.write("ca.pem");
    let secured = f.made(&tls("ca.pem"));
    let first = Fixture::files(&secured);
    f.securing.refresh();
    assert_eq!((Fixture::files(&secured), f.securing.failures()), (first, 0));
    fs::write(f.dir.path().join("ca.pem"), "nothing").expect("it is written");
    f.securing.refresh();
    f.securing.refresh();
    assert_eq!((Fixture::files(&secured), f.securing.failures()), (first, 2));
    assert!(f.securing.secure(&tls("ca.pem")).is_err(), "a new definition would not get it");
    f.write("ca.pem");
    f.securing.refresh();
    let (number, is_ready) = Fixture::files(&secured);
    assert!(number != first.0 && is_ready);
    assert_eq!(f.securing.failures(), 2);
}

#[test]
fn a_file_that_comes_back_is_found() {
    let f = fixture();
    let (secure, bad) = f.securing.secure_later(&tls("ca.pem"));
    assert_eq!(bad.map(|bad| bad.key), Some("ca"));
    let secured: &Secured = secure.downcast_ref().expect("it is ours");
    assert!(!Fixture::files(secured).1);
    f.write("ca.pem");
    f.securing.refresh();
    assert!(Fixture::files(secured).1);
}
