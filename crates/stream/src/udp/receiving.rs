//! What comes in by one socket, and who is meant by it. Settings that a reload changes are those of
//! sessions to come: the ones that are open stay with an engine of what was set before, until the
//! last of them has ended.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tidegate_net::{Datagrams, Way};
use tidegate_worker::{Door, Service, Worker};

use super::{Engine, TURN, UdpSettings, session::Session};

/// When receiving fails for want of memory, so long nothing is received.
const BACK_OFF: Duration = Duration::from_millis(50);

struct Receiving {
    worker: Rc<Worker>,
    datagrams: Rc<Datagrams>,
    newest: Rc<Engine>,
    /// Of earlier settings, each with sessions that are still open.
    earlier: Vec<Rc<Engine>>,
}

/// Serves datagrams until the door is closed, which ends their sessions.
pub async fn serve(worker: Rc<Worker>, datagrams: Rc<Datagrams>, door: Rc<Door<UdpSettings>>) {
    let Some(service) = door.service() else { return };
    let newest = Engine::new(&worker, &datagrams, &service);
    let mut receiving = Receiving { worker, datagrams, newest, earlier: Vec::new() };
    loop {
        let mut changed = pin!(door.changed());
        let next = poll_fn(|cx| match receiving.poll(cx) {
            Poll::Ready(error) => Poll::Ready(Some(error)),
            Poll::Pending => changed.as_mut().poll(cx).map(|()| None),
        });
        match (next.await, door.service()) {
            (_, None) => return receiving.end_all(),
            (None, Some(service)) => receiving.renew(&service),
            (Some(error), Some(_)) => {
                receiving.newest.cannot_receive(&error);
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

impl Receiving {
    /// Takes what has come. Ready only with an error.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut lent = self.worker.scratch.lend();
        let mut has_more = true;
        for _ in 0..TURN {
            match self.datagrams.poll_receive(cx, &mut lent) {
                Poll::Ready(Ok((length, way))) => self.heard(way, &lent[..length]),
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => {
                    has_more = false;
                    break;
                }
            }
        }
        self.newest.end_silent(cx);
        self.earlier.retain(|engine| {
            engine.end_silent(cx);
            engine.oldest().is_some()
        });
        if has_more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// A client has sent a datagram.
    fn heard(&self, way: Way, datagram: &[u8]) {
        let known = |engine: &'_ Rc<Engine>| Some((Rc::clone(engine), engine.session_of(&way)?));
        let known = self.earlier.iter().chain([&self.newest]).find_map(known);
        match known.or_else(|| Some((Rc::clone(&self.newest), self.open(way)?))) {
            Some((engine, session)) => engine.heard(&session, datagram),
            None => self.newest.cells().dropped.add(1),
        }
    }

    /// A new session, unless the listener closes. At the limit another one gives way; a worker that
    /// has none to give up may open one all the same, or its clients would wait for those of others.
    fn open(&self, way: Way) -> Option<Rc<Session>> {
        let Engine { listener, settings, .. } = &*self.newest;
        if listener.is_closing() {
            return None;
        }
        if listener.live.open() >= settings.max_sessions {
            self.earlier.iter().chain([&self.newest]).find(|engine| engine.evict());
        }
        Some(self.newest.open(way))
    }

    /// Clients without a session are served like this from now on. The sessions of another listener,
    /// whose socket this was, end.
    fn renew(&mut self, service: &Service<UdpSettings>) {
        let stays = Rc::ptr_eq(&self.newest.listener.stay, &service.listener.stay);
        if !stays {
            self.end_all();
        }
        let newest = Engine::new(&self.worker, &self.datagrams, service);
        self.earlier.push(std::mem::replace(&mut self.newest, newest));
    }

    fn end_all(&self) {
        self.earlier.iter().chain([&self.newest]).for_each(|engine| engine.end_all());
    }
}
