//! `/api/v1/events`, as far as it takes the hub at hand: what a reader that takes nothing costs.

use std::time::Duration;

use tidegate_events::{Event, Reload};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::kit::{Site, code};

async fn following(site: &Site) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small one");
    let tidegate_net::ListenAddress::Tcp(address) = &site.address else { panic!("not TCP") };
    let mut stream = socket.connect(*address).await.expect("it listens");
    stream.write_all(b"GET /api/v1/events HTTP/1.0\nHost: localhost\n\n").await.expect("sent");
    let mut greeting = Vec::new();
    while !greeting.ends_with(b"\n\n") || !greeting.windows(12).any(|w| w == b": connected\n") {
        greeting.push(stream.read_u8().await.expect("a greeting"));
    }
    stream
}

#[tokio::test]
async fn who_takes_nothing_is_not_waited_for_and_told_at_the_end() {
    let site = Site::with(&[]);
    let mut stream = following(&site).await;
    let detail = "x".repeat(1_000);
    // More than sockets hold, and the ring.
    for n in 0..16_000 {
        site.admin.events.publish(Event::Reload(Reload { outcome: "applied", detail: &detail }));
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut rest = String::new();
    let reading = stream.read_to_string(&mut rest);
    timeout(Duration::from_secs(30), reading).await.expect("it ends").expect("in good order");
    let last = rest.trim_end().rsplit("\n\n").next().unwrap_or_default();
    assert!(last.contains("event: lost") && last.contains("too_slow"), "{last}");
    assert!(rest.len() < 12_000 * detail.len(), "{} bytes were on their way", rest.len());
    assert_eq!(site.admin.events.totals().dropped, 1);
    site.stop().await;
}

#[tokio::test]
async fn at_the_end_nobody_is_told_and_nobody_can_follow() {
    let site = Site::with(&[]);
    let mut stream = following(&site).await;
    site.admin.events.close();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("it ends");
    assert_eq!(rest, "");
    assert_eq!(code(&site.get("/api/v1/events").await), "503");
    site.stop().await;
}
