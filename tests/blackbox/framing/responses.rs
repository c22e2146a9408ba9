//! What servers answer. Each row: a name, the method of the request, the bytes the server sends
//! before it closes, and what the client may see of them.

use super::Response::{self, BadGateway, Cut, CutOrBad, Passed, PassedOrBad};

#[rustfmt::skip]
pub const ROWS: &[(&str, &str, &[u8], Response)] = &[
    // The length, RFC 9112 6.
    ("length and chunked", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", BadGateway),
    ("two lengths that differ", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", BadGateway),
    ("two lengths that agree", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", PassedOrBad(200, "abc")),
    ("a length with a plus", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc", BadGateway),
    ("a negative length", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc", BadGateway),
    ("an empty length", "GET", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabc", BadGateway),
    ("a length above 64 bits", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc", BadGateway),
    ("a length of two words", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3 4\r\n\r\nabc", BadGateway),
    ("a length never reached", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc", Cut),
    ("more than the length", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", Passed(200, "abc")),
    ("an answer after the answer", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", Passed(200, "abc")),
    ("no length at all", "GET", b"HTTP/1.1 200 OK\r\n\r\nuntil the end", Passed(200, "until the end")),
    ("no length and no body", "GET", b"HTTP/1.1 200 OK\r\n\r\n", Passed(200, "")),
    ("an old server", "GET", b"HTTP/1.0 200 OK\r\n\r\nold", Passed(200, "old")),

    // The coding.
    ("chunks", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Passed(200, "abc")),
    ("chunks in capitals", "GET", b"HTTP/1.1 200 OK\r\nTRANSFER-ENCODING: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: y\r\n\r\n", Passed(200, "abc")),
    ("gzip alone", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", BadGateway),
    ("identity", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc", BadGateway),
    ("gzip, chunked", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", BadGateway),
    ("chunked twice", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", BadGateway),
    ("chunks from HTTP/1.0", "GET", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", BadGateway),
    ("no last chunk", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Cut),
    ("half a chunk", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30\r\nabc", Cut),
    ("a size that is none", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n", CutOrBad),
    ("a size above 64 bits", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", CutOrBad),
    ("a lone LF after a size", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", CutOrBad),
    ("a lone LF after the data", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", CutOrBad),
    ("more data than the size", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", CutOrBad),
    ("a trailer without a colon", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nnonsense\r\n\r\n", CutOrBad),
    ("bytes after the last chunk", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\npoison", Passed(200, "abc")),

    // Bodies that must not be there, RFC 9110 15.
    ("HEAD with a body", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Passed(200, "")),
    ("HEAD with chunks", "HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Passed(200, "")),
    ("204 with a body", "GET", b"HTTP/1.1 204 No Content\r\n\r\npoison", PassedOrBad(204, "")),
    ("204 with a length", "GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison", PassedOrBad(204, "")),
    ("304 with a length", "GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n", Passed(304, "")),

    // The status line, RFC 9112 4.
    ("no reason", "GET", b"HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\nabc", Passed(200, "abc")),
    ("no reason and no space", "GET", b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", PassedOrBad(200, "abc")),
    ("a reason beyond ASCII", "GET", b"HTTP/1.1 200 D'acc\xc3\xb6rd\r\nContent-Length: 3\r\n\r\nabc", Passed(200, "abc")),
    ("a NUL in the reason", "GET", b"HTTP/1.1 200 O\0K\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("a lone CR in the reason", "GET", b"HTTP/1.1 200 O\rK\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("two digits", "GET", b"HTTP/1.1 20 OK\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("four digits", "GET", b"HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("no digits", "GET", b"HTTP/1.1 abc OK\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("status 000", "GET", b"HTTP/1.1 000 OK\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("status 099", "GET", b"HTTP/1.1 099 OK\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("status 600", "GET", b"HTTP/1.1 600 Odd\r\nContent-Length: 3\r\n\r\nabc", PassedOrBad(600, "abc")),
    ("a status nobody knows", "GET", b"HTTP/1.1 299 Odd\r\nContent-Length: 3\r\n\r\nabc", Passed(299, "abc")),
    ("two spaces", "GET", b"HTTP/1.1  200 OK\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("HTTP/2.0", "GET", b"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("http in small letters", "GET", b"http/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("another protocol", "GET", b"ICY 200 OK\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("HTTP/0.9", "GET", b"<html>old days</html>", BadGateway),
    ("garbage", "GET", b"\x00\x01\x02\r\n\r\n", BadGateway),
    ("a banner of SSH", "GET", b"SSH-2.0-OpenSSH_9.2\r\n", BadGateway),
    ("nothing", "GET", b"", BadGateway),
    ("half a status line", "GET", b"HTTP/1.1 20", BadGateway),
    ("half a head", "GET", b"HTTP/1.1 200 OK\r\nContent-Le", BadGateway),

    // Field lines, RFC 9112 5.
    ("a space before a colon", "GET", b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 3\r\n\r\nabc", PassedOrBad(200, "abc")),
    ("a space before the length's colon", "GET", b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabcdef", PassedOrBad(200, "abc")),
    ("a fold", "GET", b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 3\r\n\r\nabc", PassedOrBad(200, "abc")),
    ("a NUL in a value", "GET", b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("a lone CR in a value", "GET", b"HTTP/1.1 200 OK\r\nX: y\rz\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("no colon", "GET", b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("an empty name", "GET", b"HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("a space in a name", "GET", b"HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("a name beyond ASCII", "GET", b"HTTP/1.1 200 OK\r\nX\xc3\xa9: z\r\nContent-Length: 3\r\n\r\nabc", BadGateway),
    ("a value beyond ASCII", "GET", b"HTTP/1.1 200 OK\r\nX: caf\xc3\xa9\r\nContent-Length: 3\r\n\r\nabc", Passed(200, "abc")),
    ("lone LFs", "GET", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", PassedOrBad(200, "abc")),

    // Interim answers, RFC 9110 15.2.
    ("100 nobody asked for", "GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Passed(200, "abc")),
    ("103 twice", "GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Passed(200, "abc")),
    ("103 and then the end", "GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", CutOrBad),
    ("103 and then nonsense", "GET", b"HTTP/1.1 103 Early Hints\r\n\r\nnonsense\r\n\r\n", CutOrBad),
    ("101 nobody asked for", "GET", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw", BadGateway),
];
