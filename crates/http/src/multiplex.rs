//! A client's connection of HTTP/2. Each of its streams is served by a task of its own, in the same
//! turn as a request of HTTP/1; what is said here is only when the connection ends.

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tidegate_h1::Conn;
use tidegate_h2::{Limits, Serving};
use tidegate_net::{Socket, Timer, Within};
use tidegate_worker::{Encryption, Ends, Introduction, Line, Listener, Open, Worker, carry};

use crate::{
    connection::{Client, Side},
    linger::Linger,
    turn::{Turn, turn},
};

/// A client that was told that the connection ends has so long to agree once no stream is left.
const FAREWELL: Duration = Duration::from_secs(1);

/// While streams last, it is looked so often at least whether they still do.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);

/// What the streams of a connection have in common.
pub(crate) struct Carrier {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<Listener>,
    pub(crate) from: Introduction,
    pub(crate) encryption: Option<Arc<Encryption>>,
    /// The connection's own is with whoever accepted it.
    pub(crate) open: Open,
}

/// What a connection is to see to.
enum Event {
    Stream(Box<dyn Within>),
    Over,
    /// It is time to look whether it goes on.
    Time,
}

/// A connection while it lasts.
struct Multiplexed<'m> {
    by: Rc<Carrier>,
    serving: Serving,
    timer: &'m Timer,
    /// The client was told that it ends.
    ending: bool,
    /// It was told what it did.
    failing: bool,
}

/// Serves a connection to its end. The timer is set to the time that its beginning may take.
pub(crate) async fn multiplex(by: Carrier, conn: Conn<Socket>, timer: &Timer) {
    let Some(serving) = begin(&by, conn, timer).await else { return };
    let mut this = Multiplexed { by: Rc::new(by), serving, timer, ending: false, failing: false };
    this.run().await;
    let Multiplexed { by, serving, timer, .. } = this;
    let fault = serving.fault();
    if let Some(fault) = fault {
        let cells = by.listener.live.cells.of(by.worker.index);
        cells.http2.faulty(fault).add(1);
        if by.worker.may_log(Line::Refusal) {
            let (listener, reason) = (&*by.listener.live.name, fault.label());
            tracing::info!(listener, peer = %by.from.peer, reason, "HTTP/2 connection closed for what its client did");
        }
    }
    if let Some(socket) = serving.into_socket() {
        let linger = if fault.is_some() { Linger::FAULTY } else { Linger::SHORT };
        by.worker.in_turn(linger.run(&by.worker, Conn::new(socket), timer)).await;
    }
}

/// The preface of the client is there in time, or nothing comes of it.
async fn begin(by: &Carrier, mut conn: Conn<Socket>, timer: &Timer) -> Option<Serving> {
    let settings = &by.listener.settings;
    let limits = Limits {
        streams: settings.http2.max_streams,
        resets: settings.http2.max_resets,
        window: settings.http2.window,
        head: u32::try_from(settings.limits.head).unwrap_or(u32::MAX),
    };
    let ahead = conn.take_ahead();
    let mut begun = pin!(Serving::begin(conn.end, ahead, &limits));
    let begun = poll_fn(|cx| match begun.as_mut().poll(cx) {
        Poll::Ready(begun) => Poll::Ready(begun.ok()),
        Poll::Pending => timer.poll_expired(cx).map(|()| None),
    });
    by.worker.in_turn(begun).await
}

impl Multiplexed<'_> {
    /// Until its first stream comes it is a stranger, and strangers take turns: what they say may be
    /// anything, and much.
    async fn run(&mut self) {
        let by = Rc::clone(&self.by);
        let mut is_strange = true;
        let cells = &by.listener.live.cells.of(by.worker.index).http2;
        cells.connections.add(1);
        self.timer.set(by.listener.patience(self.keepalive()));
        self.timer.set_idle(Some(by.listener.group()));
        loop {
            let event = poll_fn(|cx| self.poll_event(cx));
            let event = if is_strange { by.worker.in_turn(event).await } else { event.await };
            match event {
                Event::Stream(stream) => {
                    is_strange = false;
                    cells.streams.add(1);
                    tokio::task::spawn_local(serve(Rc::clone(&by), stream));
                }
                Event::Time if self.goes_on() => (),
                Event::Time | Event::Over => break,
            }
        }
        self.timer.set_idle(None);
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        match self.serving.poll_next(cx) {
            Poll::Ready(Some(stream)) => return Poll::Ready(Event::Stream(stream)),
            Poll::Ready(None) => return Poll::Ready(Event::Over),
            Poll::Pending => (),
        }
        if self.serving.fault().is_some() && !self.failing {
            self.failing = true;
            self.timer.set(FAREWELL);
        }
        self.timer.poll_expired(cx).map(|()| Event::Time)
    }

    /// How long it may be without a stream. Where connections of HTTP/1 end after one request, this one
    /// has to last for more all the same: the client may have sent several.
    fn keepalive(&self) -> Duration {
        self.by.listener.settings.timeouts.keepalive.max(FAREWELL)
    }

    /// Whether it does, and until when.
    fn goes_on(&mut self) -> bool {
        let (listener, streams) = (&self.by.listener, self.serving.streams());
        if self.failing || (self.ending && streams == 0) {
            return false;
        }
        let (keepalive, idle) = (self.keepalive(), self.serving.idle());
        if self.ending {
            self.timer.set(FAREWELL);
        } else if listener.is_closing() || (streams == 0 && idle >= keepalive) {
            self.ending = true;
            self.serving.end_soon();
            self.timer.set(FAREWELL);
        } else if streams == 0 {
            self.timer.set(keepalive - idle);
        } else {
            self.timer.set(keepalive.min(BETWEEN_LOOKS));
        }
        true
    }
}

/// Serves one stream.
async fn serve(by: Rc<Carrier>, stream: Box<dyn Within>) {
    let timer = by.worker.timers.timer();
    let mut conn = Conn::new(Socket::Within(stream));
    let side = Side {
        worker: &by.worker,
        listener: &by.listener,
        from: &by.from,
        timer: &timer,
        encryption: by.encryption.as_ref(),
        http2: true,
    };
    match turn(Client { side, conn: &mut conn }).await {
        Turn::Tunnel(opened) => {
            let ends = Ends { client: conn.end, peer: by.from.peer, timer, open: by.open.within() };
            carry(Rc::clone(&by.worker), ends, *opened);
        }
        // A reset of what it still sends, however friendly, makes some clients forget the answer.
        Turn::Close | Turn::CloseSoon => Linger::SHORT.run(&by.worker, conn, &timer).await,
        Turn::Next | Turn::Cut | Turn::Nothing => (),
    }
}
