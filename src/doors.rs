//! The doors of one worker: where clients come in, and who serves them, as control arranges it.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use tidegate_net::{Acceptor, Datagrams, ListenAddress, Options as SocketOptions};
use tidegate_stream::{Routing, UdpSettings, serve_datagrams};
use tidegate_worker::{
    Accepted, Door, Listener, ListenerLive, Service, Settings, Stay, Worker, accept,
};
use tokio::{sync::mpsc::UnboundedSender, task::spawn_local};

/// So long a connection that waits for its next request stays open once its listener closes.
const IDLE_LINGER: Duration = Duration::from_secs(1);

/// How often it is looked whether sockets are closed.
const LOOK: Duration = Duration::from_millis(1);

/// Who serves what comes in by a door.
#[derive(Clone)]
pub(crate) struct Served {
    /// By its number: a change of settings goes on with the same one.
    pub(crate) stay: u32,
    pub(crate) live: Arc<ListenerLive>,
    pub(crate) settings: Settings,
    /// For connections that come in.
    pub(crate) options: SocketOptions,
    pub(crate) engine: Engine,
}

/// What serves a listener.
#[derive(Clone)]
pub(crate) enum Engine {
    Connections(Speaks),
    Datagrams(UdpSettings),
}

/// What is spoken over connections.
#[derive(Clone)]
pub(crate) enum Speaks {
    Http,
    Tcp(Arc<Routing>),
}

/// A door that is to be opened: one worker's part of a listener.
pub(crate) struct Opening {
    pub(crate) door: u32,
    pub(crate) served: Served,
    pub(crate) address: ListenAddress,
    pub(crate) socket: OwnedFd,
}

/// All doors of one worker.
pub(crate) struct Doors {
    worker: Rc<Worker>,
    open: HashMap<u32, Open>,
    /// Sockets that are about to be closed.
    leaving: Vec<Leaving>,
}

struct Open {
    stay: Rc<Stay>,
    way: Way,
}

enum Way {
    Connections { door: Rc<Door<Speaks>>, acceptor: Rc<Acceptor> },
    Datagrams { door: Rc<Door<UdpSettings>>, datagrams: Rc<Datagrams> },
}

enum Leaving {
    Acceptor(Weak<Acceptor>),
    Datagrams(Weak<Datagrams>),
}

impl Engine {
    /// The word for what it speaks.
    pub(crate) fn protocol(&self) -> &'static str {
        match self {
            Self::Connections(Speaks::Http) => "http",
            Self::Connections(Speaks::Tcp(_)) => "tcp",
            Self::Datagrams(_) => "udp",
        }
    }
}

impl Doors {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        Self { worker: Rc::clone(worker), open: HashMap::new(), leaving: Vec::new() }
    }

    /// Begins to take what comes in.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub(crate) fn open(&mut self, opening: Opening) -> io::Result<()> {
        let Opening { door: number, served, address, socket } = opening;
        let stay = Stay::new(served.stay);
        let (worker, listener) = (Rc::clone(&self.worker), served.listener(&stay));
        let way = match served.engine {
            Engine::Connections(engine) => {
                let acceptor = Rc::new(Acceptor::new(&address, socket)?);
                let door = Door::new(Service { listener, engine });
                spawn_local(accept(worker, Rc::clone(&acceptor), Rc::clone(&door), Speaks::take));
                Way::Connections { door, acceptor }
            }
            Engine::Datagrams(engine) => {
                let datagrams = Rc::new(Datagrams::new(&address, socket)?);
                let door = Door::new(Service { listener, engine });
                spawn_local(serve_datagrams(worker, Rc::clone(&datagrams), Rc::clone(&door)));
                Way::Datagrams { door, datagrams }
            }
        };
        self.open.insert(number, Open { stay, way });
        Ok(())
    }

    /// Whoever comes in from now on is served like this. What came in before stays as it is when the
    /// stay does, else its listener has closed.
    pub(crate) fn alter(&mut self, door: u32, served: Served) {
        let Some(open) = self.open.get_mut(&door) else { return };
        if open.stay.number() != served.stay {
            self.worker.end(&open.stay, IDLE_LINGER);
            open.stay = Stay::new(served.stay);
        }
        let listener = served.listener(&open.stay);
        match (&open.way, served.engine) {
            (Way::Connections { door, acceptor }, Engine::Connections(engine)) => {
                if let Err(error) = acceptor.set_options(&served.options) {
                    let listener = &*listener.live.name;
                    tracing::warn!(listener, %error, "new connections keep their socket options");
                }
                door.change(Service { listener, engine });
            }
            (Way::Datagrams { door, .. }, Engine::Datagrams(engine)) => {
                door.change(Service { listener, engine });
            }
            // A socket is never arranged for what it is not.
            (Way::Connections { .. } | Way::Datagrams { .. }, _) => {}
        }
    }

    /// Takes what is still in the queue, then closes the socket. Connections end with their current
    /// request, sessions at once, tunnels not at all.
    pub(crate) fn close(&mut self, door: u32) {
        let Some(Open { stay, way }) = self.open.remove(&door) else { return };
        self.worker.end(&stay, IDLE_LINGER);
        self.leaving.push(way.close());
    }

    /// As the process stops: everything is closed but the doors of datagrams, whose sessions go on.
    pub(crate) fn stop(&mut self) {
        let is_kept = |open: &Open| matches!(open.way, Way::Datagrams { .. });
        for open in self.open.values() {
            self.worker.end(&open.stay, IDLE_LINGER);
            if let Way::Connections { door, .. } = &open.way {
                door.close();
            }
        }
        self.open.retain(|_, open| is_kept(open));
    }

    /// Says so once every socket that was to be closed is.
    pub(crate) fn report(&mut self, done: UnboundedSender<()>) {
        let leaving = std::mem::take(&mut self.leaving);
        spawn_local(async move {
            while leaving.iter().any(Leaving::is_open) {
                tokio::time::sleep(LOOK).await;
            }
            // Control may have given up waiting.
            let _ = done.send(());
        });
    }
}

impl Way {
    fn close(self) -> Leaving {
        match self {
            Self::Connections { door, acceptor } => {
                door.close();
                Leaving::Acceptor(Rc::downgrade(&acceptor))
            }
            Self::Datagrams { door, datagrams } => {
                door.close();
                Leaving::Datagrams(Rc::downgrade(&datagrams))
            }
        }
    }
}

impl Leaving {
    fn is_open(&self) -> bool {
        match self {
            Self::Acceptor(socket) => socket.strong_count() > 0,
            Self::Datagrams(socket) => socket.strong_count() > 0,
        }
    }
}

impl Served {
    fn listener(&self, stay: &Rc<Stay>) -> Rc<Listener> {
        Rc::new(Listener {
            live: Arc::clone(&self.live),
            settings: self.settings.clone(),
            stay: Rc::clone(stay),
        })
    }
}

impl Speaks {
    fn take(&self, accepted: Accepted) {
        match self {
            Self::Http => tidegate_http::take(accepted),
            Self::Tcp(routing) => tidegate_stream::take(routing, accepted),
        }
    }
}
