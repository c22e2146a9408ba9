//! One probe: connect, ask in the check's own language, judge what comes. Whatever a server does,
//! a probe ends within the check's timeout and holds little.

mod dial;
mod grpc;
mod http;
#[cfg(test)]
mod kit;
mod tcp;
mod tls;
mod websocket;

use std::{cell::OnceCell, io, time::Duration};

use tidegate_model::{Address, Check, address::Place, upstream::CheckKind};
use tidegate_net::{TlsInquiry, is_local_error};
use tidegate_table::{Server, Target};
use tokio::time::{Instant, timeout_at};

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
        let talk = self.talk(socket?, subject, deadline);
        timeout_at(deadline, talk).await.unwrap_or_else(|_| late("connected, but no answer"))
    }

    async fn talk(&self, socket: dial::Socket, subject: &Subject<'_>, deadline: Instant) -> Found {
        match subject.check.kind {
            CheckKind::Grpc => Box::pin(grpc::ask(dial::stream(socket), subject, deadline)).await,
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
    pub(crate) fn new(server: &'a Server, check: &'a Check) -> Self {
        let mut target = server.target.clone();
        if let Target::Ip(ip) = &mut target
            && check.port != 0
        {
            ip.set_port(check.port);
        }
        Self { check, address: &server.spec.address, target }
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
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_no_fault_of_the_server() {
        let fault = |code| Fault::io("cannot connect", &io::Error::from_raw_os_error(code));
        // EMFILE, EADDRNOTAVAIL; ECONNREFUSED, EHOSTUNREACH.
        assert!([24, 99].into_iter().all(|code| matches!(fault(code), Fault::Local(_))));
        assert!([111, 113].into_iter().all(|code| matches!(fault(code), Fault::Server(_))));
    }
}
