use std::{
    fs,
    future::poll_fn,
    path::{Path, PathBuf},
    sync::Arc,
    task::Poll,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::{join, net::UnixStream};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, SupportedCipherSuite, crypto::aws_lc_rs, pki_types::ServerName},
};

use super::*;
use crate::{End, Socket};

/// An authority, and a place for what it signs.
struct House {
    place: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl House {
    fn new() -> Self {
        let place = TempDir::new().expect("a place");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the house");
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root");
        fs::write(place.path().join("ca.pem"), root.pem()).expect("it is written");
        Self { place, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A certificate for these names, in files that begin with the first.
    fn files(&self, names: &[&str]) -> CertificateFiles {
        let named: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(named).expect("names");
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("it is signed");
        let (cert, private) =
            (self.path(&format!("{}.pem", names[0])), self.path(&format!("{}.key", names[0])));
        fs::write(&cert, certificate.pem()).expect("it is written");
        fs::write(&private, key.serialize_pem()).expect("it is written");
        CertificateFiles { cert, key: private, ocsp: None }
    }

    fn serving(&self, names: &[&[&str]]) -> TlsServing {
        TlsServing {
            certificates: names.iter().map(|names| self.files(names)).collect(),
            min_version: TlsVersion::V12,
            http: true,
            http2: true,
            client_ca: None,
            client_auth: ClientAuth::Off,
        }
    }

    fn connecting(&self) -> TlsConnecting {
        TlsConnecting { ca: Some(self.path("ca.pem")), verify: true, pair: None }
    }
}

fn server(serving: &TlsServing) -> TlsServer {
    TlsServer::load(serving, None).expect("it is sound")
}

fn pair() -> (Socket, Socket) {
    let (near, far) = UnixStream::pair().expect("a pair");
    (Socket::Unix(near), Socket::Unix(far))
}

type Shaken = Result<Socket, TlsError>;

async fn shaken(server: &TlsServer, client: &TlsClient, name: &str) -> (Shaken, Shaken) {
    let (near, far) = pair();
    join!(near.connect_tls(client, name, "s"), far.accept_tls(server, Vec::new()))
}

async fn open(server: &TlsServer, client: &TlsClient, name: &str) -> (Socket, Socket) {
    let (near, far) = shaken(server, client, name).await;
    (near.expect("a client"), far.expect("a server"))
}

async fn write(socket: &mut Socket, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| socket.poll_write(cx, bytes)).await.expect("it is taken");
        bytes = &bytes[written..];
    }
}

async fn read(socket: &mut Socket, most: usize) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; most];
    let length = poll_fn(|cx| socket.poll_read(cx, &mut buffer)).await?;
    buffer.truncate(length);
    Ok(buffer)
}

async fn read_all(socket: &mut Socket, most: usize, total: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < total {
        let some = read(socket, most).await.expect("it comes");
        assert!(!some.is_empty(), "it ends after {} of {total}", all.len());
        all.extend(some);
    }
    all
}

#[tokio::test]
async fn bytes_go_both_ways_whatever_the_buffers() {
    let house = House::new();
    let server = server(&house.serving(&[&["a.example"]]));
    let client = TlsClient::load(&house.connecting()).expect("it is sound");
    let (mut near, mut far) = open(&server, &client, "a.example").await;
    let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    for most in [1_000, 16_384, 70_000] {
        // More than the socket takes: the writer has to wait for the reader.
        let (_, read) = join!(write(&mut near, &bytes), read_all(&mut far, most, bytes.len()));
        assert!(read == bytes, "there, by {most}");
        let (_, read) = join!(write(&mut far, &bytes), read_all(&mut near, most, bytes.len()));
        assert!(read == bytes, "back, by {most}");
    }
    let slices = [b"ab".as_slice(), b"", b"cde"].map(std::io::IoSlice::new);
    let written = poll_fn(|cx| near.poll_write_vectored(cx, &slices)).await;
    assert_eq!(written.expect("it is taken"), 5);
    assert_eq!(read_all(&mut far, 1, 5).await, b"abcde");
}

/// Writes these bytes over and over until it is told to wait, and says how many were taken before.
async fn fill(socket: &mut Socket, bytes: &[u8]) -> usize {
    let mut sent = 0;
    poll_fn(|cx| {
        while let Poll::Ready(written) = socket.poll_write(cx, bytes) {
            sent += written.expect("it is taken");
        }
        Poll::Ready(())
    })
    .await;
    sent
}

#[tokio::test]
async fn who_was_told_to_wait_is_told_later_what_was_written() {
    let house = House::new();
    let server = server(&house.serving(&[&["a.example"]]));
    let client = TlsClient::load(&house.connecting()).expect("it is sound");
    let (mut near, mut far) = open(&server, &client, "a.example").await;
    let bytes = vec![7; 50_000];
    let sent = fill(&mut near, &bytes).await;
    let (written, read) = join!(
        async {
            let written = poll_fn(|cx| near.poll_write(cx, &bytes)).await;
            written.expect("it is taken")
        },
        read_all(&mut far, 8_192, sent + 50_000)
    );
    assert_eq!(written, 50_000);
    assert!(read.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn who_comes_with_less_is_told_of_no_more_than_that() {
    let house = House::new();
    let server = server(&house.serving(&[&["a.example"]]));
    let client = TlsClient::load(&house.connecting()).expect("it is sound");
    let (mut near, mut far) = open(&server, &client, "a.example").await;
    let bytes = vec![7; 50_000];
    let sent = fill(&mut near, &bytes).await;
    let (written, _) = join!(
        async {
            let mut written = [0; 3];
            for (written, length) in written.iter_mut().zip([20_000, 40_000, 10]) {
                let taken = poll_fn(|cx| near.poll_write(cx, &bytes[..length])).await;
                *written = taken.expect("it is taken");
            }
            written
        },
        read_all(&mut far, 8_192, sent + 50_010)
    );
    assert_eq!(written, [20_000, 30_000, 10]);
}

#[tokio::test]
async fn nothing_is_taken_after_the_goodbye() {
    let house = House::new();
    let server = server(&house.serving(&[&["a.example"]]));
    let client = TlsClient::load(&house.connecting()).expect("it is sound");
    let (mut near, mut far) = open(&server, &client, "a.example").await;
    poll_fn(|cx| near.poll_close_write(cx)).await.expect("it is closed");
    let late = poll_fn(|cx| near.poll_write(cx, b"late")).await.expect_err("it is too late");
    assert_eq!(late.kind(), std::io::ErrorKind::BrokenPipe);
    assert!(read(&mut far, 100).await.expect("an end").is_empty());
}

#[tokio::test]
async fn the_name_asked_for_chooses_the_certificate() {
    let house = House::new();
    let server = server(&house.serving(&[&["a.example", "10.0.0.1"], &["*.b.example"]]));
    let client = TlsClient::load(&house.connecting()).expect("it is sound");
    for name in ["a.example", "A.Example", "x.b.example", "10.0.0.1"] {
        let (near, far) = open(&server, &client, name).await;
        let asked = far.tls().and_then(|facts| facts.server_name.as_deref());
        let dns = (name != "10.0.0.1").then(|| name.to_ascii_lowercase());
        assert_eq!(asked.map(str::to_owned), dns);
        assert_eq!(near.tls().map(|facts| (facts.version, facts.http2)), Some(("TLSv1.3", false)));
    }
    for name in ["x.y.b.example", "c.example"] {
        let (near, _) = shaken(&server, &client, name).await;
        let reason = near.expect_err("the default one is not for that").to_string();
        assert!(reason.contains(name), "{reason}");
    }
    let names: Vec<_> = server.certificates().iter().map(|one| one.names.clone()).collect();
    assert_eq!(names, [vec!["a.example".to_owned()], vec!["*.b.example".to_owned()]]);
}

/// What is agreed on with a client that offers these cipher suites, the one that it likes best first.
async fn suite(house: &House, server: &TlsServer, offered: &[&str]) -> &'static str {
    let mut provider = aws_lc_rs::default_provider();
    let place = |suite: &SupportedCipherSuite| {
        offered.iter().position(|name| suite.suite().as_str() == Some(*name))
    };
    provider.cipher_suites.retain(|suite| place(suite).is_some());
    provider.cipher_suites.sort_by_key(place);
    let roots = files::roots(&house.path("ca.pem"), &mut Vec::new()).expect("roots");
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("it has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("a.example").expect("a name");
    let (near, far) = UnixStream::pair().expect("a pair");
    let connector = TlsConnector::from(Arc::new(config));
    let accepted = Socket::Unix(far).accept_tls(server, Vec::new());
    let (near, far) = join!(connector.connect(name, near), accepted);
    near.expect("a client");
    far.expect("a server").tls().expect("it is TLS").cipher
}

#[tokio::test]
async fn the_cheapest_cipher_is_used_unless_the_client_computes_it_slowly() {
    const AES_128: &str = "TLS13_AES_128_GCM_SHA256";
    const AES_256: &str = "TLS13_AES_256_GCM_SHA384";
    const CHACHA: &str = "TLS13_CHACHA20_POLY1305_SHA256";
    let house = House::new();
    let server = server(&house.serving(&[&["a.example"]]));
    let with = |offered: &'static [&str]| suite(&house, &server, offered);
    assert_eq!(with(&[AES_256, CHACHA, AES_128]).await, "TLS_AES_128_GCM_SHA256");
    assert_eq!(with(&[AES_256, CHACHA]).await, "TLS_AES_256_GCM_SHA384");
    assert_eq!(with(&[CHACHA, AES_256, AES_128]).await, "TLS_CHACHA20_POLY1305_SHA256");
    const OLD: [&str; 3] = [
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ];
    assert_eq!(with(&OLD).await, OLD[1]);
    assert_eq!(with(&[OLD[2], OLD[1]]).await, OLD[2]);
}

#[tokio::test]
async fn an_end_is_told_from_a_cut() {
    let house = House::new();
    let server = server(&house.serving(&[&["a.example"]]));
    let client = TlsClient::load(&house.connecting()).expect("it is sound");
    let (mut near, mut far) = open(&server, &client, "a.example").await;
    write(&mut far, b"last").await;
    poll_fn(|cx| far.poll_close_write(cx)).await.expect("it is closed");
    assert_eq!(read_all(&mut near, 100, 4).await, b"last");
    assert!(read(&mut near, 100).await.expect("an end").is_empty());
    write(&mut near, b"and back").await;
    assert_eq!(read_all(&mut far, 100, 8).await, b"and back");

    let (mut near, far) = open(&server, &client, "a.example").await;
    drop(far);
    assert!(read(&mut near, 100).await.expect("a goodbye").is_empty());

    let (mut near, mut far) = open(&server, &client, "a.example").await;
    far.reset_on_close(true);
    drop(far);
    assert!(read(&mut near, 100).await.is_err(), "no goodbye");
}

#[tokio::test]
async fn it_is_readable_when_there_is_plaintext() {
    let house = House::new();
    let server = server(&house.serving(&[&["a.example"]]));
    let client = TlsClient::load(&house.connecting()).expect("it is sound");
    // The tickets that the client gets behind the handshake are no plaintext.
    let (mut near, mut far) = open(&server, &client, "a.example").await;
    let is_ready = |ready: Poll<std::io::Result<()>>| Poll::Ready(ready.is_ready());
    assert!(!poll_fn(|cx| is_ready(near.poll_readable(cx))).await);
    let nothing = near.try_read(&mut [0]).expect_err("nothing has come");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    write(&mut far, b"x").await;
    poll_fn(|cx| near.poll_readable(cx)).await.expect("it comes");
    assert_eq!(near.try_read(&mut [0; 10]).expect("it has come"), 1);
}

#[tokio::test]
async fn sessions_go_on_unless_clients_are_let_in_by_other_rules() {
    let house = House::new();
    let mut serving = house.serving(&[&["a.example"]]);
    let first = server(&serving);
    let client = TlsClient::load(&house.connecting()).expect("it is sound");
    let resumed = async |server: &TlsServer| {
        let (mut near, mut far) = open(server, &client, "a.example").await;
        // Tickets are read with what follows them.
        write(&mut far, b"x").await;
        read_all(&mut near, 1, 1).await;
        let facts = |socket: &Socket| socket.tls().map(|facts| facts.resumed);
        assert_eq!(facts(&near), facts(&far));
        facts(&near) == Some(true)
    };
    assert!(!resumed(&first).await && resumed(&first).await);
    let second = TlsServer::load(&serving, Some(&first)).expect("it is sound");
    assert!(resumed(&second).await);
    serving.min_version = TlsVersion::V13;
    let third = TlsServer::load(&serving, Some(&second)).expect("it is sound");
    assert!(!resumed(&third).await);
}

#[tokio::test]
async fn clients_show_who_they_are() {
    let house = House::new();
    let mut serving = house.serving(&[&["a.example"]]);
    (serving.client_ca, serving.client_auth) = (Some(house.path("ca.pem")), ClientAuth::Required);
    let server = server(&serving);
    let mut connecting = house.connecting();
    let nobody = TlsClient::load(&connecting).expect("it is sound");
    let (_, far) = shaken(&server, &nobody, "a.example").await;
    assert!(matches!(far, Err(TlsError::Failed(_))));
    let files = house.files(&["client"]);
    connecting.pair = Some((files.cert, files.key));
    let somebody = TlsClient::load(&connecting).expect("it is sound");
    let (_, far) = open(&server, &somebody, "a.example").await;
    let facts = far.tls().expect("facts");
    assert!(facts.client_subject.as_deref().is_some_and(|s| s.contains("CN=client")), "{facts:?}");
}

#[tokio::test]
async fn what_is_not_tls_is_refused() {
    let house = House::new();
    let server = server(&house.serving(&[&["a.example"]]));
    for (text, gone) in [("GET / HTTP/1.1\r\n\r\n", false), ("", true)] {
        let (mut near, far) = pair();
        write(&mut near, text.as_bytes()).await;
        drop(near);
        let refused = far.accept_tls(&server, Vec::new()).await.expect_err("that is no TLS");
        assert_eq!(matches!(refused, TlsError::Gone), gone, "{refused}");
    }
    // What was read ahead counts.
    let (_near, far) = pair();
    assert!(far.accept_tls(&server, b"garbage!".to_vec()).await.is_err());
}

#[test]
fn files_that_do_not_fit_are_named() {
    let house = House::new();
    let mut serving = house.serving(&[&["a.example"], &["b.example"]]);
    let sound = server(&serving);
    assert!(!sound.is_stale());
    serving.certificates[0].key = serving.certificates[1].key.clone();
    let fault = TlsServer::load(&serving, Some(&sound)).expect_err("they do not fit");
    assert!(fault.file.ends_with("b.example.key") && fault.reason.contains("a.example.pem"));
    for (file, text) in [("none.pem", None), ("empty.pem", Some("")), ("wrong.pem", Some("x"))] {
        let path = house.path(file);
        if let Some(text) = text {
            fs::write(&path, text).expect("it is written");
        }
        serving.certificates[0].cert.clone_from(&path);
        let fault = TlsServer::load(&serving, None).expect_err("that is none");
        assert_eq!(fault.file, path);
        let bad = TlsConnecting { ca: Some(path.clone()), ..house.connecting() };
        assert_eq!(TlsClient::load(&bad).expect_err("that is none").file, path);
    }
    touch(&house.path("a.example.pem"));
    assert!(sound.is_stale());
}

#[test]
fn pipes_and_devices_are_not_read() {
    let house = House::new();
    let sound = house.serving(&[&["a.example"]]);
    let pipe = house.path("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a pipe");
    for path in [pipe, PathBuf::from("/dev/zero"), house.path("")] {
        let [mut cert, mut key, mut ocsp] = [(); 3].map(|()| sound.clone());
        cert.certificates[0].cert.clone_from(&path);
        key.certificates[0].key.clone_from(&path);
        ocsp.certificates[0].ocsp = Some(path.clone());
        let ca = TlsServing { client_ca: Some(path.clone()), ..sound.clone() };
        for serving in [cert, key, ocsp, ca] {
            let fault = TlsServer::load(&serving, None).expect_err("it is special");
            assert_eq!((&fault.file, fault.reason.as_str()), (&path, "is no regular file"));
        }
        let bad = TlsConnecting { ca: Some(path.clone()), ..house.connecting() };
        let fault = TlsClient::load(&bad).expect_err("it is special");
        assert_eq!((&fault.file, fault.reason.as_str()), (&path, "is no regular file"));
    }
}

/// Another file of the same content takes its place, as tools that renew certificates do it.
fn touch(path: &Path) {
    let new = path.with_extension("new");
    fs::copy(path, &new).expect("it is copied");
    fs::rename(new, path).expect("it is moved");
}
