//! Sessions by whom they are with, in the order in which they were last heard of: the next to be given
//! up is found at once, and so is the moment to look again.

use std::collections::HashMap;

use tidegate_net::Way;

/// No place.
const NONE: u32 = u32::MAX;

/// At most as many as there are sessions, which have a limit.
#[derive(Debug)]
pub(super) struct Recent<T> {
    /// The keys are strangers' choice: hashed by the standard library, which they cannot foresee.
    places: HashMap<Way, u32>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Slot<T> {
    held: Option<(Way, T)>,
    newer: u32,
    older: u32,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }
}

impl<T> Recent<T> {
    /// Finds one, and makes it the newest.
    pub(super) fn touch(&mut self, way: &Way) -> Option<&T> {
        let place = *self.places.get(way)?;
        if place != self.newest {
            self.unlink(place);
            self.link(place);
        }
        self.slots[place as usize].held.as_ref().map(|(_, held)| held)
    }

    /// Adds one that is not there yet, as the newest.
    pub(super) fn insert(&mut self, way: Way, held: T) {
        debug_assert!(!self.places.contains_key(&way), "it was looked for");
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { held: None, newer: NONE, older: NONE });
            u32::try_from(self.slots.len() - 1).expect("descriptors run out long before")
        });
        self.slots[place as usize].held = Some((way, held));
        self.places.insert(way, place);
        self.link(place);
    }

    pub(super) fn remove(&mut self, way: &Way) -> Option<T> {
        let place = self.places.remove(way)?;
        self.unlink(place);
        self.free.push(place);
        self.slots[place as usize].held.take().map(|(_, held)| held)
    }

    /// The one that was not heard of for longest.
    pub(super) fn oldest(&self) -> Option<&T> {
        let slot = self.slots.get(self.oldest as usize)?;
        slot.held.as_ref().map(|(_, held)| held)
    }

    fn link(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        let slot = &mut self.slots[place as usize];
        (slot.newer, slot.older) = (NONE, before);
        match self.slots.get_mut(before as usize) {
            Some(before) => before.newer = place,
            None => self.oldest = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let Slot { newer, older, .. } = self.slots[place as usize];
        match self.slots.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(port: u16) -> Way {
        Way { client: ([127, 0, 0, 1], port).into(), local: None }
    }

    /// What is left, from the oldest on.
    fn drained(recent: &mut Recent<u16>) -> Vec<u16> {
        let mut all = Vec::new();
        while let Some(oldest) = recent.oldest().copied() {
            assert_eq!(recent.remove(&way(oldest)), Some(oldest));
            all.push(oldest);
        }
        all
    }

    #[test]
    fn the_oldest_is_whoever_was_not_touched_for_longest() {
        let mut recent = Recent::default();
        assert!(recent.oldest().is_none() && recent.touch(&way(1)).is_none());
        (1..=4).for_each(|port| recent.insert(way(port), port));
        assert_eq!(recent.touch(&way(1)), Some(&1));
        assert_eq!(recent.touch(&way(3)), Some(&3));
        assert_eq!(recent.touch(&way(3)), Some(&3));
        assert_eq!(recent.remove(&way(4)), Some(4));
        assert_eq!(recent.remove(&way(4)), None);
        recent.insert(way(5), 5);
        assert_eq!(drained(&mut recent), [2, 1, 3, 5]);
        recent.insert(way(6), 6);
        assert_eq!(drained(&mut recent), [6]);
        assert_eq!(recent.slots.len(), 4, "places are used again");
    }
}
