//! What the configuration file makes of the table: the first snapshot of a process, and the next one
//! when the file is read again.

use std::{sync::Arc, time::Instant};

use crate::{
    change::{FileState, Origin, Refused},
    departed::Departed,
    effect::Effect,
    head::{Head, Stage},
    journal::record::{self, Changed},
    plan,
    precedence::{self, Verdict},
    published::{By, Proposal, Published},
    recovery::Book,
    snapshot::Routes,
};

/// The state at start-up: what was recovered, with what the file changes about it.
pub(crate) fn first(
    book: &Book,
    file: &FileState,
    departed: &Departed,
    workers: usize,
) -> Result<(Head, Verdict), Refused> {
    let empty = Head { defaults: Arc::new(file.defaults.clone()), ..Head::default() };
    let mut stage = Stage::on(&empty, departed, workers)
        .routes(&file.routes)
        .drains(book.drains.clone(), book.last_drain);
    for kept in book.pools.values() {
        stage.put(&kept.pool, kept.generation);
    }
    for mark in book.marks.values() {
        stage.mark(mark.clone());
    }
    let recovered = stage.recovered(book.generation);
    let verdict = judge(file, &recovered)?;
    let mut stage = Stage::on(&recovered, departed, workers).apply(&verdict.effects);
    let ended = stage.end_orphans();
    if verdict.effects.is_empty() && ended.is_empty() && book.generation > 0 {
        return Ok((recovered, verdict));
    }
    let staged = stage.finish();
    staged.settle();
    Ok((staged.head, verdict))
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
    /// Its record; empty when there is no journal.
    pub(crate) payload: Vec<u8>,
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
    let stage = Stage::on(head, &published.departed, workers).routes(&file.routes);
    let mut stage = stage.apply_by(&file.defaults, &verdict.effects);
    verdict.effects.extend(stage.end_orphans());
    let staged = stage.finish();
    let (generation, origin) = (staged.generation(), Origin::File);
    let effects = std::mem::take(&mut verdict.effects);
    let at = record::now();
    let by = By { at, origin, caller: caller.clone(), reason: None };
    let record = Changed { generation, at, origin, caller, reason: None, effects };
    let payload = if published.durable { record.payload() } else { Vec::new() };
    let proposal = Proposal { staged, by, begun };
    Ok(Some(Rebuilt { proposal, payload, verdict, routes_changed }))
}

/// Regular expressions do not compare; what `Debug` prints of them is their text.
fn same_routes(one: &Arc<Routes>, other: &Arc<Routes>) -> bool {
    Arc::ptr_eq(one, other) || format!("{one:?}") == format!("{other:?}")
}
