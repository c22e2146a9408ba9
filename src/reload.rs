//! The configuration file is read again: everything is looked at and bound first, so that what is
//! refused has changed nothing; then the table takes the pools and routes, and the workers the
//! listeners.

use std::{
    sync::{Arc, PoisonError},
    time::SystemTime,
};

use tidegate_admin::{
    Configuration, Fault, ListenerChanges, NotReloaded, Outcome, Reload, Reloaded, TableChange,
};
use tidegate_config::{Config, Loaded, Problem};
use tidegate_events::ListenerTurn;
use tidegate_model::Route;
use tokio::sync::oneshot;

use crate::{control::Control, facts::Listening, file, secure, told};

/// Somebody wants the file to be read again, and to know what came of it.
pub(crate) struct Asked {
    pub(crate) caller: String,
    pub(crate) reply: oneshot::Sender<Result<Reloaded, NotReloaded>>,
}

impl Control {
    /// Reads the file again because of a signal, which nobody but the log hears of.
    pub(crate) async fn hang_up(&mut self) {
        let caller = "SIGHUP".to_owned();
        let done = self.reload(caller.clone()).await;
        let upstreams = done.as_ref().map_or_else(
            |_| Vec::new(),
            |reloaded| [reloaded.changed.as_slice(), &reloaded.removed].concat(),
        );
        let outcome = done.map(|reloaded| reloaded.generation).map_err(|why| why.to_string());
        let change = TableChange { caller, what: "reload", upstreams, outcome };
        self.admin.audit.table_change(change).await;
    }

    /// Reads the file again, and says in the log and to the status page what came of it.
    pub(crate) async fn reload(&mut self, caller: String) -> Result<Reloaded, NotReloaded> {
        let done = self.try_reload(caller.clone()).await;
        let (outcome, detail) = match &done {
            Ok(reloaded) => {
                let detail = reloaded.to_string();
                tracing::info!(detail, caller, "configuration reloaded");
                (Outcome::Applied, detail)
            }
            Err(refused) => {
                let detail = refused.to_string();
                tracing::error!(detail, caller, "configuration not reloaded, nothing was changed");
                (Outcome::Refused, detail)
            }
        };
        told::reload(&self.events, outcome, &detail);
        let mut last = self.process.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Reload { at: SystemTime::now(), outcome, detail });
        done
    }

    async fn try_reload(&mut self, caller: String) -> Result<Reloaded, NotReloaded> {
        let path = self.path.clone().ok_or(NotReloaded::NoFile)?;
        let before = self.listeners.secured();
        let read = tokio::task::spawn_blocking(move || secure::load(&path, &before));
        // It ends without a result only when it panicked, which has been logged.
        let read = read.await.map_err(|error| NotReloaded::of("file", error))?;
        let (Loaded { mut config, warnings, document, .. }, secured) =
            read.map_err(|problems| NotReloaded::Invalid(problems.iter().map(fault).collect()))?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let fixed = file::fixed_changes(&self.config, &config);
        if !fixed.is_empty() {
            let reason = "changed, which takes a restart";
            let fault = |field| Fault { field, reason: reason.into() };
            return Err(NotReloaded::Invalid(fixed.into_iter().map(fault).collect()));
        }
        Route::carry_on(&self.config.routes, &mut config.routes);
        let state = file::state(&config, &self.resolver).await;
        let arrangement =
            self.listeners.arrange(&config.listeners, &secured).map_err(|unbound| {
                NotReloaded::of(format!("listener \"{}\"", unbound.listener), unbound.error)
            })?;
        let done = self.table.reload(state, caller).await.map_err(NotReloaded::Table)?;
        secure::refresh(&self.securing).await;
        let reloaded = Reloaded {
            generation: done.generation,
            durable: done.durable,
            changed: done.changed,
            removed: done.removed,
            replaced_api_changes: done.replaced_api_changes,
            routes_changed: done.routes_changed,
            listeners: arrangement.changes.clone(),
            settings_changed: settings_changed(&self.config, &config),
        };
        for (listener, address) in arrangement.opened() {
            tracing::info!(listener, address, "listening");
        }
        let listeners = arrangement.changes.clone();
        self.listeners.become_so(arrangement, &self.orders).await;
        self.tell_of(&listeners);
        self.forget_closed();
        self.admin.set(file::admin_settings(&config.admin));
        *self.process.configuration.lock().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Configuration { files: config.files.clone(), document });
        self.config = config;
        Ok(reloaded)
    }

    fn tell_of(&self, changes: &ListenerChanges) {
        let ListenerChanges { added, changed, removed } = changes;
        for (names, turn) in [
            (added, ListenerTurn::Opened),
            (changed, ListenerTurn::Changed),
            (removed, ListenerTurn::Closed),
        ] {
            let is_one = |one: &&Listening| names.iter().any(|name| **name == *one.live.name);
            self.process.listeners.with(|all| {
                told::listeners(&self.events, all.iter().filter(is_one), turn);
            });
        }
    }

    /// What was counted of listeners that are no more goes with their last connection.
    pub(crate) fn forget_closed(&self) {
        for listener in self.process.listeners.sweep() {
            self.table.forget_listener(&listener);
        }
    }
}

/// The sections that were applied, other than routes, pools and listeners.
fn settings_changed(running: &Config, new: &Config) -> Vec<String> {
    let sections = [
        ("[admin]", running.admin == new.admin),
        ("[upstream_defaults]", running.upstream_defaults == new.upstream_defaults),
    ];
    let changed = sections.into_iter().filter(|(_, same)| !same);
    changed.map(|(section, _)| section.to_owned()).collect()
}

fn fault(problem: &Problem) -> Fault {
    let Problem { file, line, column, key, message } = problem;
    let place = format!("{file}:{line}:{column}");
    let field = if key.is_empty() { place } else { format!("{place} {key}") };
    Fault { field, reason: message.clone() }
}
