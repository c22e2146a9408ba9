//! RFC 9113 and RFC 7541 by raw frames: each case says something that is not allowed, or that has to be
//! understood, on a connection of its own.

use std::net::SocketAddr;

use crate::{
    http2::edge,
    kit::{
        Origin,
        http2::{
            ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, Http2, PADDED,
            PING, PRIORITISED, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
            get, request, settings,
        },
    },
};

const PROTOCOL: u32 = 1;
const FLOW: u32 = 3;
const CLOSED: u32 = 5;
const SIZE: u32 = 6;
const COMPRESSION: u32 = 9;
const CALM: u32 = 11;

/// What has to become of it.
enum Wanted {
    /// The connection ends, with one of these codes if one is said.
    Connection(&'static [u32]),
    /// The stream ends with one of these codes, or the connection does.
    Stream(&'static [u32]),
    /// Nothing is wrong: the stream 1 is answered so.
    Answer(u16),
    /// Nothing is wrong, and nothing is said.
    Peace,
}

type Case = (&'static str, fn(&mut Http2), Wanted);

const HEAD: u8 = END_HEADERS | END_STREAM;

/// The head of a POST that goes on.
fn post(client: &mut Http2, stream: u32) {
    client.frame(HEADERS, END_HEADERS, stream, &request("POST", "/", &[]));
}

/// A stream that both sides have closed.
fn closed(client: &mut Http2) {
    client.ask(1, &get(&[]));
    assert_eq!(client.answer(1).status, 200);
}

/// The h2 crate says PROTOCOL_ERROR for some of what has a code of its own, and closes the connection.
fn is_one(codes: &[u32], code: u32) -> bool {
    codes.contains(&code) || (code == PROTOCOL && !codes.contains(&SIZE))
}

fn judge(case: &Case, address: SocketAddr) {
    let (what, run, wanted) = case;
    eprintln!("{what}");
    let mut client = Http2::connect(address);
    run(&mut client);
    match wanted {
        Wanted::Answer(status) => assert_eq!(client.answer(1).status, *status, "{what}"),
        Wanted::Peace => assert!(client.is_alive(), "{what}"),
        Wanted::Connection(codes) => match client.end() {
            End::Closed => (),
            End::Goaway(code) => assert!(is_one(codes, code), "{what}: GOAWAY {code}"),
            end @ End::Reset(..) => panic!("{what}: {end:?}"),
        },
        Wanted::Stream(codes) => match client.end() {
            End::Closed => (),
            End::Goaway(code) | End::Reset(_, code) => {
                assert!(is_one(codes, code), "{what}: code {code}");
            }
        },
    }
}

fn all(cases: &[Case]) {
    let origin = Origin::echo();
    let edge = edge(&origin).start();
    for case in cases {
        judge(case, edge.port("edge"));
    }
    // Whatever was said, others are served.
    let mut client = Http2::connect(edge.port("edge"));
    client.ask(1, &get(&[]));
    assert_eq!(client.answer(1).status, 200);
}

#[test]
fn what_is_not_the_preface_ends_the_connection() {
    let origin = Origin::echo();
    let edge = edge(&origin).start();
    let mut client = Http2::silent(edge.port("edge"));
    client.raw(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    // It is a request of HTTP/1 then, and an odd one.
    let mut client = Http2::silent(edge.port("edge"));
    client.preface();
    client.frame(PING, 0, 0, &[0; 8]);
    assert!(matches!(client.end(), End::Closed | End::Goaway(PROTOCOL)), "settings come first");
}

#[test]
fn frames_have_their_form() {
    use Wanted::{Answer, Connection, Peace, Stream};
    all(&[
        ("4.1 an unknown type", |c| c.frame(0x16, 0, 0, &[0; 8]), Peace),
        ("4.1 unknown flags", |c| c.frame(PING, 0x16, 0, &[0; 8]), Peace),
        ("4.1 the reserved bit", |c| c.frame(PING, 0, 1 << 31, &[0; 8]), Peace),
        (
            "4.2 data as large as allowed",
            |c| {
                post(c, 1);
                c.frame(DATA, END_STREAM, 1, &[b'x'; 16_384]);
            },
            Answer(200),
        ),
        (
            "4.2 data larger than allowed",
            |c| {
                post(c, 1);
                c.frame(DATA, END_STREAM, 1, &[b'x'; 16_385]);
            },
            Stream(&[SIZE]),
        ),
        (
            "4.2 a head larger than allowed",
            |c| {
                c.frame(HEADERS, HEAD, 1, &get(&[("x", &"y".repeat(20_000))]));
            },
            Connection(&[SIZE]),
        ),
        ("4.3 a block that is none", |c| c.ask(1, &[0xff; 5]), Connection(&[COMPRESSION])),
        (
            "4.3 another frame within a block",
            |c| {
                c.frame(HEADERS, END_STREAM, 1, &get(&[]));
                c.frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]);
            },
            Connection(&[PROTOCOL]),
        ),
        (
            "4.3 another stream within a block",
            |c| {
                c.frame(HEADERS, END_STREAM, 1, &get(&[]));
                c.frame(HEADERS, HEAD, 3, &get(&[]));
            },
            Connection(&[PROTOCOL]),
        ),
        ("6.1 data of stream 0", |c| c.frame(DATA, 0, 0, b"x"), Connection(&[PROTOCOL])),
        (
            "6.1 padding larger than the frame",
            |c| {
                post(c, 1);
                c.frame(DATA, PADDED | END_STREAM, 1, &[6, 1, 2, 3, 4]);
            },
            Connection(&[PROTOCOL]),
        ),
        (
            "6.1 padded data",
            |c| {
                post(c, 1);
                c.frame(DATA, PADDED | END_STREAM, 1, &[2, b'x', 0, 0]);
            },
            Answer(200),
        ),
        (
            "6.2 a padded head with a priority",
            |c| {
                let block = [&[1, 0, 0, 0, 0, 15], &get(&[])[..], &[0]].concat();
                c.frame(HEADERS, HEAD | PADDED | PRIORITISED, 1, &block);
            },
            Answer(200),
        ),
        ("6.2 a head of stream 0", |c| c.ask(0, &get(&[])), Connection(&[PROTOCOL])),
        (
            "6.2 padding larger than the head",
            |c| {
                c.frame(HEADERS, HEAD | PADDED, 1, &[&[255][..], &get(&[])].concat());
            },
            Connection(&[PROTOCOL]),
        ),
        (
            "6.3 a priority of stream 0",
            |c| c.frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 1]),
            Connection(&[PROTOCOL]),
        ),
        (
            "6.3 a priority of another length",
            |c| {
                post(c, 1);
                c.frame(PRIORITY, 0, 1, &[0, 0, 0, 1]);
            },
            Stream(&[SIZE]),
        ),
        (
            "6.4 a reset of stream 0",
            |c| c.frame(RST_STREAM, 0, 0, &[0, 0, 0, 8]),
            Connection(&[PROTOCOL]),
        ),
        (
            "6.4 a reset of an idle stream",
            |c| c.frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            Connection(&[PROTOCOL]),
        ),
        (
            "6.4 a reset of another length",
            |c| {
                post(c, 1);
                c.frame(RST_STREAM, 0, 1, &[0, 0, 8]);
            },
            Connection(&[SIZE]),
        ),
        (
            "6.5 settings with an acknowledgement",
            |c| c.frame(SETTINGS, ACK, 0, &[0; 6]),
            Connection(&[SIZE]),
        ),
        (
            "6.5 settings of a stream",
            |c| c.frame(SETTINGS, 0, 1, &settings(&[(3, 9)])),
            Connection(&[PROTOCOL]),
        ),
        (
            "6.5 settings of another length",
            |c| c.frame(SETTINGS, 0, 0, &[0, 3, 0]),
            Connection(&[SIZE]),
        ),
        (
            "6.5.2 push that is neither",
            |c| c.frame(SETTINGS, 0, 0, &settings(&[(2, 2)])),
            Connection(&[PROTOCOL]),
        ),
        (
            "6.5.2 a window that is too large",
            |c| c.frame(SETTINGS, 0, 0, &settings(&[(4, 1 << 31)])),
            Connection(&[FLOW]),
        ),
        (
            "6.5.2 frames that are too small",
            |c| c.frame(SETTINGS, 0, 0, &settings(&[(5, 16_383)])),
            Connection(&[PROTOCOL]),
        ),
        (
            "6.5.2 frames that are too large",
            |c| c.frame(SETTINGS, 0, 0, &settings(&[(5, 1 << 24)])),
            Connection(&[PROTOCOL]),
        ),
        ("6.5.2 an unknown setting", |c| c.frame(SETTINGS, 0, 0, &settings(&[(0xff, 7)])), Peace),
        (
            "6.6 a push of a client",
            |c| {
                c.frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &get(&[])].concat());
            },
            Connection(&[PROTOCOL]),
        ),
        ("6.7 a ping of a stream", |c| c.frame(PING, 0, 1, &[0; 8]), Connection(&[PROTOCOL])),
        ("6.7 a ping of another length", |c| c.frame(PING, 0, 0, &[0; 6]), Connection(&[SIZE])),
        ("6.7 an acknowledgement that nobody asked for", |c| c.frame(PING, ACK, 0, &[0; 8]), Peace),
        ("6.8 a goodbye of a stream", |c| c.frame(GOAWAY, 0, 1, &[0; 8]), Connection(&[PROTOCOL])),
        (
            "6.9 a window of nothing",
            |c| c.frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            Connection(&[PROTOCOL]),
        ),
        (
            "6.9 a stream's window of nothing",
            |c| {
                post(c, 1);
                c.frame(WINDOW_UPDATE, 0, 1, &[0; 4]);
            },
            Stream(&[PROTOCOL]),
        ),
        (
            "6.9 a window of another length",
            |c| c.frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]),
            Connection(&[SIZE]),
        ),
        (
            "6.9.1 a window above all bounds",
            |c| {
                c.frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
                c.frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
            },
            Connection(&[FLOW]),
        ),
        (
            "6.9.1 a stream's window above all bounds",
            |c| {
                post(c, 1);
                c.frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes());
                c.frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes());
            },
            Stream(&[FLOW]),
        ),
        (
            "6.10 a block in pieces",
            |c| {
                let block = get(&[("x", "y")]);
                c.frame(HEADERS, END_STREAM, 1, &block[..9]);
                c.frame(CONTINUATION, 0, 1, &block[9..20]);
                c.frame(CONTINUATION, END_HEADERS, 1, &block[20..]);
            },
            Answer(200),
        ),
        (
            "6.10 a piece after the end",
            |c| {
                c.ask(1, &get(&[]));
                c.frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")]));
            },
            Connection(&[PROTOCOL]),
        ),
        (
            "6.10 a piece of stream 0",
            |c| {
                c.frame(HEADERS, END_STREAM, 1, &get(&[]));
                c.frame(CONTINUATION, END_HEADERS, 0, &block(&[("x", "y")]));
            },
            Connection(&[PROTOCOL]),
        ),
        (
            "6.10 a piece of nothing",
            |c| c.frame(CONTINUATION, END_HEADERS, 1, &get(&[])),
            Connection(&[PROTOCOL]),
        ),
    ]);
}

#[test]
fn streams_have_their_states() {
    use Wanted::{Answer, Connection, Peace, Stream};
    all(&[
        (
            "5.1 data of an idle stream",
            |c| c.frame(DATA, END_STREAM, 1, b"x"),
            Connection(&[PROTOCOL]),
        ),
        (
            "5.1 a window of an idle stream",
            |c| c.frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]),
            Connection(&[PROTOCOL]),
        ),
        (
            "5.1 a priority of an idle stream",
            |c| {
                c.frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]);
                c.ask(1, &get(&[]));
            },
            Answer(200),
        ),
        (
            "5.1 data after the end",
            |c| {
                c.ask(1, &get(&[]));
                c.frame(DATA, END_STREAM, 1, b"x");
            },
            Stream(&[CLOSED]),
        ),
        (
            "5.1 a head after the end",
            |c| {
                c.ask(1, &get(&[]));
                c.ask(1, &get(&[]));
            },
            Stream(&[CLOSED]),
        ),
        (
            "5.1 data after a reset",
            |c| {
                post(c, 1);
                c.frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
                c.frame(DATA, END_STREAM, 1, b"x");
            },
            Stream(&[CLOSED]),
        ),
        (
            "5.1 a head after a reset",
            |c| {
                post(c, 1);
                c.frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
                c.ask(1, &get(&[]));
            },
            Stream(&[CLOSED]),
        ),
        (
            "5.1 data of a closed stream",
            |c| {
                closed(c);
                c.frame(DATA, END_STREAM, 1, b"x");
            },
            Stream(&[CLOSED]),
        ),
        (
            "5.1 a head of a closed stream",
            |c| {
                closed(c);
                c.ask(1, &get(&[]));
            },
            Connection(&[CLOSED, PROTOCOL]),
        ),
        (
            "5.1 a window of a closed stream",
            |c| {
                closed(c);
                c.frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]);
            },
            Peace,
        ),
        ("5.1.1 an even stream", |c| c.ask(2, &get(&[])), Connection(&[PROTOCOL])),
        (
            "5.1.1 a stream below the last",
            |c| {
                c.ask(5, &get(&[]));
                c.ask(3, &get(&[]));
            },
            Connection(&[PROTOCOL]),
        ),
        (
            "5.1.2 more streams than allowed",
            |c| {
                (0..150).for_each(|n| post(c, 2 * n + 1));
            },
            Stream(&[PROTOCOL, 7]),
        ),
        (
            "5.3.1 a stream that depends on itself",
            |c| {
                c.frame(
                    HEADERS,
                    HEAD | PRIORITISED,
                    1,
                    &[&[0, 0, 0, 1, 9][..], &get(&[])].concat(),
                );
            },
            Stream(&[PROTOCOL]),
        ),
        (
            "8.1 a second head without an end",
            |c| {
                post(c, 1);
                c.frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")]));
            },
            Stream(&[PROTOCOL]),
        ),
    ]);
}

#[test]
fn heads_have_their_form() {
    use Wanted::{Answer, Connection, Stream};
    all(&[
        ("8.2 upper case", |c| c.ask(1, &get(&[("X-Upper", "y")])), Stream(&[PROTOCOL])),
        (
            "8.2.2 Connection",
            |c| c.ask(1, &get(&[("connection", "keep-alive")])),
            Stream(&[PROTOCOL]),
        ),
        (
            "8.2.2 Transfer-Encoding",
            |c| c.ask(1, &get(&[("transfer-encoding", "chunked")])),
            Stream(&[PROTOCOL]),
        ),
        (
            "8.2.2 TE with more than trailers",
            |c| c.ask(1, &get(&[("te", "trailers, deflate")])),
            Stream(&[PROTOCOL]),
        ),
        ("8.2.2 TE with trailers", |c| c.ask(1, &get(&[("te", "trailers")])), Answer(200)),
        ("8.3 an unknown pseudo field", |c| c.ask(1, &get(&[(":test", "y")])), Stream(&[PROTOCOL])),
        ("8.3 that of an answer", |c| c.ask(1, &get(&[(":status", "200")])), Stream(&[PROTOCOL])),
        (
            "8.3 after a plain field",
            |c| {
                c.ask(
                    1,
                    &block(&[
                        (":method", "GET"),
                        (":scheme", "http"),
                        ("x", "y"),
                        (":path", "/"),
                        (":authority", "a"),
                    ]),
                );
            },
            Stream(&[PROTOCOL]),
        ),
        (
            "8.3 in trailers",
            |c| {
                post(c, 1);
                c.frame(HEADERS, HEAD, 1, &block(&[(":method", "GET")]));
            },
            Stream(&[PROTOCOL]),
        ),
        ("8.3.1 an empty path", |c| c.ask(1, &request("GET", "", &[])), Stream(&[PROTOCOL])),
        (
            "8.3.1 no method",
            |c| c.ask(1, &block(&[(":scheme", "http"), (":path", "/")])),
            Stream(&[PROTOCOL]),
        ),
        (
            "8.3.1 no scheme",
            |c| c.ask(1, &block(&[(":method", "GET"), (":path", "/")])),
            Stream(&[PROTOCOL]),
        ),
        (
            "8.3.1 no path",
            |c| c.ask(1, &block(&[(":method", "GET"), (":scheme", "http")])),
            Stream(&[PROTOCOL]),
        ),
        ("8.3.1 two methods", |c| c.ask(1, &get(&[(":method", "POST")])), Stream(&[PROTOCOL])),
        ("8.3.1 two schemes", |c| c.ask(1, &get(&[(":scheme", "http")])), Stream(&[PROTOCOL])),
        ("8.3.1 two paths", |c| c.ask(1, &get(&[(":path", "/")])), Stream(&[PROTOCOL])),
        (
            "8.3.1 no authority at all",
            |c| c.ask(1, &block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")])),
            Answer(400),
        ),
        (
            "8.3.1 a Host instead",
            |c| {
                c.ask(
                    1,
                    &block(&[
                        (":method", "GET"),
                        (":scheme", "http"),
                        (":path", "/"),
                        ("host", "a.example"),
                    ]),
                );
            },
            Answer(200),
        ),
        ("8.3.1 a Host that differs", |c| c.ask(1, &get(&[("host", "b.example")])), Answer(400)),
        (
            "8.1.1 a length that is not kept",
            |c| {
                c.frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[("content-length", "1")]));
                c.frame(DATA, END_STREAM, 1, b"test");
            },
            Stream(&[PROTOCOL]),
        ),
        (
            "8.1.1 a length that the sum does not keep",
            |c| {
                c.frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[("content-length", "1")]));
                c.frame(DATA, 0, 1, b"te");
                c.frame(DATA, END_STREAM, 1, b"st");
            },
            Stream(&[PROTOCOL]),
        ),
        (
            "8.5 CONNECT",
            |c| c.ask(1, &block(&[(":method", "CONNECT"), (":authority", "a.example:80")])),
            Answer(501),
        ),
    ]);
    // RFC 7541.
    all(&[
        (
            "2.3.3 an index that is not there",
            |c| c.ask(1, &[&get(&[])[..], &[0xff, 0x40]].concat()),
            Connection(&[COMPRESSION]),
        ),
        (
            "6.1 index 0",
            |c| c.ask(1, &[&get(&[])[..], &[0x80]].concat()),
            Connection(&[COMPRESSION]),
        ),
        (
            "4.2 a new table size in the middle",
            |c| c.ask(1, &[&get(&[])[..], &[0x20]].concat()),
            Connection(&[COMPRESSION]),
        ),
        (
            "6.3 a table larger than allowed",
            |c| c.ask(1, &[&[0x3f, 0xe1, 0xff, 3][..], &get(&[])].concat()),
            Connection(&[COMPRESSION]),
        ),
        (
            "5.2 padding of a code longer than 7 bits",
            |c| {
                c.ask(
                    1,
                    &[&get(&[])[..], b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"].concat(),
                );
            },
            Connection(&[COMPRESSION]),
        ),
        (
            "5.2 padding of zeros",
            |c| {
                c.ask(
                    1,
                    &[&get(&[])[..], b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"].concat(),
                );
            },
            Connection(&[COMPRESSION]),
        ),
        (
            "5.2 the code for the end",
            |c| {
                c.ask(
                    1,
                    &[
                        &get(&[])[..],
                        b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f",
                    ]
                    .concat(),
                );
            },
            Connection(&[COMPRESSION]),
        ),
    ]);
}

#[test]
fn windows_are_kept() {
    let origin = Origin::echo();
    let edge = edge(&origin).start();
    let body = [b'x'; 100];
    // A window of one byte, then a larger one: nothing comes before it may.
    let mut client = Http2::with(edge.port("edge"), &[(4, 1)]);
    client.frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[]));
    client.frame(DATA, END_STREAM, 1, &body);
    assert_eq!(client.data(1), (vec![b'x'], false));
    client.frame(SETTINGS, 0, 0, &settings(&[(4, 2)]));
    assert_eq!(client.data(1), (vec![b'x'], false));
    client.frame(WINDOW_UPDATE, 0, 1, &98_u32.to_be_bytes());
    let mut rest = 0;
    loop {
        let (data, last) = client.data(1);
        rest += data.len();
        if last {
            break;
        }
    }
    assert_eq!(rest, 98);
    // A window that falls below zero is filled up again first (RFC 9113 §6.9.2).
    let mut client = Http2::with(edge.port("edge"), &[(4, 3)]);
    client.frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[]));
    client.frame(DATA, END_STREAM, 1, &body);
    assert_eq!(client.data(1).0.len(), 3);
    client.frame(SETTINGS, 0, 0, &settings(&[(4, 2)]));
    client.frame(WINDOW_UPDATE, 0, 1, &2_u32.to_be_bytes());
    assert_eq!(client.data(1).0.len(), 1);
}

#[test]
fn a_client_that_floods_is_told_to_be_calm() {
    use Wanted::Connection;
    let calm: &[u32] = &[CALM];
    all(&[
        (
            "rapid reset",
            |c| {
                (0..2_000).for_each(|n| {
                    c.ask(2 * n + 1, &get(&[]));
                    c.frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]);
                });
            },
            Connection(calm),
        ),
        (
            "streams that we have to reset",
            |c| {
                (0..2_000).for_each(|n| {
                    post(c, 2 * n + 1);
                    c.frame(WINDOW_UPDATE, 0, 2 * n + 1, &[0; 4]);
                });
            },
            Connection(calm),
        ),
        (
            "a block without an end",
            |c| {
                c.frame(HEADERS, END_STREAM, 1, &get(&[]));
                (0..5_000).for_each(|_| c.frame(CONTINUATION, 0, 1, &block(&[("x", "y")])));
            },
            Connection(&[CALM, PROTOCOL]),
        ),
        (
            "empty pieces of a block",
            |c| {
                c.frame(HEADERS, END_STREAM, 1, &get(&[]));
                (0..5_000).for_each(|_| c.frame(CONTINUATION, 0, 1, &[]));
            },
            Connection(&[CALM, PROTOCOL]),
        ),
        ("pings", |c| (0..5_000).for_each(|_| c.frame(PING, 0, 0, &[0; 8])), Connection(calm)),
        ("settings", |c| (0..5_000).for_each(|_| c.frame(SETTINGS, 0, 0, &[])), Connection(calm)),
        (
            "priorities",
            |c| (0..5_000).for_each(|_| c.frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
            Connection(calm),
        ),
        (
            "empty data",
            |c| {
                post(c, 1);
                (0..5_000).for_each(|_| c.frame(DATA, 0, 1, &[]));
            },
            Connection(calm),
        ),
    ]);
}
