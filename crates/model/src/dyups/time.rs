//! nginx's time syntax (`ngx_parse_time`): `1h30m`, `90`, `1m 30s`; a bare number is seconds. Units
//! come in falling order.

use crate::Span;

/// Longer spans are typing errors, and the journal would not read them back.
const MAX_MILLIS: u64 = 100 * 365 * 86_400_000;

/// Which units a directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// `w d h m s ms`
    Millis,
    /// `y M w d h m s`
    Secs,
}

/// The units from the longest to the shortest, in milliseconds. A space counts as one of them: it
/// makes seconds of the number before it, and no unit may follow.
const UNITS: [(&str, u64); 9] = [
    ("y", 365 * 86_400_000),
    ("M", 30 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
    (" ", 1_000),
];

/// The place of seconds among them.
const SECONDS: usize = 6;

/// Reads a time; `None` when nginx would not, or when it is more than a hundred years.
pub(super) fn parse(text: &str, precision: Precision) -> Option<Span> {
    let mut rest = text;
    let mut next_unit = if precision == Precision::Secs { 0 } else { 2 };
    let mut total = 0_u64;
    let mut seen_digits = false;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        seen_digits |= digits > 0;
        let number: u64 = if digits == 0 { 0 } else { number.parse().ok()? };
        if tail.is_empty() {
            total = total.checked_add(number.checked_mul(1_000)?)?;
            return (seen_digits && total <= MAX_MILLIS).then(|| Span::from_millis(total));
        }
        let (at, tail) = unit(tail)?;
        let (name, factor) = UNITS[at];
        let finer_than_asked = precision == Precision::Secs && factor < 1_000;
        // A space may stand wherever seconds may, but not after them.
        let out_of_order = at < next_unit || (name == " " && next_unit > SECONDS);
        if finer_than_asked || out_of_order {
            return None;
        }
        total = total.checked_add(number.checked_mul(factor)?)?;
        next_unit = at + 1;
        rest = tail.trim_start_matches(' ');
    }
}

/// The unit that `text` begins with, and what follows it.
fn unit(text: &str) -> Option<(usize, &str)> {
    let longest_first = [7, 0, 1, 2, 3, 4, 5, 6, 8];
    longest_first.into_iter().find_map(|at| Some((at, text.strip_prefix(UNITS[at].0)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(text: &str) -> Option<u64> {
        parse(text, Precision::Secs).map(Span::as_millis)
    }

    fn millis(text: &str) -> Option<u64> {
        parse(text, Precision::Millis).map(Span::as_millis)
    }

    #[test]
    fn times_are_read_as_nginx_reads_them() {
        for (text, expected) in [
            ("10", 10_000),
            ("0", 0),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1m 30", 90_000),
            ("1m30", 90_000),
            ("10s5", 15_000),
            ("1w2d", 9 * 86_400_000),
            (" 10", 10_000),
            ("1 1", 2_000),
            ("1hm", 3_600_000),
        ] {
            assert_eq!((secs(text), millis(text)), (Some(expected), Some(expected)), "{text:?}");
        }
        assert_eq!(secs("1y1M"), Some(395 * 86_400_000));
        assert_eq!(millis("1s500ms"), Some(1_500));
        assert_eq!(millis("250ms"), Some(250));
    }

    #[test]
    fn what_nginx_does_not_read_is_no_time() {
        for text in ["", "s", "-1", "1x", "1m1h", "1s1s", "1.5s", "1s ms", "1 s", "101y", "1ms1s"] {
            assert_eq!(secs(text), None, "{text:?}");
        }
        for text in ["5ms", "99999999999999999999", "18446744073709551615", "18446744073709551y"] {
            assert_eq!(secs(text), None, "{text:?}");
        }
        for text in ["1y", "1M", "5ms1s", "5ms5ms", "101000000000000ms"] {
            assert_eq!(millis(text), None, "{text:?}");
        }
    }
}
