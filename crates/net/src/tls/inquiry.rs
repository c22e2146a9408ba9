//! The question whether a server speaks TLS at all, which a health check asks.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

use super::connecting;

/// Asks whether TLS is spoken. It trusts nobody and tells nobody anything: whatever certificate is
/// shown is accepted, and nothing follows the handshake. Cheap to clone.
#[derive(Clone)]
pub struct TlsInquiry(TlsConnector);

/// A handshake that came to its end.
#[derive(Debug)]
pub struct TlsHandshake<S>(TlsStream<S>);

impl TlsInquiry {
    pub fn new() -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let anybody = Arc::new(Anybody(Arc::clone(&provider)));
        let mut config = connecting::builder(provider, anybody).with_no_client_auth();
        // Every inquiry asks for the whole handshake, as a new client would.
        config.resumption = Resumption::disabled();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// Shakes hands as a client that asks for `name` (SNI, RFC 6066 §3; none for an IP address or
    /// `None`). Dropped, it closes the stream.
    ///
    /// # Errors
    /// When the stream breaks, what comes is not TLS, or `name` is no host name.
    pub async fn ask<S>(&self, stream: S, name: Option<&str>) -> io::Result<TlsHandshake<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match name {
            Some(name) => ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
            // rustls wants some name; an address is never sent.
            None => ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        };
        self.0.connect(name, stream).await.map(TlsHandshake)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsHandshake<S> {
    /// The version that was agreed on.
    pub fn version(&self) -> &'static str {
        match self.0.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS",
        }
    }

    /// Says goodbye and waits until the server has closed: cut at once, it would take the
    /// handshake for a failed one. The caller bounds how long. What comes meanwhile is dropped.
    pub async fn close(mut self) {
        // A server that has closed already is what was wanted.
        let _ = self.0.shutdown().await;
        let mut nothing = [0; 512];
        while self.0.read(&mut nothing).await.is_ok_and(|count| count > 0) {}
    }
}

impl Default for TlsInquiry {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes everybody for whom they say they are.
#[derive(Debug)]
pub(super) struct Anybody(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{ServerConfig, pki_types::PrivateKeyDer},
    };

    use super::*;

    /// A server with a certificate of its own making, for a name nobody asks for.
    fn acceptor() -> TlsAcceptor {
        let made = rcgen::generate_simple_self_signed(["other.example".to_owned()]);
        let made = made.expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.into()], key)
            .expect("they fit");
        TlsAcceptor::from(Arc::new(config))
    }

    /// What the client learned, and which name the server was asked for.
    async fn asked(name: Option<&str>) -> (io::Result<&'static str>, Option<String>) {
        let (near, far) = duplex(16 * 1024);
        let client = async {
            let shaken = TlsInquiry::new().ask(near, name).await?;
            let version = shaken.version();
            shaken.close().await;
            Ok(version)
        };
        let server = async {
            let mut tls = acceptor().accept(far).await.ok()?;
            let name = tls.get_ref().1.server_name().map(str::to_owned);
            assert_eq!(tls.read(&mut [0; 1]).await.ok(), Some(0), "the client says goodbye");
            name
        };
        tokio::join!(client, server)
    }

    #[tokio::test]
    async fn any_certificate_will_do() {
        let (answer, sni) = asked(Some("im.example")).await;
        assert_eq!((answer.ok(), sni.as_deref()), (Some("TLS 1.3"), Some("im.example")));
    }

    #[tokio::test]
    async fn addresses_are_not_asked_for_by_name() {
        for name in [None, Some("10.0.0.1"), Some("::1")] {
            let (answer, sni) = asked(name).await;
            assert!(answer.is_ok() && sni.is_none(), "{name:?}: {answer:?}, {sni:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_tls_is_an_error() {
        let (near, mut far) = duplex(16 * 1024);
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("room");
        assert!(TlsInquiry::new().ask(near, None).await.is_err());
        assert!(asked(Some("no name")).await.0.is_err());
    }
}
