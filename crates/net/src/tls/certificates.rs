//! Certificates: what they say, and which of them is shown to whom.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use tokio_rustls::rustls::{
    SignatureAlgorithm,
    crypto::CryptoProvider,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_cert::{
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::{
    files::{self, Seen, TlsFault},
    serving::CertificateFiles,
};

/// What a certificate of a listener says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it was read from.
    pub file: PathBuf,
    /// The host names it is for, in lower case; some may begin with `*.`.
    pub names: Vec<String>,
    /// It is good up to then.
    pub not_after: SystemTime,
}

/// Which certificates there are for a name.
#[derive(Debug, Default)]
pub(super) struct Shown {
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For everybody else: the first, with those of the same names.
    default: Vec<Arc<CertifiedKey>>,
}

impl Certificate {
    fn read(file: &Path, der: &[u8]) -> Result<Self, TlsFault> {
        let fault = |reason| TlsFault::new(file, format!("the certificate is unsound: {reason}"));
        let parsed = x509_cert::Certificate::from_der(der).map_err(fault)?;
        let own = &parsed.tbs_certificate;
        let names = own.get::<SubjectAltName>().map_err(fault)?;
        let names = names.map_or_else(Vec::new, |(_, names)| names.0);
        let names = names.into_iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
            _ => None,
        });
        Ok(Self {
            file: file.to_owned(),
            names: names.collect(),
            not_after: own.validity.not_after.to_system_time(),
        })
    }
}

/// The subject of a certificate, as RFC 4514 writes it; `None` when it cannot be told.
pub(super) fn subject(der: &CertificateDer<'_>) -> Option<Box<str>> {
    let parsed = x509_cert::Certificate::from_der(der).ok()?;
    Some(parsed.tbs_certificate.subject.to_string().into())
}

/// A certificate with its key, which have to fit.
pub(super) fn load(
    files: &CertificateFiles,
    provider: &CryptoProvider,
    seen: &mut Vec<Seen>,
) -> Result<(Certificate, CertifiedKey), TlsFault> {
    let chain = files::chain(&files.cert, seen)?;
    let facts = Certificate::read(&files.cert, &chain[0])?;
    let key = files::key(&files.key, seen)?;
    let mut pair = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        let reason = format!("does not go with {}: {error}", files.cert.display());
        TlsFault::new(&files.key, reason)
    })?;
    if let Some(ocsp) = &files.ocsp {
        pair.ocsp = Some(files::read(ocsp, seen)?);
    }
    Ok((facts, pair))
}

impl Shown {
    pub(super) fn add(&mut self, facts: &Certificate, pair: CertifiedKey, first: &Certificate) {
        let pair = Arc::new(pair);
        for name in &facts.names {
            insert(self.by_name.entry(name.clone()).or_default(), &pair);
        }
        let is_first = facts.file == first.file;
        if is_first || facts.names.iter().any(|name| first.names.contains(name)) {
            insert(&mut self.default, &pair);
        }
    }

    fn of(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let exact = self.by_name.get(name);
        // A star stands for one label (RFC 6125 §6.4.3).
        let wild = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        exact.or_else(wild).unwrap_or(&self.default)
    }
}

/// Those that sign fast come first: who can use them does.
fn insert(pairs: &mut Vec<Arc<CertifiedKey>>, pair: &Arc<CertifiedKey>) {
    let is_rsa = |pair: &CertifiedKey| pair.key.algorithm() == SignatureAlgorithm::RSA;
    let at = match is_rsa(pair) {
        true => pairs.len(),
        false => pairs.iter().position(|one| is_rsa(one)).unwrap_or(pairs.len()),
    };
    pairs.insert(at, Arc::clone(pair));
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pairs = match hello.server_name() {
            Some(name) => self.of(&name.to_ascii_lowercase()),
            None => &self.default,
        };
        let fits =
            |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        // Without any the client would be told that its access is denied. So it is told what is wrong:
        // that there is no handshake that both could do.
        pairs.iter().find(fits).or_else(|| pairs.first()).cloned()
    }
}
