//! On what a change depends: that nobody has changed what it is about (`If-Match`), and that it was
//! not made before (`Idempotency-Key`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_model::Name;

use crate::{change::Refused, pool::Pool, snapshot::Snapshot};

/// What has to hold for a change to happen.
#[derive(Clone, Debug)]
pub struct Condition {
    pub of: Subject,
    pub wanted: Wanted,
}

/// Whose generation is asked for.
#[derive(Clone, Debug)]
pub enum Subject {
    Drain(u64),
    Pool(Name),
    Server(Name, String),
    /// The whole table.
    Table,
}

/// Which generation it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It is not to be there (`If-None-Match: *`).
    Absent,
    /// Any, but it has to be there (`If-Match: *`).
    Any,
    /// One of these.
    OneOf(Vec<u64>),
}

/// Tells changes apart that are one: who repeats a request repeats its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub text: Arc<str>,
    /// A fingerprint of what was asked.
    pub request: u64,
}

impl Condition {
    /// # Errors
    /// When it does not hold.
    pub(crate) fn check(&self, snapshot: &Snapshot) -> Result<(), Refused> {
        let is = self.of.generation(snapshot);
        let holds = match &self.wanted {
            Wanted::Absent => is.is_none(),
            Wanted::Any => is.is_some(),
            Wanted::OneOf(generations) => is.is_some_and(|is| generations.contains(&is)),
        };
        if holds { Ok(()) } else { Err(Refused::Stale { what: self.of.words(), is }) }
    }
}

impl Subject {
    /// The generation that last changed it; `None`: it is not there.
    pub fn generation(&self, snapshot: &Snapshot) -> Option<u64> {
        match self {
            Self::Drain(id) => snapshot.drains.get(id).map(|drain| drain.generation),
            Self::Pool(name) => snapshot.pool(name.as_str()).map(|pool| pool.generation),
            Self::Server(pool, server) => snapshot.pool(pool.as_str())?.server_generation(server),
            Self::Table => Some(snapshot.generation),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Drain(id) => format!("drain {id}"),
            Self::Pool(name) => format!("upstream \"{name}\""),
            Self::Server(pool, server) => {
                format!("server \"{}\" of upstream \"{pool}\"", server.escape_debug())
            }
            Self::Table => "the table".into(),
        }
    }
}

impl Pool {
    /// The generation that last changed a server's definition. One given by host name is named by
    /// that alone.
    pub fn server_generation(&self, server: &str) -> Option<u64> {
        self.definition_of(server).map(|at| self.since[at])
    }

    /// Which of the pool's definitions of servers is meant: by address, `#2`, `#3` added to tell
    /// equal ones apart.
    pub fn definition_of(&self, server: &str) -> Option<usize> {
        crate::pool::position(&self.upstream.servers, server)
    }
}
