//! What a change does, in the words the journal keeps. Planning yields effects, staging and replay
//! apply them: both meet the same few cases, however many ways there are to ask.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tidegate_model::{Name, Resolved, UpstreamSpec};

use crate::{
    drain::{Drain, Drains},
    journal::record::Changed,
    pool::{Pool, Source},
};

/// One step of a change, decided. Nothing in it depends on what was there before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    DrainEnd(u64),
    DrainPut(Arc<Drain>),
    /// The file's definition was compared and is now what the pool was last measured by.
    FileApplied(Mark),
    /// The file no longer has a definition of that name.
    FileForgotten(Name),
    PoolDelete(Name),
    PoolPut(Definition),
}

/// A pool as defined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    pub(crate) name: Name,
    pub(crate) order: u64,
    pub(crate) source: Source,
    pub(crate) spec: Arc<UpstreamSpec>,
    pub(crate) resolved: Arc<Resolved>,
}

/// The file's definition of a pool as last applied. A mark without a pool is the tombstone of one
/// that the API deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    pub(crate) name: Name,
    pub(crate) hash: String,
}

/// By folded name.
pub(crate) type Marks = BTreeMap<Arc<str>, Mark>;

/// The pools that a change is about, each once.
pub(crate) fn touched(change: &Changed) -> Vec<Name> {
    let name = |effect: &Effect| match effect {
        Effect::DrainPut(drain) => Some(drain.spec.upstream.clone()),
        Effect::PoolDelete(name) => Some(name.clone()),
        Effect::PoolPut(definition) => Some(definition.name.clone()),
        Effect::DrainEnd(_) | Effect::FileApplied(_) | Effect::FileForgotten(_) => None,
    };
    let mut seen = HashSet::new();
    let names = change.effects.iter().filter_map(name).chain(change.ended.iter().cloned());
    names.filter(|name| seen.insert(name.clone())).collect()
}

/// The pools of the drains that effects end; `drains`: those there were.
pub(crate) fn ended(effects: &[Effect], drains: &Drains) -> Vec<Name> {
    let mut begun = HashMap::new();
    let mut seen = HashSet::new();
    let mut names = Vec::new();
    for effect in effects {
        match effect {
            Effect::DrainPut(drain) => drop(begun.insert(drain.id, Arc::clone(drain))),
            Effect::DrainEnd(id) => {
                let drain = begun.get(id).or_else(|| drains.get(id));
                let name = drain.map(|drain| drain.spec.upstream.clone());
                names.extend(name.filter(|name| seen.insert(name.clone())));
            }
            _ => {}
        }
    }
    names
}

impl From<&Pool> for Definition {
    fn from(pool: &Pool) -> Self {
        Self {
            name: pool.name.clone(),
            order: pool.order,
            source: pool.source,
            spec: Arc::clone(&pool.spec),
            resolved: Arc::clone(&pool.resolved),
        }
    }
}
