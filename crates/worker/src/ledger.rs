//! What one worker has carried for one listener. Everything of one tunnel is entered in one go, so
//! that the sums are right whenever anybody looks: opened is active and closed together, and what
//! came in and was put in is what went out and was taken out.

use std::sync::{Mutex, PoisonError};

use tidegate_table::Close;
use tidegate_tunnel::Account;

/// The ledger of one worker.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Tunnels>);

/// The tunnels of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnels {
    pub opened: u64,
    pub active: u64,
    closed: [u64; Close::ALL.len()],
    /// Of those that have ended.
    pub account: Account,
}

impl Ledger {
    pub fn open(&self) {
        self.with(|tunnels| {
            tunnels.opened += 1;
            tunnels.active += 1;
        });
    }

    pub fn close(&self, cause: Close, account: &Account) {
        self.with(|tunnels| {
            tunnels.active -= 1;
            tunnels.closed[cause as usize] += 1;
            tunnels.account.add(account);
        });
    }

    pub fn read(&self) -> Tunnels {
        self.with(|tunnels| *tunnels)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Tunnels) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tunnels {
    /// Those that ended so.
    pub fn closed(&self, cause: Close) -> u64 {
        self.closed[cause as usize]
    }

    /// With another worker's.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.opened += other.opened;
        self.active += other.active;
        for (sum, more) in self.closed.iter_mut().zip(other.closed) {
            *sum += more;
        }
        self.account.add(&other.account);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_is_active_or_closed() {
        let (one, two) = (Ledger::default(), Ledger::default());
        (0..3).for_each(|_| one.open());
        two.open();
        let account = Account { received: 5, sent: 4, discarded: 1, ..Account::default() };
        one.close(Close::Drain, &account);
        two.close(Close::Drain, &account);
        let sum = one.read().plus(&two.read());
        assert_eq!((sum.opened, sum.active, sum.closed(Close::Drain)), (4, 2, 2));
        assert_eq!((sum.account.received, sum.account.discarded), (10, 2));
    }
}
