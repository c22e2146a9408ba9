//! What a connection may begin with before its protocol does. It is read without knowing more, within
//! a bound and a time that begins with the connection; what turns out to belong to the protocol is
//! passed on as it came.

use std::{fmt::Display, future::poll_fn, task::Poll};

use tidegate_net::{End, Peer, Scratch, Socket, Timer};
use tidegate_wire::proxy::{self, Addresses, BadProxy, Source};

use crate::{listener::Listener, worker::Worker};

/// The first bytes of a connection.
#[derive(Debug, Default)]
pub struct Opening(Vec<u8>);

/// Why a connection came to nothing before its protocol began.
#[derive(Debug)]
pub enum Unopened<X> {
    /// The other side left without a word: a balancer that looks whether anybody listens does so.
    Gone,
    /// It left within.
    Cut,
    Refused(X),
    TimedOut,
}

/// Whom a connection is from.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// The client itself, not a proxy on its way.
    pub peer: Peer,
    /// As a PROXY header has them. In a box: most have none, and every connection keeps room for it.
    told: Option<Box<Addresses>>,
}

impl Opening {
    /// Reads until `parse` finds what it looks for in all that came so far, which it must decide
    /// about `limit` bytes at the latest. The time is that of `timer`.
    ///
    /// # Errors
    /// See [`Unopened`].
    pub async fn read<T, X>(
        &mut self,
        socket: &mut Socket,
        scratch: &Scratch,
        timer: &Timer,
        limit: usize,
        parse: impl Fn(&[u8]) -> Result<Option<T>, X>,
    ) -> Result<T, Unopened<X>> {
        loop {
            if let Some(found) = parse(&self.0).map_err(Unopened::Refused)? {
                return Ok(found);
            }
            let room = limit.saturating_sub(self.0.len());
            let read = poll_fn(|cx| {
                let mut lent = scratch.lend();
                match socket.poll_read(cx, &mut lent[..room]) {
                    Poll::Ready(read) => Poll::Ready(Some(
                        read.inspect(|read| self.0.extend_from_slice(&lent[..*read])),
                    )),
                    Poll::Pending => timer.poll_expired(cx).map(|()| None),
                }
            });
            match read.await {
                Some(Ok(read)) if read > 0 => (),
                Some(_) if self.0.is_empty() => return Err(Unopened::Gone),
                Some(_) => return Err(Unopened::Cut),
                None => return Err(Unopened::TimedOut),
            }
        }
    }

    /// What was not taken yet.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl<X: Display> Unopened<X> {
    /// The status and the reason to note down; `None` when nothing was asked for.
    pub fn refusal(&self) -> Option<(u16, String)> {
        match self {
            Self::Gone => None,
            Self::Cut => Some((400, "the connection ends within its beginning".into())),
            Self::Refused(reason) => Some((400, reason.to_string())),
            Self::TimedOut => {
                Some((408, "the beginning of the connection did not come in time".into()))
            }
        }
    }
}

impl Introduction {
    /// Of whoever is at the other end.
    pub fn of(peer: Peer) -> Self {
        Self { peer, told: None }
    }

    /// The ends of the client's connection, for a server that wants to know them; `None` when it has
    /// no addresses.
    pub fn addresses(&self, socket: &Socket) -> Option<Addresses> {
        let own = || match self.peer {
            Peer::Ip(client) => Some(Addresses { client, server: socket.local_ip()? }),
            Peer::Unix(_) => None,
        };
        self.told.as_deref().copied().or_else(own)
    }
}

/// Finds out whom a connection is from: where the listener accepts PROXY headers, whoever is trusted
/// has to send one, and from anybody else it would be payload. Sets the timer to the listener's time
/// for a header, which holds for all that the connection begins with.
///
/// # Errors
/// See [`Unopened`].
pub async fn introduce(
    worker: &Worker,
    listener: &Listener,
    socket: &mut Socket,
    peer: Peer,
    timer: &Timer,
    opening: &mut Opening,
) -> Result<Introduction, Unopened<BadProxy>> {
    let stranger = Introduction::of(peer);
    timer.set(listener.patience(listener.settings.timeouts.header));
    if !listener.settings.awaits_proxy(&peer) {
        return Ok(stranger);
    }
    timer.set_idle(Some(listener.group()));
    let read = opening.read(socket, &worker.scratch, timer, proxy::MAX, proxy::parse).await;
    timer.set_idle(None);
    let (source, length) = read?;
    opening.0.drain(..length);
    Ok(match source {
        Source::Local => stranger,
        Source::Proxied(told) => {
            Introduction { peer: Peer::Ip(told.client), told: Some(Box::new(told)) }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_net::Timers;
    use tokio::{io::AsyncWriteExt, net::UnixStream};

    use super::*;

    /// Looks for "ok" behind any number of "x".
    fn parse(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        match bytes.iter().position(|b| *b != b'x') {
            None => Ok(None),
            Some(at) if bytes[at..] == *b"o" => Ok(None),
            Some(at) if bytes[at..].starts_with(b"ok") => Ok(Some(at + 2)),
            Some(_) => Err("not ok"),
        }
    }

    async fn opened(
        pieces: &[&'static [u8]],
        closes: bool,
    ) -> (Result<usize, Unopened<&'static str>>, Vec<u8>) {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let (mut socket, scratch, timers) =
            (Socket::Unix(near), Scratch::default(), Timers::default());
        let timer = timers.timer();
        timer.set(Duration::from_millis(200));
        let mut opening = Opening::default();
        let writing = async {
            for piece in pieces {
                far.write_all(piece).await.expect("room");
                tokio::task::yield_now().await;
            }
            if closes {
                drop(far);
            } else {
                std::future::pending::<()>().await;
            }
            std::future::pending::<()>().await;
        };
        let read = tokio::select! {
            read = opening.read(&mut socket, &scratch, &timer, 8, parse) => read,
            () = writing => unreachable!("it never ends"),
            () = timers.drive() => unreachable!("it never ends"),
        };
        (read, opening.into_bytes())
    }

    #[tokio::test]
    async fn what_comes_in_pieces_is_found_and_the_rest_is_kept() {
        let (found, rest) = opened(&[b"x", b"xo", b"kre", b"st"], false).await;
        assert!(matches!(found, Ok(4)), "{found:?}");
        assert!(rest.starts_with(b"xxokre"));
    }

    #[tokio::test]
    async fn every_way_to_come_to_nothing_is_told_apart() {
        let unopened = async |pieces, closes| opened(pieces, closes).await.0.expect_err("nothing");
        assert!(matches!(unopened(&[], true).await, Unopened::Gone));
        assert!(matches!(unopened(&[b"xx"], true).await, Unopened::Cut));
        assert!(matches!(unopened(&[b"xno"], false).await, Unopened::Refused("not ok")));
        assert!(matches!(unopened(&[b"xxxxxxxxxxxx"], false).await, Unopened::Cut));
        let late = unopened(&[b"x"], false).await;
        assert_eq!(late.refusal().map(|(status, _)| status), Some(408));
    }
}
