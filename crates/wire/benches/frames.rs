//! What following WebSocket frames costs a tunnel per 64 KiB read: a payload is stepped over, so
//! the price is one of headers.
//!
//! `cargo bench -p tidegate-wire --bench frames`

use divan::{Bencher, black_box, counter::BytesCount};
use tidegate_wire::websocket::{PongFilter, Scanner, Sender};

const READ: usize = 64 * 1024;

fn main() {
    divan::main();
}

/// A read full of a client's frames with payloads of so many bytes; the last may be cut.
fn read(payload: usize) -> Vec<u8> {
    let length = u16::try_from(payload).expect("it fits a frame of medium length").to_be_bytes();
    let header = match payload {
        0..=125 => vec![0x82, 0x80 | length[1], 1, 2, 3, 4],
        _ => vec![0x82, 0xfe, length[0], length[1], 1, 2, 3, 4],
    };
    [header, vec![0x8a; payload]].concat().into_iter().cycle().take(READ).collect()
}

#[divan::bench(args = [20, 100, 1000, 65_000])]
fn follow(bencher: Bencher<'_, '_>, payload: usize) {
    let bytes = read(payload);
    bencher.counter(BytesCount::new(READ)).bench(|| {
        let mut scanner = Scanner::new(Sender::Client);
        scanner.follow(black_box(&bytes));
        scanner
    });
}

#[divan::bench(args = [20, 100, 1000, 65_000])]
fn filter(bencher: Bencher<'_, '_>, payload: usize) {
    let mut buffer = [&[0; PongFilter::SPARE][..], &read(payload)].concat();
    let mut filter = PongFilter::new(*b"tagtag");
    filter.next_ping();
    bencher.counter(BytesCount::new(READ)).bench_local(|| {
        let mut scanner = Scanner::new(Sender::Client);
        let range = PongFilter::SPARE..buffer.len();
        filter.filter(&mut scanner, black_box(&mut buffer), range)
    });
}
