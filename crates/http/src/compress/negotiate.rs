//! Accept-Encoding (RFC 9110 §12.5.3): which coding a client likes best.

use httparse::Header;
use tidegate_model::route::Encoding;

/// How much something is liked, in thousandths.
type Weight = u16;

/// The coding of `offered` that is liked best, of several the first; `None` when the client wants none
/// of them, or says that it would rather have the answer as it is.
pub(super) fn chosen(headers: &[Header<'_>], offered: &[Encoding]) -> Option<Encoding> {
    let liked: Vec<(&str, Weight)> = headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("accept-encoding"))
        .filter_map(|field| std::str::from_utf8(field.value).ok())
        .flat_map(|line| line.split(','))
        .map(|entry| weighed(entry.trim()))
        .collect();
    let of = |name: &str| {
        let found = liked.iter().find(|(liked, _)| liked.eq_ignore_ascii_case(name));
        found.map(|(_, weight)| *weight)
    };
    let of_coding = |encoding: Encoding| {
        let alias = || if encoding == Encoding::Gzip { of("x-gzip") } else { None };
        of(encoding.word()).or_else(alias).or_else(|| of("*")).unwrap_or(0)
    };
    // Of equals `max_by_key` takes the last.
    let best = offered.iter().rev().copied().max_by_key(|encoding| of_coding(*encoding))?;
    let weight = of_coding(best);
    (weight > 0 && of("identity").unwrap_or(0) <= weight).then_some(best)
}

/// A coding and its weight; 0 for one that cannot be read.
fn weighed(entry: &str) -> (&str, Weight) {
    let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
    let parameter = parameters.split(';').map(str::trim).find(|one| !one.is_empty());
    let weight = match parameter.map(|one| one.split_once('=')) {
        None => Some(1_000),
        Some(Some((q, value))) if q.trim().eq_ignore_ascii_case("q") => thousandths(value.trim()),
        Some(_) => None,
    };
    (name.trim(), weight.unwrap_or(0))
}

/// `0`, `1`, `0.5`: at most three digits behind the point.
fn thousandths(text: &str) -> Option<Weight> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part: Weight = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Encoding; 3] = [Encoding::Zstd, Encoding::Brotli, Encoding::Gzip];

    fn choice(lines: &[&str]) -> Option<&'static str> {
        let headers: Vec<_> = lines
            .iter()
            .map(|line| Header { name: "Accept-Encoding", value: line.as_bytes() })
            .collect();
        chosen(&headers, &ALL).map(Encoding::word)
    }

    #[test]
    fn what_is_liked_best_is_chosen_and_of_equals_what_the_route_names_first() {
        for (line, expected) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, br", Some("br")),
            ("br;q=0.5, gzip", Some("gzip")),
            ("br;q=0.5,gzip;q=0.500", Some("br")),
            ("X-GZIP", Some("gzip")),
            ("*", Some("zstd")),
            ("*;q=0.1, zstd;q=0", Some("br")),
            ("gzip ; q=0.001", Some("gzip")),
            ("identity;q=0.5, gzip;q=0.6", Some("gzip")),
            ("identity, gzip", Some("gzip")),
        ] {
            assert_eq!(choice(&[line]), expected, "{line}");
        }
        assert_eq!(choice(&["gzip;q=0.5", "br;q=0.6"]), Some("br"), "lines are one list");
    }

    #[test]
    fn what_is_not_wanted_is_not_done() {
        for line in [
            "",
            "identity",
            "deflate",
            "gzip;q=0",
            "gzip;q=0.000, *;q=0",
            "gzip;q=2",
            "gzip;q=0.1234",
            "gzip;q=-1",
            "gzip;q=",
            "gzip;x=1",
            "gzip;q=x",
            "identity;q=1, gzip;q=0.5",
            "gzip2",
            ";;;,,,",
        ] {
            assert_eq!(choice(&[line]), None, "{line}");
        }
        assert_eq!(choice(&[]), None);
        assert_eq!(chosen(&[Header { name: "accept-encoding", value: b"gzip" }], &[]), None);
        assert_eq!(chosen(&[Header { name: "accept-encoding", value: b"\xff" }], &ALL), None);
    }
}
