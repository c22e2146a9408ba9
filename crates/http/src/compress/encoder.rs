//! The codings themselves. Each holds its state for as long as the answer lasts, so there are so many
//! at once in a process and no more; what comes then goes on as it is.

use std::{
    fmt,
    io::{self, Write},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use brotli::CompressorWriter;
use flate2::{Compression, write::GzEncoder};
use tidegate_h1::Transform;
use tidegate_model::route::Encoding;

/// Answers that are compressed at once. Each takes up to about a megabyte.
const MOST: usize = 256;

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Levels at which the codings keep up with traffic.
const GZIP: u32 = 4;
const BROTLI: u32 = 4;
const ZSTD: i32 = 3;

/// Windows as powers of two: what a text refers back to, and most of the memory.
const BROTLI_WINDOW: u32 = 18;
const ZSTD_WINDOW: u32 = 18;

const BROTLI_BUFFER: usize = 4 * 1024;

/// One answer's.
pub(crate) struct Encoder {
    coding: Coding,
    _place: Place,
}

enum Coding {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Done,
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

/// One of those there may be.
struct Place;

impl Place {
    fn take(most: usize) -> Option<Self> {
        let one_more = |open: usize| (open < most).then_some(open + 1);
        OPEN.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

impl Encoder {
    /// `None` when there are as many as there may be.
    pub(crate) fn new(encoding: Encoding) -> Option<Self> {
        let place = Place::take(MOST)?;
        let coding = match encoding {
            Encoding::Brotli => Coding::Brotli(Box::new(CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                BROTLI,
                BROTLI_WINDOW,
            ))),
            Encoding::Gzip => Coding::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP))),
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD).ok()?;
                encoder.window_log(ZSTD_WINDOW).ok()?;
                Coding::Zstd(encoder)
            }
        };
        Some(Self { coding, _place: place })
    }
}

impl Coding {
    /// The writer, and where it has written to.
    fn act(&mut self, act: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Vec<u8>> {
        let out = match self {
            Self::Brotli(writer) => {
                act(writer)?;
                writer.get_mut()
            }
            Self::Gzip(writer) => {
                act(writer)?;
                writer.get_mut()
            }
            Self::Zstd(writer) => {
                act(writer)?;
                writer.get_mut()
            }
            Self::Done => return Ok(Vec::new()),
        };
        Ok(std::mem::take(out))
    }
}

impl Transform for Encoder {
    fn write(&mut self, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.coding.act(|writer| writer.write_all(payload))
    }

    fn flush(&mut self) -> io::Result<Vec<u8>> {
        self.coding.act(|writer| writer.flush())
    }

    fn finish(&mut self) -> io::Result<Vec<u8>> {
        match std::mem::replace(&mut self.coding, Coding::Done) {
            Coding::Brotli(writer) => Ok(writer.into_inner()),
            Coding::Gzip(writer) => writer.finish(),
            Coding::Zstd(writer) => writer.finish(),
            Coding::Done => Ok(Vec::new()),
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn decoded(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let read = match encoding {
            Encoding::Brotli => brotli::Decompressor::new(bytes, 4_096).read_to_end(&mut out),
            Encoding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
            Encoding::Zstd => {
                zstd::stream::read::Decoder::new(bytes).expect("a frame").read_to_end(&mut out)
            }
        };
        // Before its end a body is cut, and all of it is there all the same.
        let _ = read;
        out
    }

    #[test]
    fn what_was_written_comes_back_and_what_was_flushed_at_once() {
        for encoding in Encoding::ALL {
            let mut encoder = Encoder::new(encoding).expect("a place");
            let mut sent = encoder.write(b"data: first\n\n").expect("it is taken");
            sent.extend(encoder.flush().expect("it comes out"));
            assert_eq!(decoded(encoding, &sent), b"data: first\n\n", "{encoding:?}");
            let text = b"all work and no play ".repeat(10_000);
            for piece in text.chunks(7_777) {
                sent.extend(encoder.write(piece).expect("it is taken"));
            }
            sent.extend(encoder.finish().expect("it ends"));
            assert!(sent.len() < text.len() / 20, "{encoding:?}: {} bytes", sent.len());
            let whole = [&b"data: first\n\n"[..], &text].concat();
            assert!(decoded(encoding, &sent) == whole, "{encoding:?}: it is not what was sent");
            assert!(encoder.write(b"more").expect("it is over").is_empty());
        }
    }

    #[test]
    fn a_place_is_given_back() {
        let before = OPEN.load(Relaxed);
        let encoder = Encoder::new(Encoding::Gzip).expect("a place");
        assert!(Place::take(1).is_none());
        drop(encoder);
        assert!(OPEN.load(Relaxed) <= before + 3, "other tests have some, too");
    }
}
