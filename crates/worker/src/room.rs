//! Descriptors are what runs out first. The last ones are not for traffic: the admin side, files,
//! probes and a reload have to go on when clients have taken all they can get. How many are in use
//! costs nothing to know, for a new descriptor has the lowest free number.

use std::os::fd::{AsFd, AsRawFd, RawFd};

/// What is kept of a high limit; of a low one it is a quarter.
const KEPT: u64 = 500;

/// How many descriptors traffic may take.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Clients' connections have numbers below this.
    clients: u64,
    /// Connections to servers, which those clients need, have numbers below this.
    servers: u64,
}

impl Room {
    /// For a process that may have `limit` descriptors.
    pub fn of(limit: u64) -> Self {
        let kept = KEPT.min(limit / 4);
        Self { clients: limit - kept, servers: limit - kept / 2 }
    }

    /// Whether there is room for more clients after one of that number.
    pub(crate) fn has_more_for_clients(&self, number: RawFd) -> bool {
        above(number) < self.clients
    }

    /// Whether one of that number may be a connection to a server.
    pub(crate) fn fits_server(&self, number: RawFd) -> bool {
        above(number) <= self.servers
    }

    /// Looks for room for another client, with a descriptor of no use but for its number.
    pub(crate) fn looks_free(&self, any: impl AsFd) -> bool {
        let number = any.as_fd().try_clone_to_owned().map(|fd| fd.as_raw_fd());
        number.is_ok_and(|number| above(number) <= self.clients)
    }
}

/// The number that comes after it: how many are in use when it was the lowest free one.
fn above(number: RawFd) -> u64 {
    u64::try_from(number).map_or(0, |number| number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_not_for_traffic() {
        let room = Room::of(100);
        assert!(room.has_more_for_clients(70) && !room.has_more_for_clients(74));
        assert!(room.fits_server(87) && !room.fits_server(88));
        assert!(Room::of(1 << 20).has_more_for_clients((1 << 20) - 600));
        assert!(!Room::of(1 << 20).has_more_for_clients((1 << 20) - 500));
        assert!(Room::of(u64::MAX).fits_server(RawFd::MAX));
    }

    #[test]
    fn a_look_leaves_nothing_open() {
        let file = std::fs::File::open("/dev/null").expect("it is there");
        let room = Room::of(1 << 20);
        assert!((0..2_000).all(|_| room.looks_free(&file)));
        assert!(!Room::of(2).looks_free(&file));
    }
}
