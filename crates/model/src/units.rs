//! Durations (`250ms`, `10s`, `5m`, `1h`, `7d`) and sizes (`64k`, `1m`) as people type them, and
//! nginx's time syntax for `fail_timeout`.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration with the precision of a millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// Why a text is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUnit(String);

/// A hundred years: longer spans are typing errors, and sums of a few of these cannot overflow.
const MAX_MILLIS: u64 = 100 * 365 * 86_400_000;

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Span {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000)
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Reads a whole number with a unit: `ms`, `s`, `m`, `h` or `d`.
    ///
    /// # Errors
    /// When there is no unit, no number, or more than a hundred years.
    pub fn parse(text: &str) -> Result<Self, BadUnit> {
        let bad = || {
            BadUnit(format!(
                "\"{}\" is no duration such as 250ms, 10s, 5m or 1h",
                text.escape_debug()
            ))
        };
        let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (digits, unit) = text.split_at(at);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        let number: u64 = digits.parse().map_err(|_| bad())?;
        number.checked_mul(*factor).filter(|ms| *ms <= MAX_MILLIS).map(Self).ok_or_else(bad)
    }
}

impl Size {
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads a whole number of bytes, or one with `k`, `m` or `g` (of 1,024).
    ///
    /// # Errors
    /// When it is not that, or does not fit.
    pub fn parse(text: &str) -> Result<Self, BadUnit> {
        let bad =
            || BadUnit(format!("\"{}\" is no size such as 512, 64k or 1m", text.escape_debug()));
        let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(at);
        let shift = match unit {
            "" => 0,
            "k" | "K" => 10,
            "m" | "M" => 20,
            "g" | "G" => 30,
            _ => return Err(bad()),
        };
        let number: u64 = digits.parse().map_err(|_| bad())?;
        number.checked_mul(1 << shift).filter(|n| *n <= 1 << 50).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, factor): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*factor);
        let (unit, factor) = UNITS.iter().rev().find(whole).unwrap_or(&("s", 1_000));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("g", 30), ("m", 20), ("k", 10)];
        let whole = |(_, shift): &&(&str, u32)| self.0 != 0 && self.0.trailing_zeros() >= *shift;
        let (unit, shift) = units.iter().find(whole).unwrap_or(&("", 0));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

impl fmt::Display for BadUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUnit {}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(Span);
as_text!(Size);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_no_unit_or_too_much_of_it_is_refused() {
        for text in [
            "",
            "10",
            "s",
            "1.5s",
            "-1s",
            "10 s",
            "1month",
            "999999999999d",
            "18446744073709551616s",
        ] {
            assert!(Span::parse(text).is_err(), "{text:?} was read");
        }
        for text in ["", "k", "1kb", "-1", "1 k", "99999999999999999999", "1e3"] {
            assert!(Size::parse(text).is_err(), "{text:?} was read");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(millis in 0..MAX_MILLIS, bytes in 0..1u64 << 50) {
            let span = Span::from_millis(millis);
            prop_assert_eq!(Span::parse(&span.to_string()), Ok(span));
            let size = Size::from_bytes(bytes);
            prop_assert_eq!(Size::parse(&size.to_string()), Ok(size));
        }
    }
}
