//! The part of the writer that decides what a change comes to: whether it was made before, whether
//! its conditions hold, and the state that it makes.

use std::{collections::HashSet, pin::pin, sync::Arc, time::Duration};

use tidegate_model::Name;
use tokio::sync::OwnedMutexGuard;

use super::{Table, on_a_thread};
use crate::{
    change::{Applied, Change, Foreseen, Operation, Preview, Refused},
    condition::Key,
    effect::ended,
    head::{Head, Stage, Staged},
    history::History,
    journal::record::{self, Changed},
    keys::Answered,
    plan,
    pool::Server,
    snapshot::Snapshot,
};

impl Table {
    /// What a change would do. Nothing of it is done.
    ///
    /// # Errors
    /// When it would be refused, but for leaving a pool with nobody: that is told.
    pub async fn preview(&self, change: Change) -> Result<Preview, Refused> {
        let head = Arc::clone(&self.head).lock_owned().await;
        let (head, change) = self.expand(head, change).await?;
        let guard = change.guard;
        let planned = self.stage(&head, Change { guard: None, ..change })?;
        let Planned { staged, .. } = self.secured(planned).await?;
        let (before, after) = (&head.snapshot, &staged.head.snapshot);
        let foreseen = |name: &Name| Foreseen {
            name: name.clone(),
            before: before.pool(name.as_str()).cloned(),
            after: after.pool(name.as_str()).cloned(),
        };
        Ok(Preview {
            generation: staged.generation(),
            pools: staged.changed.iter().map(foreseen).collect(),
            leaves_nobody: guard.map_or_else(Vec::new, |now| nobody_left(before, &staged, now)),
        })
    }

    /// The lock of the head, unless that key was answered before; waits for an answer that is under
    /// way.
    pub(super) async fn unanswered(&self, key: Option<&Key>) -> Result<Unanswered, Refused> {
        loop {
            let mut bell = pin!(self.published.bell());
            bell.as_mut().enable();
            let head = Arc::clone(&self.head).lock_owned().await;
            let answered =
                key.and_then(|key| Some((key, head.keys.find(&key.text, record::now())?)));
            let Some((key, answered)) = answered else { return Ok(Unanswered::Go(head)) };
            if answered.key.request != key.request {
                return Err(Refused::KeyTaken);
            }
            if answered.generation <= self.snapshot().generation {
                return Ok(Unanswered::Was(Applied {
                    generation: answered.generation,
                    durable: self.is_durable(),
                    visible: Duration::ZERO,
                    changed: answered.changed.clone(),
                    added: 0,
                    removed: 0,
                    replayed: true,
                }));
            }
            drop(head);
            bell.await;
        }
    }

    /// The same change, with restorations put in terms of other operations.
    pub(super) async fn expand(
        &self,
        head: OwnedMutexGuard<Head>,
        mut change: Change,
    ) -> Result<(OwnedMutexGuard<Head>, Change), Refused> {
        for condition in &change.conditions {
            condition.check(&head.snapshot)?;
        }
        let is_restoration = |one: &Operation| matches!(one, Operation::Restore { .. });
        if !change.operations.iter().any(is_restoration) {
            return Ok((head, change));
        }
        let history = Arc::clone(&self.history);
        let work = move || {
            let operations = std::mem::take(&mut change.operations);
            let expanded = expanded(operations, &head, &history);
            (head, expanded.map(|operations| Change { operations, ..change }))
        };
        let (head, expanded) = on_a_thread(work).await?;
        Ok((head, expanded?))
    }

    pub(super) fn stage(&self, head: &Head, change: Change) -> Result<Planned, Refused> {
        let Change { operations, origin, caller, reason, existing, key, guard, .. } = change;
        let at = record::now();
        let mut effects = plan::effects(operations, origin.source(), at, head)?;
        let before = Some(plan::before(&effects, head));
        let mut stage = Stage::on(head, &self.published.departed, self.workers)
            .existing(existing)
            .apply(&effects);
        effects.extend(stage.end_orphans());
        let generation = head.snapshot.generation + 1;
        let ended = ended(&effects, &head.snapshot.drains);
        let record =
            Changed { generation, at, origin, caller, reason, effects, before, key, ended };
        let staged = stage.answered(Answered::of(&record)).finish();
        if let Some(now) = guard
            && let Some(name) = nobody_left(&head.snapshot, &staged, now).into_iter().next()
        {
            return Err(Refused::NobodyLeft(name));
        }
        Ok(Planned { staged, record })
    }

    /// A change that needs TLS as it was not before: the files it names are read, on a thread.
    pub(super) async fn secured(&self, planned: Planned) -> Result<Planned, Refused> {
        if planned.staged.unsecured.is_empty() {
            return Ok(planned);
        }
        let secures = self.secures.clone();
        let work = move || planned.staged.secure(secures.as_deref()).map(|()| planned);
        on_a_thread(work).await?
    }
}

/// A change that was built and not yet made.
pub(super) struct Planned {
    pub(super) staged: Staged,
    pub(super) record: Changed,
}

/// Whether a change is still to be made.
pub(super) enum Unanswered {
    Go(OwnedMutexGuard<Head>),
    Was(Applied),
}

/// Puts restorations in terms of other operations. Reads files.
fn expanded(
    operations: Vec<Operation>,
    head: &Head,
    history: &History,
) -> Result<Vec<Operation>, Refused> {
    let mut expanded = Vec::with_capacity(operations.len());
    for operation in operations {
        let Operation::Restore { generation } = operation else {
            expanded.push(operation);
            continue;
        };
        let newest = head.snapshot.generation;
        let (oldest, newest) = history.span(newest).unwrap_or((newest, newest));
        if !(oldest..=newest).contains(&generation) {
            return Err(Refused::GenerationNotFound { generation, oldest, newest });
        }
        let what = "reading the history";
        let past = history.state_at(generation);
        let past = past.map_err(|source| Refused::Storage { what, source: Arc::new(source) })?;
        expanded.extend(plan::restoration(past, head));
    }
    Ok(expanded)
}

/// The pools of a change that had servers which take requests and are well, and have none after it.
/// One that joins is taken to be well.
fn nobody_left(before: &Snapshot, staged: &Staged, now: u64) -> Vec<Name> {
    let is_empty = |name: &&Name| {
        let before = before.pool(name.as_str());
        let after = staged.head.snapshot.pool(name.as_str());
        let (Some(before), Some(after)) = (before, after) else { return false };
        let known: HashSet<u64> = before.servers.iter().map(|one| one.state.id()).collect();
        let joins = |one: &Server| one.takes_requests() && !known.contains(&one.state.id());
        before.eligible(now) > 0 && after.eligible(now) == 0 && !after.servers.iter().any(joins)
    };
    staged.changed.iter().filter(is_empty).cloned().collect()
}
