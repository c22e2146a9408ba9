//! The sockets that are not for clients: those of the admin API, and those of metrics alone.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tidegate_admin::{Admin, AdminListener};
use tidegate_config::{Config, ListenAddress};
use tidegate_net::{Bound, Options, bind};
use tokio::{sync::watch::Receiver, task::JoinHandle};

use crate::file;

pub(super) struct Private {
    admin: Vec<Bound>,
    metrics: Vec<Bound>,
}

impl Private {
    /// # Errors
    /// When an address cannot be had.
    pub(super) fn bind(config: &Config) -> Result<Self> {
        let what = "the admin API (--admin, or admin.listen)";
        Ok(Self {
            admin: bind_all(&config.admin.listen, what)?,
            metrics: bind_all(&config.metrics.listen, "metrics.listen")?,
        })
    }

    /// One line for each address, those of `listeners` first: scripts and tests learn the ports from
    /// them.
    pub(super) fn announce(&self, listeners: &[(String, String)]) {
        let own = |name: &str, bound: &Bound| (name.to_owned(), bound.address.to_string());
        let admin = self.admin.iter().map(|bound| own("admin", bound));
        let metrics = self.metrics.iter().map(|bound| own("metrics", bound));
        for (listener, address) in listeners.iter().cloned().chain(admin).chain(metrics) {
            tracing::info!(listener, address, "listening");
        }
    }

    /// The first address of the admin API.
    pub(super) fn first(&self) -> Option<String> {
        self.admin.first().map(|bound| bound.address.to_string())
    }

    /// Answers on all of them until it is told to stop.
    ///
    /// # Errors
    /// When a socket cannot be used.
    pub(super) fn serve(self, admin: Arc<Admin>, stop: Receiver<bool>) -> Result<JoinHandle<()>> {
        let (sockets, metrics) = (accepting(self.admin)?, accepting(self.metrics)?);
        Ok(tokio::spawn(async move {
            let pages = tidegate_admin::serve_metrics(metrics, Arc::clone(&admin), stop.clone());
            tokio::join!(tidegate_admin::serve(sockets, admin, stop), pages);
        }))
    }
}

fn bind_all(addresses: &[ListenAddress], what: &str) -> Result<Vec<Bound>> {
    let options = Options { private: true, ..Options::default() };
    let bound =
        |address| bind(&file::address(address), &options, 1).with_context(|| what.to_owned());
    addresses.iter().map(bound).collect()
}

fn accepting(bound: Vec<Bound>) -> std::io::Result<Vec<AdminListener>> {
    let one = |Bound { address, sockets, .. }| {
        sockets.into_iter().map(move |socket| AdminListener::new(address.clone(), socket))
    };
    bound.into_iter().flat_map(one).collect()
}
