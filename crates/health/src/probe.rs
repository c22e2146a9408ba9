//! One probe: connect, ask in the check's own language, judge what comes. Whatever a server does,
//! a probe ends within the check's timeout and holds little.

mod dial;
mod exchange;
mod grpc;
mod http;
mod http2;
#[cfg(test)]
mod kit;
mod secure;
mod tcp;
mod tls;
mod websocket;

use std::{cell::OnceCell, io, time::Duration};

use tidegate_model::{
    Address, Check,
    address::Place,
    upstream::{CheckKind, Protocol, SendProxy},
};
use tidegate_net::{TlsInquiry, is_local_error};
use tidegate_table::{Pool, Server, Target};
use tidegate_wire::proxy;
use tokio::time::{Instant, timeout_at};

use secure::Secure;

/// What probes that name themselves say they are.
const AGENT: &str = concat!("tidegate-check/", env!("CARGO_PKG_VERSION"));
/// How long a conversation may take to end politely once its verdict stands.
const FAREWELL: Duration = Duration::from_millis(100);

/// Why a probe did not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// This process could not ask; nothing is known of the server.
    #[error("{0}")]
    Local(String),
    #[error("{0}")]
    Server(String),
}

/// What was seen, in a line, or why the probe did not pass.
pub(crate) type Found = Result<String, Fault>;

/// Asks servers how they are.
#[derive(Default)]
pub(crate) struct Inquirer {
    /// Made when the first check needs it.
    tls: OnceCell<TlsInquiry>,
}

/// Who is asked, and what.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) check: &'a Check,
    /// As typed.
    address: &'a Address,
    target: Target,
    /// What it wants to be told before anything else.
    introduction: Option<proxy::Header>,
    /// How the conversation is to be made secure.
    secure: Option<Secure<'a>>,
    /// Whether it is asked in HTTP/2, where it might be HTTP/1.
    http2: bool,
}

impl Inquirer {
    /// Probes once. Cancel safe: dropped, it closes its connection.
    ///
    /// # Errors
    /// When the server does not pass, or could not be asked.
    pub(crate) async fn ask(&self, subject: &Subject<'_>) -> Found {
        let deadline = Instant::now() + subject.check.timeout.as_duration();
        let late = |what| Err(Fault::Server(format!("{what} within {}", subject.check.timeout)));
        let Ok(socket) = timeout_at(deadline, dial::dial(&subject.target)).await else {
            return late("no connection");
        };
        let mut socket = socket?;
        let talk = async {
            if let Some(header) = &subject.introduction {
                dial::greet(&mut socket, header.as_bytes()).await?;
            }
            self.talk(socket, subject, deadline).await
        };
        timeout_at(deadline, talk).await.unwrap_or_else(|_| late("connected, but no answer"))
    }

    async fn talk(
        &self,
        mut socket: dial::Socket,
        subject: &Subject<'_>,
        deadline: Instant,
    ) -> Found {
        if let Some(secure) = &subject.secure {
            socket = Box::pin(secure.shake(socket)).await?;
        }
        match subject.check.kind {
            CheckKind::Grpc => Box::pin(grpc::ask(dial::stream(socket), subject, deadline)).await,
            CheckKind::Http if subject.http2 => {
                Box::pin(http2::ask(dial::stream(socket), subject, deadline)).await
            }
            CheckKind::Http => http::ask(dial::stream(socket), subject).await,
            // A check that is off is none, and never gets here.
            CheckKind::Off | CheckKind::Tcp => tcp::peek(&socket),
            CheckKind::Tls => {
                let tls = self.tls.get_or_init(TlsInquiry::new);
                Box::pin(tls::ask(tls, dial::stream(socket), subject, deadline)).await
            }
            CheckKind::Websocket => {
                Box::pin(websocket::ask(dial::stream(socket), subject, deadline)).await
            }
        }
    }
}

impl<'a> Subject<'a> {
    /// With `send_proxy` a server expects a header in front of every connection to its own port; this
    /// is nobody's.
    pub(crate) fn new(server: &'a Server, check: &'a Check, send_proxy: SendProxy) -> Self {
        let mut target = server.target.clone();
        if let Target::Ip(ip) = &mut target
            && check.port != 0
        {
            ip.set_port(check.port);
        }
        let version = match send_proxy {
            SendProxy::Off => None,
            SendProxy::V1 => Some(proxy::Version::V1),
            SendProxy::V2 => Some(proxy::Version::V2),
        };
        let version = version.filter(|_| check.port == 0);
        let introduction = version.map(|version| proxy::write(version, None));
        Self {
            check,
            address: &server.spec.address,
            target,
            introduction,
            secure: None,
            http2: false,
        }
    }

    /// In what its pool speaks, TLS and HTTP/2: what asks for an answer does, on the server's own port.
    pub(crate) fn over(mut self, pool: &'a Pool, server: &'a Server) -> Self {
        use CheckKind::{Grpc, Http, Websocket};
        let asks = matches!(self.check.kind, Grpc | Http | Websocket) && self.check.port == 0;
        let is_http2 = pool.upstream.protocol == Protocol::Http2;
        self.http2 = asks && is_http2 && self.check.kind == Http;
        let http2 = self.http2 || self.check.kind == Grpc;
        let secure = |tls| Secure::new(pool, tls, server, http2);
        self.secure = pool.upstream.tls.as_ref().filter(|_| asks).map(secure);
        self
    }

    /// As URIs have it.
    fn scheme(&self) -> &'static str {
        if self.secure.is_some() { "https" } else { "http" }
    }

    /// What the server is called in the question: what the check says, else its address.
    fn authority(&self) -> &str {
        match (self.check.headers.get("host"), self.address.place()) {
            (Some(host), _) => host,
            (None, Place::Unix(_)) => "localhost",
            (None, _) => self.address.as_str(),
        }
    }

    /// The host name to be asked for in a TLS handshake, if there is one.
    fn tls_name(&self) -> Option<&str> {
        let name = match (self.check.headers.get("host"), self.address.place()) {
            (Some(host), _) if host.starts_with('[') => return None,
            (Some(host), _) => host.split(':').next()?,
            (None, Place::Host(name, _)) => name,
            (None, _) => return None,
        };
        // Names in SNI go without the dot of the root (RFC 6066 §3).
        Some(name.strip_suffix('.').unwrap_or(name))
    }
}

impl Fault {
    /// `what` came to nothing because of an error.
    fn io(what: &str, error: &io::Error) -> Self {
        let words = format!("{what}: {error}");
        if is_local_error(error) { Self::Local(words) } else { Self::Server(words) }
    }

    /// The check asks for what cannot be said.
    fn check(what: impl std::fmt::Display) -> Self {
        Self::Local(format!("the check asks for what cannot be said: {what}"))
    }

    fn server(what: impl Into<String>) -> Self {
        Self::Server(what.into())
    }
}

/// Lets a conversation end politely, if that does not take long: its verdict stands already.
async fn farewell(deadline: Instant, goodbye: impl Future<Output = ()>) {
    let _ = timeout_at(deadline.min(Instant::now() + FAREWELL), goodbye).await;
}

impl std::fmt::Debug for Inquirer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inquirer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use kit::{Asking, run, serve};

    /// A server that wants to know whom a connection is for hears that it is for nobody.
    #[test]
    fn a_header_comes_before_the_question() {
        run(async {
            let address = serve(|mut stream| async move {
                let mut begun = [0; 18];
                let _ = stream.read_exact(&mut begun).await;
                let ok = begun == *b"PROXY UNKNOWN\r\nGET";
                let status = if ok { "200 Fine" } else { "400 Bad" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
            let mut asking = Asking::new(CheckKind::Http, &address.await);
            assert!(asking.ask().await.is_err(), "nobody was told");
            asking.send_proxy = SendProxy::V1;
            assert!(asking.ask().await.is_ok());
        });
    }

    #[test]
    fn what_this_machine_lacks_is_no_fault_of_the_server() {
        let fault = |code| Fault::io("cannot connect", &io::Error::from_raw_os_error(code));
        // EMFILE, EADDRNOTAVAIL; ECONNREFUSED, EHOSTUNREACH.
        assert!([24, 99].into_iter().all(|code| matches!(fault(code), Fault::Local(_))));
        assert!([111, 113].into_iter().all(|code| matches!(fault(code), Fault::Server(_))));
    }
}
