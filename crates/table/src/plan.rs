//! From operations to effects: fills patches in, gives new pools their place in the order and
//! refuses what could never serve. Pure: it reads the head and decides.

mod drain;
mod servers;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tidegate_model::{
    Balance, Name, Resolved, UpstreamSpec,
    address::Place,
    upstream::{Contradiction, EjectSpec, NextSpec, TimeoutsSpec, TlsSpec, TunnelSpec},
};

use crate::{
    change::{Operation, Refused},
    drain::Drains,
    effect::{Definition, Effect},
    head::Head,
    history::Definitions,
    pool::Source,
};

/// The effects of operations that build on each other, in order; `at`: now, in milliseconds since
/// 1970.
pub(crate) fn effects(
    operations: Vec<Operation>,
    source: Source,
    at: u64,
    head: &Head,
) -> Result<Vec<Effect>, Refused> {
    let mut plan = Plan {
        head,
        source,
        at,
        generation: head.snapshot.generation + 1,
        drafts: HashMap::new(),
        next_order: head.next_order,
        drains: head.snapshot.drains.clone(),
        last_drain: head.last_drain,
    };
    operations.into_iter().map(|operation| plan.step(operation)).collect()
}

/// What it takes to define pools again as they were; what is so already is left alone.
pub(crate) fn restoration(past: Definitions, head: &Head) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut past: Vec<_> = past.into_iter().collect();
    // New ones take their places in the order they had.
    past.sort_by_cached_key(|(key, (_, was))| {
        (was.as_ref().map_or(0, |was| was.order), Arc::clone(key))
    });
    for (key, (name, was)) in past {
        let is = head.snapshot.pools.get(&key);
        match was {
            Some(was) if is.is_some_and(|is| is.spec == was.spec) => {}
            Some(Definition { name, spec, resolved, .. }) => operations.push(Operation::Put {
                name,
                spec: Arc::unwrap_or_clone(spec),
                resolved: Arc::unwrap_or_clone(resolved),
            }),
            None if is.is_some() => operations.push(Operation::Delete { name }),
            None => {}
        }
    }
    operations
}

/// The pools that effects define or delete, as they are now.
pub(crate) fn before(effects: &[Effect], head: &Head) -> Vec<Definition> {
    let mut seen = HashSet::new();
    let name = |effect: &Effect| match effect {
        Effect::PoolDelete(name) => Some(name.folded()),
        Effect::PoolPut(definition) => Some(definition.name.folded()),
        _ => None,
    };
    let keys = effects.iter().filter_map(name).filter(|key| seen.insert(Arc::clone(key)));
    let pools = keys.filter_map(|key| head.snapshot.pools.get(&key));
    pools.map(|pool| Definition::from(&**pool)).collect()
}

/// Refuses a definition that could never serve, as nginx would.
pub(crate) fn check(definition: &Definition, defaults: &UpstreamSpec) -> Result<(), Refused> {
    let Definition { name, spec, .. } = definition;
    let invalid = |reason: String| Err(Refused::Invalid { pool: name.clone(), reason });
    let servers = spec.servers.as_deref().unwrap_or_default();
    if !servers.is_empty() && servers.iter().all(|server| server.backup) {
        return invalid("no servers besides backup servers".into());
    }
    if let Some(key) = spec.tls.as_ref().and_then(TlsSpec::half_a_pair) {
        let reason = "cert and key go together: this one is missing".to_owned();
        return Err(Refused::BadTls { pool: name.clone(), key, reason });
    }
    let balance = spec.balance.or(defaults.balance).unwrap_or_default();
    if balance == Balance::IpHash && servers.iter().any(|server| server.backup) {
        return invalid("balancing by ip_hash does not go with backup servers".into());
    }
    if let Some(Contradiction { key, reason }) = spec.contradiction(defaults) {
        return Err(Refused::BadProtocol { pool: name.clone(), key, reason });
    }
    Ok(())
}

/// Refuses a definition by host names that nobody has found, as nginx would. The file may have
/// them: a name server that is out for a moment must not keep a proxy from starting.
fn check_names(definition: &Definition) -> Result<(), Refused> {
    let Definition { name, spec, resolved, .. } = definition;
    let unresolved = spec.servers.iter().flatten().find(|server| {
        matches!(server.address.place(), Place::Host(..))
            && resolved.get(server.address.as_str()).is_none_or(Vec::is_empty)
    });
    unresolved.map_or(Ok(()), |server| {
        let reason = format!("host not found: \"{}\"", server.address);
        Err(Refused::Invalid { pool: name.clone(), reason })
    })
}

struct Plan<'h> {
    head: &'h Head,
    source: Source,
    at: u64,
    /// The one that these operations make.
    generation: u64,
    /// What earlier operations of the same change made of a pool; `None`: they deleted it.
    drafts: HashMap<Arc<str>, Option<Definition>>,
    next_order: u64,
    /// As earlier operations left them.
    drains: Drains,
    last_drain: u64,
}

impl Plan<'_> {
    fn step(&mut self, operation: Operation) -> Result<Effect, Refused> {
        match operation {
            Operation::AddServers { name, servers, resolved } => {
                self.add_servers(name, servers, resolved)
            }
            Operation::AlterServer { name, server, change } => {
                self.alter_server(name, &server, change)
            }
            Operation::AlterDrain { id, pace } => self.alter_drain(id, pace),
            Operation::Delete { name } => self.delete(name),
            Operation::Drain { spec, force } => self.drain(spec, force),
            Operation::EndDrain { id } => self.end_drain(id),
            Operation::FinishDrain { id } => self.finish_drain(id),
            Operation::Merge { name, patch, resolved } => {
                let Some(before) = self.current(&name) else {
                    return self.put(name, patch, resolved.into());
                };
                let resolved =
                    if patch.servers.is_some() { resolved.into() } else { before.resolved };
                self.put(name, overlay(&before.spec, patch), resolved)
            }
            Operation::Put { name, spec, resolved } => self.put(name, spec, resolved.into()),
            Operation::RemoveServer { name, server } => self.remove_server(name, &server),
            // Planned as what it comes to; see `expand`.
            Operation::Restore { generation } => {
                let newest = self.head.snapshot.generation;
                Err(Refused::GenerationNotFound { generation, oldest: newest, newest })
            }
            Operation::Resolve { name, resolved } => self.resolve(name, resolved),
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
        check_names(&definition)?;
        self.drafts.insert(definition.name.folded(), Some(definition.clone()));
        Ok(Effect::PoolPut(definition))
    }

    fn resolve(&mut self, name: Name, news: Resolved) -> Result<Effect, Refused> {
        let Some(mut definition) = self.current(&name) else {
            return Err(Refused::NotFound(name));
        };
        let mut resolved = Resolved::clone(&definition.resolved);
        let named = |text: &String| {
            let servers = definition.spec.servers.iter().flatten();
            servers.into_iter().any(|server| server.address.as_str() == *text)
        };
        resolved.extend(news.into_iter().filter(|(text, _)| named(text)));
        definition.resolved = resolved.into();
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

/// A dyups body replaces servers, method and check, and leaves the rest unless it speaks of it
/// (interface §3.1). Taken apart whole, so that a new key cannot be forgotten here.
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
        hash_key,
        sticky,
        resolve_interval,
        send_proxy,
        protocol,
        source,
        tls,
        timeouts,
        next,
        eject,
        tunnel,
        check,
    } = patch;
    UpstreamSpec {
        hash_key: if balance.is_some() { hash_key } else { base.hash_key.clone() },
        balance: balance.or(base.balance),
        servers: servers.or_else(|| base.servers.clone()),
        keepalive: keepalive.or(base.keepalive),
        keepalive_timeout: keepalive_timeout.or(base.keepalive_timeout),
        keepalive_requests: keepalive_requests.or(base.keepalive_requests),
        keepalive_time: keepalive_time.or(base.keepalive_time),
        host_header: host_header.or_else(|| base.host_header.clone()),
        when_all_down: when_all_down.or(base.when_all_down),
        sticky: sticky.or_else(|| base.sticky.clone()),
        resolve_interval: resolve_interval.or(base.resolve_interval),
        send_proxy: send_proxy.or(base.send_proxy),
        protocol: protocol.or(base.protocol),
        source: source.or_else(|| base.source.clone()),
        tls: tls.or_else(|| base.tls.clone()),
        timeouts: overlay_timeouts(&base.timeouts, timeouts),
        next: overlay_next(&base.next, next),
        eject: overlay_eject(&base.eject, eject),
        tunnel: overlay_tunnel(&base.tunnel, tunnel),
        check,
    }
}

fn overlay_timeouts(base: &TimeoutsSpec, patch: TimeoutsSpec) -> TimeoutsSpec {
    let TimeoutsSpec { connect, send, read } = patch;
    TimeoutsSpec {
        connect: connect.or(base.connect),
        send: send.or(base.send),
        read: read.or(base.read),
    }
}

fn overlay_next(base: &NextSpec, patch: NextSpec) -> NextSpec {
    let NextSpec { on, tries, timeout, replay_buffer, budget } = patch;
    NextSpec {
        on: on.or(base.on),
        tries: tries.or(base.tries),
        timeout: timeout.or(base.timeout),
        replay_buffer: replay_buffer.or(base.replay_buffer),
        budget: budget.or(base.budget),
    }
}

fn overlay_eject(base: &EjectSpec, patch: EjectSpec) -> EjectSpec {
    let EjectSpec { consecutive_5xx, latency_factor, base: first, max_share } = patch;
    EjectSpec {
        consecutive_5xx: consecutive_5xx.or(base.consecutive_5xx),
        latency_factor: latency_factor.or(base.latency_factor),
        base: first.or(base.base),
        max_share: max_share.or(base.max_share),
    }
}

fn overlay_tunnel(base: &TunnelSpec, patch: TunnelSpec) -> TunnelSpec {
    let TunnelSpec { idle_timeout, ping_interval, on_remove, drain_over, close_code } = patch;
    TunnelSpec {
        idle_timeout: idle_timeout.or(base.idle_timeout),
        ping_interval: ping_interval.or(base.ping_interval),
        on_remove: on_remove.or(base.on_remove),
        drain_over: drain_over.or(base.drain_over),
        close_code: close_code.or(base.close_code),
    }
}
