//! How clients come in to a worker: a socket of its own, and whoever serves what comes by it. A
//! reload exchanges the one behind the door without touching the socket, so nobody is refused
//! meanwhile; who has come in already stays with whom they met.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::sync::Notify;

use crate::listener::Listener;

/// What serves those who come: the listener, as it is set now, and the engine behind it.
#[derive(Debug)]
pub struct Service<E> {
    pub listener: Rc<Listener>,
    pub engine: E,
}

/// Where clients come in. Closed once nobody serves any more.
#[derive(Debug)]
pub struct Door<E> {
    service: RefCell<Option<Rc<Service<E>>>>,
    changed: Notify,
}

/// A listener's stay on a worker, from when it opens until it closes, whatever is set in between.
/// Those who came in look at it to see whether they may wait for more.
#[derive(Debug)]
pub struct Stay {
    /// Its own among all of a worker; also the group of its connections' timers while they wait for a
    /// request.
    number: u32,
    /// Once it is over: how long a connection may wait for its next request.
    linger: Cell<Option<Duration>>,
}

impl<E> Door<E> {
    pub fn new(service: Service<E>) -> Rc<Self> {
        Rc::new(Self { service: RefCell::new(Some(Rc::new(service))), changed: Notify::new() })
    }

    /// Who serves those who come now; `None` when it is closed.
    pub fn service(&self) -> Option<Rc<Service<E>>> {
        self.service.borrow().clone()
    }

    /// From now on somebody else serves.
    pub fn change(&self, service: Service<E>) {
        *self.service.borrow_mut() = Some(Rc::new(service));
        self.changed.notify_one();
    }

    pub fn close(&self) {
        self.service.borrow_mut().take();
        self.changed.notify_one();
    }

    /// Waits for a change; for one that nobody has waited for, too. Cancel safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Stay {
    pub fn new(number: u32) -> Rc<Self> {
        Rc::new(Self { number, linger: Cell::new(None) })
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn end(&self, linger: Duration) {
        self.linger.set(Some(linger));
    }

    pub(crate) fn is_over(&self) -> bool {
        self.linger.get().is_some()
    }

    /// How long a connection may wait for a request, of the time it has as a rule.
    pub(crate) fn patience(&self, usual: Duration) -> Duration {
        self.linger.get().map_or(usual, |linger| linger.min(usual))
    }
}
