//! What a definition comes to: one server per address, and what each is told apart by.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use tidegate_model::{Resolved, ServerSpec, UpstreamSpec, address::Place};

use super::Target;
use crate::state::label;

/// One server of a definition.
pub(crate) struct Entry<'s> {
    pub(crate) spec: &'s ServerSpec,
    /// Its place in the list.
    pub(crate) definition: usize,
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
    for (definition, spec) in servers.iter().enumerate() {
        for (key, target) in targets(spec, resolved) {
            let next = seen.entry(Arc::clone(&key)).or_default();
            entries.push(Entry { spec, definition, key, ordinal: *next, target });
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

/// Which of these definitions a server's name means: its address as typed, `#2`, `#3` added to tell
/// equal ones apart. Addresses of a host name are one definition and have one name.
pub(crate) fn position(servers: &[ServerSpec], name: &str) -> Option<usize> {
    let ordinals = ordinals(servers);
    let names = servers.iter().zip(ordinals).map(|(spec, at)| label(spec.address.as_str(), at));
    names.into_iter().position(|label| *label == *name)
}

/// The generation that last changed each server of a definition, made by `generation`: one that is
/// as it was keeps its own. `before`: the definition until now, with the same of its servers.
pub(crate) fn since(
    before: Option<(&UpstreamSpec, &[u64])>,
    after: &UpstreamSpec,
    generation: u64,
) -> Vec<u64> {
    let known: HashMap<_, _> = before.map_or_else(HashMap::new, |(spec, since)| {
        let servers = spec.servers.as_deref().unwrap_or_default();
        let named = servers.iter().zip(ordinals(servers)).zip(since);
        named.map(|((spec, at), since)| ((spec.address.as_str(), at), (spec, *since))).collect()
    });
    let servers = after.servers.as_deref().unwrap_or_default();
    let of = |(spec, at): (&ServerSpec, u32)| match known.get(&(spec.address.as_str(), at)) {
        Some((was, since)) if *was == spec => *since,
        _ => generation,
    };
    servers.iter().zip(ordinals(servers)).map(of).collect()
}

/// Tells definitions of equal address apart.
fn ordinals(servers: &[ServerSpec]) -> Vec<u32> {
    let mut seen = HashMap::<&str, u32>::with_capacity(servers.len());
    let mut ordinals = Vec::with_capacity(servers.len());
    for spec in servers {
        let next = seen.entry(spec.address.as_str()).or_default();
        ordinals.push(*next);
        *next += 1;
    }
    ordinals
}
