//! What passes and what does not, against servers that say exactly what a test tells them.

use tidegate_model::upstream::CheckKind;
use tokio::net::UnixListener;

use super::*;
use crate::probe::kit::{Asking, SOON, read_head, run, serve};

/// What becomes of a probe whose request is answered with these bytes and the end.
fn judged(answer: &[u8], alter: impl FnOnce(&mut Check)) -> Result<String, String> {
    let answer = answer.to_vec();
    run(async {
        let address = serve(move |mut stream| {
            let answer = answer.clone();
            async move {
                read_head(&mut stream).await;
                // A probe that has seen enough does not wait for the rest.
                let _ = stream.write_all(&answer).await;
            }
        });
        let mut asking = Asking::new(CheckKind::Http, &address.await);
        alter(&mut asking.check);
        asking.ask().await.map_err(|fault| fault.to_string())
    })
}

fn passes(answer: &[u8]) -> bool {
    judged(answer, |_| ()).is_ok()
}

fn expects_body(text: &str) -> impl FnOnce(&mut Check) + use<> {
    let body = ExpectBody::parse(text).expect("it reads");
    move |check| check.expect_body = Some(body)
}

fn failure(answer: &[u8]) -> String {
    judged(answer, |_| ()).expect_err("it must not pass")
}

/// What a probe says.
fn request_of(alter: impl FnOnce(&mut Check)) -> String {
    run(async {
        let (heads, mut said) = tokio::sync::mpsc::unbounded_channel();
        let address = serve(move |mut stream| {
            let heads = heads.clone();
            async move {
                heads.send(read_head(&mut stream).await).expect("the test listens");
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            }
        });
        let address = address.await;
        let mut asking = Asking::new(CheckKind::Http, &address);
        alter(&mut asking.check);
        asking.ask().await.expect("it passes");
        said.recv().await.expect("a request").replace(&address, "ADDRESS").replace(AGENT, "AGENT")
    })
}

#[test]
fn the_status_decides() {
    assert_eq!(judged(b"HTTP/1.1 200 OK\r\n\r\n", |_| ()).as_deref(), Ok("status 200"));
    assert!(passes(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 9\r\n\r\n"));
    assert_eq!(failure(b"HTTP/1.1 501 Draining\r\n\r\n"), "status 501 is not expected");
    let only_204 = |check: &mut Check| check.expect_status = vec![StatusPattern::Code(204)];
    assert!(judged(b"HTTP/1.1 204 None\r\n\r\n", only_204).is_ok());
    assert!(judged(b"HTTP/1.1 200 OK\r\n\r\n", only_204).is_err());
}

#[test]
fn old_and_sloppy_servers_are_understood() {
    assert!(passes(b"HTTP/1.0 200 OK\r\nserver: old\r\n\r\n<html>"));
    assert!(passes(b"HTTP/1.1 200 OK\nserver: sloppy\n\nbody"));
    assert!(passes(b"HTTP/1.1 200\r\n\r\n"));
}

#[test]
fn what_is_not_http_does_not_pass() {
    for garbage in [&b"<html>hello</html>"[..], b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x01\x00\x02"]
    {
        assert!(failure(garbage).contains("not HTTP/1"), "{garbage:?}: {}", failure(garbage));
    }
}

#[test]
fn an_answer_that_breaks_off_does_not_pass() {
    assert_eq!(failure(b""), "closed without an answer");
    assert!(failure(b"HTTP/1.1 200 OK\r\nx: y").contains("before the head"));
    assert!(failure(b"HTTP/1.1 100 Continue\r\n\r\n").contains("before the head"));
}

#[test]
fn a_head_has_its_limits() {
    let long = [b"HTTP/1.1 200 OK\r\nx: ", &[b'y'; LONGEST_HEAD][..]].concat();
    assert!(failure(&long).contains("above 16 KiB"));
    let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(1_000);
    assert!(failure(&interim).contains("16 KiB"), "{}", failure(&interim));
}

#[test]
fn silence_does_not_pass() {
    run(async {
        let address = serve(|stream| async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
        let mut asking = Asking::new(CheckKind::Http, &address.await);
        asking.check.timeout = SOON;
        let late = asking.ask().await.expect_err("no answer");
        assert!(late.to_string().contains("within 200ms"), "{late}");
    });
}

#[test]
fn interim_answers_are_passed_over_unless_they_are_expected() {
    let with_hints =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    assert!(passes(with_hints));
    let websocket = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81";
    let interim = |check: &mut Check| check.expect_status = vec![StatusPattern::Class(1)];
    assert!(judged(websocket, interim).is_ok(), "Tengine's http_1xx");
    assert!(judged(with_hints, interim).is_ok());
    assert!(judged(b"HTTP/1.1 200 OK\r\n\r\n", interim).is_err());
    assert_eq!(failure(websocket), "status 101 is not expected");
}

#[test]
fn a_body_is_looked_at_however_it_is_framed() {
    let framed: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nall ok and more",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n3;x\r\n ok\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nall ok",
        b"HTTP/1.1 200 OK\n\nall ok",
    ];
    for answer in framed {
        let found = judged(answer, expects_body("~ ^all ok"));
        assert!(found.is_ok(), "{found:?}");
        assert!(judged(answer, expects_body("not there")).is_err());
    }
    assert!(judged(framed[0], expects_body("more")).is_err(), "behind the body");
}

#[test]
fn a_body_that_breaks_off_or_is_unclear_does_not_pass() {
    let bad: [&[u8]; 5] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall ok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nall ok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nall ok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\ncontent-length: 7\r\n\r\nall ok!",
        b"HTTP/1.1 204 OK\r\n\r\nall ok",
    ];
    for answer in bad {
        let found = judged(answer, expects_body("all ok"));
        assert!(found.is_err(), "{found:?}");
    }
    assert!(passes(bad[3]), "where no body is expected, only the status counts");
}

#[test]
fn no_more_than_64_kib_of_a_body_are_looked_at() {
    let body = |at: usize| [&vec![b'.'; at][..], b"here", &vec![b'.'; 2 * LONGEST_BODY]].concat();
    for (at, is_seen) in [(LONGEST_BODY - 4, true), (LONGEST_BODY, false)] {
        let length = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body(at).len());
        let chunk = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
            body(at).len()
        );
        for head in [&*length, &chunk, "HTTP/1.0 200 OK\r\n\r\n"] {
            let found = judged(&[head.as_bytes(), &body(at)].concat(), expects_body("here"));
            assert_eq!(found.is_ok(), is_seen, "{found:?}");
        }
    }
}

#[test]
fn the_request_says_who_asks_whom() {
    let plain = "GET / HTTP/1.1\r\nHost: ADDRESS\r\nConnection: close\r\nUser-Agent: AGENT\r\n\r\n";
    assert_eq!(request_of(|_| ()), plain);
    let other = request_of(|check| {
        check.method = "POST".into();
        check.path = "/ping?a=b".into();
        for (name, value) in [("host", "im.example"), ("user-agent", "me"), ("x-token", "t")] {
            check.headers.insert(name.into(), value.into());
        }
    });
    assert_eq!(
        other,
        "POST /ping?a=b HTTP/1.1\r\nHost: im.example\r\nConnection: close\r\nContent-Length: 0\r\nuser-agent: me\r\nx-token: t\r\n\r\n"
    );
    let raw = request_of(|check| check.send = Some("GET /raw HTTP/1.0\r\n\r\n".into()));
    assert_eq!(raw, "GET /raw HTTP/1.0\r\n\r\n");
}

#[test]
fn an_answer_to_head_has_no_body() {
    let head = |check: &mut Check| {
        check.method = "HEAD".into();
        expects_body("~ ^$")(check);
    };
    assert!(judged(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", head).is_ok());
}

#[test]
fn a_unix_socket_is_asked_as_localhost() {
    run(async {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).expect("a listener");
        let asking = Asking::new(CheckKind::Http, &format!("unix:{}", path.display()));
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a probe");
            let mut request = [0; 512];
            let length = stream.read(&mut request).await.expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("room");
            request[..length].to_vec()
        };
        let (found, request) = tokio::join!(asking.ask(), server);
        assert!(found.is_ok(), "{found:?}");
        assert!(String::from_utf8_lossy(&request).contains("Host: localhost\r\n"));
    });
}
