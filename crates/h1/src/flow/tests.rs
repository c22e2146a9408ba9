//! Bodies of every framing on their way to every coding, in whatever pieces they come and go.

mod transform;

use proptest::prelude::*;

use super::*;
use crate::script::{Read, Script, drive, once, pieces};

const HEAD: &[u8] = b"a head\r\n\r\n";

/// What may be kept of a body: one read with what was too little to be written before it, a trailer
/// section, and the framing around them.
const KEPT: usize = SIZE + COPIED + MAX_TRAILERS + 2 * ROOM;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framed {
    Chunked,
    Length,
    UntilClose,
}

/// A body as it comes, and how it comes and goes.
#[derive(Clone, Debug)]
struct Coming {
    framed: Framed,
    coding: Coding,
    size: usize,
    seed: u8,
    chunks: Vec<usize>,
    extended: bool,
    trailers: bool,
    /// The next message.
    behind: Vec<u8>,
    /// What came with the head.
    with_head: usize,
    /// What was read ahead.
    ahead: usize,
    reads: Vec<usize>,
    write: Option<usize>,
}

fn coming() -> impl Strategy<Value = Coming> {
    let framed = prop::sample::select(vec![Framed::Chunked, Framed::Length, Framed::UntilClose]);
    let coding = prop::sample::select(vec![Coding::Chunked, Coding::Plain]);
    let size = || prop_oneof![Just(0), 0..20_usize, 0..2 * COPIED, 0..3 * SIZE];
    // One byte at a time is for small bodies, or these tests would never end.
    let sizes =
        || prop::collection::vec(prop_oneof![1..5_usize, 1..3_000_usize, 1..70_000_usize], 1..5);
    let source = (size(), any::<u8>(), sizes(), any::<bool>(), any::<bool>(), 0..100_usize);
    let way = (size(), size(), sizes(), prop::option::of(sizes()));
    (framed, coding, source, way).prop_map(|(framed, coding, source, way)| {
        let (size, seed, chunks, extended, trailers, behind) = source;
        let (with_head, ahead, reads, write) = way;
        let fewest = size / 1_000 + 1;
        let coarse = |sizes: Vec<usize>| sizes.into_iter().map(|s| s.max(fewest)).collect();
        Coming {
            framed,
            coding,
            size,
            seed,
            chunks: coarse(chunks),
            extended,
            trailers,
            behind: vec![b'G'; if framed == Framed::UntilClose { 0 } else { behind }],
            with_head,
            ahead,
            reads: coarse(reads),
            write: write.map(|sizes| sizes[0].max(fewest)),
        }
    })
}

impl Coming {
    fn payload(&self) -> Vec<u8> {
        (0..self.size).map(|at| (at as u8).wrapping_mul(31) ^ self.seed).collect()
    }

    fn decoder(&self) -> Decoder {
        match self.framed {
            Framed::Chunked => Decoder::Chunked(ChunkDecoder::default()),
            Framed::Length => Decoder::Length(self.size as u64),
            Framed::UntilClose => Decoder::UntilClose,
        }
    }

    fn has_trailers(&self) -> bool {
        self.trailers && self.framed == Framed::Chunked
    }

    fn bytes(&self) -> Vec<u8> {
        if self.framed != Framed::Chunked {
            return self.payload();
        }
        let (payload, mut bytes) = (self.payload(), Vec::new());
        let (mut rest, mut sizes) = (&payload[..], self.chunks.iter().cycle());
        while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
            let (chunk, after) = rest.split_at(rest.len().min(*size));
            let extension = if self.extended { ";a=\"b\"" } else { "" };
            bytes.extend_from_slice(format!("{:04X}{extension}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
            rest = after;
        }
        bytes.extend_from_slice(b"0\r\n");
        if self.trailers {
            bytes.extend_from_slice(b"X-Sum:1\r\nContent-Length: 5\r\nHost: b\r\nX-Ok: y z\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// Its first bytes, and the source of the others.
    fn source(&self) -> (Vec<u8>, Conn<Script>) {
        let mut bytes = [self.bytes(), self.behind.clone()].concat();
        let mut rest = bytes.split_off(self.with_head.min(bytes.len()).min(SIZE));
        // Both came in one read.
        let unread = rest.split_off(self.ahead.min(rest.len()).min(SIZE - bytes.len()));
        let mut reads = pieces(&unread, &self.reads);
        reads.extend((self.framed == Framed::UntilClose).then_some(Read::End));
        let mut conn = Conn::new(Script::new(reads));
        conn.put_back(rest);
        (bytes, conn)
    }

    fn sink(&self) -> Script {
        self.write.map_or_else(Script::sink, Script::slow)
    }

    /// The body as it has to arrive, found by a decoder of its own.
    fn check(&self, arrived: &[u8]) {
        let arrived = arrived.strip_prefix(HEAD).expect("the head comes first");
        let (payload, trailers) = match self.coding {
            Coding::Chunked => unchunk(arrived).expect("sound chunks and nothing behind them"),
            Coding::Plain => (arrived.to_vec(), Vec::new()),
        };
        assert!(payload == self.payload(), "{} bytes of {}", payload.len(), self.size);
        let expected: &[u8] = match self.coding {
            Coding::Chunked if self.has_trailers() => b"X-Sum: 1\r\nX-Ok: y z\r\n",
            _ => b"",
        };
        assert_eq!(trailers, expected);
    }
}

/// Payload and trailer section of a whole chunked body.
fn unchunk(mut bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut payload = Vec::new();
    loop {
        let line = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).ok()?, 16).ok()?;
        bytes = &bytes[line + 2..];
        if size == 0 {
            let trailers = bytes.strip_suffix(b"\r\n")?;
            let is_whole = trailers.is_empty() || trailers.ends_with(b"\r\n");
            return is_whole.then(|| (payload, trailers.to_vec()));
        }
        payload.extend_from_slice(bytes.get(..size)?);
        bytes = bytes[size..].strip_prefix(b"\r\n")?;
    }
}

fn unsent(flow: &Flow) -> usize {
    flow.pending.len() - flow.written
}

/// Polls to the end. Whoever waits has asked somebody to be woken, and keeps little.
fn run(flow: &mut Flow, source: &mut Conn<Script>, sink: &mut Script) -> Result<(), FlowError> {
    let scratch = Scratch::default();
    drive(|cx| {
        let (reads, writes) = (source.end.waits, sink.waits);
        let polled = flow.poll(cx, source, sink, &scratch);
        if polled.is_pending() {
            let asked = match flow.waiting() {
                Waiting::Sink => sink.waits > writes,
                Waiting::Source => source.end.waits > reads && unsent(flow) == 0,
            };
            assert!(asked, "nobody would wake it: {:?}", flow.waiting());
            assert!(unsent(flow) <= KEPT, "{} bytes kept", unsent(flow));
        }
        polled
    })
}

proptest! {
    #[test]
    fn a_body_arrives_whole_whatever_the_pieces(coming in coming()) {
        let (first, mut source) = coming.source();
        let mut sink = coming.sink();
        let mut flow = Flow::new(coming.decoder(), coming.coding, HEAD.to_vec());
        let used = once(|cx| Poll::Ready(flow.absorb(cx, &first, &mut sink)));
        let Poll::Ready(Ok(used)) = used else {
            return Err(TestCaseError::fail("a sound body"));
        };
        prop_assert!(used == first.len() || flow.is_read());
        // What the head's reader does with the bytes that are left of a body.
        let over = [&first[used..], &source.take_ahead()].concat();
        source.put_back(over);
        prop_assert!(run(&mut flow, &mut source, &mut sink).is_ok());
        coming.check(&sink.written);
        prop_assert!(flow.is_done() && flow.pending.capacity() == 0);
        prop_assert_eq!(flow.payload(), coming.size as u64);
        let rest = [source.ahead(), &source.end.unread()].concat();
        prop_assert_eq!(rest, coming.behind);
    }

    #[test]
    fn no_body_passes_its_limit(coming in coming(), short in any::<bool>()) {
        let size = coming.size as u64;
        let limit = size.saturating_sub(u64::from(short));
        let (_, mut source) = Coming { with_head: 0, ..coming.clone() }.source();
        let mut sink = coming.sink();
        let mut flow =
            Flow::new(coming.decoder(), coming.coding, HEAD.to_vec()).with_limit(limit);
        match run(&mut flow, &mut source, &mut sink) {
            Ok(()) => prop_assert_eq!(limit, size),
            Err(error) => prop_assert!(limit < size && matches!(error, FlowError::TooLarge)),
        }
    }

    #[test]
    fn a_body_that_breaks_off_is_cut(coming in coming(), at in any::<prop::sample::Index>()) {
        prop_assume!(coming.framed != Framed::UntilClose && !coming.bytes().is_empty());
        let bytes = coming.bytes();
        let mut reads = pieces(&bytes[..at.index(bytes.len())], &coming.reads);
        reads.push(Read::End);
        let mut source = Conn::new(Script::new(reads));
        let mut sink = coming.sink();
        let mut flow = Flow::new(coming.decoder(), coming.coding, HEAD.to_vec());
        let ended = run(&mut flow, &mut source, &mut sink);
        prop_assert!(matches!(ended, Err(FlowError::Cut)), "{:?}", ended);
        // Whoever got it must be able to tell.
        let arrived = sink.written.strip_prefix(HEAD).expect("the head comes first");
        prop_assert!(coming.coding == Coding::Plain || unchunk(arrived).is_none());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), size in 1..9_usize) {
        let mut reads = pieces(&bytes, &[size]);
        reads.push(Read::End);
        let mut source = Conn::new(Script::new(reads));
        let mut flow = chunked(Coding::Chunked);
        let _ = run(&mut flow, &mut source, &mut Script::sink());
    }
}

fn chunked(coding: Coding) -> Flow {
    Flow::new(Decoder::Chunked(ChunkDecoder::default()), coding, Vec::new())
}

/// How a body that came in one piece ended, and what arrived.
fn ended(mut flow: Flow, bytes: &[u8]) -> (Result<(), FlowError>, Vec<u8>) {
    let mut source = Conn::new(Script::new([Read::Bytes(bytes.to_vec())]));
    let mut sink = Script::sink();
    let ended = run(&mut flow, &mut source, &mut sink);
    (ended, sink.written)
}

#[test]
fn absorb_takes_the_body_and_nothing_behind_it() {
    let cases: [(Flow, &[u8], usize); 5] = [
        (Flow::new(Decoder::Length(3), Coding::Plain, Vec::new()), b"abcGET", 3),
        (Flow::new(Decoder::Length(9), Coding::Plain, Vec::new()), b"abcdef", 6),
        (Flow::new(Decoder::Done, Coding::Plain, Vec::new()), b"GET", 0),
        (Flow::new(Decoder::UntilClose, Coding::Plain, Vec::new()), b"abc", 3),
        (chunked(Coding::Plain), b"3\r\nabc\r\n0\r\nA: b\r\n\r\nGET", 19),
    ];
    for (mut flow, bytes, expected) in cases {
        let mut sink = Script::sink();
        let used = once(|cx| Poll::Ready(flow.absorb(cx, bytes, &mut sink)));
        assert!(matches!(used, Poll::Ready(Ok(used)) if used == expected), "{used:?}");
    }
}

#[test]
fn a_coded_body_of_known_length_has_its_last_chunk() {
    let body = |size| Flow::new(Decoder::Length(size), Coding::Chunked, HEAD.to_vec());
    let (result, arrived) = ended(body(3), b"abc");
    assert!(result.is_ok());
    assert_eq!(arrived, b"a head\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let (result, arrived) = ended(body(0), b"");
    assert!(result.is_ok());
    assert_eq!(arrived, b"a head\r\n\r\n0\r\n\r\n");
}

#[test]
fn no_body_at_all_is_the_head_alone() {
    for coding in [Coding::Chunked, Coding::Plain] {
        let (result, arrived) = ended(Flow::new(Decoder::Done, coding, HEAD.to_vec()), b"GET");
        assert!(result.is_ok());
        assert_eq!(arrived, HEAD);
    }
}

#[test]
fn nothing_is_read_beyond_a_known_length() {
    let mut source = Conn::new(Script::new([Read::Bytes(b"abcGET".to_vec())]));
    let mut flow = Flow::new(Decoder::Length(3), Coding::Plain, Vec::new());
    assert!(run(&mut flow, &mut source, &mut Script::sink()).is_ok());
    assert_eq!(source.ahead(), b"");
    assert_eq!(source.end.unread(), b"GET");
}

#[test]
fn head_and_payload_leave_in_one_write() {
    for (size, coding) in
        [(10, Coding::Plain), (10, Coding::Chunked), (SIZE - 100, Coding::Chunked)]
    {
        let mut flow = Flow::new(Decoder::Length(size as u64 + 1), coding, HEAD.to_vec());
        let mut sink = Script::sink();
        let payload = vec![b'x'; size];
        let used = once(|cx| Poll::Ready(flow.absorb(cx, &payload, &mut sink)));
        assert!(matches!(used, Poll::Ready(Ok(used)) if used == size));
        assert_eq!((sink.writes, unsent(&flow)), (1, 0));
    }
}

#[test]
fn a_sink_that_stands_still_stops_the_source() {
    let endless = (0..100).map(|_| Read::Bytes(vec![b'x'; SIZE]));
    let mut source = Conn::new(Script::new(endless));
    let mut sink = Script::slow(1);
    let mut flow = Flow::new(Decoder::UntilClose, Coding::Chunked, HEAD.to_vec());
    let scratch = Scratch::default();
    for _ in 0..100 {
        assert!(once(|cx| flow.poll(cx, &mut source, &mut sink, &scratch)).is_pending());
        assert_eq!(flow.waiting(), Waiting::Sink);
    }
    assert!(unsent(&flow) <= SIZE + ROOM, "{} bytes kept", unsent(&flow));
    assert!(source.end.unread().len() >= 98 * SIZE);
}

/// However ready both ends are.
#[test]
fn after_so_much_of_a_body_the_others_have_their_turn() {
    let ready = (0..10).map(|_| Read::Bytes(vec![b'x'; SIZE]));
    let mut source = Conn::new(Script::new(ready));
    let (mut sink, scratch) = (Script::sink(), Scratch::default());
    let mut flow = Flow::new(Decoder::Length(10 * SIZE as u64), Coding::Plain, Vec::new());
    let mut at_once = || {
        let before = flow.payload();
        let polled = once(|cx| flow.poll(cx, &mut source, &mut sink, &scratch));
        (polled.is_ready(), flow.payload() - before)
    };
    assert_eq!(at_once(), (false, TURN as u64));
    assert_eq!(at_once(), (false, TURN as u64));
    assert_eq!(at_once(), (true, 10 * SIZE as u64 - 2 * TURN as u64));
}

#[test]
fn only_bytes_are_moves() {
    let mut source = Conn::new(Script::new([Read::Wait, Read::Bytes(b"ab".to_vec())]));
    let (mut sink, scratch) = (Script::sink(), Scratch::default());
    let mut flow = Flow::new(Decoder::Length(4), Coding::Plain, Vec::new());
    let mut moves = || {
        let polled = once(|cx| flow.poll(cx, &mut source, &mut sink, &scratch));
        assert!(polled.is_pending() && flow.waiting() == Waiting::Source);
        flow.moves()
    };
    assert_eq!(moves(), 0);
    let moved = moves();
    assert!(moved > 0);
    assert_eq!(moves(), moved);
}

#[test]
fn malformed_chunks_are_refused() {
    let bad: [&[u8]; 6] =
        [b"x", b"3\nabc", b"3\r\nabcd", b"0\r\nA : b\r\n\r\n", b"0\r\n\n", b"11111111111111111"];
    for bytes in bad {
        let (result, _) = ended(chunked(Coding::Chunked), bytes);
        assert!(matches!(result, Err(FlowError::Malformed(_))), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_trailer_section_has_a_limit() {
    let trailers = |size: usize| format!("0\r\nX: {}\r\n\r\n", "x".repeat(size - 7));
    assert!(ended(chunked(Coding::Chunked), trailers(MAX_TRAILERS).as_bytes()).0.is_ok());
    for size in [MAX_TRAILERS + 1, 3 * SIZE] {
        for piece in [1_000, usize::MAX] {
            let reads = pieces(trailers(size).as_bytes(), &[piece]);
            let mut source = Conn::new(Script::new(reads));
            let ended = run(&mut chunked(Coding::Plain), &mut source, &mut Script::sink());
            assert!(matches!(ended, Err(FlowError::TooLarge)), "{ended:?}");
        }
    }
    let many = format!("0\r\n{}\r\n", "X: y\r\n".repeat(MAX_TRAILER_FIELDS + 1));
    let (result, _) = ended(chunked(Coding::Plain), many.as_bytes());
    assert!(matches!(result, Err(FlowError::Malformed(BadChunk::Trailer(_)))), "{result:?}");
}

#[test]
fn errors_name_their_side() {
    let kind = io::ErrorKind::ConnectionReset;
    let body = || Flow::new(Decoder::Length(SIZE as u64 + 9), Coding::Plain, Vec::new());
    let mut failing = Conn::new(Script::new([Read::Bytes(b"abc".to_vec()), Read::Fail(kind)]));
    let ended = run(&mut body(), &mut failing, &mut Script::sink());
    assert!(matches!(ended, Err(FlowError::Source(error)) if error.kind() == kind));
    for size in [3, COPIED + 1] {
        for mut sink in [Script::broken(), Script::refusing()] {
            let mut source = Conn::new(Script::new([Read::Bytes(vec![b'x'; size])]));
            let ended = run(&mut body(), &mut source, &mut sink);
            assert!(matches!(ended, Err(FlowError::Sink(_))), "{ended:?}");
        }
    }
}
