//! How a record lies in a file: magic, length, checksum, version, kind, and whether it opens a
//! batch. Pure.
//!
//! A batch is what one sync made durable. Its records may reach the disk in any order when the power
//! fails, so a damaged record with sound ones behind it is a torn tail like any other, unless one
//! of those opened a later batch: then the damaged one had been acknowledged.

/// A byte that JSON never holds comes first, so that no payload looks like a frame.
const MAGIC: [u8; 4] = *b"\xfftdg";
/// Magic, length of the payload (u32), CRC-32 of all that follows it and of the length (u32),
/// version, kind, opens. Little-endian.
pub(crate) const HEADER: usize = 15;
/// Longer ones are refused, long before the length would overflow.
const MAX_PAYLOAD: usize = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'b> {
    pub(crate) version: u8,
    pub(crate) kind: u8,
    /// Whether everything before it in the file was durable when it was written.
    pub(crate) opens: bool,
    pub(crate) payload: &'b [u8],
}

/// A record no file can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl<'b> Frame<'b> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let length = u32::try_from(self.payload.len()).map_err(|_| TooLong)?;
        if self.payload.len() > MAX_PAYLOAD {
            return Err(TooLong);
        }
        let about = [self.version, self.kind, u8::from(self.opens)];
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&checksum(length, about, self.payload).to_le_bytes());
        out.extend_from_slice(&about);
        out.extend_from_slice(self.payload);
        Ok(())
    }

    /// The frame at the start of `bytes` and its whole length; `None` when it is cut short or
    /// damaged.
    pub(crate) fn read(bytes: &'b [u8]) -> Option<(Self, usize)> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let [m0, m1, m2, m3, l0, l1, l2, l3, c0, c1, c2, c3, version, kind, opens] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let payload = rest.get(..usize::try_from(length).ok()?)?;
        let sum = checksum(length, [version, kind, opens], payload);
        let sound = [m0, m1, m2, m3] == MAGIC && u32::from_le_bytes([c0, c1, c2, c3]) == sum;
        sound.then(|| (Self { version, kind, opens: opens != 0, payload }, HEADER + payload.len()))
    }

    /// Whether a sound frame that opens a batch lies anywhere in `bytes`.
    pub(crate) fn opens_in(bytes: &[u8]) -> bool {
        let starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&MAGIC));
        starts.filter_map(|at| Frame::read(&bytes[at..])).any(|(frame, _)| frame.opens)
    }
}

fn checksum(length: u32, about: [u8; 3], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&about);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(opens: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let frame = Frame { version: 1, kind: 7, opens, payload };
        frame.write(&mut out).expect("a short payload");
        out
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(payload: Vec<u8>, behind: Vec<u8>, opens: bool) {
            let mut bytes = written(opens, &payload);
            let length = bytes.len();
            bytes.extend(behind);
            let frame = Frame { version: 1, kind: 7, opens, payload: &payload };
            prop_assert_eq!(Frame::read(&bytes), Some((frame, length)));
        }

        #[test]
        fn a_cut_or_flipped_frame_is_none(
            payload in prop::collection::vec(any::<u8>(), 0..64),
            at: prop::sample::Index,
            bit in 0..8_u32,
        ) {
            let mut bytes = written(true, &payload);
            let at = at.index(bytes.len());
            prop_assert_eq!(Frame::read(&bytes[..at]), None);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Frame::read(&bytes), None);
        }

        #[test]
        fn noise_is_read_without_harm(bytes: Vec<u8>) {
            let _ = Frame::read(&bytes);
            let _ = Frame::opens_in(&bytes);
        }
    }

    #[test]
    fn only_a_frame_that_opens_a_batch_is_found_behind_damage() {
        let behind = |opens| [&b"damaged \xfftd"[..], &written(opens, b"{}"), b"\xff"].concat();
        assert!(Frame::opens_in(&behind(true)) && !Frame::opens_in(&behind(false)));
    }
}
