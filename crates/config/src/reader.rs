//! Walks one TOML table: a section asks for each key it knows, and `finish` reports what was not
//! asked for. Whatever is wrong goes to the report and reads as absent, so that one run finds every
//! problem of a file.

use std::{ops::Range, rc::Rc};

use toml::de::{DeTable, DeValue};

use crate::{
    node::{FromToml, Node, joined},
    place::{Place, Placed, Report, Source},
    unknown,
};

/// One table, and which of its keys were asked for.
pub(crate) struct Reader<'a> {
    pub(crate) report: &'a Report,
    source: &'a Rc<Source>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    /// Dotted, for messages.
    path: Rc<str>,
    known: Vec<&'static str>,
    /// Known, but not welcome in this table.
    refused: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// The whole of a file.
    pub(crate) fn root(report: &'a Report, source: &'a Rc<Source>, table: &'a DeTable<'a>) -> Self {
        Self::new(report, source, table, 0..0, "")
    }

    fn new(
        report: &'a Report,
        source: &'a Rc<Source>,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        path: &str,
    ) -> Self {
        let (known, refused) = (Vec::new(), Vec::new());
        Self { report, source, table, span, path: path.into(), known, refused }
    }

    /// Reads the table that `node` holds, to its last key; `None` when it holds something else.
    pub(crate) fn within<T>(node: &Node<'a>, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let DeValue::Table(table) = node.value.get_ref() else { return node.mismatch("a table") };
        let (span, path) = (node.value.span(), node.dotted());
        let mut reader = Self::new(node.report, node.source, table, span, &path);
        let value = read(&mut reader);
        reader.finish();
        Some(value)
    }

    /// The value of `key`; `None` when it is absent or wrong.
    pub(crate) fn take<T: FromToml>(&mut self, key: &'static str) -> Option<T> {
        self.take_if(key, |_| Ok(()))
    }

    /// The value of `key`, if `rule` has nothing against it.
    pub(crate) fn take_if<T: FromToml>(
        &mut self,
        key: &'static str,
        rule: impl FnOnce(&T) -> Result<(), String>,
    ) -> Option<T> {
        let node = self.node(key)?;
        let value = T::from_toml(&node)?;
        match rule(&value) {
            Ok(()) => Some(value),
            Err(message) => node.fail(message),
        }
    }

    /// The value of `key`, which has to be there.
    pub(crate) fn require<T: FromToml>(&mut self, key: &'static str) -> Option<T> {
        self.require_if(key, |_| Ok(()))
    }

    /// The value of `key`, which has to be there, if `rule` has nothing against it.
    pub(crate) fn require_if<T: FromToml>(
        &mut self,
        key: &'static str,
        rule: impl FnOnce(&T) -> Result<(), String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.report.error(self.place_of(key), "this key is required");
        }
        self.take_if(key, rule)
    }

    /// Says why `key` may not stand here, when it does.
    pub(crate) fn refuse(&mut self, key: &'static str, message: &str) {
        self.refused.push(key);
        if self.has(key) {
            self.report.error(self.place_of(key), message);
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether `key` holds a list without elements.
    pub(crate) fn is_empty_list(&self, key: &str) -> bool {
        let value = self.table.get(key).map(|value| value.get_ref());
        matches!(value, Some(DeValue::Array(list)) if list.is_empty())
    }

    /// The table `[key]`, when it is there.
    pub(crate) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<Placed<T>> {
        let node = self.node(key)?;
        let value = Self::within(&node, read)?;
        Some(Placed { value, place: node.place() })
    }

    /// Every table `[[key]]`, in file order.
    pub(crate) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let expected = format!("[[{}]], with double brackets", node.dotted());
        let Some(elements) = node.elements(&expected) else {
            return Vec::new();
        };
        elements.filter_map(|element| Self::within(&element, &mut read)).collect()
    }

    /// Every table `[key.NAME]`, in file order, with its name.
    pub(crate) fn named_tables(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Placed<String>, &mut Self),
    ) {
        let Some(node) = self.node(key) else { return };
        let DeValue::Table(table) = node.value.get_ref() else {
            node.mismatch::<()>(&format!("tables [{key}.NAME]"));
            return;
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let path: Rc<str> = node.dotted().into();
        for (name, value) in entries {
            let node = Node { value, path: Rc::clone(&path), key: name.get_ref(), ..node };
            let place = Place { offset: name.span().start, ..node.place() };
            let name = Placed { value: name.get_ref().to_string(), place };
            Self::within(&node, |reader| read(&name, reader));
        }
    }

    /// Where this table begins.
    pub(crate) fn place(&self) -> Place {
        let source = Rc::clone(self.source);
        Place { source, offset: self.span.start, key: (*self.path).into() }
    }

    /// Where the value of `key` stands, or the table it should stand in.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        let offset = self.table.get(key).map_or(self.span.start, |value| value.span().start);
        Place { source: Rc::clone(self.source), offset, key: joined(&self.path, key) }
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) && !self.refused.contains(&name) {
                let place = Place { offset: key.span().start, ..self.place_of(name) };
                self.report.error(place, unknown::message(name, &self.known));
            }
        }
    }

    fn node(&mut self, key: &'static str) -> Option<Node<'a>> {
        self.known.push(key);
        let (report, source, path) = (self.report, self.source, Rc::clone(&self.path));
        self.table.get(key).map(|value| Node { report, source, value, path, key })
    }
}
