//! Changes that came with a key, and what was answered: whoever asks again within a day, also after
//! a restart, gets the same answer and changes nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_model::Name;

use crate::{condition::Key, effect::touched, journal::record::Changed};

/// How long a key is kept, in milliseconds.
const KEPT: u64 = 24 * 60 * 60 * 1_000;
/// Beyond so many, or so many names of pools in them, the oldest are forgotten early.
const MOST: usize = 100_000;
const MOST_NAMES: usize = 500_000;

/// A change that was made under a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answered {
    pub(crate) key: Key,
    pub(crate) generation: u64,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) changed: Vec<Name>,
}

/// Those of the last day. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    by_text: imbl::HashMap<Arc<str>, Arc<Answered>>,
    by_generation: imbl::OrdMap<u64, Arc<Answered>>,
    /// Names of pools in all of them.
    names: usize,
}

impl Keys {
    /// What was answered to that key; `now` in milliseconds since 1970.
    pub(crate) fn find(&self, text: &str, now: u64) -> Option<&Arc<Answered>> {
        self.by_text.get(text).filter(|answered| !answered.is_over(now))
    }

    pub(crate) fn insert(&mut self, answered: Arc<Answered>) {
        while let Some((generation, oldest)) = self.by_generation.get_min()
            && (oldest.is_over(answered.at)
                || self.by_generation.len() >= MOST
                || self.names + answered.changed.len() > MOST_NAMES)
        {
            let (generation, oldest) = (*generation, Arc::clone(oldest));
            self.by_generation.remove(&generation);
            self.names = self.names.saturating_sub(oldest.changed.len());
            // Its text may have been used again since.
            if self.by_text.get(&oldest.key.text).is_some_and(|last| Arc::ptr_eq(last, &oldest)) {
                self.by_text.remove(&oldest.key.text);
            }
        }
        self.names += answered.changed.len();
        self.by_text.insert(Arc::clone(&answered.key.text), Arc::clone(&answered));
        self.by_generation.insert(answered.generation, answered);
    }

    pub(crate) fn len(&self) -> usize {
        self.by_generation.len()
    }

    /// The oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Answered>> {
        self.by_generation.values()
    }
}

impl Answered {
    /// What is kept of a change; `None` when it came without a key.
    pub(crate) fn of(change: &Changed) -> Option<Arc<Self>> {
        let key = change.key.clone()?;
        let changed = touched(change);
        Some(Arc::new(Self { key, generation: change.generation, at: change.at, changed }))
    }

    fn is_over(&self, now: u64) -> bool {
        now.saturating_sub(self.at) > KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str, generation: u64, at: u64) -> Arc<Answered> {
        let key = Key { text: text.into(), request: 1 };
        Arc::new(Answered { key, generation, at, changed: Vec::new() })
    }

    #[test]
    fn a_key_is_kept_for_a_day() {
        let mut keys = Keys::default();
        keys.insert(answered("a", 1, 1_000));
        assert_eq!(keys.find("a", 1_000 + KEPT).map(|found| found.generation), Some(1));
        assert!(keys.find("a", 1_001 + KEPT).is_none() && keys.find("b", 0).is_none());
        keys.insert(answered("a", 2, 1_001 + KEPT));
        assert_eq!((keys.len(), keys.by_text.len()), (1, 1));
        assert_eq!(keys.find("a", 1_001 + KEPT).map(|found| found.generation), Some(2));
    }

    #[test]
    fn a_clock_that_is_set_back_forgets_nothing() {
        let mut keys = Keys::default();
        keys.insert(answered("a", 1, KEPT * 10));
        keys.insert(answered("b", 2, KEPT));
        assert!(keys.find("a", KEPT).is_some() && keys.find("b", KEPT).is_some());
    }

    #[test]
    fn answers_about_very_many_pools_are_fewer() {
        let pools = vec![Name::new("p").expect("a name"); 10_000];
        let mut keys = Keys::default();
        for generation in 0..60 {
            let few = answered(&generation.to_string(), generation, 0);
            let many = Answered { changed: pools.clone(), ..Answered::clone(&few) };
            keys.insert(Arc::new(many));
        }
        assert_eq!((keys.len(), keys.names), (50, MOST_NAMES));
        assert!(keys.find("9", 0).is_none() && keys.find("10", 0).is_some());
    }

    #[test]
    fn the_oldest_make_room() {
        let mut keys = Keys::default();
        for generation in 0..=MOST as u64 {
            keys.insert(answered(&generation.to_string(), generation, 0));
        }
        assert_eq!((keys.len(), keys.by_text.len()), (MOST, MOST));
        assert!(keys.find("0", 0).is_none() && keys.find("1", 0).is_some());
    }
}
