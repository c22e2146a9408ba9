//! A ClientHello of any bytes never panics, is judged alike however it arrives, and names what can
//! be looked up as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_wire::tls_hello::{MAX_HELLO, client_hello};

fuzz_target!(|bytes: &[u8]| {
    let whole = client_hello(bytes);
    for end in 0..bytes.len().min(600) {
        let part = client_hello(&bytes[..end]);
        assert!(part == Ok(None) || part == whole);
    }
    match whole {
        Err(refusal) => assert!(!refusal.to_string().is_empty() && !bytes.is_empty()),
        Ok(None) => assert!(bytes.len() < MAX_HELLO),
        Ok(Some(hello)) => {
            let name = hello.name.as_deref().unwrap_or("none");
            let is_plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
            assert!((1..=253).contains(&name.len()) && name.bytes().all(is_plain));
            assert!(!name.starts_with('.') && !name.ends_with('.') && !name.contains(".."));
        }
    }
});
