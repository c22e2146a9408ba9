//! The admin side: dyups' HTTP interface, the JSON API, and the pages for probes and Prometheus.
//! It runs on the control thread and changes pools only through the table's writer.
//!
//! See `serve` for connections, `guard` for who may ask, `router` for what is answered where.
#![forbid(unsafe_code)]

mod audit;
mod caller;
mod changing;
mod checks;
mod config;
mod connection;
mod context;
mod difference;
mod drains;
mod dyups;
mod events;
mod explain;
mod generations;
mod guard;
mod json;
mod metrics;
mod openapi;
mod preview;
mod problem;
mod rates;
mod refused;
mod reload;
mod router;
mod serve;
mod servers;
mod status;
mod terms;
mod time;
mod tokens;
mod transactions;
mod tunnels;
mod upstreams;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tidegate_events::Hub;
use tidegate_operate::Operate;
use tidegate_table::Table;
use tidegate_tunnel::Register;

pub use audit::{AuditLog, TableChange};
pub use config::Configuration;
pub use metrics::{
    Certificate, DatagramTotals, Http2Totals, ListenerTotals, SpanTotals, TlsTotals, Totals,
};
pub use refused::RefusedTotals;
pub use reload::{Fault, ListenerChanges, NotReloaded, Reloaded, Reloading};
pub use serve::{AdminListener, serve, serve_metrics};
pub use status::{Facts, Outcome, Reload, StatusSource};
pub use tokens::Token;

/// What the admin side works with.
pub struct Admin {
    pub table: Arc<Table>,
    pub operate: Arc<Operate>,
    pub tunnels: Arc<Register>,
    /// Read anew by every request.
    pub settings: ArcSwap<Settings>,
    pub audit: AuditLog,
    /// Counted while it runs.
    pub refused: RefusedTotals,
    pub events: Arc<Hub>,
    pub status: Arc<dyn StatusSource>,
    pub totals: Arc<dyn Totals>,
}

/// What of `[admin]` may change while it runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Empty: nobody is asked for a token.
    pub tokens: Vec<Token>,
    /// Host names to answer to besides the addresses, in lower case and without port.
    pub hosts: Vec<String>,
    /// Whether dyups' interface is there.
    pub dyups: bool,
}

impl Admin {
    /// From the next request on these hold; those under way end by what they began with.
    pub fn set(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }
}
