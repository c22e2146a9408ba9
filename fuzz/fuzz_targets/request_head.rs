//! A request head of any bytes never panics, and what is accepted keeps its promises: one
//! authority, one framing, a target that cannot break a line, a path without a way up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_wire::{Body, Facts, Refusal, Version, judge_request, normalize_path};

fuzz_target!(|head: &[u8]| {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Err(error) => assert!(Refusal::of_syntax(error, head).status() >= 400),
        Ok(httparse::Status::Partial) => {}
        Ok(httparse::Status::Complete(_)) => match judge_request(&request) {
            Err(refusal) => assert!(refusal.status() >= 400),
            Ok(facts) => {
                check_target(&facts);
                check_framing(&facts, request.headers);
            }
        },
    }
});

fn check_target(facts: &Facts<'_>) {
    let rooted = facts.target.starts_with(b"/") || facts.rootless || facts.target == b"*";
    assert!(rooted);
    assert!(facts.target.iter().all(|b| *b > b' ' && *b != 0x7f && *b != b'#'));
    assert!(facts.authority.starts_with(facts.host));
    assert_eq!(facts.host.is_empty(), facts.authority.is_empty());
    assert!(!facts.host.is_empty() || facts.version == Version::Http10);
    for allow_encoded_slash in [false, true] {
        if let Ok(path) = normalize_path(facts.path, allow_encoded_slash) {
            assert!(path.starts_with(b"/") && !path.contains(&b'\\'));
            assert!(path[1..].split(|b| *b == b'/').all(|s| s != b".." && s != b"."));
        }
    }
}

fn check_framing(facts: &Facts<'_>, headers: &[httparse::Header<'_>]) {
    let count = |name: &str| headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).count();
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    assert!(count("host") <= 1 && lengths <= 1 && lengths + codings <= 1);
    assert_eq!(facts.declared_length.is_some(), lengths == 1);
    match facts.body {
        Body::None => assert!(codings == 0 && facts.declared_length.unwrap_or(0) == 0),
        Body::Length(length) => assert!(length > 0 && facts.declared_length == Some(length)),
        Body::Chunked => assert!(codings == 1 && facts.version == Version::Http11),
    }
}
