//! The part of the table that answers about its past.

use std::{io, sync::Arc};

use super::Table;
use crate::{
    change::Refused,
    history::{Page, Past, PastPool},
};

impl Table {
    /// Up to `limit` generations below `before`, of one pool or of all, the newest first. Reads
    /// files.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn history(
        &self,
        before: Option<u64>,
        limit: usize,
        pool: Option<&str>,
    ) -> io::Result<Page> {
        let pool = pool.map(str::to_ascii_lowercase);
        self.history.page(self.snapshot().generation, before, limit, pool.as_deref())
    }

    /// What one generation changed; `None` when it is not remembered. Reads files.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn past(&self, generation: u64) -> io::Result<Option<Past>> {
        let newest = self.snapshot().generation;
        if generation > newest { Ok(None) } else { self.history.past(generation) }
    }

    /// How pools differ between two generations, in either direction. Reads files.
    ///
    /// # Errors
    /// When one of them is not remembered, or cannot be read.
    pub fn difference(&self, from: u64, to: u64) -> Result<Vec<PastPool>, Refused> {
        let now = self.snapshot();
        for generation in [from, to] {
            let span = self.history.span(now.generation);
            if !span.is_some_and(|(oldest, newest)| (oldest..=newest).contains(&generation)) {
                return Err(self.not_remembered(generation));
            }
        }
        let changes = self.history.between(from.min(to), from.max(to), &now);
        let what = "reading the history";
        let changes =
            changes.map_err(|source| Refused::Storage { what, source: Arc::new(source) })?;
        let turned =
            |PastPool { name, before, after }| PastPool { name, before: after, after: before };
        Ok(if from <= to { changes } else { changes.into_iter().map(turned).collect() })
    }

    /// The refusal for a generation of which nothing is known.
    pub fn not_remembered(&self, generation: u64) -> Refused {
        let newest = self.snapshot().generation;
        let (oldest, newest) = self.history.span(newest).unwrap_or((newest, newest));
        Refused::GenerationNotFound { generation, oldest, newest }
    }
}
