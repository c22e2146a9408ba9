//! What readers see, and how the next one takes its place. The order matters: servers that leave
//! are marked before the swap, so that whoever learns of the new snapshot, or of the reply that
//! follows it, can no longer find one of them unmarked.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Cache};
use tidegate_metrics::{Histogram, Totals};
use tidegate_model::Name;
use tokio::sync::{Notify, futures::Notified};

use crate::{
    change::{Applied, Origin, Refused},
    departed::{Departed, Departure},
    head::Staged,
    journal::record::Changed,
    snapshot::Snapshot,
};

type TellLeft = Arc<dyn Fn(&[Departure]) + Send + Sync>;
type TellChanged = Arc<dyn Fn(&[Name]) + Send + Sync>;
type TellDrains = Arc<dyn Fn() + Send + Sync>;
type TellApplied = Arc<dyn Fn(&Committed<'_>) + Send + Sync>;

/// Who is told of each new snapshot.
#[derive(Clone, Default)]
struct Told {
    left: Vec<TellLeft>,
    changed: Vec<TellChanged>,
    drains: Vec<TellDrains>,
    applied: Vec<TellApplied>,
}

/// The newest snapshot for one worker: a pointer comparison as long as nothing changes. It keeps the
/// snapshot it last read alive until it is asked again.
pub struct Reader(Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>);

impl Reader {
    pub fn snapshot(&mut self) -> &Arc<Snapshot> {
        self.0.load()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Applied,
    /// The disk or the journal's thread failed it.
    Failed,
    /// It asked for what cannot be.
    Refused,
}

impl Outcome {
    pub const ALL: [Self; 3] = [Self::Applied, Self::Failed, Self::Refused];

    /// The label `outcome` of `tidegate_changes_total`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// What became of all changes so far.
#[derive(Clone, Debug, Default)]
pub struct ChangeTotals {
    /// By origin and outcome, as labelled; what never happened is not listed.
    pub counts: BTreeMap<(&'static str, &'static str), u64>,
    /// From the start of the build to the swap.
    pub seconds: Totals,
}

/// A change that everybody sees now.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'c> {
    pub generation: u64,
    /// As the journal has it, in milliseconds since 1970.
    pub at: u64,
    pub origin: Origin,
    pub caller: &'c str,
    pub reason: Option<&'c str>,
    /// The pools it touched, deleted ones too.
    pub changed: &'c [Name],
    /// Servers that joined and left.
    pub added: usize,
    pub removed: usize,
    pub drains_changed: bool,
    /// What was seen until now, and from now on.
    pub before: &'c Snapshot,
    pub after: &'c Snapshot,
}

/// What is on its way to be published.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) staged: Staged,
    pub(crate) by: By,
    pub(crate) begun: Instant,
}

/// Whose change it is, as its record says.
#[derive(Clone, Debug)]
pub(crate) struct By {
    pub(crate) at: u64,
    pub(crate) origin: Origin,
    pub(crate) caller: String,
    pub(crate) reason: Option<String>,
}

impl By {
    pub(crate) fn of(record: &Changed) -> Self {
        let Changed { at, origin, caller, reason, .. } = record;
        Self { at: *at, origin: *origin, caller: caller.clone(), reason: reason.clone() }
    }
}

pub(crate) struct Published {
    current: Arc<ArcSwap<Snapshot>>,
    pub(crate) departed: Departed,
    told: Mutex<Told>,
    tally: Mutex<Tally>,
    /// Rung when changes were published or refused.
    bell: Notify,
    pub(crate) durable: bool,
}

#[derive(Default)]
struct Tally {
    counts: BTreeMap<(&'static str, &'static str), u64>,
    seconds: Histogram,
}

impl Published {
    pub(crate) fn new(first: Arc<Snapshot>, departed: Departed, durable: bool) -> Self {
        Self {
            current: Arc::new(ArcSwap::new(first)),
            departed,
            told: Mutex::default(),
            tally: Mutex::default(),
            bell: Notify::new(),
            durable,
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader(Cache::new(Arc::clone(&self.current)))
    }

    /// Whoever waits for changes that are under way looks again.
    pub(crate) fn settled(&self) {
        self.bell.notify_waiters();
    }

    /// Ready once changes were published or refused after this was called. Cancel safe.
    pub(crate) fn bell(&self) -> Notified<'_> {
        self.bell.notified()
    }

    pub(crate) fn on_departure(&self, tell: TellLeft) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).left.push(tell);
    }

    pub(crate) fn on_change(&self, tell: TellChanged) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).changed.push(tell);
    }

    pub(crate) fn on_drains(&self, tell: TellDrains) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).drains.push(tell);
    }

    pub(crate) fn on_applied(&self, tell: TellApplied) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).applied.push(tell);
    }

    /// Makes a staged state the one that everybody sees.
    pub(crate) fn publish(&self, proposal: Proposal) -> Applied {
        let Proposal { staged, by, begun } = proposal;
        staged.settle();
        let generation = staged.generation();
        let left: Vec<_> = staged.leaving.into_values().collect();
        for departure in &left {
            departure.state.leave();
        }
        let after = staged.head.snapshot;
        let before = self.current.swap(Arc::clone(&after));
        let visible = begun.elapsed();
        let committed = Committed {
            generation,
            at: by.at,
            origin: by.origin,
            caller: &by.caller,
            reason: by.reason.as_deref(),
            changed: &staged.changed,
            added: staged.added,
            removed: left.len(),
            drains_changed: staged.drains_changed,
            before: &before,
            after: &after,
        };
        self.tell(&left, &committed);
        self.applied(by.origin, visible);
        self.settled();
        Applied {
            generation,
            durable: self.durable,
            visible,
            changed: staged.changed,
            added: staged.added,
            removed: left.len(),
            replayed: false,
        }
    }

    fn tell(&self, left: &[Departure], committed: &Committed<'_>) {
        let Committed { changed, drains_changed, .. } = *committed;
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !left.is_empty() {
            told.left.iter().for_each(|tell| tell(left));
        }
        if !changed.is_empty() {
            told.changed.iter().for_each(|tell| tell(changed));
        }
        if drains_changed {
            told.drains.iter().for_each(|tell| tell());
        }
        told.applied.iter().for_each(|tell| tell(committed));
    }

    fn applied(&self, origin: Origin, visible: Duration) {
        self.count(origin, Outcome::Applied);
        self.with_tally(|tally| tally.seconds.observe(visible));
    }

    pub(crate) fn refused(&self, origin: Origin, refused: &Refused) {
        let outcome = match refused {
            Refused::Closed | Refused::Storage { .. } => Outcome::Failed,
            Refused::BadDrain { .. }
            | Refused::BadProtocol { .. }
            | Refused::BadTls { .. }
            | Refused::DrainNotFound(_)
            | Refused::GenerationNotFound { .. }
            | Refused::Invalid { .. }
            | Refused::KeyTaken
            | Refused::LastServer { .. }
            | Refused::NobodyLeft(_)
            | Refused::NotFound(_)
            | Refused::ServerExists { .. }
            | Refused::ServerNotFound { .. }
            | Refused::Stale { .. } => Outcome::Refused,
        };
        self.count(origin, outcome);
    }

    fn count(&self, origin: Origin, outcome: Outcome) {
        let key = (origin.label(), outcome.label());
        self.with_tally(|tally| *tally.counts.entry(key).or_default() += 1);
    }

    pub(crate) fn totals(&self) -> ChangeTotals {
        self.with_tally(|tally| {
            let mut totals =
                ChangeTotals { counts: tally.counts.clone(), ..ChangeTotals::default() };
            tally.seconds.collect(&mut totals.seconds);
            totals
        })
    }

    fn with_tally<T>(&self, act: impl FnOnce(&mut Tally) -> T) -> T {
        act(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
