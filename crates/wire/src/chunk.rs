//! The chunked coding (RFC 9112 §7.1), decoded in place: it says how many bytes at the front of
//! the caller's buffer are framing and how many are payload, and keeps a few bytes of state.

use crate::refusal::BadChunk;

/// The longest chunk-size line with its extensions and line end, in bytes.
const MAX_LINE: u16 = 1024;
/// How far framing may get ahead of its allowance (Go's net/http draws the same line): a client
/// that wraps single bytes in long extensions makes us work for nothing.
const MAX_EXCESS: u64 = 16 * 1024;
/// What framing a chunk may cost without counting: size, line ends, a short extension.
const CHUNK_ALLOWANCE: u64 = 16;

/// Decodes one chunked body.
#[derive(Clone, Debug, Default)]
pub struct ChunkDecoder {
    state: State,
    /// Hexadecimal digits of the size so far.
    digits: u8,
    /// Bytes of the chunk-size line so far.
    line: u16,
    excess: u64,
    /// The size being read, then the bytes of payload still to come.
    left: u64,
}

/// What to do with the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Drop so many bytes; they are framing.
    Skip(usize),
    /// Take so many bytes, at least one; they are payload.
    Data(usize),
    /// Drop so many bytes. The trailer section starts behind them:
    /// [`parse_trailers`](crate::parse_trailers) reads it.
    Trailers(usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// White space behind the size: an extension has to follow.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

impl ChunkDecoder {
    /// Looks at `input`, which is not empty, and says what its front is. The caller drops or takes
    /// that many bytes before the next call.
    ///
    /// # Errors
    /// When the input breaks the grammar or its bounds; the body cannot be read any further.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, BadChunk> {
        if self.state == State::Data {
            return Ok(Step::Data(self.payload(input.len())));
        }
        let mut taken = 0;
        for byte in input {
            if matches!(self.state, State::Data | State::Trailers) {
                break;
            }
            self.state = self.framing(*byte)?;
            taken += 1;
        }
        match self.state {
            State::Trailers => Ok(Step::Trailers(taken)),
            _ => Ok(Step::Skip(taken)),
        }
    }

    fn payload(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= taken as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        taken
    }

    /// The state after one more byte of framing.
    fn framing(&mut self, byte: u8) -> Result<State, BadChunk> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err(BadChunk::LineTooLong);
        }
        match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => Ok(State::SizeLf),
            (State::Size | State::Blank, b';') if self.digits > 0 => Ok(State::Extension),
            (State::Size | State::Blank, b' ' | b'\t') if self.digits > 0 => Ok(State::Blank),
            (State::Size, _) => self.digit(byte),
            (State::Blank, _) => Err(BadChunk::Size),
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, b'\n') => Err(BadChunk::LineEnd),
            (State::Extension, 0..=8 | 10..=31 | 127) => Err(BadChunk::Extension),
            (State::Extension, _) => Ok(State::Extension),
            (State::SizeLf, b'\n') => self.start_data(),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(self.start_size()),
            _ => Err(BadChunk::LineEnd),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<State, BadChunk> {
        let digit = match char::from(byte).to_digit(16) {
            Some(digit) if self.digits < 16 => digit,
            None if byte == b'\n' && self.digits > 0 => return Err(BadChunk::LineEnd),
            _ => return Err(BadChunk::Size),
        };
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size)
    }

    fn start_size(&mut self) -> State {
        self.digits = 0;
        self.line = 0;
        State::Size
    }

    fn start_data(&mut self) -> Result<State, BadChunk> {
        let allowance = self.left.saturating_mul(2).saturating_add(CHUNK_ALLOWANCE);
        self.excess = (self.excess + u64::from(self.line)).saturating_sub(allowance);
        self.line = 0;
        match self.left {
            _ if self.excess > MAX_EXCESS => Err(BadChunk::Overhead),
            0 => Ok(State::Trailers),
            _ => Ok(State::Data),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The payload, and how many bytes the coding took up to its trailer section; fed in pieces.
    fn decode(input: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, BadChunk> {
        let mut decoder = ChunkDecoder::default();
        let (mut payload, mut at, mut arrived) = (Vec::new(), 0, 0);
        while arrived < input.len() {
            arrived = (arrived + piece).min(input.len());
            while at < arrived {
                at += match decoder.step(&input[at..arrived])? {
                    Step::Skip(count) => count,
                    Step::Data(count) => {
                        payload.extend_from_slice(&input[at..at + count]);
                        count
                    }
                    Step::Trailers(count) => return Ok(Some((payload, at + count))),
                };
            }
        }
        Ok(None)
    }

    fn refusal(input: &[u8]) -> Option<BadChunk> {
        decode(input, usize::MAX / 2).err()
    }

    #[test]
    fn section_7_1_chunks_make_up_the_payload() {
        let input = b"5\r\nhello\r\n00A;a=\"b;c\"\r\n, worlds!!\r\n1 \t;x\r\n\n\r\n0\r\n\r\nGET";
        for piece in [1, 2, 3, 7, 1000] {
            let expected = Some((b"hello, worlds!!\n".to_vec(), input.len() - 5));
            assert_eq!(decode(input, piece), Ok(expected));
        }
        assert_eq!(decode(b"000;last\r\n", 4), Ok(Some((vec![], 10))));
    }

    #[test]
    fn section_7_1_a_size_is_1_to_16_hexadecimal_digits() {
        let bad = [
            "\r\n",
            ";a\r\n",
            " 5\r\n",
            "+5\r\n",
            "-5\r\n",
            "0x5\r\n",
            "5g\r\n",
            "g\r\n",
            "5 \r\n",
            "5\t5\r\n",
            "5 5\r\n",
            "00000000000000005\r\n",
            "\n",
            "5_0\r\n",
            "5\0\r\n",
            "5\u{661}",
            "5,5\r\n",
        ];
        for input in bad {
            assert_eq!(refusal(input.as_bytes()), Some(BadChunk::Size), "{input:?}");
        }
    }

    #[test]
    fn a_size_of_16_digits_does_not_overflow() {
        let mut decoder = ChunkDecoder::default();
        assert_eq!(decoder.step(b"ffffffffffffffff\r\nabc"), Ok(Step::Skip(18)));
        assert_eq!(decoder.step(b"abc"), Ok(Step::Data(3)));
        assert_eq!(decoder.left, u64::MAX - 3);
    }

    #[test]
    fn section_2_2_only_crlf_ends_a_line_of_framing() {
        let bad = [
            "5\nhello\r\n",
            "5\rhello",
            "5\r\r\n",
            "5;a\nhello",
            "5;a\r;b\r\n",
            "5;\"\n\"\r\n",
            "5\r\nhello\n0\r\n",
            "5\r\nhello\r0",
            "5\r\nhelloX\r\n",
            "5\r\nhello0\r\n",
            "0\n\n",
        ];
        for input in bad {
            assert_eq!(refusal(input.as_bytes()), Some(BadChunk::LineEnd), "{input:?}");
        }
    }

    #[test]
    fn section_7_1_1_an_extension_holds_no_control_character() {
        for control in (0..b' ').chain([0x7f]).filter(|b| !b"\t\r\n".contains(b)) {
            let input = [&b"5;a=b"[..], &[control], b"\r\n"].concat();
            assert_eq!(refusal(&input), Some(BadChunk::Extension), "{control:#x}");
        }
        assert_eq!(refusal(b"5;a\t=\t\"\xff\"\r\n"), None);
    }

    #[test]
    fn section_7_1_1_extensions_are_bounded() {
        let line = |length| [&b"1;"[..], &vec![b'x'; length], b"\r\nX\r\n"].concat();
        assert_eq!(refusal(&line(1020)), None);
        assert_eq!(refusal(&line(1021)), Some(BadChunk::LineTooLong));
        assert_eq!(refusal(&line(1000).repeat(16)), None);
        assert_eq!(refusal(&line(1000).repeat(18)), Some(BadChunk::Overhead));
    }

    #[test]
    fn small_chunks_without_extensions_may_go_on_for_ever() {
        let input = [&b"1\r\nX\r\n".repeat(20_000)[..], b"0\r\n"].concat();
        let decoded = decode(&input, 4096).expect("no excess").expect("the end");
        assert_eq!(decoded.0.len(), 20_000);
    }

    #[test]
    fn the_state_is_small() {
        assert!(size_of::<ChunkDecoder>() <= 24);
    }

    proptest! {
        #[test]
        fn the_payload_does_not_depend_on_the_split(
            chunks in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 1..40), "(;[a-z]{1,5}(=[a-z]{1,3})?)?", any::<bool>()),
                0..8,
            ),
            piece in 1_usize..64,
        ) {
            let (mut input, mut payload) = (Vec::new(), Vec::new());
            for (data, extension, upper) in &chunks {
                let size = if *upper { format!("{:X}", data.len()) } else { format!("{:x}", data.len()) };
                input.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
                input.extend_from_slice(data);
                input.extend_from_slice(b"\r\n");
                payload.extend_from_slice(data);
            }
            input.extend_from_slice(b"0\r\n");
            prop_assert_eq!(decode(&input, piece), Ok(Some((payload, input.len()))));
        }

        #[test]
        fn any_bytes_are_judged_alike_however_they_arrive(
            input in prop::collection::vec(prop_oneof![
                4 => prop::sample::select(&b"0123aF;\r\n \tx"[..]), 1 => any::<u8>()
            ], 1..60),
            piece in 1_usize..8,
        ) {
            prop_assert_eq!(decode(&input, piece), decode(&input, 1000));
        }
    }
}
