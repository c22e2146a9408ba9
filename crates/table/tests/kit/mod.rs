//! What the tests of the table share: short ways to say a pool, a change and a file.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{future::Future, path::Path, sync::Arc};

use tidegate_model::{Address, Name, Resolved, ServerSpec, UpstreamSpec};
use tidegate_table::{
    Change, FilePool, FileState, OpenError, Operation, Options, Origin, Recovered, Server, Table,
};

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// A pool of servers, each an address or `backup ADDRESS`.
pub(crate) fn spec(servers: &[&str]) -> UpstreamSpec {
    let server = |text: &&str| {
        let (backup, text) =
            text.strip_prefix("backup ").map_or((false, *text), |text| (true, text));
        let address = Address::parse(text).expect("an address");
        ServerSpec { backup, ..ServerSpec::new(address) }
    };
    UpstreamSpec { servers: Some(servers.iter().map(server).collect()), ..UpstreamSpec::default() }
}

pub(crate) fn put(pool: &str, servers: &[&str]) -> Operation {
    Operation::Put { name: name(pool), spec: spec(servers), resolved: Resolved::new() }
}

pub(crate) fn merge(pool: &str, patch: UpstreamSpec) -> Operation {
    Operation::Merge { name: name(pool), patch, resolved: Resolved::new() }
}

pub(crate) fn delete(pool: &str) -> Operation {
    Operation::Delete { name: name(pool) }
}

pub(crate) fn change(operations: impl Into<Vec<Operation>>) -> Change {
    Change::new(operations.into(), Origin::Dyups, "a test")
}

/// A file with these pools. The hash is the definition itself.
pub(crate) fn file(pools: &[(&str, &[&str])]) -> FileState {
    let pool = |(pool, servers): &(&str, &[&str])| FilePool {
        name: name(pool),
        spec: spec(servers),
        resolved: Resolved::new(),
        hash: format!("{pool} {servers:?}"),
    };
    FileState { pools: pools.iter().map(pool).collect(), ..FileState::default() }
}

pub(crate) fn in_memory(file: FileState) -> Arc<Table> {
    Table::open(Options { workers: 1, ..Options::default() }, file).expect("it opens").0
}

pub(crate) fn open(dir: &Path, file: FileState) -> Result<(Arc<Table>, Recovered), OpenError> {
    Table::open(Options { workers: 1, state_dir: Some(dir.into()), ..Options::default() }, file)
}

/// Every pool in its order with its servers: `a: 10.0.0.1:80 10.0.0.2:80`.
pub(crate) fn listing(table: &Table) -> Vec<String> {
    let snapshot = table.snapshot();
    let line = |pool: &Arc<tidegate_table::Pool>| {
        let servers: Vec<_> = pool.servers.iter().map(|s| s.spec.address.as_str()).collect();
        format!("{}: {}", pool.name, servers.join(" ")).trim_end().to_owned()
    };
    snapshot.in_order().into_iter().map(line).collect()
}

/// The state of a pool's server.
pub(crate) fn server(table: &Table, pool: &str, at: usize) -> Arc<tidegate_table::ServerState> {
    let snapshot = table.snapshot();
    let servers: &[Server] = &snapshot.pool(pool).expect("the pool").servers;
    Arc::clone(&servers[at].state)
}
