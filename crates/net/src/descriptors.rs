//! The limit on open descriptors, which is what bounds the number of tunnels.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors this process may have open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    pub limit: u64,
}

/// Two sockets a tunnel; some are kept for listeners, files, idle connections and the admin side, of
/// a low limit at most a quarter.
const RESERVED: u64 = 500;

/// Raises the soft limit to the hard one and says what it is then. Failing to is no error: the
/// limit stays as it was.
pub fn raise_limit() -> Descriptors {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    Descriptors { limit: now.unwrap_or(u64::MAX) }
}

impl Descriptors {
    /// How many tunnels fit.
    pub fn tunnels(self) -> u64 {
        (self.limit - RESERVED.min(self.limit / 4)) / 2
    }
}
