//! One emptying: which tunnels of which servers are to close next, and what became of those that
//! were asked. It looks for candidates again and again, for what is quiet now may not be later.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tidegate_model::{drain::Order, upstream::CloseCode};
use tidegate_table::ServerState;
use tidegate_tunnel::{Ask, Asked, Card, How, Phase, Register, Tally, Why};

use crate::pace::{Pace, Speed};

/// How often candidates are looked for anew.
const LOOK: Duration = Duration::from_secs(1);
/// And when none are left, though there are tunnels.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// A tunnel that was in the middle of a message for so long is interrupted within it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an emptying is to do.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) why: Why,
    pub(crate) servers: Vec<Arc<ServerState>>,
    pub(crate) order: Order,
    pub(crate) code: CloseCode,
    pub(crate) reason: Box<str>,
    /// When what is left is cut.
    pub(crate) deadline: Option<Instant>,
}

/// One emptying under way.
#[derive(Debug)]
pub(crate) struct Emptying {
    pub(crate) orders: Orders,
    pub(crate) pace: Pace,
    pub(crate) tally: Arc<Tally>,
    queue: VecDeque<Candidate>,
    waiting: Vec<Candidate>,
    /// Since when a tunnel was passed over, by its id.
    passed_over: HashMap<u64, Instant>,
    /// Asked, and about it or done with it.
    taken: u64,
    looked: Option<Instant>,
    is_cut: bool,
    /// Tunnels that its servers had carried before it began, without those that were open.
    before: u64,
}

#[derive(Clone, Debug)]
struct Candidate {
    worker: usize,
    card: Weak<Card>,
}

/// The timers of tunnels to wake, by worker.
pub(crate) type Wakes = HashMap<usize, Vec<u32>>;

impl Emptying {
    pub(crate) fn new(orders: Orders, speed: Speed, now: Instant) -> Self {
        let before = opened(&orders.servers).saturating_sub(active(&orders.servers));
        Self {
            orders,
            pace: Pace::new(speed, now),
            tally: Arc::default(),
            queue: VecDeque::new(),
            waiting: Vec::new(),
            passed_over: HashMap::new(),
            taken: 0,
            looked: None,
            is_cut: false,
            before,
        }
    }

    /// Tunnels that are open on its servers.
    pub(crate) fn tunnels(&self) -> u64 {
        active(&self.orders.servers)
    }

    /// Requests that run on them.
    pub(crate) fn requests(&self) -> u64 {
        let busy: u64 = self.orders.servers.iter().map(|state| u64::from(state.busy())).sum();
        busy.saturating_sub(self.tunnels())
    }

    /// Nothing runs on its servers any more.
    pub(crate) fn is_over(&self) -> bool {
        self.orders.servers.iter().all(|state| state.busy() == 0)
    }

    /// Tunnels that it had to do with: open when it began, or opened since.
    pub(crate) fn total(&self) -> u64 {
        opened(&self.orders.servers).saturating_sub(self.before)
    }

    /// Those that ended before they were asked.
    pub(crate) fn left(&self) -> u64 {
        let ours = self.tally.closed() + self.tally.cut();
        self.total().saturating_sub(self.tunnels() + ours)
    }

    /// How long it will take at this pace.
    pub(crate) fn eta(&self) -> Option<Duration> {
        (!self.pace.is_paused()).then(|| self.pace.speed().time_for(self.tunnels()))
    }

    /// Asks those whose time has come. Answers whom to wake, and whether requests are to be cut.
    pub(crate) fn tick(&mut self, register: &Register, now: Instant) -> (Wakes, bool) {
        self.settle(now);
        let mut wakes = Wakes::new();
        if self.orders.deadline.is_some_and(|deadline| now >= deadline) {
            return self.cut(register, now);
        }
        let done = self.taken + self.waiting.len() as u64;
        let due = self.pace.due(done, now).saturating_sub(done);
        if due > 0 && !self.pace.is_paused() {
            self.look(register, now);
            for _ in 0..due {
                let Some((candidate, card)) = self.next() else { break };
                card.ask(self.ask(self.manner(&card, now)));
                wakes.entry(candidate.worker).or_default().push(card.timer());
                self.waiting.push(candidate);
            }
        }
        (wakes, false)
    }

    /// What became of those that were asked.
    fn settle(&mut self, now: Instant) {
        for candidate in std::mem::take(&mut self.waiting) {
            // One that has ended was about it, or left by itself that very moment.
            match candidate.card.upgrade().map(|card| (card.id, card.asked())) {
                Some((_, Asked::Waiting)) => self.waiting.push(candidate),
                Some((id, Asked::Nothing)) => {
                    self.passed_over.entry(id).or_insert(now);
                    self.queue.push_back(candidate);
                }
                Some((id, Asked::Taken)) => {
                    self.passed_over.remove(&id);
                    self.taken += 1;
                }
                None => self.taken += 1,
            }
        }
    }

    /// The next one that can be asked.
    fn next(&mut self) -> Option<(Candidate, Arc<Card>)> {
        // Each at most once a turn: those passed over a moment ago stand behind.
        for _ in 0..self.queue.len() {
            let candidate = self.queue.pop_front()?;
            let Some(card) = candidate.card.upgrade() else { continue };
            if card.phase() != Phase::Closing && card.asked() == Asked::Nothing {
                return Some((candidate, card));
            }
        }
        None
    }

    fn manner(&self, card: &Card, now: Instant) -> How {
        let since = self.passed_over.get(&card.id);
        match since.is_some_and(|since| now.saturating_duration_since(*since) >= PATIENCE) {
            true => How::IfBetweenFrames,
            false => How::IfBetweenMessages,
        }
    }

    fn ask(&self, how: How) -> Arc<Ask> {
        let Orders { why, code, reason, .. } = &self.orders;
        let tally = Arc::clone(&self.tally);
        Arc::new(Ask { why: *why, how, code: *code, reason: reason.clone(), tally })
    }

    /// Lists the candidates, the next one first.
    fn look(&mut self, register: &Register, now: Instant) {
        let pause = if self.queue.is_empty() { LOOK_AGAIN } else { LOOK };
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < pause) {
            return;
        }
        self.looked = Some(now);
        let mut found = self.candidates(register);
        match self.orders.order {
            Order::Any => (),
            Order::OldestFirst => found.sort_by_key(|(_, card)| card.opened),
            Order::QuietFirst => {
                found.sort_by_key(|(_, card)| (card.is_within_message(), card.last_data()));
            }
        }
        let weak =
            |(worker, card): (usize, Arc<Card>)| Candidate { worker, card: Arc::downgrade(&card) };
        self.queue = found.into_iter().map(weak).collect();
    }

    fn candidates(&self, register: &Register) -> Vec<(usize, Arc<Card>)> {
        let mut found = Vec::new();
        register.each(|worker, card| {
            let ours = |state: &Arc<ServerState>| Arc::ptr_eq(state, &card.server);
            let is_free = card.phase() != Phase::Closing && card.asked() == Asked::Nothing;
            if is_free && self.orders.servers.iter().any(ours) {
                found.push((worker, Arc::clone(card)));
            }
        });
        found
    }

    /// The deadline has come.
    fn cut(&mut self, register: &Register, now: Instant) -> (Wakes, bool) {
        let mut wakes = Wakes::new();
        let again =
            self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_AGAIN);
        if self.is_cut && !again {
            return (wakes, false);
        }
        self.looked = Some(now);
        let ask = self.ask(How::Cut);
        register.each(|worker, card| {
            if self.orders.servers.iter().any(|state| Arc::ptr_eq(state, &card.server)) {
                card.ask(Arc::clone(&ask));
                wakes.entry(worker).or_default().push(card.timer());
            }
        });
        self.orders.servers.iter().for_each(|state| state.cut_requests());
        self.is_cut = true;
        (wakes, self.requests() > 0)
    }
}

fn opened(servers: &[Arc<ServerState>]) -> u64 {
    servers.iter().map(|state| state.cells.sum(|cells| cells.tunnels.value())).sum()
}

fn active(servers: &[Arc<ServerState>]) -> u64 {
    servers.iter().map(|state| u64::from(state.tunnels())).sum()
}
