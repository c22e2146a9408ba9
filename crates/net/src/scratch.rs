//! A worker's scratch buffers. Bytes pass through them between two system calls; whoever must wait
//! gives the buffer back first, so a worker needs one or two of them for any number of connections.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    rc::Rc,
};

use crate::Pipe;

/// Bytes that one read can take.
pub const SIZE: usize = 64 * 1024;

/// Room before and after those bytes, for a chunk's framing around them.
pub const ROOM: usize = 32;

/// Buffers kept for the next borrower. More are lent out only while one future holds several.
const KEPT: usize = 4;

type Buffer = Box<[u8]>;

/// Pipes kept for the next bulk.
const KEPT_PIPES: usize = 16;

/// The buffers and pipes of one worker; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Scratch(Rc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    buffers: RefCell<Vec<Buffer>>,
    pipes: RefCell<Vec<Pipe>>,
}

/// A buffer of [`ROOM`] + [`SIZE`] + [`ROOM`] bytes, given back when dropped. What it holds is
/// whatever its last borrower left there.
#[derive(Debug)]
pub struct Lent {
    buffer: Buffer,
    home: Scratch,
}

impl Scratch {
    pub fn lend(&self) -> Lent {
        let kept = self.0.buffers.borrow_mut().pop();
        let buffer = kept.unwrap_or_else(|| vec![0; ROOM + SIZE + ROOM].into());
        Lent { buffer, home: self.clone() }
    }

    /// An empty pipe, to be given back; `None` when descriptors have run out.
    pub fn pipe(&self) -> Option<Pipe> {
        let kept = self.0.pipes.borrow_mut().pop();
        kept.or_else(|| Pipe::new().ok())
    }

    /// Takes an empty pipe back.
    pub fn give_back(&self, pipe: Pipe) {
        let mut pipes = self.0.pipes.borrow_mut();
        if pipe.held() == 0 && pipes.len() < KEPT_PIPES {
            pipes.push(pipe);
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut kept = self.home.0.buffers.borrow_mut();
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
        assert_eq!(scratch.0.buffers.borrow().len(), KEPT);
    }
}
