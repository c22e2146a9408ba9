//! A request's own id.

/// A request id as it is written: 32 hexadecimal digits of ours, or what a trusted proxy sent.
#[derive(Clone, Copy, Debug)]
pub struct RequestId {
    text: [u8; Self::MAX],
    len: u8,
}

impl RequestId {
    /// What a trusted proxy may send; a UUID fits.
    const MAX: usize = 64;

    pub fn random(random: u128) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; Self::MAX];
        for (digits, byte) in text.chunks_exact_mut(2).zip(random.to_be_bytes()) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
        Self { text, len: 32 }
    }

    /// An id from a trusted proxy, if it is one.
    pub fn received(value: &[u8]) -> Option<Self> {
        let plain =
            |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=' | b':');
        if value.is_empty() || value.len() > Self::MAX || !value.iter().all(plain) {
            return None;
        }
        let mut text = [0; Self::MAX];
        text[..value.len()].copy_from_slice(value);
        Some(Self { text, len: u8::try_from(value.len()).ok()? })
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_made_or_taken_when_harmless() {
        assert_eq!(RequestId::random(0xab).as_str(), "000000000000000000000000000000ab");
        assert_eq!(RequestId::received(b"a-1").expect("an id").as_str(), "a-1");
        for bad in [&b""[..], b"a b", b"a\r\nb", &[b'a'; 65]] {
            assert!(RequestId::received(bad).is_none());
        }
    }
}
