//! An authority of the tests' own, the certificates it signs, as files in PEM, and clients that trust it.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, PKCS_RSA_SHA256, date_time_ymd,
};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};

use super::Socket;

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) der: CertificateDer<'static>,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Pair {
    pub(super) cert: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// A client that trusts one authority.
pub struct TlsClient {
    authority: CertificateDer<'static>,
    pair: Option<Pair>,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// For servers of these names and addresses.
    pub fn pair(&self, names: &[&str]) -> Pair {
        self.sign(names, KeyPair::generate().unwrap(), |_| {})
    }

    /// The same with RSA.
    pub fn rsa_pair(&self, names: &[&str]) -> Pair {
        self.sign(names, KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), |_| {})
    }

    /// Good until the beginning of that day.
    pub fn pair_until(&self, name: &str, (year, month, day): (i32, u8, u8)) -> Pair {
        self.sign(&[name], KeyPair::generate().unwrap(), |params| {
            params.not_after = date_time_ymd(year, month, day);
        })
    }

    /// For a client that is called so.
    pub fn client_pair(&self, common_name: &str) -> Pair {
        self.sign(&[], KeyPair::generate().unwrap(), |params| {
            params.distinguished_name.push(DnType::CommonName, common_name);
        })
    }

    fn sign(
        &self,
        names: &[&str],
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let mut params = params(names);
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Pair { cert, key: key.serialize_der() }
    }

    /// Writes its certificate there.
    pub fn write(&self, path: impl AsRef<Path>) {
        replace(path.as_ref(), &pem("CERTIFICATE", &self.der));
    }
}

impl Pair {
    /// By nobody but itself.
    pub fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let cert = params(names).self_signed(&key).unwrap().der().to_vec();
        Self { cert, key: key.serialize_der() }
    }

    /// Writes both into a directory, as NAME.pem and NAME.key.
    pub fn write(&self, directory: &Path, name: &str) {
        replace(&directory.join(format!("{name}.pem")), &pem("CERTIFICATE", &self.cert));
        replace(&directory.join(format!("{name}.key")), &pem("PRIVATE KEY", &self.key));
    }

    pub fn der(&self) -> &[u8] {
        &self.cert
    }
}

impl TlsClient {
    pub fn trusting(authority: &Authority) -> Self {
        let authority = authority.der.clone();
        Self { authority, pair: None, versions: vec![&TLS12, &TLS13], alpn: Vec::new() }
    }

    pub fn showing(mut self, pair: &Pair) -> Self {
        self.pair = Some(pair.clone());
        self
    }

    /// Speaks nothing newer.
    pub fn old(mut self) -> Self {
        self.versions = vec![&TLS12];
        self
    }

    pub fn offering(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.pair {
            None => builder.with_no_client_auth(),
            Some(Pair { cert, key }) => {
                let key = PrivateKeyDer::try_from(key.clone()).unwrap();
                builder.with_client_auth_cert(vec![cert.clone().into()], key).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    /// What it says with: for a socket that has said something already.
    pub fn connection(&self, name: &str) -> ClientConnection {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        ClientConnection::new(self.config(), name).unwrap()
    }

    /// A connection whose handshake is done.
    pub fn try_connect(&self, address: SocketAddr, name: &str) -> std::io::Result<Socket> {
        Socket::connect(address).secure(self.connection(name).into())
    }

    #[track_caller]
    pub fn connect(&self, address: SocketAddr, name: &str) -> Socket {
        let connected = self.try_connect(address, name);
        connected.unwrap_or_else(|error| panic!("no TLS as {name}: {error}"))
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// At once, as somebody does who knows that the file is read by others.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = base64(der);
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("it is ASCII"))
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3)
            .fold(0, |sum, at| sum << 8 | usize::from(three.get(at).copied().unwrap_or_default()));
        for at in 0..4 {
            let digit = DIGITS[number >> (18 - 6 * at) & 63];
            text.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
