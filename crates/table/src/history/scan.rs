//! Finding the generations in files of the journal, without reading more of each record than whose
//! it is.

use std::sync::Arc;

use serde::{Deserialize, de::IgnoredAny};
use tidegate_model::Name;

use super::{Entry, Place, Touched};
use crate::{
    drain::Drain,
    journal::{
        frame::Frame,
        record::{CHANGE, Record},
    },
};

/// A record, as far as the index goes by it.
#[derive(Deserialize)]
struct Brief {
    generation: u64,
    at: u64,
    effects: Vec<Touch>,
    /// Missing in records of before there was a history: there is no way back over them.
    before: Option<IgnoredAny>,
    #[serde(default)]
    ended: Vec<Name>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Touch {
    DrainEnd(IgnoredAny),
    DrainPut(Box<Drain>),
    FileApplied(IgnoredAny),
    FileForgotten(IgnoredAny),
    PoolDelete(Name),
    PoolPut(Named),
}

#[derive(Deserialize)]
struct Named {
    name: Name,
}

/// The generations in a file, in its order, as far as it is sound. What is before a record that
/// cannot be used is left out.
pub(crate) fn scan(bytes: &[u8], segment: u64) -> Vec<Entry> {
    let (mut entries, mut at) = (Vec::new(), 0);
    while let Some((frame, length)) = Frame::read(&bytes[at..]) {
        let brief = (frame.kind == CHANGE).then(|| serde_json::from_slice(frame.payload).ok());
        match brief.flatten() {
            Some(Brief { generation, at: time, effects, before: Some(_), ended }) => {
                let ended = ended.iter().map(|name| (name.folded(), false));
                let touched = Touched::collect(effects.iter().filter_map(Touch::pool).chain(ended));
                let place = Place::Filed { segment, offset: at as u64, length };
                entries.push(Entry { generation, at: time, touched, place });
            }
            _ => entries.clear(),
        }
        at += length;
    }
    entries
}

/// The record that these bytes are.
pub(super) fn record(bytes: &[u8]) -> Option<Record> {
    let (frame, _) = Frame::read(bytes)?;
    Record::read(&frame).ok()
}

impl Touch {
    fn pool(&self) -> Option<(Arc<str>, bool)> {
        match self {
            Self::DrainPut(drain) => Some((drain.spec.upstream.folded(), false)),
            Self::PoolDelete(name) | Self::PoolPut(Named { name }) => Some((name.folded(), true)),
            Self::DrainEnd(_) | Self::FileApplied(_) | Self::FileForgotten(_) => None,
        }
    }
}
