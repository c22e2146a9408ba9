//! From operations to effects: fills patches in, gives new pools their place in the order and
//! refuses what could never serve. Pure: it reads the head and decides.

use std::{collections::HashMap, sync::Arc};

use tidegate_model::{
    Balance, Name, Resolved, UpstreamSpec,
    address::Place,
    upstream::{TimeoutsSpec, TunnelSpec},
};

use crate::{
    change::{Operation, Refused},
    effect::{Definition, Effect},
    head::Head,
    pool::Source,
};

/// The effects of operations that build on each other, in order.
pub(crate) fn effects(
    operations: Vec<Operation>,
    source: Source,
    head: &Head,
) -> Result<Vec<Effect>, Refused> {
    let mut plan = Plan { head, source, drafts: HashMap::new(), next_order: head.next_order };
    operations.into_iter().map(|operation| plan.step(operation)).collect()
}

/// Refuses a definition that could never serve, as nginx would.
pub(crate) fn check(definition: &Definition, defaults: &UpstreamSpec) -> Result<(), Refused> {
    let Definition { name, spec, resolved, .. } = definition;
    let invalid = |reason: String| Err(Refused::Invalid { pool: name.clone(), reason });
    let servers = spec.servers.as_deref().unwrap_or_default();
    if !servers.is_empty() && servers.iter().all(|server| server.backup) {
        return invalid("no servers besides backup servers".into());
    }
    let balance = spec.balance.or(defaults.balance).unwrap_or_default();
    if balance == Balance::IpHash && servers.iter().any(|server| server.backup) {
        return invalid("balancing by ip_hash does not go with backup servers".into());
    }
    let unresolved = servers.iter().find(|server| {
        matches!(server.address.place(), Place::Host(..))
            && resolved.get(server.address.as_str()).is_none_or(Vec::is_empty)
    });
    match unresolved {
        Some(server) => invalid(format!("host not found: \"{}\"", server.address)),
        None => Ok(()),
    }
}

struct Plan<'h> {
    head: &'h Head,
    source: Source,
    /// What earlier operations of the same change made of a pool; `None`: they deleted it.
    drafts: HashMap<Arc<str>, Option<Definition>>,
    next_order: u64,
}

impl Plan<'_> {
    fn step(&mut self, operation: Operation) -> Result<Effect, Refused> {
        match operation {
            Operation::Delete { name } => self.delete(name),
            Operation::Merge { name, patch, resolved } => {
                let Some(before) = self.current(&name) else {
                    return self.put(name, patch, resolved.into());
                };
                let resolved =
                    if patch.servers.is_some() { resolved.into() } else { before.resolved };
                self.put(name, overlay(&before.spec, patch), resolved)
            }
            Operation::Put { name, spec, resolved } => self.put(name, spec, resolved.into()),
        }
    }

    fn current(&self, name: &Name) -> Option<Definition> {
        let key = name.folded();
        match self.drafts.get(&key) {
            Some(draft) => draft.clone(),
            None => self.head.snapshot.pools.get(&key).map(|pool| Definition::from(&**pool)),
        }
    }

    fn put(
        &mut self,
        name: Name,
        spec: UpstreamSpec,
        resolved: Arc<Resolved>,
    ) -> Result<Effect, Refused> {
        let order = self.current(&name).map_or(self.next_order, |before| before.order);
        self.next_order = self.next_order.max(order.saturating_add(1));
        let definition =
            Definition { name, order, source: self.source, spec: Arc::new(spec), resolved };
        check(&definition, &self.head.defaults)?;
        self.drafts.insert(definition.name.folded(), Some(definition.clone()));
        Ok(Effect::PoolPut(definition))
    }

    fn delete(&mut self, name: Name) -> Result<Effect, Refused> {
        if self.current(&name).is_none() {
            return Err(Refused::NotFound(name));
        }
        self.drafts.insert(name.folded(), None);
        Ok(Effect::PoolDelete(name))
    }
}

/// Taken apart whole, so that a new key cannot be forgotten here.
fn overlay(base: &UpstreamSpec, patch: UpstreamSpec) -> UpstreamSpec {
    let UpstreamSpec {
        balance,
        servers,
        keepalive,
        keepalive_timeout,
        keepalive_requests,
        keepalive_time,
        host_header,
        when_all_down,
        timeouts: TimeoutsSpec { connect, send, read },
        tunnel: TunnelSpec { idle_timeout },
    } = patch;
    UpstreamSpec {
        balance: balance.or(base.balance),
        servers: servers.or_else(|| base.servers.clone()),
        keepalive: keepalive.or(base.keepalive),
        keepalive_timeout: keepalive_timeout.or(base.keepalive_timeout),
        keepalive_requests: keepalive_requests.or(base.keepalive_requests),
        keepalive_time: keepalive_time.or(base.keepalive_time),
        host_header: host_header.or_else(|| base.host_header.clone()),
        when_all_down: when_all_down.or(base.when_all_down),
        timeouts: TimeoutsSpec {
            connect: connect.or(base.timeouts.connect),
            send: send.or(base.timeouts.send),
            read: read.or(base.timeouts.read),
        },
        tunnel: TunnelSpec { idle_timeout: idle_timeout.or(base.tunnel.idle_timeout) },
    }
}
