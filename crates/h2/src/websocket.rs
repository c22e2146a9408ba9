//! What HTTP/1 has to prove that both sides mean a WebSocket (RFC 6455 §4), and HTTP/2 has not: a key
//! for servers that want one, and the answer to it for clients that do.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 6455 §1.3
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// 16 bytes in base64.
pub(crate) fn key() -> [u8; 24] {
    let bits = fastrand::u128(..);
    let mut key = [b'='; 24];
    encode(&bits.to_be_bytes(), &mut key);
    key
}

/// The answer to a key: a SHA-1 in base64.
pub(crate) fn accept(key: &[u8]) -> [u8; 28] {
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    let mut accept = [b'='; 28];
    encode(sum.as_ref(), &mut accept);
    accept
}

/// `text` has room for it, and is full of the sign that fills up.
fn encode(bytes: &[u8], text: &mut [u8]) {
    for (three, four) in bytes.chunks(3).zip(text.chunks_mut(4)) {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | usize::from(three.get(at).copied().unwrap_or_default())
        });
        for (at, digit) in four.iter_mut().enumerate().take(three.len() + 1) {
            *digit = DIGITS[bits >> (18 - 6 * at) & 63];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sixteen_bytes() {
        let key = key();
        assert!(key[22..] == *b"==" && !key[..22].contains(&b'='));
        assert!(b"AQgw".contains(&key[21]));
        assert_ne!(key, super::key());
    }

    #[test]
    fn rfc_6455_1_3_the_answer_to_a_key() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
