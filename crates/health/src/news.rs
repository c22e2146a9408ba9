//! Which pools have changed since somebody last looked. The table tells it while it publishes, so
//! noting a name is all that may happen there.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use tidegate_model::Name;
use tidegate_table::Table;
use tokio::sync::Notify;

/// The names of changed pools, as the table's keys.
#[derive(Debug, Default)]
pub(crate) struct News {
    names: Mutex<HashSet<Arc<str>>>,
    bell: Notify,
}

impl News {
    /// News of that table, from now on and for as long as they are held.
    pub(crate) fn of(table: &Table) -> Arc<Self> {
        let news = Arc::new(Self::default());
        let reader = Arc::downgrade(&news);
        table.on_change(move |names| {
            if let Some(news) = reader.upgrade() {
                news.note(names);
            }
        });
        news
    }

    fn note(&self, names: &[Name]) {
        self.names().extend(names.iter().map(Name::folded));
        self.bell.notify_one();
    }

    /// The changed pools, at least one. Cancel safe.
    pub(crate) async fn next(&self) -> HashSet<Arc<str>> {
        loop {
            let names = mem::take(&mut *self.names());
            if !names.is_empty() {
                return names;
            }
            self.bell.notified().await;
        }
    }

    fn names(&self) -> std::sync::MutexGuard<'_, HashSet<Arc<str>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
