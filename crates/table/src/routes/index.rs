//! From a host to the routes that may take it: those that name it, those with the longest wildcard
//! above it (and every shorter one), and those for any host. Three sorted lists, walked as one.

use std::collections::HashMap;

use tidegate_model::{HostPattern, Route};

/// Keyed: hosts come from requests.
type Lists = HashMap<Box<str>, Vec<usize>, foldhash::quality::RandomState>;

/// Positions in the list of routes, ascending.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: Lists,
    /// By `.example.com`; with what longer hosts inherit from `.com`.
    below: Lists,
    /// The length of the longest key of these: no more of a host is looked at.
    longest: usize,
    any: Vec<usize>,
}

/// The routes to be asked, in file order. One may come twice in a row.
pub(super) struct Candidates<'i>([&'i [usize]; 3]);

impl Index {
    pub(super) fn of(routes: &[Route]) -> Self {
        let mut index = Self::default();
        for (at, route) in routes.iter().enumerate() {
            if route.hosts.is_empty() {
                index.any.push(at);
            }
            for host in &route.hosts {
                index.put(host, at);
            }
        }
        index.inherit();
        index.longest = index.below.keys().map(|key| key.len()).max().unwrap_or(0);
        index
    }

    fn put(&mut self, host: &HostPattern, at: usize) {
        let positions = match host {
            HostPattern::Exact(name) => self.exact.entry(name.as_str().into()),
            HostPattern::Suffix(suffix) => self.below.entry(suffix.as_str().into()),
        };
        let positions = positions.or_default();
        if positions.last() != Some(&at) {
            positions.push(at);
        }
    }

    /// A host below `.a.example.com` is below `.example.com` as well.
    fn inherit(&mut self) {
        let of_parents = |suffix: &str| {
            let parents = dots(suffix).skip(1).filter_map(|at| self.below.get(&suffix[at..]));
            parents.flatten().copied().collect::<Vec<_>>()
        };
        let inherited: Vec<_> =
            self.below.keys().map(|key| (key.clone(), of_parents(key))).collect();
        for (key, mut more) in inherited {
            let positions = self.below.entry(key).or_default();
            positions.append(&mut more);
            positions.sort_unstable();
            positions.dedup();
        }
    }

    /// Those that may take a host, in lower case.
    pub(super) fn candidates(&self, host: &str) -> Candidates<'_> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        Candidates([
            exact.map_or(&[][..], Vec::as_slice),
            self.below(host).map_or(&[][..], Vec::as_slice),
            &self.any,
        ])
    }

    /// The list of the longest wildcard above a host.
    fn below(&self, host: &str) -> Option<&Vec<usize>> {
        if self.below.is_empty() {
            return None;
        }
        // A host may be as long as a head. A wildcard wants something before its dot.
        let start = host.len().saturating_sub(self.longest).max(1);
        let mut suffixes = dots(host).filter(|at| *at >= start).map(|at| &host[at..]);
        suffixes.find_map(|suffix| self.below.get(suffix))
    }
}

fn dots(text: &str) -> impl Iterator<Item = usize> {
    text.bytes().enumerate().filter(|(_, byte)| *byte == b'.').map(|(at, _)| at)
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let lists = self.0.iter_mut().filter(|list| !list.is_empty());
        let list = lists.min_by_key(|list| list[0])?;
        let current = *list;
        let (first, rest) = current.split_first()?;
        *list = rest;
        Some(*first)
    }
}
