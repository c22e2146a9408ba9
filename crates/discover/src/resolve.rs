//! Host names in server lines, looked up through the system's resolver, off the asking thread and
//! within a limit of time.

use std::{
    collections::{BTreeMap, HashSet},
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use tidegate_model::{Resolved, ServerSpec, address::Place};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

/// For all names of one change.
const WITHIN: Duration = Duration::from_secs(2);
/// Look-ups at once. One that was given up still holds its place until the system lets go of it, so
/// that a dead name server cannot take a thread for every request.
const AT_ONCE: usize = 64;
/// Addresses taken of one name.
const MAX_ADDRESSES: usize = 64;

/// Resolves names, for all requests together.
pub struct Resolver {
    places: Arc<Semaphore>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Resolver {
    pub fn new() -> Self {
        Self::default()
    }

    /// The addresses of every host name among `servers`, by the text of the address. Cancel safe.
    ///
    /// # Errors
    /// When one of them has none, or they are not known in time: the reason.
    pub async fn resolve(&self, servers: &[ServerSpec]) -> Result<Resolved, String> {
        let (resolved, unresolved) = self.resolve_some(servers).await;
        match unresolved.into_iter().next() {
            None => Ok(resolved),
            Some(first) => Err(first.reason),
        }
    }

    /// What can be found of them, and what cannot. Cancel safe.
    pub async fn resolve_some<'s>(
        &self,
        servers: impl IntoIterator<Item = &'s ServerSpec>,
    ) -> (Resolved, Vec<Unresolved>) {
        let names = names(servers);
        let mut missing: BTreeMap<String, String> = names
            .keys()
            .map(|text| (text.clone(), format!("host \"{text}\" not resolved within {WITHIN:?}")))
            .collect();
        let mut resolved = Resolved::new();
        let mut keep = |(text, addresses): Answer| match addresses {
            Ok(addresses) => {
                missing.remove(&text);
                resolved.insert(text, addresses);
            }
            Err(reason) => drop(missing.insert(text, reason)),
        };
        if !names.is_empty() {
            // What has not come in time is missing by the reason it was given at first.
            let _ = timeout(WITHIN, self.look_up(names, &mut keep)).await;
        }
        let unresolved = missing.into_iter().map(|(name, reason)| Unresolved { name, reason });
        (resolved, unresolved.collect())
    }

    async fn look_up(
        &self,
        names: BTreeMap<String, (Arc<str>, u16)>,
        keep: &mut impl FnMut(Answer),
    ) {
        let mut asked = JoinSet::new();
        for (text, (host, port)) in names {
            while let Some(answer) = asked.try_join_next() {
                answer.into_iter().for_each(&mut *keep);
            }
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { break };
            asked.spawn_blocking(move || {
                let addresses = addresses(&text, &host, port);
                drop(place);
                (text, addresses)
            });
        }
        while let Some(answer) = asked.join_next().await {
            answer.into_iter().for_each(&mut *keep);
        }
    }
}

/// A host name without an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// As typed, with its port.
    pub name: String,
    pub reason: String,
}

type Answer = (String, Result<Vec<SocketAddr>, String>);

fn names<'s>(
    servers: impl IntoIterator<Item = &'s ServerSpec>,
) -> BTreeMap<String, (Arc<str>, u16)> {
    let name = |server: &ServerSpec| match server.address.place() {
        Place::Host(host, port) => {
            Some((server.address.as_str().to_owned(), (Arc::clone(host), *port)))
        }
        Place::Ip(_) | Place::Unix(_) => None,
    };
    servers.into_iter().filter_map(name).collect()
}

/// Asks the system, which may take its time.
fn addresses(text: &str, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = (host, port).to_socket_addrs();
    let found = found.map_err(|error| format!("host not found: \"{text}\": {error}"))?;
    let mut seen = HashSet::new();
    let mut addresses: Vec<_> = found.filter(|address| seen.insert(*address)).collect();
    if addresses.len() > MAX_ADDRESSES {
        // Always the same ones, in whatever order they come.
        addresses.sort_unstable();
        addresses.truncate(MAX_ADDRESSES);
    }
    if addresses.is_empty() {
        Err(format!("host has no address: \"{text}\""))
    } else {
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::Address;

    use super::*;

    fn servers(texts: &[&str]) -> Vec<ServerSpec> {
        texts
            .iter()
            .map(|text| ServerSpec::new(Address::parse(text).expect("an address")))
            .collect()
    }

    #[tokio::test]
    async fn names_become_addresses_and_literals_stay_what_they_are() {
        let resolver = Resolver::new();
        let all = servers(&["localhost:81", "10.0.0.1", "unix:/tmp/s", "localhost:82"]);
        let resolved = resolver.resolve(&all).await.expect("the hosts file has it");
        assert_eq!(resolved.keys().collect::<Vec<_>>(), ["localhost:81", "localhost:82"]);
        let first = resolved["localhost:81"][0];
        assert!(first.ip().is_loopback() && first.port() == 81);
    }

    #[tokio::test]
    async fn a_name_without_address_is_refused() {
        let refused = Resolver::new().resolve(&servers(&["no-such-host.invalid:80"])).await;
        assert!(refused.is_err_and(|reason| reason.contains("no-such-host.invalid:80")));
    }
}
