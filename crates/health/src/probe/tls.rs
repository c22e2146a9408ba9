//! `tls`: a handshake comes to its end. Whose certificate is shown does not matter.

use tidegate_net::TlsInquiry;
use tokio::time::Instant;

use super::{Fault, Found, Subject, dial::Stream, farewell};

pub(super) async fn ask(
    inquiry: &TlsInquiry,
    stream: Stream,
    subject: &Subject<'_>,
    deadline: Instant,
) -> Found {
    let shaken = inquiry.ask(stream, subject.tls_name()).await;
    let shaken = shaken.map_err(|error| Fault::io("no TLS handshake", &error))?;
    let seen = shaken.version().to_owned();
    farewell(deadline, shaken.close()).await;
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_model::upstream::CheckKind;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
    };

    use crate::probe::kit::{Asking, SOON, run, serve};

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

    #[test]
    fn a_handshake_passes_whatever_the_certificate() {
        run(async {
            let acceptor = acceptor();
            let address = serve(move |stream| {
                let acceptor = acceptor.clone();
                async move {
                    let mut tls = acceptor.accept(stream).await.expect("a handshake");
                    assert_eq!(tls.get_ref().1.server_name(), Some("im.example"));
                    assert_eq!(tls.read(&mut [0; 1]).await.expect("a goodbye"), 0);
                }
            })
            .await;
            let mut asking = Asking::new(CheckKind::Tls, &address);
            asking.check.headers.insert("host".into(), "im.example:443".into());
            assert_eq!(asking.ask().await.expect("it passes"), "TLS 1.3");
        });
    }

    #[test]
    fn a_plain_server_and_a_silent_one_do_not_pass() {
        run(async {
            let plain = serve(|mut stream| async move {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            });
            assert!(Asking::new(CheckKind::Tls, &plain.await).ask().await.is_err());
            let silent = serve(|stream| async move {
                std::future::pending::<()>().await;
                drop(stream);
            });
            let mut asking = Asking::new(CheckKind::Tls, &silent.await);
            asking.check.timeout = SOON;
            assert!(asking.ask().await.is_err());
        });
    }

    #[test]
    fn names_are_those_of_hosts() {
        let name = |address: &str, host: Option<&str>| {
            let mut asking = Asking::new(CheckKind::Tls, address);
            asking.check.headers.extend(host.map(|host| ("host".to_owned(), host.to_owned())));
            asking.subject().tls_name().map(str::to_owned)
        };
        assert_eq!(name("im.example.:443", None).as_deref(), Some("im.example"));
        assert_eq!(name("10.0.0.1:443", Some("a.example")).as_deref(), Some("a.example"));
        assert_eq!(name("10.0.0.1:443", Some("[::1]:443")), None);
        assert_eq!(name("10.0.0.1:443", None), None);
    }
}
