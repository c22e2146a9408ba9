//! TLS as a listener speaks it.

use std::{path::PathBuf, sync::Arc};

use tidegate_wire::tls_hello::Hello;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{
        NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    version::{TLS12, TLS13},
};

use super::{
    certificates::{self, Certificate, Shown},
    files::{self, Seen, TlsFault},
};

/// Cipher suites with ChaCha20: that of TLS 1.3, those of TLS 1.2 with ECDSA and RSA (RFC 7905).
const CHACHA: [u16; 3] = [0x1303, 0xcca9, 0xcca8];

/// What a listener shows and asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsServing {
    /// At least one. The first is for clients that name nobody, or nobody who is here.
    pub certificates: Vec<CertificateFiles>,
    pub min_version: TlsVersion,
    /// Whether HTTP is spoken, and clients that offer nothing of it are turned away (ALPN, RFC 7301).
    pub http: bool,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Whom certificates of clients are to be from.
    pub client_ca: Option<PathBuf>,
    pub client_auth: ClientAuth,
}

/// A certificate with its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those between it and its root.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// An OCSP response to staple (DER).
    pub ocsp: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    V12,
    V13,
}

/// Whether clients are asked for a certificate (nginx, `ssl_verify_client`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    Off,
    /// One that is shown has to be good.
    Optional,
    Required,
}

/// Ready to shake hands. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsServer(Arc<Server>);

#[derive(Debug)]
struct Server {
    config: Arc<ServerConfig>,
    /// The same, but the cipher suite is the one that the client likes best.
    by_client: Arc<ServerConfig>,
    certificates: Vec<Certificate>,
    seen: Vec<Seen>,
    tickets: Arc<dyn ProducesTickets>,
    /// What a ticket is good for: who was let in by other rules has to come again.
    rules: Rules,
}

#[derive(Debug, PartialEq, Eq)]
struct Rules {
    min_version: TlsVersion,
    client_auth: ClientAuth,
    /// The roots as they were read.
    client_ca: Option<Vec<u8>>,
}

impl TlsServer {
    /// Reads all files. Blocks. Tickets that `before` gave out stay good, unless clients are let in by
    /// other rules now.
    ///
    /// # Errors
    /// When a file cannot be read, is not what it should be, or a key is another certificate's.
    pub fn load(serving: &TlsServing, before: Option<&Self>) -> Result<Self, TlsFault> {
        let provider = Arc::new(provider());
        let mut seen = Vec::new();
        let (shown, certificates) = load_certificates(serving, &provider, &mut seen)?;
        let rules = Rules {
            min_version: serving.min_version,
            client_auth: serving.client_auth,
            client_ca: match &serving.client_ca {
                Some(path) => Some(files::read(path, &mut seen)?),
                None => None,
            },
        };
        let verifier = verifier(serving, &provider, &mut seen)?;
        let tickets = match before {
            Some(before) if before.0.rules == rules => Arc::clone(&before.0.tickets),
            _ => new_tickets(serving)?,
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(serving.min_version))
            .expect("aws-lc-rs has what TLS 1.2 and 1.3 need");
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(shown));
        if serving.http {
            config.alpn_protocols = protocols(serving.http2);
            // What nginx takes besides.
            config.alpn_protocols.push(b"http/1.0".to_vec());
        }
        // What clients come back with is in their tickets: nothing is kept of them here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(&tickets);
        config.send_tls13_tickets = 2;
        // Data before the end of the handshake can be replayed by anybody (RFC 8446 §8).
        config.max_early_data_size = 0;
        let by_client = Arc::new(config.clone());
        config.ignore_client_order = true;
        let config = Arc::new(config);
        Ok(Self(Arc::new(Server { config, by_client, certificates, seen, tickets, rules })))
    }

    /// In the order of the configuration.
    pub fn certificates(&self) -> &[Certificate] {
        &self.0.certificates
    }

    /// Whether one of the files is another than the one that was read, or is gone. Blocks.
    pub fn is_stale(&self) -> bool {
        self.0.seen.iter().any(Seen::is_stale)
    }

    /// For a client that says this first. Who likes ChaCha20 best computes AES slowly, and has its wish
    /// (OpenSSL, `SSL_OP_PRIORITIZE_CHACHA`).
    pub(super) fn config(&self, hello: Option<&Hello>) -> Arc<ServerConfig> {
        let suite = hello.and_then(|hello| hello.suite);
        let has_its_wish = suite.is_some_and(|suite| CHACHA.contains(&suite));
        Arc::clone(if has_its_wish { &self.0.by_client } else { &self.0.config })
    }
}

/// That of aws-lc-rs, with the exchange of keys that a quantum computer cannot break first, and the cipher
/// that costs least: processors compute SHA-256 themselves, and not SHA-384.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let hybrid = aws_lc_rs::kx_group::X25519MLKEM768;
    provider.kx_groups.retain(|group| group.name() != hybrid.name());
    provider.kx_groups.insert(0, hybrid);
    let costs = |suite: &SupportedCipherSuite| match suite.suite().as_str() {
        Some(name) if name.contains("AES_128") => 0,
        Some(name) if name.contains("AES_256") => 1,
        _ => 2,
    };
    provider.cipher_suites.sort_by_key(costs);
    provider
}

fn load_certificates(
    serving: &TlsServing,
    provider: &CryptoProvider,
    seen: &mut Vec<Seen>,
) -> Result<(Shown, Vec<Certificate>), TlsFault> {
    let mut shown = Shown::default();
    let mut certificates: Vec<Certificate> = Vec::new();
    for files in &serving.certificates {
        let (facts, pair) = certificates::load(files, provider, seen)?;
        shown.add(&facts, pair, certificates.first().unwrap_or(&facts));
        certificates.push(facts);
    }
    Ok((shown, certificates))
}

fn verifier(
    serving: &TlsServing,
    provider: &Arc<CryptoProvider>,
    seen: &mut Vec<Seen>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsFault> {
    let (Some(path), ClientAuth::Optional | ClientAuth::Required) =
        (&serving.client_ca, serving.client_auth)
    else {
        return Ok(None);
    };
    let roots: Arc<RootCertStore> = Arc::new(files::roots(path, seen)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = match serving.client_auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Off | ClientAuth::Required => builder,
    };
    builder.build().map(Some).map_err(|error| TlsFault::new(path, error))
}

/// Keys of their own, changed every six hours and good for as long again.
fn new_tickets(serving: &TlsServing) -> Result<Arc<dyn ProducesTickets>, TlsFault> {
    aws_lc_rs::Ticketer::new().map_err(|error| {
        let file = serving.certificates.first().map(|first| first.cert.clone());
        let reason = format!("no keys for session tickets: {error}");
        TlsFault { file: file.unwrap_or_default(), reason }
    })
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match min {
        TlsVersion::V12 => &BOTH,
        TlsVersion::V13 => &BOTH[..1],
    }
}

pub(super) fn protocols(http2: bool) -> Vec<Vec<u8>> {
    let names: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    names.iter().map(|name| name.to_vec()).collect()
}
