//! What the process tells those who follow its events: changes of the table and what they make of
//! drains, listeners, readings of the configuration file.

use std::sync::Arc;

use tidegate_admin::Outcome;
use tidegate_events::{
    Change, Drain as Told, DrainTurn, Event, Hub, Listener, ListenerTurn, MOST_NAMES, Reload,
    Remaining,
};
use tidegate_table::{Committed, Drain, Snapshot, Table};

use crate::facts::Listening;

/// Tells of every change of the table from now on.
pub(crate) fn changes(table: &Table, events: &Arc<Hub>) {
    let events = Arc::clone(events);
    table.on_applied(move |committed| {
        let Committed { generation, at, origin, caller, reason, changed, .. } = *committed;
        let change = Change {
            generation,
            source: origin.label(),
            caller,
            reason,
            changed: &changed[..changed.len().min(MOST_NAMES)],
            changed_total: changed.len(),
            servers_added: committed.added,
            servers_removed: committed.removed,
        };
        events.publish_at(Event::Change(change), at);
        if committed.drains_changed {
            drains(&events, committed);
        }
    });
}

pub(crate) fn listeners<'l>(
    events: &Hub,
    listeners: impl IntoIterator<Item = &'l Listening>,
    change: ListenerTurn,
) {
    for Listening { address, protocol, live, .. } in listeners {
        let listener = Listener { listener: &live.name, address, protocol, change };
        events.publish(Event::Listener(listener));
    }
}

pub(crate) fn reload(events: &Hub, outcome: Outcome, detail: &str) {
    let outcome = match outcome {
        Outcome::Applied => "applied",
        Outcome::Refused => "refused",
    };
    events.publish(Event::Reload(Reload { outcome, detail }));
}

fn drains(events: &Hub, committed: &Committed<'_>) {
    let Committed { before, after, .. } = *committed;
    for (id, drain) in &after.drains {
        if let Some(turn) = turn(before.drains.get(id), drain) {
            tell(events, committed, drain, turn, after);
        }
    }
    for (id, drain) in &before.drains {
        if !after.drains.contains_key(id) {
            let turn = if is_listed(after, drain) { DrainTurn::Cancelled } else { DrainTurn::Left };
            tell(events, committed, drain, turn, before);
        }
    }
}

/// What has become of a drain that is there; `None`: nothing.
fn turn(before: Option<&Arc<Drain>>, drain: &Drain) -> Option<DrainTurn> {
    let Some(before) = before else { return Some(DrainTurn::Begun) };
    Some(match (before.spec.paused, drain.spec.paused) {
        _ if before.generation == drain.generation => return None,
        _ if before.begun != drain.begun => DrainTurn::Begun,
        _ if before.finished.is_none() && drain.finished.is_some() => DrainTurn::Finished,
        (false, true) => DrainTurn::Paused,
        (true, false) => DrainTurn::Resumed,
        _ => DrainTurn::Altered,
    })
}

fn is_listed(snapshot: &Snapshot, drain: &Drain) -> bool {
    let pool = snapshot.pool(drain.spec.upstream.as_str());
    pool.is_some_and(|pool| {
        pool.servers.iter().any(|server| **server.state.label() == *drain.spec.server)
    })
}

/// `snapshot` is one in which the drain is there.
fn tell(
    events: &Hub,
    committed: &Committed<'_>,
    drain: &Drain,
    change: DrainTurn,
    snapshot: &Snapshot,
) {
    let spec = &drain.spec;
    let pool = snapshot.pool(spec.upstream.as_str());
    let server = pool.and_then(|pool| pool.servers.iter().find(|s| s.draining == Some(drain.id)));
    let remaining = server.map_or_else(Remaining::default, |server| {
        let (busy, tunnels) = (server.state.busy(), server.state.tunnels());
        Remaining { tunnels, requests: busy.saturating_sub(tunnels) }
    });
    let told = Told {
        id: drain.id,
        upstream: spec.upstream.as_str(),
        server: &spec.server,
        change,
        generation: committed.generation,
        remaining,
    };
    events.publish_at(Event::Drain(told), committed.at);
}
