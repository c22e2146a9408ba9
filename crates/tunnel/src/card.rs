//! What is known of one tunnel to everybody: its worker writes it, the admin API and drains read
//! it, and leave word on it when it is to close.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU8, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use tidegate_table::ServerState;

use crate::ask::Ask;

/// One tunnel, as the register lists it. Times are milliseconds of the coarse clock.
#[derive(Debug)]
pub struct Card {
    pub id: u64,
    pub kind: Kind,
    pub server: Arc<ServerState>,
    pub listener: Arc<str>,
    /// As far as it is known; `None` for a unix socket.
    pub client: Option<SocketAddr>,
    pub opened: u64,
    /// Wakes its task: a key of its worker's timers.
    pub(crate) timer: u32,
    phase: AtomicU8,
    within_message: AtomicBool,
    asked: AtomicU8,
    last_data: AtomicU64,
    to_client: AtomicU64,
    to_server: AtomicU64,
    ask: Mutex<Option<Arc<Ask>>>,
}

/// What a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection of a tcp listener.
    Tcp,
    /// After a 101 for something else than WebSocket.
    Upgrade,
    WebSocket,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Open,
    /// One side has said its last word.
    HalfClosed,
    /// It was asked to, and is.
    Closing,
}

/// What became of the last ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// There was none, or it was not the moment: [`How::IfBetweenFrames`](crate::How).
    Nothing,
    /// It has not looked yet.
    Waiting,
    /// It is about it.
    Taken,
}

impl Kind {
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Tcp, "tcp"), (Self::Upgrade, "upgrade"), (Self::WebSocket, "websocket")];

    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl Phase {
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Open, "open"), (Self::HalfClosed, "half_closed"), (Self::Closing, "closing")];

    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl Card {
    pub(crate) fn new(entry: crate::register::Entry, id: u64) -> Self {
        let crate::register::Entry { kind, server, listener, client, now, timer } = entry;
        Self {
            id,
            kind,
            server,
            listener,
            client,
            opened: now,
            timer,
            phase: AtomicU8::new(Phase::Open as u8),
            within_message: AtomicBool::new(false),
            asked: AtomicU8::new(Asked::Nothing as u8),
            last_data: AtomicU64::new(now),
            to_client: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            ask: Mutex::new(None),
        }
    }

    pub fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Relaxed))].0
    }

    /// Whether the server is in the middle of a WebSocket message.
    pub fn is_within_message(&self) -> bool {
        self.within_message.load(Relaxed)
    }

    /// When data last came or went, in milliseconds of the coarse clock.
    pub fn last_data(&self) -> u64 {
        self.last_data.load(Relaxed)
    }

    /// Bytes written to the client so far.
    pub fn to_client(&self) -> u64 {
        self.to_client.load(Relaxed)
    }

    /// Bytes written to the server so far.
    pub fn to_server(&self) -> u64 {
        self.to_server.load(Relaxed)
    }

    /// The key of its worker's timer that wakes it.
    pub fn timer(&self) -> u32 {
        self.timer
    }

    /// What became of the last ask.
    pub fn asked(&self) -> Asked {
        match self.asked.load(Acquire) {
            asked if asked == Asked::Waiting as u8 => Asked::Waiting,
            asked if asked == Asked::Taken as u8 => Asked::Taken,
            _ => Asked::Nothing,
        }
    }

    /// Leaves word; its task has to be woken then. A later ask replaces an earlier one that has not
    /// been looked at; one that cuts, also one that is under way.
    pub fn ask(&self, ask: Arc<Ask>) {
        *self.ask.lock().unwrap_or_else(PoisonError::into_inner) = Some(ask);
        self.asked.store(Asked::Waiting as u8, Release);
    }

    /// Takes the word that was left.
    pub(crate) fn take_ask(&self) -> Option<Arc<Ask>> {
        if self.asked.load(Acquire) != Asked::Waiting as u8 {
            return None;
        }
        let taken = self.ask.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.asked.store(Asked::Taken as u8, Release);
        taken
    }

    /// It is not now.
    pub(crate) fn pass_over(&self) {
        // Unless somebody has left word again.
        let (taken, nothing) = (Asked::Taken as u8, Asked::Nothing as u8);
        let _ = self.asked.compare_exchange(taken, nothing, Release, Relaxed);
    }

    pub(crate) fn set_phase(&self, phase: Phase, within_message: bool) {
        self.phase.store(phase as u8, Relaxed);
        self.within_message.store(within_message, Relaxed);
    }

    pub(crate) fn set_moved(&self, to_client: u64, to_server: u64, now: u64) {
        self.to_client.store(to_client, Relaxed);
        self.to_server.store(to_server, Relaxed);
        self.last_data.store(now, Relaxed);
    }
}
