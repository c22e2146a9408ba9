//! An end that is played: what it says arrives in pieces and what it hears is taken in pieces, as
//! drawn, without a socket and without a runtime.

use std::{
    io::{self, ErrorKind, IoSlice},
    task::{Context, Poll, ready},
};

use fastrand::Rng;
use tidegate_net::End;
use tidegate_wire::websocket::Sender;

use super::speaker::{Manner, Said};

/// One side of a tunnel.
#[derive(Debug)]
pub(in super::super) struct Played {
    pub(super) role: Sender,
    pub(super) manner: Manner,
    /// All that it has said or will have said, frame by frame, and how much of that has arrived.
    pub(super) said: Vec<u8>,
    pub(super) frames: Vec<Said>,
    pub(super) offered: usize,
    /// How much of it was read.
    pub(super) taken: usize,
    /// Behind that it says its last word.
    pub(super) hangs_up: bool,
    /// That was read, and whether it knew of a Close by then.
    pub(super) has_ended: bool,
    pub(super) ended_knowing: bool,
    /// Reading and writing fail.
    pub(super) is_reset: bool,
    /// Writing fails once it has heard so much.
    pub(super) breaks_at: usize,
    pub(super) heard: Vec<u8>,
    pub(super) heard_end: bool,
    /// How much it takes before it is drawn again.
    pub(super) room: usize,
    /// How much of what it has heard it has looked at.
    pub(super) looked_at: usize,
    /// How much it had said when it heard a Close.
    pub(super) heard_close: Option<usize>,
    /// How often the tunnel has pinged it.
    pub(super) pings: u16,
    pub(super) in_message: bool,
    pub(super) random: Rng,
}

impl Played {
    pub(super) fn new(role: Sender, manner: Manner, random: Rng) -> Self {
        Self {
            role,
            manner,
            said: Vec::with_capacity(512),
            frames: Vec::with_capacity(16),
            offered: 0,
            taken: 0,
            hangs_up: false,
            has_ended: false,
            ended_knowing: false,
            is_reset: false,
            breaks_at: usize::MAX,
            heard: Vec::with_capacity(512),
            heard_end: false,
            room: 0,
            looked_at: 0,
            heard_close: None,
            pings: 0,
            in_message: false,
            random,
        }
    }

    /// How much passes at once, of so much.
    fn piece(&mut self, of: usize) -> usize {
        match self.manner.pieces {
            0 => of,
            most => of.min(self.random.usize(1..=most)),
        }
    }

    fn hesitates(&mut self) -> Poll<()> {
        match self.manner.hesitates && self.random.u8(0..8) == 0 {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }
}

impl End for Played {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.is_reset {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        ready!(self.hesitates());
        let there = self.offered - self.taken;
        if there == 0 {
            self.has_ended = self.hangs_up && self.taken == self.said.len();
            self.ended_knowing |= self.has_ended && self.heard_close.is_some();
            return if self.has_ended { Poll::Ready(Ok(0)) } else { Poll::Pending };
        }
        let read = self.piece(there.min(buffer.len()));
        buffer[..read].copy_from_slice(&self.said[self.taken..][..read]);
        self.taken += read;
        Poll::Ready(Ok(read))
    }

    fn try_read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        unreachable!("the pump polls")
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        assert!(!self.heard_end, "written behind FIN");
        if self.is_reset || self.heard.len() >= self.breaks_at {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        ready!(self.hesitates());
        let most = self.room.min(self.breaks_at - self.heard.len());
        if most == 0 {
            return Poll::Pending;
        }
        let written = self.piece(most.min(bytes.len()));
        self.heard.extend_from_slice(&bytes[..written]);
        self.room -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        &mut self,
        _: &mut Context<'_>,
        _: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        unreachable!("the pump writes from one buffer")
    }

    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        unreachable!("the pump reads")
    }

    fn poll_close_write(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert!(!self.heard_end, "FIN twice");
        ready!(self.hesitates());
        if self.is_reset {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        }
        self.heard_end = true;
        Poll::Ready(Ok(()))
    }
}
