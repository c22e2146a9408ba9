//! The kinds of events, and what each says. Their fields are an interface: docs/events.md.

use serde::{Serialize, Serializer};
use tidegate_model::Name;

/// The longest text that somebody else wrote, in bytes: reasons, callers, what a server answered.
const LONGEST_TEXT: usize = 1_024;

/// Pools that an event names at most.
pub const MOST_NAMES: usize = 100;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Change,
    Drain,
    Health,
    Listener,
    Reload,
}

/// Some kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

/// One event, to be told.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Event<'e> {
    Change(Change<'e>),
    Drain(Drain<'e>),
    Health(Health<'e>),
    Listener(Listener<'e>),
    Reload(Reload<'e>),
}

/// A change of the table, visible everywhere and on disk.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Change<'e> {
    pub generation: u64,
    pub source: &'e str,
    #[serde(serialize_with = "short")]
    pub caller: &'e str,
    #[serde(serialize_with = "short_if_any")]
    pub reason: Option<&'e str>,
    /// The first [`MOST_NAMES`] pools that it touched.
    pub changed: &'e [Name],
    pub changed_total: usize,
    pub servers_added: usize,
    pub servers_removed: usize,
}

/// A drain has begun, changed or ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Drain<'e> {
    pub id: u64,
    pub upstream: &'e str,
    #[serde(serialize_with = "short")]
    pub server: &'e str,
    pub change: DrainTurn,
    pub generation: u64,
    pub remaining: Remaining,
}

/// What has become of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainTurn {
    Altered,
    Begun,
    Cancelled,
    /// Nothing runs on the server any more.
    Finished,
    /// The server has left its pool, and the drain with it.
    Left,
    Paused,
    Resumed,
}

/// What still runs on the server of a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Remaining {
    pub tunnels: u32,
    pub requests: u32,
}

/// A server has turned sick or well.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Health<'e> {
    pub upstream: &'e str,
    #[serde(serialize_with = "short")]
    pub server: &'e str,
    pub from: Condition,
    pub to: Condition,
    #[serde(serialize_with = "short")]
    pub detail: &'e str,
}

/// How well a server is, as far as anybody has found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It has yet to pass its first probes.
    Checking,
    /// Its answers have taken it out, for a time.
    Ejected,
    /// It has failed requests, `max_fails` of them.
    Failed,
    /// It has failed its probes.
    Unhealthy,
    Up,
}

/// A listener takes connections, does so in another way, or no longer does.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Listener<'e> {
    #[serde(serialize_with = "short")]
    pub listener: &'e str,
    #[serde(serialize_with = "short")]
    pub address: &'e str,
    pub protocol: &'e str,
    pub change: ListenerTurn,
}

/// What has become of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerTurn {
    Changed,
    Closed,
    Opened,
}

/// The configuration file was read again.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reload<'e> {
    /// `applied` or `refused`.
    pub outcome: &'e str,
    #[serde(serialize_with = "short")]
    pub detail: &'e str,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::Change, Self::Drain, Self::Health, Self::Listener, Self::Reload];

    /// The `event` of its events, and the label `kind` of `tidegate_events_total`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Drain => "drain",
            Self::Health => "health",
            Self::Listener => "listener",
            Self::Reload => "reload",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Kinds {
    pub const ALL: Self = Self(u8::MAX);

    pub fn contains(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | kind.bit()))
    }
}

impl Event<'_> {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Change(_) => Kind::Change,
            Self::Drain(_) => Kind::Drain,
            Self::Health(_) => Kind::Health,
            Self::Listener(_) => Kind::Listener,
            Self::Reload(_) => Kind::Reload,
        }
    }

    /// As one line of JSON. `at` is in milliseconds since 1970.
    pub(crate) fn to_json(self, at: u64) -> String {
        #[derive(Serialize)]
        struct Dated<'e> {
            #[serde(flatten)]
            event: Event<'e>,
            at: u64,
        }
        // Texts and numbers under names that are text always have a JSON form.
        serde_json::to_string(&Dated { event: self, at }).unwrap_or_default()
    }
}

fn short<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text[..text.floor_char_boundary(LONGEST_TEXT)])
}

fn short_if_any<S: Serializer>(text: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => short(text, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_and_no_longer_than_its_bounds() {
        let long = "\n\u{e4}".repeat(LONGEST_TEXT);
        let names = [Name::new("p").expect("a name")];
        let change = Change {
            generation: 7,
            source: "api",
            caller: &long,
            reason: None,
            changed: &names,
            changed_total: 1,
            servers_added: 2,
            servers_removed: 3,
        };
        let json = Event::Change(change).to_json(5);
        assert!(!json.contains('\n') && json.len() < 2 * LONGEST_TEXT, "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value["changed"], serde_json::json!(["p"]));
        assert_eq!((&value["reason"], &value["at"]), (&serde_json::Value::Null, &5.into()));
    }

    #[test]
    fn kinds_are_known_by_their_words() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.word()), Some(kind));
            let only: Kinds = [kind].into_iter().collect();
            assert!(Kind::ALL.iter().all(|other| only.contains(*other) == (*other == kind)));
            assert!(Kinds::ALL.contains(kind));
        }
        assert_eq!(Kind::parse("lost"), None);
    }
}
