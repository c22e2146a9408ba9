//! Rates as people type them: `100/s`, `30/m`, `5/h`.

use std::{fmt, time::Duration};

/// So many in each second, minute or hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    unit: char,
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRate(String);

/// One each microsecond: faster than anything is told apart.
const MAX_A_SECOND: u64 = 1_000_000;

const UNITS: [(char, u64); 3] = [('s', 1), ('m', 60), ('h', 3_600)];

impl Rate {
    /// # Errors
    /// When it is no number above 0 with `/s`, `/m` or `/h` behind it, or more than a million a second.
    pub fn parse(text: &str) -> Result<Self, BadRate> {
        let bad = || {
            let text = text.escape_debug();
            BadRate(format!(
                "\"{text}\" is no rate such as 100/s, 30/m or 5/h, from 1 to 1000000/s"
            ))
        };
        let (digits, unit) = text.split_once('/').ok_or_else(bad)?;
        let known = UNITS.into_iter().find(|(letter, _)| unit.chars().eq([*letter]));
        let (unit, seconds) = known.ok_or_else(bad)?;
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let most = MAX_A_SECOND * seconds;
        let count =
            digits.parse().ok().filter(|count| plain && (1..=most).contains(&u64::from(*count)));
        count.map(|count| Self { count, unit }).ok_or_else(bad)
    }

    /// From one to the next.
    pub fn interval(self) -> Duration {
        let seconds = UNITS.iter().find(|(unit, _)| *unit == self.unit).map_or(1, |(_, s)| *s);
        Duration::from_secs(seconds) / self.count
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit)
    }
}

impl fmt::Display for BadRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadRate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_and_print() {
        for (text, millis) in [("100/s", 10), ("30/m", 2_000), ("5/h", 720_000), ("1/s", 1_000)] {
            let rate = Rate::parse(text).expect("a rate");
            assert_eq!(rate.to_string(), text);
            assert_eq!(rate.interval(), Duration::from_millis(millis), "{text}");
        }
        let fastest = Rate::parse("1000000/s").expect("a rate");
        assert_eq!(fastest.interval(), Duration::from_micros(1));
        for text in [
            "",
            "100",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "1/d",
            "1/sec",
            "1 / s",
            "1000001/s",
            "99999999999/m",
        ] {
            assert!(Rate::parse(text).is_err(), "{text:?} was read");
        }
    }
}
