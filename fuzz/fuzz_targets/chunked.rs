//! A chunked body of any bytes never panics, and means the same in one piece and in many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_wire::{BadChunk, ChunkDecoder, Step, parse_trailers};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, body) = input;
    let whole = decode(body, body.len().max(1));
    assert_eq!(whole, decode(body, usize::from(piece).max(1)));
    if let Ok((payload, Some(end))) = whole {
        assert!(payload.len() < end);
        let mut storage = [httparse::EMPTY_HEADER; 8];
        if let Ok(Some((_, length))) = parse_trailers(&body[end..], &mut storage) {
            assert!(body[end..end + length].ends_with(b"\r\n"));
        }
    }
});

/// The payload, and where the trailer section starts.
fn decode(body: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), BadChunk> {
    let mut decoder = ChunkDecoder::default();
    let (mut payload, mut at) = (Vec::new(), 0);
    while at < body.len() {
        let input = &body[at..body.len().min(at + piece)];
        match decoder.step(input)? {
            Step::Skip(count) => at += count,
            Step::Data(count) => {
                assert!(count > 0);
                payload.extend_from_slice(&input[..count]);
                at += count;
            }
            Step::Trailers(count) => return Ok((payload, Some(at + count))),
        }
    }
    Ok((payload, None))
}
