//! The pump: what is left of a connection once both sides speak a protocol of their own. Two ends,
//! and for each direction the bytes the other side would not take yet; while idle, none.
#![forbid(unsafe_code)]

use std::{
    io,
    task::{Context, Poll},
};

use tidegate_net::{End, SIZE, Scratch};
use tidegate_table::Close;

/// After moving so much without waiting, a tunnel lets the others have their turn.
const TURN: usize = 1 << 20;

/// One tunnel. A plain value: everything it knows is here, and a pump can go on from it anywhere.
#[derive(Debug)]
pub struct Pump<C, S> {
    client: C,
    server: S,
    to_server: Direction,
    to_client: Direction,
    first_end: Option<Close>,
}

/// One direction of a tunnel.
#[derive(Debug, Default)]
struct Direction {
    /// What the sink would not take.
    remainder: Vec<u8>,
    moved: u64,
    /// The source has said its last word.
    ended: bool,
    /// And the sink has been told.
    closed: bool,
}

/// What a poll that ended nothing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub to_client: u64,
    pub to_server: u64,
}

impl<C: End, S: End> Pump<C, S> {
    /// A tunnel whose first bytes were read already.
    pub fn new(client: C, server: S, to_server: Vec<u8>, to_client: Vec<u8>) -> Self {
        let first = |remainder| Direction { remainder, ..Direction::default() };
        Self {
            client,
            server,
            to_server: first(to_server),
            to_client: first(to_client),
            first_end: None,
        }
    }

    /// Moves bytes both ways until both sides would wait. Ready, with the side that ended it, when
    /// both have ended or one broke. Cancel safe.
    pub fn poll(&mut self, cx: &mut Context<'_>, scratch: &Scratch) -> Poll<Close> {
        let up = self.to_server.poll(cx, &mut self.client, &mut self.server, scratch);
        if let Poll::Ready(end) = up
            && self.note(end, Close::Client, Close::Server)
        {
            return Poll::Ready(self.cause());
        }
        let down = self.to_client.poll(cx, &mut self.server, &mut self.client, scratch);
        if let Poll::Ready(end) = down
            && self.note(end, Close::Server, Close::Client)
        {
            return Poll::Ready(self.cause());
        }
        if self.to_server.closed && self.to_client.closed {
            return Poll::Ready(self.cause());
        }
        Poll::Pending
    }

    /// Bytes written so far.
    pub fn moved(&self) -> Moved {
        Moved { to_client: self.to_client.moved, to_server: self.to_server.moved }
    }

    /// Whether one side has said its last word.
    pub fn is_half_closed(&self) -> bool {
        self.first_end.is_some()
    }

    /// Notes who ended first; `true` when it is over for both.
    fn note(&mut self, end: Result<(), Broken>, source: Close, sink: Close) -> bool {
        let side = match end {
            Ok(()) | Err(Broken::Source) => source,
            Err(Broken::Sink) => sink,
        };
        self.first_end.get_or_insert(side);
        end.is_err()
    }

    fn cause(&self) -> Close {
        self.first_end.unwrap_or(Close::Error)
    }
}

/// The side of a direction that failed.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Sink,
    Source,
}

impl Direction {
    /// Ready once the source has ended, everything was written and the sink told.
    fn poll<A: End, B: End>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut A,
        sink: &mut B,
        scratch: &Scratch,
    ) -> Poll<Result<(), Broken>> {
        let mut turn = 0;
        while !self.closed {
            if !self.remainder.is_empty() {
                let remainder = std::mem::take(&mut self.remainder);
                let written = self.write(cx, sink, &remainder)?;
                if written == 0 {
                    // Not copied again for a sink that takes nothing.
                    self.remainder = remainder;
                    return Poll::Pending;
                }
                if self.keep(&remainder[written..]) {
                    return Poll::Pending;
                }
            }
            if self.ended {
                return self.close(cx, sink);
            }
            if turn >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut lent = scratch.lend();
            let read = match source.poll_read(cx, &mut lent[..SIZE]) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Source)),
                Poll::Ready(Ok(read)) => read,
            };
            self.ended = read == 0;
            turn += read;
            let written = self.write(cx, sink, &lent[..read])?;
            if self.keep(&lent[written..read]) {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what the sink takes, and answers how much that was.
    fn write<B: End>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut B,
        bytes: &[u8],
    ) -> Result<usize, Broken> {
        let mut at = 0;
        while at < bytes.len() {
            match sink.poll_write(cx, &bytes[at..]) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(Broken::Sink),
                Poll::Ready(Ok(written)) => at += written,
                Poll::Pending => break,
            }
        }
        self.moved += at as u64;
        Ok(at)
    }

    /// Keeps what was not taken; `true` when there is something.
    fn keep(&mut self, rest: &[u8]) -> bool {
        self.remainder = rest.to_vec();
        !rest.is_empty()
    }

    fn close<B: End>(&mut self, cx: &mut Context<'_>, sink: &mut B) -> Poll<Result<(), Broken>> {
        match sink.poll_close_write(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(closed) => {
                self.closed = true;
                let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotConnected;
                // A side that has gone altogether needs not be told; reading from it will tell us.
                Poll::Ready(if closed.as_ref().err().is_none_or(gone) {
                    Ok(())
                } else {
                    Err(Broken::Sink)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tidegate_net::Socket;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    use super::*;

    fn tunnel(
        to_server: &[u8],
        to_client: &[u8],
    ) -> (UnixStream, UnixStream, Pump<Socket, Socket>) {
        let (client, near) = UnixStream::pair().expect("a pair");
        let (server, far) = UnixStream::pair().expect("a pair");
        let pump = Pump::new(
            Socket::Unix(near),
            Socket::Unix(far),
            to_server.to_vec(),
            to_client.to_vec(),
        );
        (client, server, pump)
    }

    async fn run(mut pump: Pump<Socket, Socket>) -> (Close, Moved) {
        let scratch = Scratch::default();
        let cause = poll_fn(|cx| pump.poll(cx, &scratch)).await;
        (cause, pump.moved())
    }

    fn block_on<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime")
            .block_on(test)
    }

    #[test]
    fn early_bytes_go_first_and_a_half_close_is_carried() {
        block_on(async {
            let (mut client, mut server, pump) = tunnel(b"early", b"hello");
            let talk = async {
                client.write_all(b" late").await.expect("it is open");
                client.shutdown().await.expect("it is open");
                let mut heard = String::new();
                server.read_to_string(&mut heard).await.expect("text");
                assert_eq!(heard, "early late");
                server.write_all(b" again").await.expect("still open this way");
                drop(server);
                heard.clear();
                client.read_to_string(&mut heard).await.expect("text");
                assert_eq!(heard, "hello again");
            };
            let ((cause, moved), ()) = tokio::join!(run(pump), talk);
            assert_eq!(cause, Close::Client);
            assert_eq!(moved, Moved { to_client: 11, to_server: 10 });
        });
    }

    #[test]
    fn a_side_that_breaks_ends_it_for_both() {
        block_on(async {
            let (client, mut server, pump) = tunnel(b"", b"");
            let talk = async {
                drop(client);
                // Writing to one who is gone: the pump's own write fails.
                let _ = server.write_all(&[0; 1 << 20]).await;
            };
            let ((cause, _), ()) = tokio::join!(run(pump), talk);
            assert_eq!(cause, Close::Client);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn bytes_arrive_unaltered_however_slowly_they_are_read(
            up in prop::collection::vec(any::<u8>(), 0..600_000),
            down in prop::collection::vec(any::<u8>(), 0..600_000),
            read in 1_usize..70_000,
        ) {
            block_on(async {
                let (client, server, pump) = tunnel(b"", b"");
                let (heard_down, heard_up) = tokio::join!(
                    async { tokio::join!(talk(client, &up, read), run(pump)).0 },
                    talk(server, &down, read),
                );
                assert!(heard_down == down && heard_up == up, "something was lost or altered");
            });
        }
    }

    /// Says `words` and hears everything, `at_once` bytes at a time.
    async fn talk(stream: UnixStream, words: &[u8], at_once: usize) -> Vec<u8> {
        let (mut read, mut write) = stream.into_split();
        let say = async {
            write.write_all(words).await.expect("it is open");
            write.shutdown().await.expect("it is open");
        };
        let hear = async {
            let (mut heard, mut buffer) = (Vec::new(), vec![0; at_once]);
            loop {
                match read.read(&mut buffer).await.expect("it is open") {
                    0 => return heard,
                    n => heard.extend_from_slice(&buffer[..n]),
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(say, hear).1
    }
}
