mod closes;
mod moments;

use std::future::poll_fn;

use proptest::prelude::*;
use tidegate_model::{Name, upstream::CloseCode};
use tidegate_net::{Socket, Timers};
use tidegate_table::ServerState;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::*;
use crate::{Asked, Entry, Register, Tally};

/// A tunnel between two sockets, and what lies beyond them.
struct Bench {
    client: UnixStream,
    server: UnixStream,
    pump: Pump<Socket, Socket>,
    card: Arc<Card>,
}

fn bench(kind: Kind, to_server: &[u8], to_client: &[u8]) -> Bench {
    let (client, near) = UnixStream::pair().expect("a pair");
    let (server, far) = UnixStream::pair().expect("a pair");
    let start = Start {
        to_server: to_server.to_vec(),
        to_client: to_client.to_vec(),
        head: 0,
        idle_timeout: Duration::from_secs(60),
        ping_interval: Duration::ZERO,
    };
    let pump = Pump::new(kind, Socket::Unix(near), Socket::Unix(far), start);
    Bench { client, server, pump, card: card(kind) }
}

fn card(kind: Kind) -> Arc<Card> {
    let pool = Name::new("p").expect("a name");
    let server = Arc::new(ServerState::new(&pool, "10.0.0.1:80", 0, 1));
    let (listener, timer) = ("edge".into(), Timers::default().timer().key());
    let entry = Entry { kind, server, listener, client: None, now: 0, timer };
    Register::new(1).enter(0, entry).0
}

fn ask(how: How) -> (Arc<Ask>, Arc<Tally>) {
    let tally = Arc::<Tally>::default();
    let ask = Ask {
        why: Why::Drain(7),
        how,
        code: CloseCode::SERVICE_RESTART,
        reason: "moving".into(),
        tally: Arc::clone(&tally),
    };
    (Arc::new(ask), tally)
}

/// Runs it to its end. Nobody wakes it when it is asked: it looks again and again. The time it may
/// wait is over at once when both sides wait, so tests that need it take none.
async fn run(pump: &mut Pump<Socket, Socket>, card: &Card) -> Close {
    let scratch = Scratch::default();
    loop {
        let polled = poll_fn(|cx| {
            if card.asked() == Asked::Waiting {
                cx.waker().wake_by_ref();
            }
            Poll::Ready(pump.poll(cx, &scratch, card))
        });
        if let Poll::Ready(cause) = polled.await {
            return cause;
        }
        tokio::task::yield_now().await;
    }
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime")
        .block_on(test)
}

fn settles(account: Account) {
    let Account { received, sent, injected, swallowed, discarded } = account;
    assert_eq!(received + injected, sent + swallowed + discarded, "{account:?}");
}

/// A frame, masked with zeros by a client.
fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![opcode];
    match payload.len() {
        0..=125 => bytes.push(mask | payload.len() as u8),
        126..=0xffff => {
            bytes.push(mask | 126);
            bytes.extend((payload.len() as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend([0; 4]);
    }
    bytes.extend(payload);
    bytes
}

const GOODBYE: &[u8] = b"\x88\x08\x03\xf4moving";

#[test]
fn early_bytes_go_first_and_a_half_close_is_carried() {
    block_on(async {
        let Bench { mut client, mut server, mut pump, card } = bench(Kind::Tcp, b"early", b"hello");
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
        let (cause, ()) = tokio::join!(run(&mut pump, &card), talk);
        assert_eq!(cause, Close::Client);
        assert_eq!((pump.moved(), card.to_client(), card.to_server()), ([11, 10], 11, 10));
        settles(pump.account());
    });
}

#[test]
fn a_side_that_breaks_ends_it_for_both() {
    block_on(async {
        let Bench { client, mut server, mut pump, card } = bench(Kind::Tcp, b"", b"");
        let talk = async {
            drop(client);
            // Writing to one who is gone: the pump's own write fails.
            let _ = server.write_all(&[0; 1 << 20]).await;
            std::future::pending::<()>().await;
        };
        let cause = tokio::select! {
            cause = run(&mut pump, &card) => cause,
            () = talk => Close::ErrorInternal,
        };
        assert_eq!(cause, Close::Client, "it had said its last word first");
        settles(pump.account());
    });
}

#[test]
fn without_frames_both_get_what_was_said_and_then_fin() {
    block_on(async {
        let (mut client, mut server, mut pump, card) = {
            let Bench { client, server, pump, card } = bench(Kind::Tcp, b"up", b"down");
            (client, server, pump, card)
        };
        let (ask, tally) = ask(How::WhenQuiet);
        card.ask(ask);
        let talk = async {
            let mut heard = String::new();
            client.read_to_string(&mut heard).await.expect("text");
            assert_eq!(heard, "down");
            client.write_all(b" late").await.expect("it is still heard");
            drop(client);
            heard.clear();
            server.read_to_string(&mut heard).await.expect("text");
            assert_eq!(heard, "up late");
            drop(server);
        };
        let (cause, ()) = tokio::join!(run(&mut pump, &card), talk);
        assert_eq!((cause, tally.closed(), tally.cut()), (Close::Drain, 1, 0));
        settles(pump.account());
    });
}

#[test]
fn what_is_within_a_frame_is_passed_over() {
    block_on(async {
        let Bench { client, server, mut pump, card } =
            bench(Kind::WebSocket, b"", &frame(0x82, b"12345", false)[..4]);
        let (ask, tally) = ask(How::IfBetweenFrames);
        card.ask(ask);
        let scratch = Scratch::default();
        let polled = poll_fn(|cx| Poll::Ready(pump.poll(cx, &scratch, &card))).await;
        assert!(polled.is_pending() && card.asked() == Asked::Nothing && tally.closed() == 0);
        assert_eq!(pump.patience().1, Duration::from_secs(60), "it is as it was");
        drop((client, server));
    });
}

#[test]
fn a_cut_says_nothing() {
    block_on(async {
        let Bench { mut client, mut server, mut pump, card } =
            bench(Kind::WebSocket, b"", &frame(0x82, b"12345", false)[..4]);
        let (ask, tally) = ask(How::Cut);
        card.ask(ask);
        let cause = run(&mut pump, &card).await;
        settles(pump.account());
        drop(pump);
        let (mut down, mut up) = (Vec::new(), Vec::new());
        client.read_to_end(&mut down).await.expect("FIN");
        server.read_to_end(&mut up).await.expect("FIN");
        assert_eq!((cause, tally.cut(), tally.closed()), (Close::Drain, 1, 0));
        assert_eq!((down.len(), up.len()), (4, 0));
    });
}

#[test]
fn a_client_that_does_not_answer_is_given_up() {
    block_on(async {
        let Bench { mut client, mut server, mut pump, card } = bench(Kind::WebSocket, b"", b"");
        let (ask, tally) = ask(How::WhenQuiet);
        card.ask(ask);
        let scratch = Scratch::default();
        let mut poll = async || poll_fn(|cx| Poll::Ready(pump.poll(cx, &scratch, &card))).await;
        assert!(poll().await.is_pending());
        let mut heard = [0; GOODBYE.len()];
        client.read_exact(&mut heard).await.expect("a Close");
        assert_eq!((&heard[..], tally.closed()), (GOODBYE, 1));
        assert!(pump.expired(&card).is_pending(), "now the server is told");
        let polled = poll_fn(|cx| Poll::Ready(pump.poll(cx, &scratch, &card))).await;
        assert!(polled.is_pending());
        let mut told = [0; 14];
        server.read_exact(&mut told).await.expect("a Close");
        assert_eq!(told[..2], [0x88, 0x88]);
        assert_eq!(pump.expired(&card), Poll::Ready(Close::Drain));
        settles(pump.account());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn bytes_arrive_unaltered_however_slowly_they_are_read(
        up in prop::collection::vec(any::<u8>(), 0..600_000),
        down in prop::collection::vec(any::<u8>(), 0..600_000),
        read in 1_usize..70_000,
        kind in prop::sample::select(vec![Kind::Tcp, Kind::WebSocket]),
    ) {
        block_on(async {
            let Bench { client, server, mut pump, card } = bench(kind, b"", b"");
            let (heard_down, heard_up) = tokio::join!(
                async { tokio::join!(talk(client, &up, read), run(&mut pump, &card)).0 },
                talk(server, &down, read),
            );
            assert!(heard_down == down && heard_up == up, "something was lost or altered");
            settles(pump.account());
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

/// A connected pair of TCP sockets.
async fn tcp() -> (tokio::net::TcpStream, tokio::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
    (near.expect("a connection"), far.expect("a connection").0)
}

#[test]
fn bulk_between_plain_sockets_arrives_unaltered() {
    block_on(async {
        let ((mut client, near), (mut server, far)) = (tcp().await, tcp().await);
        let Bench { card, .. } = bench(Kind::Tcp, b"", b"");
        let start = Start {
            to_server: Vec::new(),
            to_client: Vec::new(),
            head: 0,
            idle_timeout: Duration::from_secs(60),
            ping_interval: Duration::ZERO,
        };
        let mut pump = Pump::new(Kind::Tcp, Socket::Tcp(near), Socket::Tcp(far), start);
        let bulk: Vec<u8> = (0..8 << 20_u32).map(|at| (at ^ at >> 9) as u8).collect();
        let sent = bulk.clone();
        let talk = async {
            let send = async {
                server.write_all(&sent).await.expect("it is open");
                server.write_all(b"and a little more").await.expect("it is open");
                server.shutdown().await.expect("it is open");
            };
            let hear = async {
                let mut heard = Vec::new();
                client.read_to_end(&mut heard).await.expect("bytes");
                client.shutdown().await.expect("it is open");
                heard
            };
            tokio::join!(send, hear).1
        };
        let (cause, heard) = tokio::join!(run(&mut pump, &card), talk);
        assert_eq!(cause, Close::Server);
        assert!(heard.starts_with(&bulk) && heard.ends_with(b"and a little more"));
        assert_eq!(heard.len(), bulk.len() + 17);
        settles(pump.account());
    });
}
