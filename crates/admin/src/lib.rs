//! The admin side: dyups' HTTP interface, the JSON API, and the pages for probes and Prometheus.
//! It runs on the control thread and changes pools only through the table's writer.
//!
//! See `serve` for connections, `guard` for who may ask, `router` for what is answered where.
#![forbid(unsafe_code)]

mod caller;
mod checks;
mod config;
mod connection;
mod context;
mod drains;
mod dyups;
mod explain;
mod guard;
mod json;
mod metrics;
mod problem;
mod reload;
mod router;
mod serve;
mod status;
mod time;
mod tunnels;

use std::{fmt, sync::Arc};

use tidegate_operate::Operate;
use tidegate_table::Table;
use tidegate_tunnel::Register;

pub use config::Configuration;
pub use metrics::{DatagramTotals, ListenerTotals, Totals};
pub use reload::{Fault, ListenerChanges, NotReloaded, Reloaded, Reloading};
pub use serve::{AdminListener, serve, serve_metrics};
pub use status::{Facts, Outcome, Reload, StatusSource};

/// What the admin side works with.
pub struct Admin {
    pub table: Arc<Table>,
    pub operate: Arc<Operate>,
    pub tunnels: Arc<Register>,
    pub settings: Settings,
    pub status: Arc<dyn StatusSource>,
    pub totals: Arc<dyn Totals>,
}

/// `[admin]`, save for where it listens.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Empty: nobody is asked for a token.
    pub tokens: Vec<Token>,
    /// Host names to answer to besides the addresses, in lower case and without port.
    pub hosts: Vec<String>,
    /// Whether dyups' interface is there.
    pub dyups: bool,
}

/// A bearer token. `Debug` does not show its secret.
#[derive(Clone)]
pub struct Token {
    /// Who uses it, for the log.
    pub name: String,
    pub secret: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).finish_non_exhaustive()
    }
}
