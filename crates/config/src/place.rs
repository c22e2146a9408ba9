//! Where something stands in which file, and the report that collects what is wrong there. A place
//! is kept as an offset and turned into line and column only when it is printed.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::Hash,
    path::PathBuf,
    rc::Rc,
};

/// One thing that is wrong, or odd, in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    pub file: String,
    /// From 1; 1:1 also stands for the file as a whole.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Dotted, as in `listener.limits.head`; empty when no key is to blame.
    pub key: String,
    pub message: String,
}

/// The text of one file.
pub(crate) struct Source {
    /// Which file it was, in order of reading.
    order: usize,
    name: String,
    /// What relative paths in the file are relative to.
    pub(crate) dir: PathBuf,
    pub(crate) text: String,
    /// The offset of each line.
    lines: Vec<usize>,
}

/// An offset in a file, and the key that stands there.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) source: Rc<Source>,
    pub(crate) offset: usize,
    pub(crate) key: String,
}

/// A value that later checks may have to complain about.
#[derive(Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// Everything found so far, in all files.
#[derive(Default)]
pub(crate) struct Report {
    errors: RefCell<Vec<Found>>,
    warnings: RefCell<Vec<Found>>,
}

type Found = (Place, String);

impl Source {
    pub(crate) fn new(order: usize, name: String, dir: PathBuf, text: String) -> Rc<Self> {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Rc::new(Self { order, name, dir, text, lines })
    }

    /// Line and column, from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|at| self.lines.get(at)).copied().unwrap_or(0);
        let starts_character = |byte: &&u8| (**byte & 0xC0) != 0x80;
        let before = self.text.as_bytes().get(start..offset).unwrap_or_default();
        (line, before.iter().filter(starts_character).count() + 1)
    }
}

impl Place {
    /// A file as a whole, or what is missing in it.
    pub(crate) fn start_of(source: &Rc<Source>, key: &str) -> Self {
        Self { source: Rc::clone(source), offset: 0, key: key.into() }
    }

    pub(crate) fn is_at(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.source, &other.source) && self.offset == other.offset
    }

    pub(crate) fn problem(&self, message: String) -> Problem {
        let (line, column) = self.source.position(self.offset);
        Problem { file: self.source.name.clone(), line, column, key: self.key.clone(), message }
    }
}

/// `file:line:column`, to point at it from the message about another place.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.source.position(self.offset);
        write!(f, "{}:{line}:{column}", self.source.name)
    }
}

impl<T> Placed<T> {
    pub(crate) fn as_ref(&self) -> Placed<&T> {
        Placed { value: &self.value, place: self.place.clone() }
    }

    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Placed<U> {
        Placed { value: change(self.value), place: self.place }
    }
}

impl Report {
    pub(crate) fn error(&self, place: Place, message: impl fmt::Display) {
        self.errors.borrow_mut().push((place, message.to_string()));
    }

    pub(crate) fn warn(&self, place: Place, message: impl fmt::Display) {
        self.warnings.borrow_mut().push((place, message.to_string()));
    }

    /// Complains of what is defined `again`.
    pub(crate) fn twice<T>(&self, again: &Placed<T>, first: &Placed<T>) {
        let message = format!("defined twice: also at {} ({})", first.place, first.place.key);
        self.error(again.place.clone(), message);
    }

    /// The warnings when there is no error, else the errors; by file and position.
    pub(crate) fn outcome(self) -> Result<Vec<Problem>, Vec<Problem>> {
        let errors = sorted(self.errors);
        if errors.is_empty() { Ok(sorted(self.warnings)) } else { Err(errors) }
    }
}

/// Each value that came before, with where it came first.
pub(crate) fn repeated<'p, T: Eq + Hash>(
    items: impl Iterator<Item = &'p Placed<T>>,
) -> Vec<(&'p Placed<T>, &'p Placed<T>)> {
    let mut seen: HashMap<&T, &Placed<T>> = HashMap::new();
    let mut again = Vec::new();
    for item in items {
        match seen.entry(&item.value) {
            Entry::Occupied(first) => again.push((item, *first.get())),
            Entry::Vacant(free) => {
                free.insert(item);
            }
        }
    }
    again
}

fn sorted(found: RefCell<Vec<Found>>) -> Vec<Problem> {
    let mut found = found.into_inner();
    found.sort_by_key(|(place, _)| (place.source.order, place.offset));
    found.into_iter().map(|(place, message)| place.problem(message)).collect()
}

/// `file:line:column: key: message`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Source::new(0, "a".into(), PathBuf::new(), "é = 1\n\nüü = 2".into());
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(5), (1, 5));
        assert_eq!(source.position(7), (2, 1));
        assert_eq!(source.position(12), (3, 3));
        assert_eq!(source.position(999), (3, 7));
    }
}
