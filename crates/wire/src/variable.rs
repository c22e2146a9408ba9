//! What route templates look up inside fields: one cookie, one argument of the query. Nothing is
//! decoded, for the value is compared and inserted as the client sent it.

use httparse::Header;

use crate::field::{lines, trim};

/// The value of the first cookie of that name (case matters, RFC 6265 §5), over all Cookie lines.
/// Quotes are part of a value. One that is not UTF-8 counts as absent.
pub fn cookie<'b>(headers: &[Header<'b>], name: &str) -> Option<&'b str> {
    let value = lines(headers, "cookie")
        .flat_map(|line| line.split(|b| *b == b';'))
        .find_map(|pair| value_of(pair, name.as_bytes()))?;
    std::str::from_utf8(value).ok()
}

/// The raw value of the first argument of that name; one without `=` is none, as in nginx.
pub fn query_argument<'b>(query: &'b [u8], name: &str) -> Option<&'b [u8]> {
    let pairs = query.split(|b| *b == b'&');
    pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next()
}

fn value_of<'b>(pair: &'b [u8], name: &[u8]) -> Option<&'b [u8]> {
    let equals = pair.iter().position(|b| *b == b'=')?;
    (trim(&pair[..equals]) == name).then(|| trim(&pair[equals + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_in_any_line() {
        let headers = [
            Header { name: "Cookie", value: b"a=1; gray = b=c ;aa=2;;x" },
            Header { name: "cookie", value: b"uid=\"7\"; a=9; bad=\xff" },
        ];
        assert_eq!(cookie(&headers, "a"), Some("1"));
        assert_eq!(cookie(&headers, "gray"), Some("b=c"));
        assert_eq!(cookie(&headers, "uid"), Some("\"7\""));
        for absent in ["A", "x", "bad", ""] {
            assert_eq!(cookie(&headers, absent), None, "{absent}");
        }
    }

    #[test]
    fn an_argument_is_found_by_its_whole_name() {
        let query = b"ab=1&a=%20x&b&c=&a=2";
        assert_eq!(query_argument(query, "a"), Some(&b"%20x"[..]));
        assert_eq!(query_argument(query, "c"), Some(&b""[..]));
        assert_eq!(query_argument(query, "b"), None);
        assert_eq!(query_argument(b"", "a"), None);
    }
}
