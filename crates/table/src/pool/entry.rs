//! What a definition comes to: one server per address, and what each is told apart by.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use tidegate_model::{Resolved, ServerSpec, address::Place};

use super::Target;
use crate::state::label;

/// One server of a definition.
pub(crate) struct Entry<'s> {
    pub(crate) spec: &'s ServerSpec,
    pub(crate) key: Arc<str>,
    /// Tells those of equal key apart.
    pub(crate) ordinal: u32,
    pub(crate) target: Target,
}

impl Entry<'_> {
    /// As its state calls it.
    pub(crate) fn label(&self) -> Arc<str> {
        label(&self.key, self.ordinal)
    }
}

/// The servers of a definition in its order; a host name is as many as it has addresses.
pub(crate) fn entries<'s>(servers: &'s [ServerSpec], resolved: &Resolved) -> Vec<Entry<'s>> {
    let mut entries = Vec::with_capacity(servers.len());
    let mut seen = HashMap::<Arc<str>, u32>::new();
    for spec in servers {
        for (key, target) in targets(spec, resolved) {
            let next = seen.entry(Arc::clone(&key)).or_default();
            entries.push(Entry { spec, key, ordinal: *next, target });
            *next += 1;
        }
    }
    entries
}

/// Where a server is to be found, and what each place is known by.
fn targets(spec: &ServerSpec, resolved: &Resolved) -> Vec<(Arc<str>, Target)> {
    let text = spec.address.as_str();
    match spec.address.place() {
        Place::Ip(ip) => vec![(text.into(), Target::Ip(*ip))],
        Place::Unix(path) => vec![(text.into(), Target::Unix(Arc::clone(path)))],
        Place::Host(..) => {
            // By address, not by place in the answer: name servers shuffle, and what is known of a
            // server must not pass to another.
            let known = |ip: &SocketAddr| (format!("{text}@{}", ip.ip()).into(), Target::Ip(*ip));
            resolved.get(text).into_iter().flatten().map(known).collect()
        }
    }
}
