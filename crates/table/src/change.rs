//! What can be asked of the table and what it answers: the vocabulary of the admin API, dyups and
//! the configuration file towards the single writer.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tidegate_model::{
    Name, Resolved, ServerSpec, UpstreamSpec,
    drain::DrainSpec,
    upstream::{OnRemove, ServerChange},
};
use utoipa::ToSchema;

use crate::{
    condition::{Condition, Key},
    drain::DrainChange,
    history::Bounds,
    pool::{Pool, Source},
    routes::Routes,
    secure::Secures,
};

/// How a table is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many threads will count.
    pub workers: usize,
    /// Where changes are kept; `None`: in memory only.
    pub state_dir: Option<PathBuf>,
    /// How far back generations are remembered.
    pub history: Bounds,
    /// Who makes connections to servers secure; `None`: no pool can have TLS.
    pub secures: Option<Arc<dyn Secures>>,
}

/// What the configuration file says of pools and routes.
#[derive(Clone, Debug, Default)]
pub struct FileState {
    pub pools: Vec<FilePool>,
    /// `[upstream_defaults]`
    pub defaults: UpstreamSpec,
    pub routes: Arc<Routes>,
}

/// One `[upstream.NAME]`.
#[derive(Clone, Debug)]
pub struct FilePool {
    pub name: Name,
    pub spec: UpstreamSpec,
    pub resolved: Resolved,
    /// Equal for equal definitions, in every later version too.
    pub hash: String,
}

/// One step of a change.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Servers join a pool, behind those it has.
    AddServers {
        name: Name,
        servers: Vec<ServerSpec>,
        resolved: Resolved,
    },
    /// Alters a drain, as far as the change speaks of it.
    AlterDrain {
        id: u64,
        pace: DrainChange,
    },
    /// Alters one server of a pool, as far as the change speaks of it.
    AlterServer {
        name: Name,
        /// As [`ServerState::label`](crate::ServerState::label) has it; one given by host name by
        /// that alone.
        server: String,
        change: ServerChange,
    },
    Delete {
        name: Name,
    },
    /// Begins to empty a server, which takes no more requests. One that is being emptied, or was, is
    /// from now on emptied as this says, under the id it has. `force`: also the last one of its pool
    /// that takes requests.
    Drain {
        spec: DrainSpec,
        force: bool,
    },
    /// Cancels a drain, or lets a server that was emptied come back: it takes requests again.
    EndDrain {
        id: u64,
    },
    /// The server was found empty. It stays out of rotation.
    FinishDrain {
        id: u64,
    },
    /// What is present in the patch replaces, the rest stays as it was; creates the pool if there
    /// is none (dyups `POST`).
    Merge {
        name: Name,
        patch: UpstreamSpec,
        resolved: Resolved,
    },
    Put {
        name: Name,
        spec: UpstreamSpec,
        resolved: Resolved,
    },
    /// One server leaves a pool; named as for [`Self::AlterServer`].
    RemoveServer {
        name: Name,
        server: String,
    },
    /// Every pool is defined again as it was in that generation, and those that came later are
    /// deleted. Drains, routes and defaults stay as they are.
    Restore {
        generation: u64,
    },
    /// Host names of the pool have other addresses now; what is not among `resolved` keeps those
    /// it had. Who defined the pool stays the same.
    Resolve {
        name: Name,
        resolved: Resolved,
    },
}

/// Where a change came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Api,
    /// A drain has come to its end.
    Drain,
    Dyups,
    File,
    /// Host names were looked up again.
    Resolver,
}

/// Operations that take effect together or not at all.
#[derive(Clone, Debug)]
pub struct Change {
    pub operations: Vec<Operation>,
    pub origin: Origin,
    /// Who asked, for the log and the history.
    pub caller: String,
    pub reason: Option<String>,
    /// What becomes of tunnels to servers that it removes; `None`: what their pool says.
    pub existing: Option<OnRemove>,
    /// All must hold for it to happen.
    pub conditions: Vec<Condition>,
    /// A change of a key that was seen before is not made again: its answer is.
    pub key: Option<Key>,
    /// Refuse what leaves a pool that has eligible servers without any, as they stand at this time
    /// of the clock that failures are told by. The deletion of a pool is never refused for it.
    pub guard: Option<u64>,
}

impl Change {
    /// Operations that take effect whatever was before.
    pub fn new(operations: Vec<Operation>, origin: Origin, caller: impl Into<String>) -> Self {
        Self {
            operations,
            origin,
            caller: caller.into(),
            reason: None,
            existing: None,
            conditions: Vec::new(),
            key: None,
            guard: None,
        }
    }
}

/// What a change would do.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The generation it would be.
    pub generation: u64,
    /// The pools it would touch.
    pub pools: Vec<Foreseen>,
    /// Those that had eligible servers and would have none.
    pub leaves_nobody: Vec<Name>,
}

/// One pool before and after a change that was not made.
#[derive(Clone, Debug)]
pub struct Foreseen {
    pub name: Name,
    pub before: Option<Arc<Pool>>,
    pub after: Option<Arc<Pool>>,
}

/// A change that is on disk (where there is one) and visible.
#[derive(Clone, Debug)]
pub struct Applied {
    pub generation: u64,
    pub durable: bool,
    /// From the start of the build to the swap, the wait for the disk included.
    pub visible: Duration,
    /// The pools it touched, deleted ones too.
    pub changed: Vec<Name>,
    /// Servers that joined and left.
    pub added: usize,
    pub removed: usize,
    /// It was made before: its key was seen.
    pub replayed: bool,
}

/// A configuration file that was applied.
#[derive(Clone, Debug)]
pub struct Reloaded {
    pub generation: u64,
    pub durable: bool,
    /// Pools that are as the file says now and were not before.
    pub changed: Vec<Name>,
    pub removed: Vec<Name>,
    /// Pools whose changes through the API the file replaced.
    pub replaced_api_changes: Vec<Name>,
    pub routes_changed: bool,
}

/// Why a change did not happen. Nothing of it took effect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// What is wrong with an order to drain, and with which part of it.
    #[error("{reason}")]
    BadDrain { field: &'static str, reason: &'static str },
    /// A key of the pool does not go with its protocol.
    #[error("upstream \"{pool}\": {key}: {reason}")]
    BadProtocol { pool: Name, key: &'static str, reason: &'static str },
    /// A file that TLS to its servers needs cannot be used.
    #[error("upstream \"{pool}\": tls.{key}: {reason}")]
    BadTls { pool: Name, key: &'static str, reason: String },
    #[error("the table no longer takes changes: its journal has stopped")]
    Closed,
    #[error("there is no drain {0}")]
    DrainNotFound(u64),
    /// Its generation is not remembered, or has not been.
    #[error("generation {generation} is not remembered: {} to {newest} are", oldest)]
    GenerationNotFound { generation: u64, oldest: u64, newest: u64 },
    #[error("upstream \"{pool}\": {reason}")]
    Invalid { pool: Name, reason: String },
    #[error("the key was used before, for another request")]
    KeyTaken,
    /// It would leave the pool without a server; may be forced.
    #[error(
        "\"{server}\" is the last server of upstream \"{pool}\" that takes requests: add or enable \
         another one first, or force it"
    )]
    LastServer { pool: Name, server: String },
    /// It would leave the pool without an eligible server; may be forced.
    #[error(
        "upstream \"{0}\" would be left without any server that takes requests and is well: add or \
         enable one first, or force it"
    )]
    NobodyLeft(Name),
    #[error("there is no upstream \"{0}\"")]
    NotFound(Name),
    #[error("upstream \"{pool}\" has a server \"{server}\" already")]
    ServerExists { pool: Name, server: String },
    #[error("upstream \"{pool}\" has no server \"{}\", {}", server.escape_debug(), few(listed))]
    ServerNotFound { pool: Name, server: String, listed: Vec<Arc<str>> },
    /// A condition does not hold: somebody else has changed it.
    #[error("{what} {}", found(*.is))]
    Stale { what: String, is: Option<u64> },
    /// Answered with 507 (interface §3.2).
    #[error("the change could not be stored, nothing was changed: {what}: {source}")]
    Storage { what: &'static str, source: Arc<io::Error> },
}

fn found(generation: Option<u64>) -> String {
    match generation {
        Some(generation) => format!("was last changed by generation {generation}"),
        None => "is not there".into(),
    }
}

/// Names the first few servers.
fn few(listed: &[Arc<str>]) -> String {
    const SHOWN: usize = 5;
    let shown = listed.iter().take(SHOWN).map(|label| &**label).collect::<Vec<_>>().join(", ");
    match (listed.len(), listed.len().saturating_sub(SHOWN)) {
        (0, _) => "nor any other".into(),
        (_, 0) => format!("only {shown}"),
        (_, more) => format!("only {shown} and {more} more"),
    }
}

impl Origin {
    pub const ALL: [Self; 5] = [Self::Api, Self::Drain, Self::Dyups, Self::File, Self::Resolver];

    /// The label `source` of `tidegate_changes_total`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Drain => "drain",
            Self::Dyups => "dyups",
            Self::File => "file",
            Self::Resolver => "resolver",
        }
    }

    pub(crate) fn source(self) -> Source {
        match self {
            Self::Api | Self::Drain | Self::Dyups | Self::Resolver => Source::Api,
            Self::File => Source::File,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
