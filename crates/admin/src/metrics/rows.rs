//! Every server there is something to say about: those of the newest snapshot, and removed ones on
//! which something still runs. A server that left and came back under the same name is one row,
//! for two samples with the same labels would spoil the whole page.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tidegate_table::{ServerCells, ServerState, Snapshot, Table};

use super::Totals;

/// The table at one moment.
pub(crate) struct Listed {
    pub(crate) snapshot: Arc<Snapshot>,
    departed: Vec<Arc<ServerState>>,
    clock: u64,
}

/// One server.
pub(crate) struct Row<'l> {
    pub(crate) upstream: &'l str,
    pub(crate) server: &'l str,
    /// A word of [`Standing`](tidegate_table::Standing), or `removed`.
    pub(crate) state: &'static str,
    states: Vec<&'l ServerState>,
}

impl Listed {
    pub(crate) fn now(table: &Table, totals: &dyn Totals) -> Self {
        Self {
            snapshot: table.snapshot(),
            departed: table.departed(),
            clock: totals.failure_clock(),
        }
    }

    /// All servers, in the order of pools and lists; removed ones last.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        let mut places = HashMap::new();
        for pool in self.snapshot.in_order() {
            for server in &pool.servers {
                let state = pool.standing(server, self.clock).word();
                add(&mut rows, &mut places, pool.name.as_str(), &server.state, state);
            }
        }
        for left in &self.departed {
            add(&mut rows, &mut places, left.pool().as_str(), left, "removed");
        }
        rows
    }
}

fn add<'l>(
    rows: &mut Vec<Row<'l>>,
    places: &mut HashMap<(&'l str, &'l str), usize>,
    upstream: &'l str,
    live: &'l ServerState,
    state: &'static str,
) {
    let server = &**live.label();
    let place = *places.entry((upstream, server)).or_insert(rows.len());
    match rows.get_mut(place) {
        // A server may have been listed and have left between the two looks.
        Some(row) if row.states.iter().any(|known| known.id() == live.id()) => {}
        Some(row) => row.states.push(live),
        None => rows.push(Row { upstream, server, state, states: vec![live] }),
    }
}

impl Row<'_> {
    pub(crate) fn tunnels(&self) -> u64 {
        self.states.iter().map(|state| u64::from(state.tunnels())).sum()
    }

    /// Requests that run now, without tunnels.
    pub(crate) fn requests(&self) -> u64 {
        let requests =
            |state: &&ServerState| u64::from(state.busy().saturating_sub(state.tunnels()));
        self.states.iter().map(requests).sum()
    }

    /// The sum of one number over all workers.
    pub(crate) fn sum(&self, value: impl Fn(&ServerCells) -> u64) -> u64 {
        self.states.iter().map(|state| state.cells.sum(&value)).sum()
    }

    /// Probes that passed and that failed, since the server's check began.
    pub(crate) fn probes(&self) -> (u64, u64) {
        let checked = self.states.iter().filter_map(|state| state.health.checked());
        checked.fold((0, 0), |(passed, failed), one| (passed + one.passed, failed + one.failed))
    }

    pub(crate) fn codes(&self) -> BTreeMap<u16, u64> {
        let mut codes = BTreeMap::new();
        for cells in self.states.iter().flat_map(|state| state.cells.all()) {
            cells.codes.collect(&mut codes);
        }
        codes
    }
}
