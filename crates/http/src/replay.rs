//! Copies of request bodies, kept for as long as a request may still be sent to another server.
//! Each is bounded by its pool's `replay_buffer`, all together by `process.replay_memory`.

use tidegate_worker::ReplayMemory;

/// Memory is asked for in steps of this, so that a slow body does not ask at every read.
const STEP: usize = 4 * 1024;

/// A copy of what was used up of one request's body. Once it has a gap it is worth nothing and
/// keeps nothing.
#[derive(Debug)]
pub(crate) struct Replay<'m> {
    memory: &'m ReplayMemory,
    limit: usize,
    bytes: Vec<u8>,
    /// Taken from the memory; it stays taken while the bytes wait for another try.
    reserved: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Complete,
    /// Something was used up and not kept.
    Gap,
    /// So, for want of memory.
    NoMemory,
}

impl<'m> Replay<'m> {
    /// Keeps up to `limit` bytes; 0: nothing.
    pub(crate) fn new(memory: &'m ReplayMemory, limit: usize) -> Self {
        Self { memory, limit, bytes: Vec::new(), reserved: 0, state: State::Complete }
    }

    /// These bytes of the body are used up.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.state != State::Complete {
            return;
        }
        let length = self.bytes.len() + bytes.len();
        if length > self.limit {
            return self.give_up(State::Gap);
        }
        if length > self.reserved {
            let more = (length - self.reserved).next_multiple_of(STEP);
            if !self.memory.take(more) {
                return self.give_up(State::NoMemory);
            }
            self.reserved += more;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn give_up(&mut self, state: State) {
        self.bytes = Vec::new();
        self.state = state;
        self.release();
    }

    fn release(&mut self) {
        if self.reserved == 0 {
            return;
        }
        self.memory.give_back(std::mem::take(&mut self.reserved));
    }

    /// Whether everything that was used up is here.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Whether something is missing because all memory for copies was in use.
    pub(crate) fn found_no_memory(&self) -> bool {
        self.state == State::NoMemory
    }

    /// What was used up, to be read again.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// No further try is possible: what was kept is of no use.
    pub(crate) fn discard(&mut self) {
        self.give_up(State::Gap);
    }
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_or_nothing() {
        let memory = ReplayMemory::new(1 << 20);
        let mut replay = Replay::new(&memory, 8);
        replay.keep(b"12345678");
        assert!(replay.is_complete());
        assert_eq!(replay.take(), b"12345678");
        replay.keep(b"12345678");
        replay.keep(b"9");
        assert!(!replay.is_complete() && !replay.found_no_memory());
        assert_eq!((replay.take().len(), memory.used()), (0, 0));
    }

    #[test]
    fn memory_is_shared_and_given_back() {
        let memory = ReplayMemory::new(2 * STEP);
        let mut one = Replay::new(&memory, 1 << 20);
        let mut two = Replay::new(&memory, 1 << 20);
        one.keep(&[1; STEP + 1]);
        two.keep(&[2]);
        assert!(one.is_complete() && two.found_no_memory());
        assert_eq!(one.take().len(), STEP + 1);
        assert_eq!(memory.used(), 2 * STEP, "it will be read again");
        drop(one);
        assert_eq!(memory.used(), 0);
        let mut three = Replay::new(&memory, 1 << 20);
        three.keep(&[3]);
        assert!(three.is_complete());
        three.discard();
        assert_eq!((three.is_complete(), memory.used()), (false, 0));
    }
}
