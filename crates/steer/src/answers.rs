//! The API's answers, as far as they are shown. What a version does not say yet is left empty
//! rather than refused: a newer command may ask an older proxy, and the reverse.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The answer to a change.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Changed {
    pub(crate) generation: u64,
    pub(crate) durable: bool,
    pub(crate) visible_us: u64,
    pub(crate) changed: Vec<String>,
    /// Of a dry run.
    pub(crate) dry_run: bool,
    pub(crate) changes: Vec<PoolChange>,
    pub(crate) leaves_nobody: Vec<String>,
}

/// What became, or would become, of one pool.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PoolChange {
    pub(crate) upstream: String,
    pub(crate) change: String,
    pub(crate) servers: ServerChanges,
    pub(crate) keys: Vec<String>,
    pub(crate) hash_keys_moved: Option<f64>,
    pub(crate) eligible_before: Option<u64>,
    pub(crate) eligible_after: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServerChanges {
    pub(crate) added: Vec<Touched>,
    pub(crate) removed: Vec<Touched>,
    pub(crate) altered: Vec<Touched>,
}

/// A server of a change: its address alone, or with what runs on it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Touched {
    Address(String),
    Known {
        address: String,
        #[serde(default)]
        fields: Vec<String>,
        #[serde(default)]
        requests_active: u64,
        #[serde(default)]
        tunnels_active: u64,
    },
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pools {
    pub(crate) generation: u64,
    pub(crate) upstreams: Vec<Pool>,
    pub(crate) deleted: Vec<String>,
}

/// A pool in the list of all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) source: String,
    pub(crate) balance: String,
    pub(crate) servers: Counts,
    pub(crate) requests_active: u64,
    pub(crate) tunnels_active: u64,
    pub(crate) requests_total: u64,
    pub(crate) fails_total: Option<u64>,
    pub(crate) eligible: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) up: u64,
}

/// One pool with its servers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PoolDetail {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) source: String,
    pub(crate) definition: serde_json::Map<String, Value>,
    pub(crate) overridden: Vec<String>,
    pub(crate) servers: Vec<Server>,
    pub(crate) drains: Vec<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) weight: u64,
    pub(crate) max_conns: u64,
    pub(crate) backup: bool,
    pub(crate) source: String,
    pub(crate) state: String,
    pub(crate) live: Live,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Live {
    pub(crate) requests_active: u64,
    pub(crate) tunnels_active: u64,
    pub(crate) requests_total: u64,
    pub(crate) fails_total: u64,
    pub(crate) ewma_ms: Option<f64>,
    pub(crate) last_check: Option<LastCheck>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LastCheck {
    pub(crate) ok: bool,
    pub(crate) detail: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Drains {
    pub(crate) drains: Vec<Drain>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Drain {
    pub(crate) id: u64,
    pub(crate) upstream: String,
    pub(crate) server: String,
    pub(crate) state: String,
    pub(crate) over: Option<String>,
    pub(crate) rate: Option<String>,
    pub(crate) order: String,
    pub(crate) deadline: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) total: u64,
    pub(crate) closed: u64,
    pub(crate) left: u64,
    pub(crate) cut: u64,
    pub(crate) remaining: Remaining,
    pub(crate) eta_seconds: Option<u64>,
    pub(crate) durable: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Remaining {
    pub(crate) tunnels: u64,
    pub(crate) requests: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tunnels {
    pub(crate) tunnels: Vec<Tunnel>,
    pub(crate) next: Option<String>,
    pub(crate) total: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tunnel {
    pub(crate) id: u64,
    pub(crate) kind: String,
    pub(crate) upstream: String,
    pub(crate) server: String,
    pub(crate) client: Option<String>,
    pub(crate) state: String,
    pub(crate) age_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) bytes_to_client: u64,
    pub(crate) bytes_to_server: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) generation: u64,
    pub(crate) pid: u64,
    pub(crate) started: String,
    pub(crate) uptime_seconds: u64,
    pub(crate) workers: u64,
    pub(crate) durable: bool,
    pub(crate) state_dir: Option<String>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) pools: u64,
    pub(crate) servers: BTreeMap<String, u64>,
    pub(crate) connections_active: u64,
    pub(crate) tunnels_active: u64,
    pub(crate) tunnels_that_fit: u64,
    pub(crate) descriptors: Descriptors,
    pub(crate) last_reload: Option<LastReload>,
    pub(crate) memory_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) protocol: String,
    pub(crate) connections_active: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Descriptors {
    pub(crate) limit: Option<u64>,
    pub(crate) open: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LastReload {
    pub(crate) at: String,
    pub(crate) outcome: String,
    pub(crate) detail: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Generations {
    pub(crate) generations: Vec<Generation>,
    pub(crate) next: Option<u64>,
    pub(crate) oldest: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Generation {
    pub(crate) generation: u64,
    pub(crate) at: String,
    pub(crate) source: String,
    pub(crate) caller: String,
    pub(crate) reason: Option<String>,
    pub(crate) changed: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Difference {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) changes: Vec<Altered>,
}

/// What one pool was and is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Altered {
    pub(crate) upstream: String,
    pub(crate) change: String,
    pub(crate) before: Option<serde_json::Map<String, Value>>,
    pub(crate) after: Option<serde_json::Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reloaded {
    pub(crate) generation: u64,
    pub(crate) durable: bool,
    pub(crate) changed: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) replaced_api_changes: Vec<String>,
    pub(crate) routes_changed: bool,
    pub(crate) listeners: ListenerChanges,
    pub(crate) settings_changed: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListenerChanges {
    pub(crate) added: Vec<String>,
    pub(crate) changed: Vec<String>,
    pub(crate) removed: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Explanation {
    pub(crate) generation: u64,
    pub(crate) request: Value,
    pub(crate) routes: Vec<Value>,
    pub(crate) route: Option<Value>,
    pub(crate) pool: Option<Value>,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) limit: Option<String>,
    pub(crate) decision: Decision,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Candidate {
    pub(crate) server: String,
    pub(crate) weight: u64,
    pub(crate) state: String,
    pub(crate) requests_active: u64,
    pub(crate) tunnels_active: u64,
    pub(crate) eligible: bool,
    pub(crate) reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Decision {
    pub(crate) server: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) because: String,
}

impl Touched {
    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Address(address) | Self::Known { address, .. } => address,
        }
    }
}
