//! When a request goes on to the next server, by nginx's rules (`proxy_next_upstream`).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::ToSchema;

use crate::{Size, Span};

/// `[upstream.NAME.next]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NextSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Conditions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_buffer: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Share>,
}

/// The same, with nothing left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub on: Conditions,
    /// Attempts in all, the first among them; 0: every server once.
    pub tries: u32,
    /// No further attempt begins later than this after the first; 0: no limit.
    pub timeout: Span,
    /// Bodies up to this size are kept for another attempt.
    pub replay_buffer: Size,
    /// What retries because of a status or time-out may add to the traffic.
    pub budget: Share,
}

/// What may make a request go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Error,
    Http403,
    Http404,
    Http429,
    Http500,
    Http502,
    Http503,
    Http504,
    InvalidHeader,
    NonIdempotent,
    Timeout,
}

/// A set of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions(u16);

/// A share in whole per cent: `20%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u16);

/// Why a text is no share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadShare(String);

impl NextSpec {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// With these rules where it says nothing itself.
    pub fn over(&self, base: &Next) -> Next {
        Next {
            on: self.on.unwrap_or(base.on),
            tries: self.tries.unwrap_or(base.tries),
            timeout: self.timeout.unwrap_or(base.timeout),
            replay_buffer: self.replay_buffer.unwrap_or(base.replay_buffer),
            budget: self.budget.unwrap_or(base.budget),
        }
    }

    pub(super) fn resolve(&self, defaults: &Self) -> Next {
        Next {
            on: self.on.or(defaults.on).unwrap_or_default(),
            tries: self.tries.or(defaults.tries).unwrap_or(0),
            timeout: self.timeout.or(defaults.timeout).unwrap_or_default(),
            replay_buffer: self
                .replay_buffer
                .or(defaults.replay_buffer)
                .unwrap_or(Size::from_bytes(64 << 10)),
            budget: self.budget.or(defaults.budget).unwrap_or(Share(20)),
        }
    }
}

impl Condition {
    /// With the words of `proxy_next_upstream`.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Error, "error"),
        (Self::Http403, "http_403"),
        (Self::Http404, "http_404"),
        (Self::Http429, "http_429"),
        (Self::Http500, "http_500"),
        (Self::Http502, "http_502"),
        (Self::Http503, "http_503"),
        (Self::Http504, "http_504"),
        (Self::InvalidHeader, "invalid_header"),
        (Self::NonIdempotent, "non_idempotent"),
        (Self::Timeout, "timeout"),
    ];

    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The condition that an answer of that status is, if any.
    pub fn of_status(status: u16) -> Option<Self> {
        Some(match status {
            403 => Self::Http403,
            404 => Self::Http404,
            429 => Self::Http429,
            500 => Self::Http500,
            502 => Self::Http502,
            503 => Self::Http503,
            504 => Self::Http504,
            _ => return None,
        })
    }
}

impl Conditions {
    /// nginx's `off`.
    pub const NONE: Self = Self(0);

    pub fn contains(self, condition: Condition) -> bool {
        self.0 & (1 << condition as u16) != 0
    }

    /// The words of the set.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Condition::ALL
            .into_iter()
            .filter(move |(condition, _)| self.contains(*condition))
            .map(|(_, word)| word)
    }
}

impl FromIterator<Condition> for Conditions {
    fn from_iter<I: IntoIterator<Item = Condition>>(conditions: I) -> Self {
        Self(conditions.into_iter().fold(0, |set, condition| set | 1 << condition as u16))
    }
}

/// nginx's default.
impl Default for Conditions {
    fn default() -> Self {
        [Condition::Error, Condition::Timeout].into_iter().collect()
    }
}

impl Serialize for Conditions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.words())
    }
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        let condition = |word: &String| {
            let known = Condition::ALL.iter().find(|(_, known)| known == word);
            let unknown = || D::Error::custom(format!("unknown condition \"{word}\""));
            known.map(|(condition, _)| *condition).ok_or_else(unknown)
        };
        words.iter().map(condition).collect()
    }
}

impl Share {
    pub const fn percent(self) -> u16 {
        self.0
    }

    pub const fn from_percent(percent: u16) -> Self {
        Self(percent)
    }

    /// So much of `whole`, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        whole.saturating_mul(self.0.into()) / 100
    }

    /// Reads `0%` to `1000%`.
    ///
    /// # Errors
    /// When it is not that.
    pub fn parse(text: &str) -> Result<Self, BadShare> {
        let bad = || BadShare(format!("\"{}\" is no share from 0% to 1000%", text.escape_debug()));
        let digits = text.strip_suffix('%').ok_or_else(bad)?;
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let percent = digits.parse().ok().filter(|percent| plain && *percent <= 1_000);
        percent.map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl fmt::Display for BadShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadShare {}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_at_the_index_of_their_condition() {
        assert!(Condition::ALL.iter().enumerate().all(|(at, (one, _))| *one as usize == at));
    }

    #[test]
    fn a_set_survives_its_journal_form() {
        let text = r#"["http_404","http_502","non_idempotent"]"#;
        let set: Conditions = serde_json::from_str(text).expect("it reads");
        assert!(set.contains(Condition::Http404) && !set.contains(Condition::Error));
        assert_eq!(serde_json::to_string(&set).expect("it prints"), text);
        assert!(serde_json::from_str::<Conditions>(r#"["http_200"]"#).is_err());
        assert_eq!(Conditions::default().words().collect::<Vec<_>>(), ["error", "timeout"]);
    }

    #[test]
    fn a_route_says_some_of_it_and_its_pool_the_rest() {
        let pool = NextSpec { tries: Some(2), ..NextSpec::default() }.resolve(&NextSpec::default());
        let route = NextSpec { on: Some(Conditions::NONE), ..NextSpec::default() };
        assert_eq!(route.over(&pool), Next { on: Conditions::NONE, ..pool });
        assert_eq!(NextSpec::default().over(&pool), pool);
    }

    #[test]
    fn shares_are_whole_per_cents() {
        assert_eq!(Share::parse("20%").map(|share| share.of(995)), Ok(199));
        for text in ["", "%", "20", "-1%", "1.5%", "1001%", "+5%", "99999%"] {
            assert!(Share::parse(text).is_err(), "{text:?} was read");
        }
    }
}
