//! Counts by status code. The codes of RFC 9110 and its registry have a cell each; whatever else a
//! server invents goes to a small locked map, at most one entry per three-digit code.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::Counter;

/// First code and number of codes of each run that has cells.
const RUNS: [(u16, u16); 6] = [(100, 4), (200, 9), (300, 9), (400, 32), (499, 12), (451, 1)];
const CELLS: usize = 4 + 9 + 9 + 32 + 12 + 1;

/// Requests by status code; one writer.
#[derive(Debug)]
pub struct Codes {
    cells: [Counter; CELLS],
    others: Mutex<BTreeMap<u16, u64>>,
}

impl Default for Codes {
    fn default() -> Self {
        Self { cells: std::array::from_fn(|_| Counter::default()), others: Mutex::default() }
    }
}

impl Codes {
    pub fn count(&self, code: u16) {
        match cell(code) {
            Some(at) => self.cells[at].add(1),
            None => {
                let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
                *others.entry(code).or_default() += 1;
            }
        }
    }

    /// Adds the counts above zero to `into`.
    pub fn collect(&self, into: &mut BTreeMap<u16, u64>) {
        let codes = RUNS.iter().flat_map(|(first, length)| *first..first + length);
        for (code, counter) in codes.zip(&self.cells).filter(|(_, counter)| counter.value() > 0) {
            *into.entry(code).or_default() += counter.value();
        }
        for (code, count) in self.others.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *into.entry(*code).or_default() += count;
        }
    }
}

fn cell(code: u16) -> Option<usize> {
    let mut at = 0;
    for (first, length) in RUNS {
        if (first..first + length).contains(&code) {
            return Some(at + usize::from(code - first));
        }
        at += usize::from(length);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_counted_under_its_own_number() {
        let codes = Codes::default();
        for code in 100..1000 {
            codes.count(code);
        }
        let mut counts = BTreeMap::new();
        codes.collect(&mut counts);
        assert_eq!(counts, (100..1000).map(|code| (code, 1)).collect());
    }
}
