//! What the configuration file makes of the table: the first snapshot of a process, and the next one
//! when the file is read again.

use std::{sync::Arc, time::Instant};

use crate::{
    change::{FileState, Origin, Refused},
    departed::Departed,
    effect::{Effect, ended},
    head::{Head, Stage},
    journal::record::{self, Changed},
    plan,
    precedence::{self, Verdict},
    published::{By, Proposal, Published},
    recovery::Book,
    routes::Routes,
};

/// The state at start-up.
pub(crate) struct First {
    /// As the files had it.
    pub(crate) recovered: Head,
    /// With what the configuration file changes about it.
    pub(crate) head: Head,
    /// That change.
    pub(crate) record: Option<Changed>,
    pub(crate) verdict: Verdict,
}

/// The state at start-up: what was recovered, with what the file changes about it.
pub(crate) fn first(
    book: &Book,
    file: &FileState,
    departed: &Departed,
    workers: usize,
) -> Result<First, Refused> {
    let empty = Head { defaults: Arc::new(file.defaults.clone()), ..Head::default() };
    let mut stage = Stage::on(&empty, departed, workers)
        .file(file)
        .drains(book.drains.clone(), book.last_drain);
    for kept in book.pools.values() {
        stage.put(&kept.pool, kept.generation, Some(kept.since()));
    }
    for mark in book.marks.values() {
        stage.mark(mark.clone());
    }
    let mut recovered = stage.recovered(book.generation);
    recovered.keys = book.keys.clone();
    let mut verdict = judge(file, &recovered)?;
    let mut stage = Stage::on(&recovered, departed, workers).apply(&verdict.effects);
    let ended = stage.end_orphans();
    if verdict.effects.is_empty() && ended.is_empty() && book.generation > 0 {
        return Ok(First { head: recovered.clone(), recovered, record: None, verdict });
    }
    let staged = stage.finish();
    staged.settle();
    let effects = std::mem::take(&mut verdict.effects).into_iter().chain(ended).collect();
    let record = file_record(&recovered, effects, "start");
    Ok(First { head: staged.head, recovered, record: Some(record), verdict })
}

/// What the file makes of a head, as a record.
fn file_record(head: &Head, effects: Vec<Effect>, caller: impl Into<String>) -> Changed {
    Changed {
        generation: head.snapshot.generation + 1,
        at: record::now(),
        origin: Origin::File,
        caller: caller.into(),
        reason: None,
        before: Some(plan::before(&effects, head)),
        key: None,
        ended: ended(&effects, &head.snapshot.drains),
        effects,
    }
}

fn judge(file: &FileState, head: &Head) -> Result<Verdict, Refused> {
    let verdict = precedence::compare(&file.pools, head);
    for effect in &verdict.effects {
        if let Effect::PoolPut(definition) = effect {
            plan::check(definition, &file.defaults)?;
        }
    }
    Ok(verdict)
}

/// A reload that changes something.
pub(crate) struct Rebuilt {
    pub(crate) proposal: Proposal,
    pub(crate) record: Changed,
    /// The same as it is stored.
    pub(crate) payload: Arc<[u8]>,
    pub(crate) verdict: Verdict,
    pub(crate) routes_changed: bool,
}

pub(crate) fn rebuild(
    head: &Head,
    file: &FileState,
    caller: String,
    published: &Published,
    workers: usize,
) -> Result<Option<Rebuilt>, Refused> {
    let begun = Instant::now();
    let mut verdict = judge(file, head)?;
    let routes_changed = !same_routes(&head.snapshot.routes, &file.routes);
    if verdict.effects.is_empty() && !routes_changed && *head.defaults == file.defaults {
        return Ok(None);
    }
    let stage = Stage::on(head, &published.departed, workers).file(file);
    let mut stage = stage.apply_by(&file.defaults, &verdict.effects);
    verdict.effects.extend(stage.end_orphans());
    let staged = stage.finish();
    let record = file_record(head, std::mem::take(&mut verdict.effects), caller);
    let payload = record.payload().into();
    let proposal = Proposal { staged, by: By::of(&record), begun };
    Ok(Some(Rebuilt { proposal, record, payload, verdict, routes_changed }))
}

/// Regular expressions do not compare; what `Debug` prints of them is their text.
fn same_routes(one: &Arc<Routes>, other: &Arc<Routes>) -> bool {
    Arc::ptr_eq(one, other) || format!("{:?}", one.list) == format!("{:?}", other.list)
}
