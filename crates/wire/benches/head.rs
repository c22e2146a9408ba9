//! What the hygiene of heads costs: parsing, judging, and finding the fields that stay here.
//!
//! `cargo bench -p tidegate-wire`

use divan::{Bencher, black_box};
use tidegate_wire::{
    is_hop_by_hop, judge_request, judge_response, named_by_connection, normalize_path,
};

const BROWSER: &[u8] = b"GET /im/v2/messages?since=1700000000&limit=50 HTTP/1.1\r\n\
    Host: chat.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
    Accept: application/json, text/plain, */*\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-US,en;q=0.9\r\nCookie: gray=b; route=7f3a; sid=0123456789abcdef\r\n\
    Connection: keep-alive\r\nX-Trace: 00-4bf92f3577b34da6a3ce929d0e0e4736\r\n\r\n";
const MINIMAL: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";
const NAMED: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-A\r\nX-A: 1\r\n\
    Connection: X-B\r\nX-B: 2\r\nX-C: 3\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Fri, 20 Nov 2026 13:04:13 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 512\r\nConnection: keep-alive\r\n\r\n";

fn main() {
    divan::main();
}

#[divan::bench(args = [("browser", BROWSER), ("minimal", MINIMAL), ("named", NAMED)])]
fn request(bencher: Bencher<'_, '_>, (_, head): (&str, &[u8])) {
    bencher.bench(|| {
        let mut storage = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut storage);
        let parsed = request.parse(black_box(head)).is_ok_and(|status| status.is_complete());
        let facts = judge_request(&request).expect("it is sound");
        let stays = |name: &str| {
            is_hop_by_hop(name)
                || (facts.connection_names && named_by_connection(request.headers, name))
        };
        let passed = request.headers.iter().filter(|field| !stays(field.name)).count();
        (parsed, passed)
    });
}

#[divan::bench]
fn response() -> bool {
    let mut storage = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut storage);
    let parsed = response.parse(black_box(ANSWER)).is_ok_and(|status| status.is_complete());
    parsed && judge_response(&response, false).is_ok()
}

#[divan::bench(args = ["/im/v2/messages", "/a/../b//c/%41"])]
fn path(raw: &str) -> usize {
    normalize_path(black_box(raw.as_bytes()), false).map_or(0, |path| path.len())
}
