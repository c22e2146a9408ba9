//! Worker threads: one runtime each, listeners of its own, and a channel for what control has to
//! say. They never wait for control, and it waits for them only when it has arranged the listeners
//! anew, and not for long.

use std::{
    io,
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tidegate_worker::{Shared, Worker};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::spawn_local,
    time::timeout,
};

use crate::{
    EX_SOFTWARE,
    doors::{Doors, Opening, Served},
};

/// A worker that has not done what it was told after so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What control says to a worker. Few, and never dropped.
pub(crate) enum Order {
    /// Exchange who serves those who come in by that door.
    Alter(u32, Served),
    /// Close that door.
    Close(u32),
    /// Servers have left: close the idle connections to them.
    CloseGone,
    /// End the thread; what still runs is cut.
    Exit,
    Open(Opening),
    /// Wake everything: some servers have been cut.
    Recheck,
    /// Say so once the doors are as they were ordered to be.
    Report(UnboundedSender<()>),
    /// Close the listeners; connections end with their current request.
    Stop,
    /// Wake the tasks that wait for timers of these keys: they were left word.
    Wake(Vec<u32>),
}

/// All workers.
pub(crate) struct Workers {
    orders: Orders,
    threads: Vec<JoinHandle<()>>,
}

/// The way to tell all workers something.
#[derive(Clone)]
pub(crate) struct Orders(Vec<UnboundedSender<Order>>);

struct Post {
    index: usize,
    shared: Arc<Shared>,
    orders: UnboundedReceiver<Order>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(count: usize, shared: &Arc<Shared>) -> io::Result<Self> {
        let (mut orders, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count {
            let (sender, receiver) = unbounded_channel();
            let post = Post { index, shared: Arc::clone(shared), orders: receiver };
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
        self.orders.tell(|| Order::Exit);
        for thread in self.threads {
            // A worker that panicked has ended the process already.
            let _ = thread.join();
        }
    }
}

impl Orders {
    pub(crate) fn tell(&self, order: impl Fn() -> Order) {
        (0..self.0.len()).for_each(|worker| self.tell_one(worker, order()));
    }

    pub(crate) fn tell_one(&self, worker: usize, order: Order) {
        if let Some(sender) = self.0.get(worker) {
            // A worker that has ended needs no orders.
            let _ = sender.send(order);
        }
    }

    /// Waits until all of them have done what they were told so far; `false` when that takes too long.
    pub(crate) async fn are_done(&self) -> bool {
        let (done, mut reports) = unbounded_channel();
        self.tell(|| Order::Report(done.clone()));
        drop(done);
        let all = async {
            let mut missing = self.0.len();
            while missing > 0 && reports.recv().await.is_some() {
                missing -= 1;
            }
            missing == 0
        };
        timeout(PATIENCE, all).await.unwrap_or(false)
    }
}

impl tidegate_operate::Workers for Orders {
    fn wake(&self, worker: usize, timers: Vec<u32>) {
        self.tell_one(worker, Order::Wake(timers));
    }

    fn recheck(&self) {
        self.tell(|| Order::Recheck);
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
        let mut doors = Doors::new(&worker);
        loop {
            let order = tokio::select! {
                order = self.orders.recv() => order,
                // It never ends but by a panic, and without it no deadline would come.
                ended = &mut house => return Err(io::Error::other(format!("its timers have ended: {ended:?}"))),
            };
            let Some(order) = order else { break };
            match order {
                Order::Alter(door, served) => doors.alter(door, served),
                Order::Close(door) => doors.close(door),
                Order::CloseGone => {
                    worker.idle.borrow_mut().drop_gone();
                    // A worker without requests would keep the old snapshot alive.
                    drop(worker.snapshot());
                }
                Order::Exit => break,
                Order::Open(opening) => {
                    let listener = Arc::clone(&opening.served.live.name);
                    if let Err(error) = doors.open(opening) {
                        let worker = self.index;
                        tracing::error!(%listener, worker, %error, "cannot serve a listener");
                    }
                }
                Order::Recheck => worker.timers.wake_all(),
                Order::Report(done) => doors.report(done),
                Order::Stop => doors.stop(),
                Order::Wake(timers) => timers.into_iter().for_each(|key| worker.timers.wake(key)),
            }
        }
        Ok(())
    }
}
