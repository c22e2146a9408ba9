//! The servers that a request has tried. Few as a rule; a pool of thousands that is gone altogether
//! is tried to its end by each request, and asking whether one was tried must not cost a walk.

use std::{cell::Cell, collections::HashSet};

use foldhash::fast::RandomState;

/// Up to so many are simply looked through.
const FEW: usize = 16;

/// Identities of servers, and whether anybody else was well when the last was picked.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    ids: Vec<u64>,
    /// The same, once they are many.
    set: HashSet<u64, RandomState>,
    /// A pick has found nobody who is well: the next ones need not look for one.
    nobody_is_well: Cell<bool>,
}

impl Tried {
    pub fn add(&mut self, id: u64) {
        self.ids.push(id);
        if self.ids.len() == FEW + 1 {
            self.set.extend(&self.ids);
        } else if self.ids.len() > FEW {
            self.set.insert(id);
        }
    }

    pub fn contains(&self, id: u64) -> bool {
        if self.ids.len() <= FEW { self.ids.contains(&id) } else { self.set.contains(&id) }
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn nobody_is_well(&self) -> bool {
        self.nobody_is_well.get()
    }

    pub(crate) fn found_nobody_well(&self) {
        self.nobody_is_well.set(true);
    }

    /// Another pool is asked: who is well there is not known yet.
    pub fn go_over(&mut self) {
        self.nobody_is_well.set(false);
    }
}

impl FromIterator<u64> for Tried {
    fn from_iter<I: IntoIterator<Item = u64>>(ids: I) -> Self {
        let mut tried = Self::default();
        ids.into_iter().for_each(|id| tried.add(id));
        tried
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_or_many_all_are_found() {
        let mut tried = Tried::default();
        for id in 0..100 {
            assert!(!tried.contains(id));
            tried.add(id);
            assert!((0..=id).all(|id| tried.contains(id)) && !tried.contains(id + 1));
        }
    }
}
