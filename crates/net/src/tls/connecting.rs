//! TLS as a pool's servers are spoken to.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::{Resumption, WantsClientCert, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
};

use super::{
    files::{self, Seen, TlsFault},
    inquiry::Anybody,
    serving::protocols,
};

/// How many servers' sessions are kept; beyond that all are forgotten, and shaken hands with anew.
const MAX_SERVERS: usize = 4_096;

/// Where Debian, Red Hat, SUSE and Alpine keep the roots that a system trusts.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How servers are verified, and what is shown to them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsConnecting {
    /// Whom their certificates are to be from; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Whether their certificates are looked at at all.
    pub verify: bool,
    /// Our certificate and its key, if they want one.
    pub pair: Option<(PathBuf, PathBuf)>,
}

/// Ready to shake hands. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsClient(Arc<Client>);

#[derive(Debug)]
struct Client {
    config: ClientConfig,
    seen: Vec<Seen>,
    /// With the sessions of one server each: those of another would not be taken up again.
    by_server: Mutex<HashMap<Box<str>, Arc<ClientConfig>>>,
}

impl TlsClient {
    /// Reads all files. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read, is not what it should be, or the key is another certificate's.
    pub fn load(connecting: &TlsConnecting) -> Result<Self, TlsFault> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut seen = Vec::new();
        let verifier = verifier(connecting, &provider, &mut seen)?;
        let builder = builder(provider, verifier);
        let mut config = match &connecting.pair {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let (chain, private) =
                    (files::chain(cert, &mut seen)?, files::key(key, &mut seen)?);
                let pair = builder.with_client_auth_cert(chain, private);
                pair.map_err(|error| {
                    TlsFault::new(key, format!("does not go with {}: {error}", cert.display()))
                })?
            }
        };
        config.alpn_protocols = protocols(false);
        Ok(Self(Arc::new(Client { config, seen, by_server: Mutex::default() })))
    }

    /// The same for who speaks HTTP/2 (ALPN, RFC 7301), with sessions of its own. Reads nothing.
    #[must_use]
    pub fn with_http2(&self) -> Self {
        let mut config = self.0.config.clone();
        config.alpn_protocols = protocols(true);
        let seen = self.0.seen.clone();
        Self(Arc::new(Client { config, seen, by_server: Mutex::default() }))
    }

    /// Whether one of the files is another than the one that was read, or is gone. Blocks.
    pub fn is_stale(&self) -> bool {
        self.0.seen.iter().any(Seen::is_stale)
    }

    /// The sessions of servers by which `is_gone` holds are not taken up again.
    pub fn forget(&self, is_gone: impl Fn(&str) -> bool) {
        let mut known = self.0.by_server.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|server, _| !is_gone(server));
    }

    /// The configuration that remembers this server's sessions.
    pub(super) fn config(&self, server: &str) -> Arc<ClientConfig> {
        let mut known = self.0.by_server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = known.get(server) {
            return Arc::clone(config);
        }
        if known.len() >= MAX_SERVERS {
            known.clear();
        }
        let mut config = self.0.config.clone();
        config.resumption = Resumption::in_memory_sessions(1);
        let config = Arc::new(config);
        known.insert(server.into(), Arc::clone(&config));
        config
    }
}

/// A client that has `verifier` look at certificates.
pub(super) fn builder(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has what TLS 1.2 and 1.3 need")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
}

fn verifier(
    connecting: &TlsConnecting,
    provider: &Arc<CryptoProvider>,
    seen: &mut Vec<Seen>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsFault> {
    if !connecting.verify {
        return Ok(Arc::new(Anybody(Arc::clone(provider))));
    }
    let (path, roots) = match &connecting.ca {
        Some(path) => (path.clone(), files::roots(path, seen)?),
        None => system_roots(seen)?,
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|error| TlsFault::new(&path, error))
}

/// Whom the system trusts. Roots that webpki cannot read are left out, as everybody does.
fn system_roots(seen: &mut Vec<Seen>) -> Result<(PathBuf, RootCertStore), TlsFault> {
    let paths = || SYSTEM_ROOTS.iter().map(PathBuf::from);
    let Some(path) = paths().find(|path| path.exists()) else {
        let first = PathBuf::from(SYSTEM_ROOTS[0]);
        let reason =
            "the system has no list of whom it trusts: name a ca, or install ca-certificates";
        return Err(TlsFault::new(&first, reason));
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(files::chain(&path, seen)?);
    Ok((path, roots))
}
