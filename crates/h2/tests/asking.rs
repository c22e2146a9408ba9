//! Requests to servers of the h2 crate's own, as an engine makes them: in the words of HTTP/1.

use std::{
    future::{Future, poll_fn},
    io,
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    ext::Protocol,
    server::{self, SendResponse},
};
use http::{Method, Request, Response};
use tidegate_h2::{Asking, Why, why};
use tidegate_net::{Socket, Within};
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    task::{LocalSet, spawn_local, yield_now},
    time::timeout,
};

const GET: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: h:1\r\nX-A: 1\r\n\r\n";

type Respond = SendResponse<Bytes>;

async fn within_reason(test: impl Future<Output = ()>) {
    let tasks = LocalSet::new();
    timeout(Duration::from_secs(20), tasks.run_until(test)).await.expect("it ends");
}

/// A connection to a server that plays `answer` for each request.
async fn connect<A: Future<Output = ()> + 'static>(
    settings: impl FnOnce(&mut server::Builder),
    answer: impl Fn(Request<RecvStream>, Respond) -> A + 'static,
) -> Asking {
    let (near, far) = UnixStream::pair().expect("a pair");
    let mut builder = server::Builder::new();
    settings(&mut builder);
    spawn_local(async move {
        let mut connection = builder.handshake::<_, Bytes>(far).await.expect("a client");
        while let Some(Ok((request, respond))) = connection.accept().await {
            spawn_local(answer(request, respond));
        }
    });
    begin(near).await.expect("a server")
}

async fn begin(near: UnixStream) -> io::Result<Asking> {
    let (asking, driving) = Asking::begin(Socket::Unix(near)).await?;
    spawn_local(driving.run());
    Ok(asking)
}

/// Answers with what it was sent, and its trailers.
async fn echo(request: Request<RecvStream>, mut respond: Respond) {
    let mut body = request.into_body();
    let mut out = respond.send_response(Response::new(()), false).expect("it is wanted");
    while let Some(piece) = body.data().await {
        let piece = piece.expect("a whole body");
        body.flow_control().release_capacity(piece.len()).expect("it was used");
        out.send_data(piece, false).expect("it is wanted");
    }
    match body.trailers().await.expect("a whole body") {
        Some(trailers) => out.send_trailers(trailers).expect("they are wanted"),
        None => out.send_data(Bytes::new(), true).expect("it is wanted"),
    }
}

/// Writes a request while its answer is read to the end.
async fn exchange(end: &mut Box<dyn Within>, request: &[u8]) -> io::Result<Vec<u8>> {
    let (mut sent, mut answer, mut buffer) = (0, Vec::new(), vec![0; 16 * 1024]);
    poll_fn(|cx| {
        loop {
            if sent < request.len()
                && let Poll::Ready(wrote) = end.poll_write(cx, &request[sent..])
            {
                sent += wrote?;
                continue;
            }
            match ready!(end.poll_read(cx, &mut buffer))? {
                0 => return Poll::Ready(Ok(())),
                read => answer.extend_from_slice(&buffer[..read]),
            }
        }
    })
    .await
    .map(|()| answer)
}

async fn ask(asking: &Asking, request: &[u8]) -> io::Result<String> {
    let answer = exchange(&mut asking.stream(), request).await?;
    Ok(String::from_utf8(answer).expect("text"))
}

async fn write(end: &mut Box<dyn Within>, bytes: &[u8]) {
    let mut sent = 0;
    while sent < bytes.len() {
        sent += poll_fn(|cx| end.poll_write(cx, &bytes[sent..])).await.expect("it is taken");
    }
}

/// What comes next, up to that end of it; frames within may be no text.
async fn read_to(end: &mut Box<dyn Within>, last: &str) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 1_024]);
    while !text.ends_with(last.as_bytes()) {
        match poll_fn(|cx| end.poll_read(cx, &mut buffer)).await.expect("it goes on") {
            0 => panic!("it ended after {:?}", String::from_utf8_lossy(&text)),
            read => text.extend_from_slice(&buffer[..read]),
        }
    }
    text.into_iter().map(char::from).collect()
}

/// The payload of a chunked body.
fn payload(mut body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").expect("a line");
        let size = std::str::from_utf8(&body[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a size");
        body = &body[end + 2..];
        if size == 0 {
            return payload;
        }
        payload.extend_from_slice(&body[..size]);
        body = &body[size + 2..];
    }
}

#[tokio::test]
async fn an_answer_is_told_in_chunks_and_streams_end_by_themselves() {
    within_reason(async {
        let asking = connect(
            |_| (),
            |request, mut respond| async move {
                assert_eq!(request.method(), Method::GET);
                assert_eq!(request.uri(), "http://h:1/a?b");
                assert_eq!(request.headers()["x-a"], "1");
                assert!(request.body().is_end_stream());
                let response = Response::builder().header("x-b", "2").body(()).expect("one");
                let mut out = respond.send_response(response, false).expect("it is wanted");
                out.send_data("hel".into(), false).expect("it is wanted");
                out.send_data("lo".into(), true).expect("it is wanted");
            },
        )
        .await;
        for _ in 0..300 {
            assert_eq!(
                ask(&asking, GET).await.expect("an answer"),
                "HTTP/1.1 200 OK\r\nx-b: 2\r\ntransfer-encoding: chunked\r\n\r\n\
                 3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
            );
            assert!(asking.streams() == 0 && asking.is_usable());
        }
    })
    .await;
}

/// The end of a stream may come long after the last byte of its body.
#[tokio::test]
async fn the_last_bytes_wait_for_the_end_of_the_stream() {
    within_reason(async {
        let asking = connect(
            |_| (),
            |_, mut respond| async move {
                let response = Response::builder().header("content-length", "5").body(());
                let response = response.expect("one");
                let mut out = respond.send_response(response, false).expect("it is wanted");
                out.send_data("hello".into(), false).expect("it is wanted");
                for _ in 0..10 {
                    yield_now().await;
                }
                out.send_data(Bytes::new(), true).expect("nobody has reset it");
            },
        )
        .await;
        for _ in 0..3 {
            let mut end = asking.stream();
            write(&mut end, GET).await;
            let text = read_to(&mut end, "hello").await;
            assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        }
    })
    .await;
}

#[tokio::test]
async fn bodies_larger_than_any_window_go_both_ways() {
    within_reason(async {
        let asking = connect(|_| (), echo).await;
        let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        let request = [head.as_bytes(), &body].concat();
        let mut end = asking.stream();
        let answer = exchange(&mut end, &request).await.expect("an answer");
        let at = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        assert!(payload(&answer[at..]) == body);
    })
    .await;
}

#[tokio::test]
async fn trailers_go_both_ways() {
    within_reason(async {
        let asking = connect(|_| (), echo).await;
        let request = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
            3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n";
        let text = ask(&asking, request).await.expect("an answer");
        assert!(text.ends_with("\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"), "{text}");
    })
    .await;
}

/// As gRPC does: a message, its answer, the next.
#[tokio::test]
async fn a_conversation_goes_on_before_the_request_has_ended() {
    within_reason(async {
        let asking = connect(|_| (), echo).await;
        let mut end = asking.stream();
        write(&mut end, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
        read_to(&mut end, "\r\n\r\n").await;
        for _ in 0..3 {
            write(&mut end, b"4\r\nping\r\n").await;
            assert!(read_to(&mut end, "ping").await.ends_with("4\r\nping"));
        }
        write(&mut end, b"0\r\n\r\n").await;
        assert_eq!(read_to(&mut end, "0\r\n\r\n").await, "\r\n0\r\n\r\n");
    })
    .await;
}

#[tokio::test]
async fn interim_answers_come_first() {
    within_reason(async {
        let asking = connect(
            |_| (),
            |_, mut respond| async move {
                let early = Response::builder().status(103).header("link", "</a>").body(());
                respond.send_informational(early.expect("one")).expect("it is wanted");
                respond.send_response(Response::new(()), true).expect("it is wanted");
            },
        )
        .await;
        assert_eq!(
            ask(&asking, GET).await.expect("an answer"),
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        );
    })
    .await;
}

const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_websocket_is_a_tunnel_where_the_server_takes_them() {
    within_reason(async {
        let asking = connect(
            |settings| {
                settings.enable_connect_protocol();
            },
            |request, respond| async move {
                let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
                assert_eq!((request.method(), protocol), (&Method::CONNECT, Some("websocket")));
                assert_eq!(request.uri().path(), "/chat");
                echo(request, respond).await;
            },
        )
        .await;
        let mut end = asking.stream();
        write(&mut end, UPGRADE).await;
        let head = read_to(&mut end, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        write(&mut end, b"\x81\x04ping").await;
        assert_eq!(read_to(&mut end, "ping").await.chars().count(), 6);
        poll_fn(|cx| end.poll_close_write(cx)).await.expect("it is open");
        let mut rest = [0; 8];
        assert_eq!(poll_fn(|cx| end.poll_read(cx, &mut rest)).await.expect("an end"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_websocket_is_not_asked_for_where_nobody_takes_it() {
    within_reason(async {
        let asking = connect(|_| (), echo).await;
        let refused = ask(&asking, UPGRADE).await.expect_err("there are no tunnels");
        assert_eq!(why(&refused), Some(Why::NoTunnels), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn what_a_server_refuses_it_has_not_seen() {
    within_reason(async {
        for (reason, expected) in [
            (Reason::REFUSED_STREAM, Why::Unseen),
            (Reason::INTERNAL_ERROR, Why::Reset),
            (Reason::CANCEL, Why::Reset),
        ] {
            let answer = move |_, mut respond: Respond| async move { respond.send_reset(reason) };
            let asking = connect(|_| (), answer).await;
            let error = ask(&asking, GET).await.expect_err("it was reset");
            assert_eq!(why(&error), Some(expected), "{error}");
            assert!(asking.is_usable());
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_takes_its_streams_along() {
    within_reason(async {
        let (near, far) = UnixStream::pair().expect("a pair");
        spawn_local(async move {
            let mut connection = server::handshake(far).await.expect("a client");
            drop(connection.accept().await);
        });
        let asking = begin(near).await.expect("a server");
        let error = ask(&asking, GET).await.expect_err("nobody answers");
        assert!(matches!(why(&error), Some(Why::Gone | Why::Reset)), "{error}");
        while asking.is_usable() {
            yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_ends_soon_takes_no_more_and_finishes_what_there_is() {
    within_reason(async {
        let (near, far) = UnixStream::pair().expect("a pair");
        spawn_local(async move {
            let mut connection = server::handshake(far).await.expect("a client");
            let (request, respond) = connection.accept().await.expect("one").expect("one");
            connection.graceful_shutdown();
            spawn_local(echo(request, respond));
            while let Some(Ok(_)) = connection.accept().await {}
        });
        let asking = begin(near).await.expect("a server");
        let mut end = asking.stream();
        write(&mut end, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n").await;
        while asking.is_usable() {
            yield_now().await;
        }
        let late = ask(&asking, GET).await.expect_err("it takes no more");
        assert_eq!(why(&late), Some(Why::Unseen), "{late}");
        let answer = exchange(&mut end, b"abc").await.expect("an answer");
        assert!(answer.ends_with(b"3\r\nabc\r\n0\r\n\r\n"));
    })
    .await;
}

#[tokio::test]
async fn who_does_not_speak_http2_is_found_out() {
    within_reason(async {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        far.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await
            .expect("it is open");
        assert!(begin(near).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn what_nobody_waits_for_is_cancelled() {
    within_reason(async {
        let (told, cancelled) = tokio::sync::oneshot::channel();
        let told = std::cell::RefCell::new(Some(told));
        let asking = connect(
            |_| (),
            move |_, mut respond| {
                let told = told.borrow_mut().take();
                async move {
                    let reason = poll_fn(|cx| respond.poll_reset(cx)).await.expect("a reason");
                    told.expect("the first").send(reason).expect("it is heard");
                }
            },
        )
        .await;
        let mut end = asking.stream();
        write(&mut end, GET).await;
        // It is on its way.
        for _ in 0..10 {
            yield_now().await;
        }
        drop(end);
        assert_eq!(cancelled.await.expect("a reason"), Reason::CANCEL);
        assert_eq!(asking.streams(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_server_says_how_many_streams_it_takes() {
    within_reason(async {
        let settings = |settings: &mut server::Builder| {
            settings.max_concurrent_streams(2);
        };
        let asking = connect(settings, echo).await;
        let (one, two) = (asking.stream(), asking.stream());
        assert!(!asking.has_room());
        drop(one);
        assert!(asking.has_room());
        drop(two);
    })
    .await;
}
