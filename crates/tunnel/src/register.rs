//! Every open tunnel, by worker: a worker takes its own lock when a tunnel opens and ends, and
//! whoever lists them takes it for a thousand cards at a time, so that nobody ever waits for long.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidegate_table::ServerState;

use crate::card::{Card, Kind};

/// Cards that are looked at under one lock.
const AT_ONCE: usize = 1_000;

/// Ids tell the worker in their lowest bits; what is left counts up, and stays below 2^53 for as
/// long as anybody opens fewer than thirty thousand tunnels a second for two years.
const WORKER_BITS: u32 = 12;

/// Of all workers.
#[derive(Debug)]
pub struct Register(Box<[Mutex<Shard>]>);

#[derive(Debug, Default)]
struct Shard {
    cards: Vec<Option<Arc<Card>>>,
    free: Vec<u32>,
    opened: u64,
}

/// A tunnel that opens.
#[derive(Debug)]
pub struct Entry {
    pub kind: Kind,
    pub server: Arc<ServerState>,
    pub listener: Arc<str>,
    pub client: Option<SocketAddr>,
    /// In milliseconds of the coarse clock.
    pub now: u64,
    /// The key of the timer that wakes its task.
    pub timer: u32,
}

impl Register {
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self((0..workers).map(|_| Mutex::default()).collect()))
    }

    /// Enters a tunnel of that worker; the place is for [`Self::leave`].
    pub fn enter(&self, worker: usize, entry: Entry) -> (Arc<Card>, u32) {
        let shard = &mut *self.shard(worker);
        shard.opened += 1;
        let card = Arc::new(Card::new(entry, shard.opened << WORKER_BITS | worker as u64));
        let place = shard.free.pop().unwrap_or_else(|| {
            shard.cards.push(None);
            u32::try_from(shard.cards.len() - 1).expect("descriptors run out long before")
        });
        shard.cards[place as usize] = Some(Arc::clone(&card));
        (card, place)
    }

    /// It has ended.
    pub fn leave(&self, worker: usize, place: u32) {
        let shard = &mut *self.shard(worker);
        shard.cards[place as usize] = None;
        shard.free.push(place);
        if shard.free.len() == shard.cards.len() {
            *shard = Shard { opened: shard.opened, ..Shard::default() };
        }
    }

    /// The tunnel of that id, with its worker.
    pub fn find(&self, id: u64) -> Option<(usize, Arc<Card>)> {
        let worker = usize::try_from(id & ((1 << WORKER_BITS) - 1)).ok()?;
        let shard = self.0.get(worker)?.lock().unwrap_or_else(PoisonError::into_inner);
        let card = shard.cards.iter().flatten().find(|card| card.id == id)?;
        Some((worker, Arc::clone(card)))
    }

    /// Shows every tunnel to `see`, with its worker. One that opens or ends meanwhile may be left
    /// out; none is shown twice.
    pub fn each(&self, mut see: impl FnMut(usize, &Arc<Card>)) {
        for worker in 0..self.0.len() {
            let mut from = 0;
            loop {
                let shard = self.shard(worker);
                let to = shard.cards.len().min(from + AT_ONCE);
                let Some(cards) = shard.cards.get(from..to).filter(|cards| !cards.is_empty())
                else {
                    break;
                };
                cards.iter().flatten().for_each(|card| see(worker, card));
                from = to;
            }
        }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        let open = |shard: MutexGuard<'_, Shard>| shard.cards.len() - shard.free.len();
        (0..self.0.len()).map(|worker| open(self.shard(worker))).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, worker: usize) -> MutexGuard<'_, Shard> {
        self.0[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::Name;

    use super::*;

    fn entry() -> Entry {
        let pool = Name::new("p").expect("a name");
        Entry {
            kind: Kind::Tcp,
            server: Arc::new(ServerState::new(&pool, "10.0.0.1:80", 0, 1)),
            listener: "edge".into(),
            client: None,
            now: 1,
            timer: 0,
        }
    }

    #[test]
    fn who_enters_is_found_and_listed_until_it_leaves() {
        let register = Register::new(2);
        let (one, first) = register.enter(0, entry());
        let (two, _) = register.enter(1, entry());
        assert_ne!(one.id, two.id);
        assert_eq!(
            register.find(two.id).map(|(worker, card)| (worker, card.id)),
            Some((1, two.id))
        );
        let mut seen = Vec::new();
        register.each(|worker, card| seen.push((worker, card.id)));
        assert_eq!(seen, [(0, one.id), (1, two.id)]);
        register.leave(0, first);
        assert!(register.find(one.id).is_none() && register.len() == 1);
        let (three, place) = register.enter(0, entry());
        assert!(place == first && three.id != one.id, "a place is used again, an id is not");
    }

    #[test]
    fn ids_of_workers_that_are_not_there_are_nobodys() {
        assert!(Register::new(1).find(u64::MAX).is_none());
    }
}
