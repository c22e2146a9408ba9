//! A table with running checks, and origins that answer as they are told and remember who came.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tidegate_events::Hub;
use tidegate_health::{Checks, Settings, Suspects, start};
use tidegate_model::{
    Address, Name, Resolved, ServerSpec, Span, UpstreamSpec,
    upstream::{CheckKind, CheckSpec},
};
use tidegate_table::{
    Change, FilePool, FileState, Operation, Options, Origin as From, ServerState, Table,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// Longer than any slow machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A table and its checks.
pub(crate) struct Stage {
    table: Arc<Table>,
    pub(crate) suspects: Suspects,
    checks: Checks,
}

/// An HTTP server.
pub(crate) struct Origin {
    address: SocketAddr,
    live: Arc<Live>,
}

#[derive(Default)]
struct Live {
    /// 0: none at all.
    status: AtomicU16,
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Origin {
    /// One that answers 200, but 404 to `/404`.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let live = Arc::new(Live { status: AtomicU16::new(200), ..Live::default() });
        let mine = Arc::clone(&live);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&mine).treat(stream));
            }
        });
        Self { address, live }
    }

    pub(crate) async fn several<const N: usize>() -> [Self; N] {
        let mut origins = Vec::new();
        for _ in 0..N {
            origins.push(Self::start().await);
        }
        origins.try_into().unwrap_or_else(|_| unreachable!("there are N"))
    }

    pub(crate) fn answer(&self, status: u16) {
        self.live.status.store(status, SeqCst);
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.live.connections.load(SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.live.open.load(SeqCst)
    }

    pub(crate) fn most_open(&self) -> usize {
        self.live.most_open.load(SeqCst)
    }
}

impl Live {
    async fn treat(self: Arc<Self>, mut stream: TcpStream) {
        self.connections.fetch_add(1, SeqCst);
        let open = self.open.fetch_add(1, SeqCst) + 1;
        self.most_open.fetch_max(open, SeqCst);
        let mut request = vec![0; 1024];
        let length = stream.read(&mut request).await.unwrap_or(0);
        let status = match self.status.load(SeqCst) {
            0 => 0,
            _ if request[..length].starts_with(b"GET /404 ") => 404,
            status => status,
        };
        if status > 0 {
            // No longer open for the probe once it has read this.
            self.open.fetch_sub(1, SeqCst);
            let answer = format!("HTTP/1.1 {status} As told\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
        let _ = stream.read(&mut request).await;
        self.open.fetch_sub(1, SeqCst);
    }
}

impl Stage {
    pub(crate) fn open(pools: impl Into<Vec<Operation>>) -> Self {
        Self::open_with(64, pools)
    }

    /// With so many probes at once.
    pub(crate) fn open_with(at_once: usize, pools: impl Into<Vec<Operation>>) -> Self {
        let pools = pools.into().into_iter().map(|operation| match operation {
            Operation::Put { name, spec, resolved } => {
                FilePool { hash: name.to_string(), name, spec, resolved }
            }
            other => unreachable!("a file only defines pools, not {other:?}"),
        });
        let file = FileState { pools: pools.collect(), ..FileState::default() };
        let (table, _) =
            Table::open(Options { workers: 1, ..Options::default() }, file).expect("it opens");
        let (suspects, checks) =
            start(&table, Settings { at_once, events: Hub::new() }).expect("a thread");
        Self { table, suspects, checks }
    }

    pub(crate) async fn change(&self, operation: Operation) {
        let change = Change::new(vec![operation], From::Api, "a test");
        self.table.change(change).await.expect("it is applied");
    }

    pub(crate) fn state(&self, pool: &str, at: usize) -> Arc<ServerState> {
        let snapshot = self.table.snapshot();
        Arc::clone(&snapshot.pool(pool).expect("the pool").servers[at].state)
    }

    pub(crate) async fn until(&self, mut holds: impl FnMut() -> bool) {
        let waiting = async {
            while !holds() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("it comes to that");
    }

    /// Until so many further probes have come to that origin.
    pub(crate) async fn more(&self, origin: &Origin, count: usize) {
        let enough = origin.connections() + count;
        self.until(|| origin.connections() >= enough).await;
    }

    pub(crate) async fn finish(self) {
        let finished = tokio::task::spawn_blocking(|| self.checks.finish());
        finished.await.expect("it finishes");
    }
}

/// One that asks often.
pub(crate) fn check() -> CheckSpec {
    CheckSpec {
        kind: Some(CheckKind::Http),
        interval: Some(Span::from_millis(20)),
        timeout: Some(Span::from_secs(30)),
        ..CheckSpec::default()
    }
}

pub(crate) fn server(origin: &Origin) -> ServerSpec {
    ServerSpec::new(Address::parse(&origin.address.to_string()).expect("an address"))
}

pub(crate) fn pool(
    name: &str,
    servers: impl IntoIterator<Item = ServerSpec>,
    check: CheckSpec,
) -> Operation {
    let spec = UpstreamSpec {
        servers: Some(servers.into_iter().collect()),
        check: Some(check),
        ..UpstreamSpec::default()
    };
    Operation::Put { name: Name::new(name).expect("a name"), spec, resolved: Resolved::new() }
}

pub(crate) fn delete(name: &str) -> Operation {
    Operation::Delete { name: Name::new(name).expect("a name") }
}
