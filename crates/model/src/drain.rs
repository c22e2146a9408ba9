//! A drain: one server is emptied of its tunnels at a pace that its users and their login service
//! can bear (interface §3.2). What is here is the order; what has become of it is `operate`'s.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::{Name, Span, upstream::CloseCode};

/// What is to be emptied, and how. The body of `POST /api/v1/drains`, and what the journal keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainSpec {
    pub upstream: Name,
    /// As the pool knows it: the address as typed, for a host name `NAME:PORT@IP`; `#2`, `#3` tell
    /// equal ones apart.
    pub server: String,
    /// All that are open at the start, evenly over this time. With neither this nor a rate, the
    /// pool's `drain_over`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Span>,
    /// So many in a time; not beside `over`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    #[serde(default)]
    pub order: Order,
    /// Whatever is left after so long is cut; absent: nothing is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// Absent: the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_code: Option<CloseCode>,
    /// What the Close frames say besides the code, and what the history keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An `http://` URL that is told when the server is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
}

/// Which tunnels go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DrainSequence)]
pub enum Order {
    /// As they come.
    Any,
    OldestFirst,
    /// Those without data for longest, and between messages rather than within one.
    #[default]
    QuietFirst,
}

/// A number in a second, minute or hour: `200/s`, `30/m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Per,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Hour,
    Minute,
    Second,
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no rate such as 200/s, 30/m or 100/h")]
pub struct BadRate(String);

impl Rate {
    /// # Errors
    /// When it is no whole number above 0 with `/s`, `/m` or `/h`.
    pub fn parse(text: &str) -> Result<Self, BadRate> {
        let bad = || BadRate(text.escape_debug().to_string());
        let (count, per) = text.split_once('/').ok_or_else(bad)?;
        let per = match per {
            "h" => Per::Hour,
            "m" => Per::Minute,
            "s" => Per::Second,
            _ => return Err(bad()),
        };
        if !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let count = count.parse().ok().filter(|count| *count > 0).ok_or_else(bad)?;
        Ok(Self { count, per })
    }

    /// So many, in so many milliseconds.
    pub fn as_ratio(self) -> (u32, u64) {
        let millis = match self.per {
            Per::Hour => 3_600_000,
            Per::Minute => 60_000,
            Per::Second => 1_000,
        };
        (self.count, millis)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Hour => 'h',
            Per::Minute => 'm',
            Per::Second => 's',
        };
        write!(f, "{}/{per}", self.count)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_and_print() {
        for (text, ratio) in
            [("200/s", (200, 1_000)), ("30/m", (30, 60_000)), ("1/h", (1, 3_600_000))]
        {
            let rate = Rate::parse(text).expect("a rate");
            assert_eq!((rate.to_string().as_str(), rate.as_ratio()), (text, ratio));
        }
        for text in ["", "200", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "200/d", "99999999999/s"] {
            assert!(Rate::parse(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn an_order_survives_its_journal_form() {
        let text = r#"{"upstream":"im","server":"10.0.0.1:80","rate":"200/s","order":"oldest_first","deadline":"15m"}"#;
        let spec: DrainSpec = serde_json::from_str(text).expect("it reads");
        assert_eq!(serde_json::to_string(&spec).expect("it prints"), text);
        let least = r#"{"upstream":"im","server":"10.0.0.1:80"}"#;
        assert!(serde_json::from_str::<DrainSpec>(&least.replace('}', r#","nope":1}"#)).is_err());
        let spec: DrainSpec = serde_json::from_str(least).expect("it reads");
        assert_eq!((spec.order, spec.over, spec.paused), (Order::QuietFirst, None, false));
    }
}
