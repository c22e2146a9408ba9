//! The link of a session to a server: a place on it, a socket, and the task that waits for answers.

use std::{
    cell::Cell,
    io::{self, ErrorKind},
    rc::Rc,
    time::Instant,
};

use tidegate_net::DatagramLink;
use tidegate_table::{Lease, Pool, Server};
use tokio::task::AbortHandle;

use super::{
    Engine, TURN,
    session::{End, Session},
};

/// A server that a session was led to. When dropped nobody waits for its answers any more.
pub(super) struct Link {
    pub(super) lease: Lease,
    pub(super) server: Rc<DatagramLink>,
    /// Where it stood in its pool when it was picked.
    pub(super) at: usize,
    /// Nobody was well when it was picked.
    pub(super) overlooked: bool,
    /// When, in milliseconds of the clock that failures are told by.
    pub(super) picked: u64,
    pub(super) began: Instant,
    pub(super) answered: Cell<bool>,
    /// The generation of the table in which it was last looked up.
    pub(super) checked: Cell<u64>,
    pub(super) waiting: AbortHandle,
}

impl Link {
    /// Its server in a pool, if it is listed there.
    pub(super) fn find<'p>(&self, pool: &'p Pool) -> Option<&'p Server> {
        let is_it = |server: &&Server| server.state.id() == self.lease.state().id();
        pool.servers.get(self.at).filter(is_it).or_else(|| pool.servers.iter().find(is_it))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.waiting.abort();
    }
}

/// Whether an error of a socket towards a server tells of that server; another one concerns a single
/// datagram or this machine.
pub(super) fn is_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

/// Passes on what the server sends, until it was the last answer or the link is broken.
pub(super) async fn answers(engine: Rc<Engine>, session: Rc<Session>, server: Rc<DatagramLink>) {
    loop {
        let passed = server.receivable().await.and_then(|()| engine.pass_on(&session, &server));
        match passed {
            Ok(true) => return engine.end(&session, End::Answered),
            Ok(false) => tokio::task::yield_now().await,
            Err(error) if error.kind() == ErrorKind::WouldBlock => (),
            Err(error) => {
                engine.broken(&session, &error, None);
                return;
            }
        }
    }
}

impl Engine {
    /// Passes on what a server has sent, up to a turn's worth. `true`: the last answer was among it.
    fn pass_on(&self, session: &Session, server: &DatagramLink) -> io::Result<bool> {
        let mut lent = self.worker.scratch.lend();
        for _ in 0..TURN {
            let length = server.try_receive(&mut lent)?;
            if self.answered(session, &lent[..length]) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
