//! TLS with a client: from its first byte to plain text, in the time that the listener has for a
//! header, and in turns with all the others. What became of it is counted and, unless the client just
//! left, said in the log.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use tidegate_net::{Peer, Socket, Timer, TlsError, TlsFacts, TlsServer};

use crate::{
    listener::Listener,
    opening::{Opening, Unopened},
    worker::{Line, Worker},
};

/// What is read before the handshake begins, at most; the rest of a ClientHello follows within.
const MAX_FIRST: usize = 16 * 1024;

/// What is known of a connection by its TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// As nginx writes it: `TLSv1.3`.
    pub version: &'static str,
    pub cipher: &'static str,
    /// That the client asked for.
    pub server_name: Option<Box<str>>,
    /// Of its certificate, which was verified.
    pub client_subject: Option<Box<str>>,
}

/// How a handshake ended, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    Full,
    /// By a session of before.
    Resumed,
    /// The client left before it was done.
    Gone,
    TimedOut,
    Failed,
}

/// Why there is no plain text.
#[derive(Debug)]
pub enum Unsecured {
    /// What came is no TLS but the beginning of a request. Nothing was said.
    Plain(Socket, Vec<u8>),
    /// It is over: there is nobody to say anything to.
    Over,
}

impl Handshake {
    pub const ALL: [Self; 5] =
        [Self::Full, Self::Resumed, Self::Gone, Self::TimedOut, Self::Failed];

    /// The label `outcome` of its metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Gone => "gone",
            Self::TimedOut => "timeout",
            Self::Failed => "failed",
        }
    }
}

impl From<&TlsFacts> for Encryption {
    fn from(facts: &TlsFacts) -> Self {
        Self {
            version: facts.version,
            cipher: facts.cipher,
            server_name: facts.server_name.clone(),
            client_subject: facts.client_subject.clone(),
        }
    }
}

/// A connection on its way to plain text.
#[derive(Debug)]
pub struct Securing<'s> {
    pub worker: &'s Worker,
    pub listener: &'s Listener,
    /// It was set as the connection began.
    pub timer: &'s Timer,
    pub peer: Peer,
}

impl Securing<'_> {
    /// Shakes hands. `opening` is what came already.
    ///
    /// # Errors
    /// See [`Unsecured`].
    pub async fn run(
        &self,
        server: &TlsServer,
        mut socket: Socket,
        mut opening: Opening,
    ) -> Result<(Socket, Arc<Encryption>), Unsecured> {
        if let Some(over) = self.wait(&mut socket, &mut opening).await {
            return Err(over);
        }
        let ahead = opening.into_bytes();
        // Records of TLS begin with 20 to 23, methods with a letter.
        if ahead.first().is_some_and(u8::is_ascii_uppercase) {
            self.count(Handshake::Failed);
            return Err(Unsecured::Plain(socket, ahead));
        }
        let mut handshake = pin!(self.worker.in_turn(socket.accept_tls(server, ahead)));
        let shaken = poll_fn(|cx| match handshake.as_mut().poll(cx) {
            Poll::Ready(shaken) => Poll::Ready(Some(shaken)),
            Poll::Pending => self.timer.poll_expired(cx).map(|()| None),
        });
        match shaken.await {
            Some(Ok(socket)) => self.done(socket),
            Some(Err(TlsError::Gone | TlsError::Io(_))) => Err(self.count(Handshake::Gone)),
            Some(Err(error @ TlsError::Failed(_))) => {
                Err(self.tell(Handshake::Failed, &error.to_string()))
            }
            None => Err(self.tell(Handshake::TimedOut, "it did not come to its end in time")),
        }
    }

    /// Waits for the first byte, without a buffer.
    async fn wait(&self, socket: &mut Socket, opening: &mut Opening) -> Option<Unsecured> {
        let first = |bytes: &[u8]| Ok::<_, std::convert::Infallible>(bytes.first().copied());
        let scratch = &self.worker.scratch;
        self.timer.set_idle(Some(self.listener.group()));
        let read = opening.read(socket, scratch, self.timer, MAX_FIRST, first).await;
        self.timer.set_idle(None);
        match read {
            Ok(_) => None,
            Err(Unopened::TimedOut) => Some(self.tell(Handshake::TimedOut, "it did not begin")),
            Err(_) => Some(self.count(Handshake::Gone)),
        }
    }

    fn done(&self, socket: Socket) -> Result<(Socket, Arc<Encryption>), Unsecured> {
        let Some(facts) = socket.tls() else {
            return Err(self.tell(Handshake::Failed, "it has come to nothing"));
        };
        let encryption = Arc::new(Encryption::from(facts));
        self.count(if facts.resumed { Handshake::Resumed } else { Handshake::Full });
        Ok((socket, encryption))
    }

    fn count(&self, outcome: Handshake) -> Unsecured {
        let cells = self.listener.live.cells.of(self.worker.index);
        cells.handshakes[outcome as usize].add(1);
        Unsecured::Over
    }

    /// Says so in the log, too.
    fn tell(&self, outcome: Handshake, reason: &str) -> Unsecured {
        if self.worker.may_log(Line::Refusal) {
            let listener = &*self.listener.live.name;
            tracing::info!(listener, peer = %self.peer, outcome = outcome.label(), reason, "TLS handshake not completed");
        }
        self.count(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_at_their_places() {
        for (place, outcome) in Handshake::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place, "{}", outcome.label());
        }
    }
}
