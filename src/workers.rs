//! Worker threads: one runtime each, listeners of its own, and a channel for what control has to
//! say. Control never waits for them, and they never for it.

use std::{
    io,
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tidegate_net::{Acceptor, Datagrams, ListenAddress};
use tidegate_stream::{Routing, UdpSettings, serve_datagrams};
use tidegate_worker::{Listener, ListenerLive, Settings, Shared, Worker, accept};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::spawn_local,
};

use crate::EX_SOFTWARE;

/// So long a connection that waits for its next request stays open once the process stops.
const IDLE_LINGER: Duration = Duration::from_secs(1);

/// What control says to a worker. Few, and never dropped.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Servers have left: close the idle connections to them.
    CloseGone,
    /// End the thread; what still runs is cut.
    Exit,
    /// Wake everything: some servers have been cut.
    Recheck,
    /// Close the listeners; connections end with their current request.
    Stop,
    /// Wake the tasks that wait for timers of these keys: they were left word.
    Wake(Vec<u32>),
}

/// What serves a listener.
#[derive(Clone)]
pub(crate) enum Engine {
    Http,
    Tcp(Arc<Routing>),
    Udp(UdpSettings),
}

impl Engine {
    /// The word for what it speaks.
    pub(crate) fn protocol(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
        }
    }
}

/// A listener, ready to be shared out.
pub(crate) struct Ready {
    pub(crate) address: ListenAddress,
    pub(crate) live: Arc<ListenerLive>,
    pub(crate) settings: Settings,
    pub(crate) engine: Engine,
    /// One for each worker.
    pub(crate) sockets: Vec<OwnedFd>,
}

/// All workers.
pub(crate) struct Workers {
    orders: Orders,
    threads: Vec<JoinHandle<()>>,
}

/// The way to tell all workers something.
#[derive(Clone)]
pub(crate) struct Orders(Vec<UnboundedSender<Order>>);

/// One worker's part of a listener.
struct Share {
    address: ListenAddress,
    listener: Listener,
    engine: Engine,
    socket: OwnedFd,
}

struct Post {
    index: usize,
    shared: Arc<Shared>,
    listeners: Vec<Share>,
    orders: UnboundedReceiver<Order>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(
        count: usize,
        shared: &Arc<Shared>,
        mut listeners: Vec<Ready>,
    ) -> io::Result<Self> {
        let (mut orders, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count {
            let mine = listeners.iter_mut().enumerate().filter_map(|(at, ready)| {
                let listener = Listener {
                    index: at,
                    live: Arc::clone(&ready.live),
                    settings: ready.settings.clone(),
                };
                let (address, engine) = (ready.address.clone(), ready.engine.clone());
                Some(Share { address, listener, engine, socket: ready.sockets.pop()? })
            });
            let (sender, receiver) = unbounded_channel();
            let post = Post {
                index,
                shared: Arc::clone(shared),
                listeners: mine.collect(),
                orders: receiver,
            };
            orders.push(sender);
            threads.push(
                thread::Builder::new()
                    .name(format!("worker-{index}"))
                    .spawn(move || post.guard())?,
            );
        }
        Ok(Self { orders: Orders(orders), threads })
    }

    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Ends all threads and waits for them.
    pub(crate) fn finish(self) {
        self.orders.tell(Order::Exit);
        for thread in self.threads {
            // A worker that panicked has ended the process already.
            let _ = thread.join();
        }
    }
}

impl Orders {
    #[expect(clippy::needless_pass_by_value, reason = "an order is given away")]
    pub(crate) fn tell(&self, order: Order) {
        for sender in &self.0 {
            // A worker that has ended needs no orders.
            let _ = sender.send(order.clone());
        }
    }
}

impl tidegate_operate::Workers for Orders {
    fn wake(&self, worker: usize, timers: Vec<u32>) {
        if let Some(sender) = self.0.get(worker) {
            let _ = sender.send(Order::Wake(timers));
        }
    }

    fn recheck(&self) {
        self.tell(Order::Recheck);
    }
}

impl Share {
    /// Begins to take what comes in: connections until `close` is told, datagrams to the end.
    fn serve(self, worker: &Rc<Worker>, close: &Rc<Notify>) -> io::Result<()> {
        let Self { address, listener, engine, socket } = self;
        let (worker, listener, close) = (Rc::clone(worker), Rc::new(listener), Rc::clone(close));
        let connections = |socket| Acceptor::new(&address, socket);
        match engine {
            Engine::Http => {
                let acceptor = connections(socket)?;
                spawn_local(accept(worker, listener, acceptor, close, tidegate_http::take));
            }
            Engine::Tcp(routing) => {
                let take = move |accepted| tidegate_stream::take(&routing, accepted);
                spawn_local(accept(worker, listener, connections(socket)?, close, take));
            }
            Engine::Udp(settings) => {
                let datagrams = Datagrams::new(&address, socket)?;
                spawn_local(serve_datagrams(worker, listener, settings, datagrams));
            }
        }
        Ok(())
    }
}

impl Post {
    /// A process without one of its workers would leave connections in that one's queues for ever.
    fn guard(self) {
        let index = self.index;
        let run = std::panic::AssertUnwindSafe(|| self.run());
        match std::panic::catch_unwind(run) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => eprintln!("tidegate: worker {index} has failed: {error}"),
            Err(_) => eprintln!("tidegate: worker {index} has died; see the panic above"),
        }
        std::process::exit(EX_SOFTWARE.into());
    }

    fn run(self) -> io::Result<()> {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(self.serve())
    }

    async fn serve(mut self) -> io::Result<()> {
        let worker = Worker::new(self.index, self.shared);
        let mut house = spawn_local(Rc::clone(&worker).keep_house());
        let close = Rc::new(Notify::new());
        for share in self.listeners {
            share.serve(&worker, &close)?;
        }
        // An order that is here already must find the listeners waiting for it.
        tokio::task::yield_now().await;
        loop {
            let order = tokio::select! {
                order = self.orders.recv() => order,
                // It never ends but by a panic, and without it no deadline would come.
                ended = &mut house => return Err(io::Error::other(format!("its timers have ended: {ended:?}"))),
            };
            let Some(order) = order else { break };
            match order {
                Order::CloseGone => {
                    worker.idle.borrow_mut().drop_gone();
                    // A worker without requests would keep the old snapshot alive.
                    drop(worker.snapshot());
                }
                Order::Exit => break,
                Order::Recheck => worker.timers.wake_all(),
                Order::Stop => {
                    close.notify_waiters();
                    worker.stop(IDLE_LINGER);
                }
                Order::Wake(timers) => timers.into_iter().for_each(|key| worker.timers.wake(key)),
            }
        }
        Ok(())
    }
}
