//! What a DNS host can be called. Routes are found by the name, so it has one form only.

/// The longest host name, in bytes.
const MAX: usize = 253;

/// `name` in lower case and without a dot at its end, if a host can be called so. An IPv4 address
/// never is a name, nor is one that is mistyped.
pub(super) fn canonical(name: &[u8]) -> Option<String> {
    let name = str::from_utf8(name).ok()?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_name = name.len() <= MAX && !is_numeric && name.split('.').all(is_label);
    is_name.then(|| name.to_ascii_lowercase())
}

/// Underscores are in no host name by the book, but in many by practice.
fn is_label(label: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=63).contains(&label.len()) && label.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form() {
        for name in ["example.com", "EXAMPLE.com", "example.COM."] {
            assert_eq!(canonical(name.as_bytes()).as_deref(), Some("example.com"), "{name}");
        }
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        for name in ["a", "localhost", "xn--bcher-kva.example", "_dmarc.a-b", "1.a", "0x1", &long] {
            assert_eq!(canonical(name.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_no_host_is_called_is_no_name() {
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(127) + "a";
        for name in [
            "",
            ".",
            "..",
            "a..",
            ".a",
            "a..b",
            "a b",
            "a\0",
            "a\0.b",
            "bücher",
            "*",
            "*.a",
            "a:443",
            "a/b",
            "[::1]",
            "::1",
            "127.0.0.1",
            "1.2.3",
            "80",
            &long_label,
            &long_name,
        ] {
            assert_eq!(canonical(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(canonical(b"a\xff"), None);
    }
}
