//! A response head of any bytes never panics, and what is accepted keeps its promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_wire::{ResponseBody, Version, judge_response};

fuzz_target!(|input: (bool, &[u8])| {
    let (to_head, head) = input;
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(_)) = response.parse(head) else { return };
    let Ok(facts) = judge_response(&response, to_head) else { return };
    assert!(facts.status >= 100);
    assert_eq!(facts.upgrade.is_some(), facts.status == 101);
    let is_bodiless = to_head || facts.status < 200 || matches!(facts.status, 204 | 304);
    assert_eq!(facts.body == ResponseBody::None, is_bodiless);
    match facts.body {
        ResponseBody::None => {}
        ResponseBody::Length(length) => assert_eq!(facts.declared_length, Some(length)),
        ResponseBody::Chunked => assert!(facts.version == Version::Http11),
        ResponseBody::UntilClose => assert!(!facts.keep_alive),
    }
});
