//! Planning of changes to single servers of a pool: they are turned into the definition that the
//! pool has from then on.

use std::sync::Arc;

use tidegate_model::{Name, Resolved, ServerSpec, upstream::ServerChange};

use super::Plan;
use crate::{
    change::Refused,
    effect::{Definition, Effect},
    pool::{entries, position},
};

impl Plan<'_> {
    pub(super) fn add_servers(
        &mut self,
        name: Name,
        servers: Vec<ServerSpec>,
        news: Resolved,
    ) -> Result<Effect, Refused> {
        let before = self.known(name)?;
        let mut listed = before.spec.servers.clone().unwrap_or_default();
        for server in servers {
            if listed.iter().any(|one| one.address.as_str() == server.address.as_str()) {
                let server = server.address.to_string();
                return Err(Refused::ServerExists { pool: before.name, server });
            }
            listed.push(server);
        }
        let mut resolved = Resolved::clone(&before.resolved);
        resolved.extend(news);
        self.relist(before, listed, resolved.into())
    }

    pub(super) fn alter_server(
        &mut self,
        name: Name,
        server: &str,
        change: ServerChange,
    ) -> Result<Effect, Refused> {
        let before = self.known(name)?;
        let mut listed = before.spec.servers.clone().unwrap_or_default();
        let at = find(&before, server)?;
        listed[at] = change.onto(&listed[at]);
        let resolved = Arc::clone(&before.resolved);
        self.relist(before, listed, resolved)
    }

    pub(super) fn remove_server(&mut self, name: Name, server: &str) -> Result<Effect, Refused> {
        let before = self.known(name)?;
        let mut listed = before.spec.servers.clone().unwrap_or_default();
        let gone = listed.remove(find(&before, server)?);
        let mut resolved = Resolved::clone(&before.resolved);
        if listed.iter().all(|one| one.address.as_str() != gone.address.as_str()) {
            resolved.remove(gone.address.as_str());
        }
        self.relist(before, listed, resolved.into())
    }

    fn known(&self, name: Name) -> Result<Definition, Refused> {
        self.current(&name).ok_or(Refused::NotFound(name))
    }

    /// The pool with other servers, and else as it was.
    fn relist(
        &mut self,
        before: Definition,
        servers: Vec<ServerSpec>,
        resolved: Arc<Resolved>,
    ) -> Result<Effect, Refused> {
        let mut spec = (*before.spec).clone();
        spec.servers = Some(servers);
        self.put(before.name, spec, resolved)
    }
}

/// Which server of the definition is meant.
fn find(definition: &Definition, server: &str) -> Result<usize, Refused> {
    let servers = definition.spec.servers.as_deref().unwrap_or_default();
    position(servers, server).ok_or_else(|| Refused::ServerNotFound {
        pool: definition.name.clone(),
        server: server.to_owned(),
        listed: entries(servers, &definition.resolved)
            .iter()
            .map(crate::pool::Entry::label)
            .collect(),
    })
}
