//! `[admin]`: where the admin API listens, the tokens without which it listens to this machine alone,
//! and what is kept of what was done through it.

mod tokens;

use std::path::PathBuf;

use tidegate_model::{HostPattern, Span};

use crate::{
    address::ListenAddress,
    node::{FromToml, Node, Words, positive, within},
    place::Placed,
    reader::Reader,
};

pub use tokens::{Secret, Token};

/// More generations than that are a matter for the audit log.
const MAX_HISTORY: u64 = 1_000_000;

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Empty: no admin API.
    pub listen: Vec<ListenAddress>,
    /// That of `token_file` and those of `tokens`; empty: nobody is asked for one.
    pub tokens: Vec<Token>,
    pub dyups: Dyups,
    /// Host names to answer to besides the addresses, in lower case.
    pub hosts: Vec<String>,
    /// `None`: the log.
    pub audit_log: Option<PathBuf>,
    pub history: History,
}

/// Which dialect of dyups the admin listeners speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dyups {
    Off,
    #[default]
    Tengine,
}

/// Which generations are remembered: so many, and none that is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    pub count: u64,
    pub age: Span,
}

impl Admin {
    pub(crate) fn read(reader: &mut Reader<'_>, taken: &mut Vec<Placed<ListenAddress>>) -> Self {
        let default = Self::default();
        let listen: Option<Vec<Placed<ListenAddress>>> = reader.take("listen");
        let tokens = tokens::read(reader);
        // Of a token that cannot be read there is an error of its own.
        if tokens.is_none() {
            listen.iter().flatten().for_each(|address| refuse_open(reader, address));
        }
        let listen = listen.unwrap_or_else(|| {
            let place = reader.place_of("listen");
            let placed = |value| Placed { value, place: place.clone() };
            default.listen.into_iter().map(placed).collect()
        });
        taken.extend_from_slice(&listen);
        Self {
            listen: listen.into_iter().map(|address| address.value).collect(),
            tokens: tokens.unwrap_or_default(),
            dyups: reader.take("dyups").unwrap_or_default(),
            hosts: reader
                .take::<Vec<HostName>>("hosts")
                .map(|hosts| hosts.into_iter().map(|HostName(name)| name).collect())
                .unwrap_or_default(),
            audit_log: reader.take("audit_log").and_then(|AuditLog(path)| path),
            history: reader
                .table("history", History::read)
                .map_or_else(History::default, |history| history.value),
        }
    }
}

fn refuse_open(reader: &Reader<'_>, address: &Placed<ListenAddress>) {
    if !address.value.is_local() {
        let message =
            format!("{} is not a loopback address: set token_file or tokens", address.value);
        reader.report.error(address.place.clone(), message);
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::Tcp(([127, 0, 0, 1], 18882).into())],
            tokens: Vec::new(),
            dyups: Dyups::default(),
            hosts: Vec::new(),
            audit_log: None,
            history: History::default(),
        }
    }
}

impl History {
    fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        Self {
            count: reader.take_if("count", within(1..=MAX_HISTORY)).unwrap_or(default.count),
            age: reader.take_if("age", positive).unwrap_or(default.age),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self { count: 10_000, age: Span::from_secs(90 * 86_400) }
    }
}

struct HostName(String);

impl FromToml for HostName {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let text = node.text("a host name in quotes")?;
        match HostPattern::parse(text) {
            Some(HostPattern::Exact(name)) => Some(Self(name)),
            _ => node.fail(format!("\"{}\" is no host name without a port", text.escape_debug())),
        }
    }
}

/// A path, or an empty text.
struct AuditLog(Option<PathBuf>);

impl FromToml for AuditLog {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        match node.text("a path in quotes, or \"\"")? {
            "" => Some(Self(None)),
            _ => PathBuf::from_toml(node).map(|path| Self(Some(path))),
        }
    }
}

impl Words for Dyups {
    const WORDS: &'static [(&'static str, Self)] =
        &[("tengine", Self::Tengine), ("off", Self::Off)];
}
