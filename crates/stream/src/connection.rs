//! A client's connection until it is carried or closed: who it is from, what it asks for, and what is
//! written down of it. Whoever is turned away is told nothing: here is no protocol to say it in.

use std::{rc::Rc, sync::Arc, time::Instant};

use tidegate_model::Name;
use tidegate_net::{Socket, Timer, TlsServer};
use tidegate_table::PoolLive;
use tidegate_wire::tls_hello::{MAX_HELLO, client_hello};
use tidegate_worker::{
    Accepted, Encryption, Full, Introduction, Line, Listener, Open, Opening, Record, RequestId,
    Securing, Worker, introduce, no_route,
};

use crate::{forward::Forwarding, routing::Routing};

/// A client that waits for its server.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<Listener>,
    pub(crate) socket: Socket,
    pub(crate) from: Introduction,
    pub(crate) encryption: Option<Arc<Encryption>>,
    /// What it has said already.
    pub(crate) ahead: Vec<u8>,
    pub(crate) timer: Timer,
    pub(crate) open: Open,
    pub(crate) id: RequestId,
    pub(crate) started: Instant,
    pub(crate) record: Option<Box<Record>>,
}

/// Why a client is turned away.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: String,
}

/// Begins to serve a connection, or closes it.
pub fn take(routing: &Arc<Routing>, accepted: Accepted) {
    let Accepted { worker, listener, socket, peer, open, full } = accepted;
    let from = Introduction::of(peer);
    let client = Client {
        timer: worker.timers.timer(),
        id: worker.request_id(),
        worker,
        listener,
        socket,
        from,
        encryption: None,
        ahead: Vec::new(),
        open,
        started: Instant::now(),
        record: None,
    };
    if let Some(full) = full {
        client.refuse(&full.into());
    } else {
        tokio::task::spawn_local(serve(Arc::clone(routing), client));
    }
}

async fn serve(routing: Arc<Routing>, mut client: Client) {
    let mut opening = match client.introduced().await {
        Ok(opening) => opening,
        Err(Some(refusal)) => return client.refuse(&refusal),
        // It came and went without a word: there is nothing to write down.
        Err(None) => return,
    };
    if let Some(server) = client.listener.settings.tls.clone() {
        match Box::pin(client.secured(&server, std::mem::take(&mut opening))).await {
            Some(secured) => client = secured,
            None => return,
        }
    }
    match client.destination(&routing, opening).await {
        Ok(pool) => Forwarding::new(client).run(pool).await,
        Err(Some(refusal)) => client.refuse(&refusal),
        Err(None) => (),
    }
}

fn refused((status, reason): (u16, String)) -> Refusal {
    Refusal { status, reason }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        Self { status: 503, reason: full.reason().into() }
    }
}

impl Client {
    /// Finds out who the client is; what it has said beyond that comes back.
    async fn introduced(&mut self) -> Result<Opening, Option<Refusal>> {
        let Self { worker, listener, socket, timer, .. } = self;
        let mut opening = Opening::default();
        let introduced =
            introduce(worker, listener, socket, self.from.peer, timer, &mut opening).await;
        self.from = introduced.map_err(|unopened| unopened.refusal().map(refused))?;
        self.open.count_client(listener, &self.from.peer).map_err(|full| Some(full.into()))?;
        Ok(opening)
    }

    /// Shakes hands, in what is left of the time for the introduction; `None` when that comes to
    /// nothing, of which there is no record: nobody was let in.
    async fn secured(mut self, server: &TlsServer, opening: Opening) -> Option<Self> {
        let (worker, listener, timer) = (&self.worker, &self.listener, &self.timer);
        let securing = Securing { worker, listener, timer, peer: self.from.peer };
        let (socket, encryption) = securing.run(server, self.socket, opening).await.ok()?;
        self.socket = socket;
        self.encryption = Some(encryption);
        Some(self)
    }

    /// Reads as much as it takes to know where the client is to go.
    async fn destination<'r>(
        &mut self,
        routing: &'r Routing,
        mut opening: Opening,
    ) -> Result<&'r Name, Option<Refusal>> {
        let Self { worker, listener, socket, timer, .. } = self;
        let mut asked = None;
        if routing.needs_hello() {
            timer.set_idle(Some(listener.group()));
            let hello = opening.read(socket, &worker.scratch, timer, MAX_HELLO, client_hello).await;
            timer.set_idle(None);
            asked = hello.map_err(|unopened| unopened.refusal().map(refused))?.name;
        }
        self.ahead = opening.into_bytes();
        routing.pool(asked.as_deref()).ok_or_else(|| {
            let reason = match &asked {
                Some(name) => format!("no pool for \"{name}\""),
                None => "no pool for clients that name no server".into(),
            };
            Some(Refusal { status: 404, reason })
        })
    }

    /// Closes it, and says why where an operator looks.
    fn refuse(mut self, refusal: &Refusal) {
        let Refusal { status, reason } = refusal;
        if self.worker.may_log(Line::Refusal) {
            let (request, listener) = (self.id.as_str(), &*self.listener.live.name);
            tracing::info!(request, listener, peer = %self.from.peer, status, reason, "connection refused");
        }
        let nowhere = Arc::clone(self.worker.shared.table.nowhere());
        self.account(&nowhere, *status);
    }

    /// Writes down what became of it, unless the tunnel will.
    pub(crate) fn account(&mut self, pool: &Arc<PoolLive>, status: u16) {
        self.count(pool, status);
        if let Some(record) = self.record() {
            record.status = status;
        }
        if let Some(mut record) = self.record.take() {
            record.duration = self.started.elapsed();
            self.worker.shared.keep(record);
        }
    }

    pub(crate) fn count(&self, pool: &Arc<PoolLive>, status: u16) {
        let series = self.worker.series(&self.listener, &no_route(), pool);
        series.of(self.worker.index).count(status);
    }

    /// Its line in the access log, if there is one; begun no earlier than it is known who the client
    /// is.
    pub(crate) fn record(&mut self) -> Option<&mut Record> {
        self.worker.shared.access.as_ref()?;
        let record = self.record.get_or_insert_with(|| {
            let (listener, ip) = (&self.listener.live.name, self.from.peer.ip());
            let mut record = Record::new(listener, ip, self.id);
            record.protocol = "TCP";
            record.encryption = self.encryption.clone();
            Box::new(record)
        });
        Some(record)
    }
}
