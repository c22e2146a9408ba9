//! A PROXY header of any bytes never panics, is judged alike however it arrives, and what it says
//! can be said again in both versions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_wire::proxy::{MAX, Source, Version, parse, write};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for end in 0..bytes.len().min(300) {
        let part = parse(&bytes[..end]);
        assert!(part == Ok(None) || part == whole);
    }
    match whole {
        Err(refusal) => assert!(!refusal.to_string().is_empty() && !bytes.is_empty()),
        Ok(None) => assert!(bytes.len() < MAX),
        Ok(Some((source, length))) => {
            assert!(length <= bytes.len().min(MAX));
            assert_eq!(parse(&bytes[..length - 1]), Ok(None));
            check_written(source);
        }
    }
});

fn check_written(source: Source) {
    let addresses = match source {
        Source::Local => None,
        Source::Proxied(addresses) => Some(addresses),
    };
    for version in [Version::V1, Version::V2] {
        let header = write(version, addresses.as_ref());
        let length = header.as_bytes().len();
        assert_eq!(parse(header.as_bytes()), Ok(Some((source, length))));
    }
}
