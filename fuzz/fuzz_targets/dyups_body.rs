//! A dyups body of any bytes never panics. A refusal is one line; what is accepted has servers that
//! take requests, and survives the journal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_model::dyups::{MAX_SERVERS, parse};

fuzz_target!(|body: &[u8]| {
    match parse(body) {
        Err(refusal) => assert!(!refusal.to_string().contains(['\n', '\r', '\0'])),
        Ok(spec) => {
            let servers = spec.servers.as_deref().unwrap_or_default();
            assert!(servers.len() <= MAX_SERVERS && servers.iter().any(|server| !server.backup));
            assert!(servers.iter().all(|server| server.weight > 0));
            assert!(spec.balance.is_some());
            let kept = serde_json::to_string(&spec).expect("every pool has a JSON form");
            assert_eq!(serde_json::from_str(&kept).ok(), Some(spec));
        }
    }
});
