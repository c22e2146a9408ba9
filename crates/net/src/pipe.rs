//! Pipes, through which bulk moves from socket to socket without being copied to us and back. Lent
//! only while bytes move: an idle tunnel owns none.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};

/// What a pipe should hold; the system may allow less.
const SIZE: usize = 512 * 1024;

/// One pipe.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    held: usize,
}

impl Pipe {
    /// # Errors
    /// When descriptors have run out.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // 64 KiB is what there is without asking.
        let capacity = fcntl_setpipe_size(&writer, SIZE).unwrap_or(64 * 1024);
        Ok(Self { reader, writer, capacity, held: 0 })
    }

    /// Bytes in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Fills it from a socket. It has to be empty, or `WouldBlock` could mean that it is full.
    ///
    /// # Errors
    /// `WouldBlock` when the socket has nothing.
    pub(crate) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        debug_assert_eq!(self.held, 0, "a full pipe would look like an empty socket");
        let moved = again(|| splice(&from, None, &self.writer, None, self.capacity, flags()))?;
        self.held += moved;
        Ok(moved)
    }

    /// Empties it into a socket, as far as that takes it.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing.
    pub(crate) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let moved = again(|| splice(&self.reader, None, &to, None, self.held, flags()))?;
        self.held -= moved.min(self.held);
        Ok(moved)
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}

fn again(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => (),
            done => return done.map_err(io::Error::from),
        }
    }
}
