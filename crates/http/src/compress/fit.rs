//! Which answers are worth compressing, and may be.

use httparse::Header;
use tidegate_wire::{ResponseBody, ResponseFacts};

/// Below it the coding costs more than it saves.
const SHORTEST: u64 = 256;

/// As in nginx.
const STATUSES: [u16; 3] = [200, 403, 404];

/// Types that are text in the end, besides `text/` and what ends in `+json`, `+xml` and `+text`.
const TYPES: [&str; 12] = [
    "application/ecmascript",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/ndjson",
    "application/rtf",
    "application/toml",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "application/yaml",
];

/// Fields of an answer that is one of these bytes and no others.
const AS_IT_IS: [&str; 6] =
    ["content-digest", "content-encoding", "content-md5", "content-range", "digest", "repr-digest"];

/// Of an answer to HEAD: whether one to GET would be.
pub(crate) fn is_fit(facts: &ResponseFacts<'_>, headers: &[Header<'_>], to_head: bool) -> bool {
    let has_length = match facts.body {
        ResponseBody::None => {
            to_head && facts.declared_length.is_none_or(|length| length >= SHORTEST)
        }
        ResponseBody::Length(length) => length >= SHORTEST,
        ResponseBody::Chunked | ResponseBody::UntilClose => true,
    };
    if !has_length || !STATUSES.contains(&facts.status) {
        return false;
    }
    let mut is_text = false;
    for field in headers {
        if field.name.eq_ignore_ascii_case("content-type") {
            is_text = is_text_like(field.value);
        } else if AS_IT_IS.iter().any(|name| field.name.eq_ignore_ascii_case(name))
            || (field.name.eq_ignore_ascii_case("cache-control") && forbids(field.value))
        {
            return false;
        }
    }
    is_text
}

fn is_text_like(content_type: &[u8]) -> bool {
    let essence = content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let Ok(essence) = std::str::from_utf8(essence) else { return false };
    let essence = essence.to_ascii_lowercase();
    essence.starts_with("text/")
        || ["+json", "+xml", "+text"].iter().any(|end| essence.ends_with(end))
        || TYPES.contains(&&*essence)
}

/// Whether a Cache-Control value holds `no-transform`.
fn forbids(value: &[u8]) -> bool {
    value.split(|b| *b == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

#[cfg(test)]
mod tests {
    use tidegate_wire::judge_response;

    use super::*;

    fn fit(status: u16, fields: &str) -> bool {
        fit_for(status, fields, false)
    }

    fn fit_for(status: u16, fields: &str, to_head: bool) -> bool {
        let head = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
        let mut storage = [httparse::EMPTY_HEADER; 8];
        let mut parsed = httparse::Response::new(&mut storage);
        assert!(parsed.parse(head.as_bytes()).expect("it parses").is_complete());
        let facts = judge_response(&parsed, to_head).expect("it is sound");
        is_fit(&facts, parsed.headers, to_head)
    }

    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

    #[test]
    fn text_of_some_length_is_fit() {
        for content_type in [
            "text/html; charset=utf-8",
            "TEXT/EVENT-STREAM",
            "application/json",
            "application/problem+json",
            "image/svg+xml",
            "application/wasm",
        ] {
            let fields = format!("Content-Type: {content_type}\r\n{CHUNKED}");
            assert!(fit(200, &fields), "{content_type}");
        }
        let sized = |size: u32| format!("Content-Type: text/css\r\nContent-Length: {size}\r\n");
        assert!(fit(404, &sized(256)) && !fit(404, &sized(255)) && !fit(500, &sized(256)));
        assert!(fit(200, "Content-Type: text/css\r\n"), "until the connection closes");
    }

    #[test]
    fn of_an_answer_to_head_it_is_that_to_get_which_counts() {
        let sized = |size: u32| format!("Content-Type: text/css\r\nContent-Length: {size}\r\n");
        assert!(fit_for(200, &sized(256), true) && !fit_for(200, &sized(255), true));
        assert!(fit_for(200, "Content-Type: text/css\r\n", true));
        assert!(!fit_for(200, "Content-Type: image/png\r\n", true));
        assert!(!fit_for(304, &sized(256), false), "that has no body either");
    }

    #[test]
    fn what_is_to_stay_as_it_is_does() {
        let text = |more: &str| format!("Content-Type: text/html\r\n{CHUNKED}{more}\r\n");
        for more in [
            "Content-Encoding: br",
            "Content-Encoding: identity",
            "Cache-Control: no-cache, No-Transform",
            "Content-Range: bytes 0-1/2",
            "Content-MD5: x",
            "Repr-Digest: x",
        ] {
            assert!(!fit(200, &text(more)), "{more}");
        }
        assert!(fit(200, &text("Cache-Control: no-cache")));
        for content_type in ["image/png", "application/octet-stream", "application/zip", "", "json"]
        {
            let fields = format!("Content-Type: {content_type}\r\n{CHUNKED}");
            assert!(!fit(200, &fields), "{content_type}");
        }
        assert!(!fit(200, CHUNKED), "nobody knows what it is");
    }
}
