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
    snapshot::Snapshot,
};

type TellLeft = Arc<dyn Fn(&[Departure]) + Send + Sync>;
type TellChanged = Arc<dyn Fn(&[Name]) + Send + Sync>;
type TellDrains = Arc<dyn Fn() + Send + Sync>;

/// Who is told of each new snapshot.
#[derive(Clone, Default)]
struct Told {
    left: Vec<TellLeft>,
    changed: Vec<TellChanged>,
    drains: Vec<TellDrains>,
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

/// What is on its way to be published.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) staged: Staged,
    pub(crate) origin: Origin,
    pub(crate) begun: Instant,
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

    /// Makes a staged state the one that everybody sees.
    pub(crate) fn publish(&self, proposal: Proposal) -> Applied {
        let Proposal { staged, origin, begun } = proposal;
        staged.settle();
        let generation = staged.generation();
        let left: Vec<_> = staged.leaving.into_values().collect();
        for departure in &left {
            departure.state.leave();
        }
        self.current.store(staged.head.snapshot);
        let visible = begun.elapsed();
        self.tell(&left, &staged.changed, staged.drains_changed);
        self.applied(origin, visible);
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

    fn tell(&self, left: &[Departure], changed: &[Name], drains_changed: bool) {
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
    }

    fn applied(&self, origin: Origin, visible: Duration) {
        self.count(origin, Outcome::Applied);
        self.with_tally(|tally| tally.seconds.observe(visible));
    }

    pub(crate) fn refused(&self, origin: Origin, refused: &Refused) {
        let outcome = match refused {
            Refused::Closed | Refused::Storage { .. } => Outcome::Failed,
            Refused::BadDrain { .. }
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
