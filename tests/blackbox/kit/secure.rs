//! Origins behind TLS, by tokio-rustls: a script is played once a handshake has come to its end, over
//! plaintext, and what was agreed on is written down.

use std::{
    net::TcpListener,
    ops::Deref,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use tokio::io::{AsyncReadExt, copy_bidirectional};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        HandshakeKind, RootCertStore, ServerConfig, ServerConnection, crypto::aws_lc_rs,
        pki_types::PrivateKeyDer, server::WebPkiClientVerifier,
    },
};

use super::{Authority, Conn, Origin, Pair, Socket, eventually};

/// How an origin shakes hands.
pub struct Guard<'g> {
    pair: &'g Pair,
    /// It wants a certificate by this one from whoever calls.
    asks: Option<&'g Authority>,
    alpn: &'g [&'g str],
    /// A PROXY header of version 1 comes before the handshake.
    introduced: bool,
}

/// What a handshake came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shaken {
    /// What the client asked for.
    pub name: Option<String>,
    pub resumed: bool,
    /// It has shown a certificate.
    pub known: bool,
    /// The line that came before.
    pub introduction: String,
}

/// An origin behind TLS.
pub struct Guarded {
    origin: Origin,
    book: Arc<Mutex<Vec<Result<Shaken, String>>>>,
}

impl Pair {
    pub fn guard(&self) -> Guard<'_> {
        Guard { pair: self, asks: None, alpn: &[], introduced: false }
    }
}

impl<'g> Guard<'g> {
    pub fn asking_for(self, authority: &'g Authority) -> Self {
        Self { asks: Some(authority), ..self }
    }

    pub fn speaking(self, alpn: &'g [&'g str]) -> Self {
        Self { alpn, ..self }
    }

    pub fn introduced(self) -> Self {
        Self { introduced: true, ..self }
    }

    /// An origin that plays `script` behind it.
    pub fn origin(self, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Guarded {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (place, book) = (listener.local_addr().unwrap(), Arc::default());
        let (give, taken) = mpsc::channel();
        let (acceptor, introduced) = (TlsAcceptor::from(self.config()), self.introduced);
        let shared = Arc::clone(&book);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve(listener, acceptor, introduced, shared, give));
        });
        let taken = Mutex::new(taken);
        let take = move || {
            let next = taken.lock().unwrap().recv();
            next.map(|stream: UnixStream| Socket::over(stream)).map_err(std::io::Error::other)
        };
        Guarded { origin: Origin::taking(place, take, script), book }
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match self.asks {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let Pair { cert, key } = self.pair.clone();
        let key = PrivateKeyDer::try_from(key).unwrap();
        let mut config = builder.with_single_cert(vec![cert.into()], key).unwrap();
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Guarded {
    /// The handshakes that came to their end, in order.
    pub fn shaken(&self) -> Vec<Shaken> {
        self.book.lock().unwrap().iter().filter_map(|one| one.as_ref().ok().cloned()).collect()
    }

    pub fn last(&self) -> Shaken {
        self.shaken().pop().expect("somebody shook hands")
    }

    /// How many handshakes failed, once there are some.
    #[track_caller]
    pub fn wait_for_failures(&self, count: usize) {
        let failed = || self.book.lock().unwrap().iter().filter(|one| one.is_err()).count();
        eventually("handshakes fail", || failed() >= count);
    }
}

impl Deref for Guarded {
    type Target = Origin;

    fn deref(&self) -> &Origin {
        &self.origin
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    introduced: bool,
    book: Arc<Mutex<Vec<Result<Shaken, String>>>>,
    give: mpsc::Sender<UnixStream>,
) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((mut stream, _)) = listener.accept().await {
        let (acceptor, book, give) = (acceptor.clone(), Arc::clone(&book), give.clone());
        tokio::spawn(async move {
            let mut introduction = String::new();
            while introduced && !introduction.ends_with("\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                introduction.push(char::from(byte));
            }
            let shaken = acceptor.accept(stream).await;
            let (mut secure, facts) = match shaken {
                Ok(secure) => {
                    let facts = facts(secure.get_ref().1, introduction);
                    (secure, facts)
                }
                Err(error) => return book.lock().unwrap().push(Err(error.to_string())),
            };
            book.lock().unwrap().push(Ok(facts));
            let (near, far) = UnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            let mut near = tokio::net::UnixStream::from_std(near).unwrap();
            // The origin may be gone.
            if give.send(far).is_ok() {
                let _ = copy_bidirectional(&mut secure, &mut near).await;
            }
        });
    }
}

fn facts(connection: &ServerConnection, introduction: String) -> Shaken {
    Shaken {
        name: connection.server_name().map(str::to_owned),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        known: connection.peer_certificates().is_some(),
        introduction,
    }
}
