//! Moments at which a tunnel once lost, miscounted or said something it should not have. Most were
//! found by `closes`, which plays such moments at random; each is told here on its own.

use super::*;

/// More than a socket takes at once.
const BIG: usize = 1 << 20;

/// Polls until everything that is under way has arrived.
async fn poll(pump: &mut Pump<Socket, Socket>, card: &Card) -> Poll<Close> {
    let scratch = Scratch::default();
    for _ in 0..16 {
        let polled = poll_fn(|cx| Poll::Ready(pump.poll(cx, &scratch, card))).await;
        if polled.is_ready() {
            return polled;
        }
        tokio::task::yield_now().await;
    }
    Poll::Pending
}

/// What has come so far.
async fn heard(stream: &UnixStream) -> Vec<u8> {
    // Whether it can be read is only looked up when everybody waits.
    tokio::task::yield_now().await;
    let mut heard = vec![0; 1 << 10];
    let length = stream.try_read(&mut heard).unwrap_or(0);
    heard.truncate(length);
    heard
}

/// A tunnel that pings its ends.
fn pinging() -> Bench {
    let mut bench = bench(Kind::WebSocket, b"", b"");
    let frames = bench.pump.frames.as_mut().expect("it has frames");
    frames.pings = Some(Pings::new(Duration::from_secs(1)));
    bench
}

#[test]
fn a_goodbye_that_a_broken_client_does_not_take_is_in_the_account() {
    block_on(async {
        let words = frame(0x82, b"12345", false);
        let Bench { client, mut server, mut pump, card } = bench(Kind::WebSocket, b"", &words[..4]);
        assert!(poll(&mut pump, &card).await.is_pending());
        assert_eq!(heard(&client).await, words[..4]);
        let (ask, tally) = ask(How::WhenQuiet);
        card.ask(ask);
        server.write_all(&words[4..]).await.expect("it is open");
        drop(client);
        assert_eq!(poll(&mut pump, &card).await, Poll::Ready(Close::Client));
        assert_eq!((tally.closed(), tally.cut()), (0, 0), "nobody was told");
        settles(pump.account());
    });
}

#[test]
fn who_was_told_is_counted_although_the_server_breaks_at_that_moment() {
    block_on(async {
        let words = frame(0x82, b"unread", true);
        let Bench { mut client, server, mut pump, card } = bench(Kind::WebSocket, &words, b"");
        pump.to_client.append(&vec![0; BIG]);
        let (ask, tally) = ask(How::WhenQuiet);
        card.ask(ask);
        assert!(poll(&mut pump, &card).await.is_pending());
        // With something unread, that is a reset.
        drop(server);
        let mut down = vec![0; BIG + GOODBYE.len()];
        let (read, cause) = tokio::join!(client.read_exact(&mut down), run(&mut pump, &card));
        read.expect("ours");
        assert_eq!((down.ends_with(GOODBYE), cause, tally.closed()), (true, Close::Drain, 1));
    });
}

#[test]
fn a_server_that_leaves_by_itself_is_not_counted() {
    block_on(async {
        let words = frame(0x88, b"\x03\xe8", false);
        let Bench { mut client, mut server, mut pump, card } = bench(Kind::WebSocket, b"", &words);
        assert!(poll(&mut pump, &card).await.is_pending());
        let (ask, tally) = ask(How::WhenQuiet);
        card.ask(ask);
        server.shutdown().await.expect("it is open");
        assert!(poll(&mut pump, &card).await.is_pending());
        let answer = frame(0x88, b"\x03\xe8", true);
        client.write_all(&answer).await.expect("it is open");
        client.shutdown().await.expect("it is open");
        assert_eq!(poll(&mut pump, &card).await, Poll::Ready(Close::Server));
        assert_eq!(heard(&client).await, words);
        assert_eq!(heard(&server).await, answer, "an answer to the server, not to us");
        assert_eq!((tally.closed(), tally.cut()), (0, 0));
        settles(pump.account());
    });
}

#[test]
fn a_server_that_has_closed_is_not_told_to() {
    block_on(async {
        let words = frame(0x88, b"\x03\xe8", false);
        let Bench { client, mut server, mut pump, card } = bench(Kind::WebSocket, b"", &words);
        let (ask, _) = ask(How::WhenQuiet);
        card.ask(ask);
        server.shutdown().await.expect("it is open");
        assert!(poll(&mut pump, &card).await.is_pending());
        assert!(pump.expired(&card).is_pending());
        let _ = poll(&mut pump, &card).await;
        assert_eq!((heard(&client).await, heard(&server).await), (words, Vec::new()));
        settles(pump.account());
    });
}

#[test]
fn a_client_that_hangs_up_instead_of_answering_does_not_keep_it_from_the_server() {
    block_on(async {
        let Bench { mut client, server, mut pump, card } = bench(Kind::WebSocket, b"", b"");
        card.ask(ask(How::WhenQuiet).0);
        assert!(poll(&mut pump, &card).await.is_pending());
        let last = frame(0x82, b"last", true);
        client.write_all(&last).await.expect("it is open");
        client.shutdown().await.expect("it is open");
        assert!(poll(&mut pump, &card).await.is_pending());
        let heard = heard(&server).await;
        assert_eq!(
            (&heard[..last.len()], &heard[last.len()..][..2]),
            (&last[..], &b"\x88\x88"[..])
        );
        drop(server);
        assert_eq!(poll(&mut pump, &card).await, Poll::Ready(Close::Drain));
        settles(pump.account());
    });
}

#[test]
fn closes_that_cross_need_no_time_to_run_out() {
    block_on(async {
        let Bench { mut client, server, mut pump, card } = bench(Kind::WebSocket, b"", b"");
        let own = frame(0x88, b"\x03\xe9", true);
        // It does not take ours before it has sent its own.
        pump.to_client.append(&vec![0; BIG]);
        assert!(poll(&mut pump, &card).await.is_pending());
        card.ask(ask(How::WhenQuiet).0);
        assert!(poll(&mut pump, &card).await.is_pending());
        client.write_all(&own).await.expect("it is open");
        let mut down = vec![0; BIG + GOODBYE.len()];
        let polls = async {
            loop {
                if poll(&mut pump, &card).await.is_ready() || pump.to_server.closed {
                    return;
                }
            }
        };
        let (read, ()) = tokio::join!(client.read_exact(&mut down), polls);
        read.expect("ours");
        assert_eq!((down.ends_with(GOODBYE), heard(&server).await), (true, own));
    });
}

#[test]
fn a_server_that_only_listens_hears_everything() {
    block_on(async {
        let Bench { client, mut server, mut pump, card } = bench(Kind::WebSocket, b"", b"");
        pump.to_server.append(&vec![0; BIG]);
        card.ask(ask(How::WhenQuiet).0);
        server.shutdown().await.expect("it is open");
        assert!(poll(&mut pump, &card).await.is_pending());
        assert!(pump.expired(&card).is_pending(), "the client does not answer");
        let mut up = vec![0; BIG + 14];
        let (read, cause) = tokio::join!(server.read_exact(&mut up), run(&mut pump, &card));
        read.expect("all of it");
        assert_eq!((cause, &up[BIG..][..2]), (Close::Drain, &b"\x88\x88"[..]));
        drop(client);
    });
}

#[test]
fn who_asks_for_now_gets_it_before_anything_comes_between() {
    block_on(async {
        let Bench { client, mut server, mut pump, card } = bench(Kind::Tcp, b"", b"");
        assert!(poll(&mut pump, &card).await.is_pending());
        server.write_all(&vec![0; BIG / 8]).await.expect("it is open");
        tokio::task::yield_now().await;
        card.ask(ask(How::IfBetweenFrames).0);
        assert!(poll(&mut pump, &card).await.is_pending());
        assert!(pump.to_client.closed && heard(&client).await.is_empty());
        settles(pump.account());
    });
}

#[test]
fn a_ping_of_ours_does_not_keep_a_tunnel_from_being_idle() {
    block_on(async {
        let Bench { client, server, mut pump, card } = pinging();
        let (last_data, patience) = (card.last_data(), pump.patience());
        assert!(pump.ping().is_ok());
        assert_eq!(pump.patience(), patience);
        assert!(poll(&mut pump, &card).await.is_pending());
        assert_eq!((heard(&client).await.len(), heard(&server).await.len()), (10, 14));
        assert_eq!((card.last_data(), pump.patience()), (last_data, patience));
    });
}

#[test]
fn who_does_not_speak_in_frames_is_not_pinged() {
    block_on(async {
        let Bench { client, mut server, mut pump, card } = pinging();
        server.write_all(b"\xff").await.expect("it is open");
        assert!(poll(&mut pump, &card).await.is_pending());
        assert!(pump.ping().is_ok());
        assert!(poll(&mut pump, &card).await.is_pending());
        assert_eq!((heard(&client).await, heard(&server).await), (b"\xff".to_vec(), Vec::new()));
    });
}

#[test]
fn half_a_pong_goes_on_when_nothing_follows_it() {
    block_on(async {
        let Bench { mut client, mut server, mut pump, card } = pinging();
        assert!(pump.ping().is_ok());
        assert!(poll(&mut pump, &card).await.is_pending());
        assert_eq!((heard(&client).await.len(), heard(&server).await.len()), (10, 14));
        client.write_all(b"\x8a\x88\x00").await.expect("it is open");
        server.write_all(b"\x8a").await.expect("it is open");
        assert!(poll(&mut pump, &card).await.is_pending());
        client.shutdown().await.expect("it is open");
        server.shutdown().await.expect("it is open");
        assert!(poll(&mut pump, &card).await.is_ready());
        assert_eq!(
            (heard(&client).await, heard(&server).await),
            (b"\x8a".to_vec(), b"\x8a\x88\x00".to_vec())
        );
        settles(pump.account());
    });
}
