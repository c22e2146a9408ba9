//! A worker's scratch buffers. Bytes pass through them between two system calls; whoever must wait
//! gives the buffer back first, so a worker needs one or two of them for any number of connections.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    rc::Rc,
};

/// Bytes that one read can take.
pub const SIZE: usize = 64 * 1024;

/// Room before and after those bytes, for a chunk's framing around them.
pub const ROOM: usize = 32;

/// Buffers kept for the next borrower. More are lent out only while one future holds several.
const KEPT: usize = 4;

type Buffer = Box<[u8]>;

/// The buffers of one worker; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Scratch(Rc<RefCell<Vec<Buffer>>>);

/// A buffer of [`ROOM`] + [`SIZE`] + [`ROOM`] bytes, given back when dropped. What it holds is
/// whatever its last borrower left there.
#[derive(Debug)]
pub struct Lent {
    buffer: Buffer,
    home: Scratch,
}

impl Scratch {
    pub fn lend(&self) -> Lent {
        let kept = self.0.borrow_mut().pop();
        let buffer = kept.unwrap_or_else(|| vec![0; ROOM + SIZE + ROOM].into());
        Lent { buffer, home: self.clone() }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut kept = self.home.0.borrow_mut();
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.buffer));
        }
    }
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_lent_again() {
        let scratch = Scratch::default();
        let mut first = scratch.lend();
        first[0] = 7;
        drop(first);
        assert_eq!(scratch.lend()[0], 7);
        drop((0..10).map(|_| scratch.lend()).collect::<Vec<_>>());
        assert_eq!(scratch.0.borrow().len(), KEPT);
    }
}
