//! Moments at which a tunnel once lost, miscounted or said something it should not have. Each is
//! told on its own.

use super::*;

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
