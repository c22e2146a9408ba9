//! An admin side with a table of its own on a free port, and a client that sends raw bytes: dyups'
//! own harness speaks HTTP/1.0 with bare line feeds, and no library does.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tidegate_admin::{
    Admin, AdminListener, AuditLog, Facts, ListenerTotals, RefusedTotals, Settings, StatusSource,
    Totals, serve,
};
use tidegate_events::Hub;
use tidegate_model::{Name, Route, UpstreamSpec, dyups};
use tidegate_net::{ListenAddress, bind};
use tidegate_operate::Operate;
use tidegate_table::{FilePool, FileState, Options, Pool, Probed, Routes, Server, Table};
use tidegate_tunnel::Register;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

/// More than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Site {
    pub(crate) address: ListenAddress,
    pub(crate) admin: Arc<Admin>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// A process that is just there.
pub(crate) struct Idle {
    pub(crate) serving: bool,
}

impl Site {
    /// As [`Self::with`], with routes.
    pub(crate) fn routing(pools: &[(&str, &str)], routes: Vec<Route>) -> Self {
        Self::defaulting(pools, routes, UpstreamSpec::default())
    }

    /// As [`Self::routing`], with `[upstream_defaults]`.
    pub(crate) fn defaulting(
        pools: &[(&str, &str)],
        routes: Vec<Route>,
        defaults: UpstreamSpec,
    ) -> Self {
        let settings = Settings { dyups: true, ..Settings::default() };
        Self::serving(table(pools, routes, defaults), settings, &any_port(), true)
    }

    /// Serves these pools of the file, given as dyups bodies, with dyups on and nobody asked for a
    /// token.
    pub(crate) fn with(pools: &[(&str, &str)]) -> Self {
        Self::routing(pools, Vec::new())
    }

    pub(crate) fn start(
        pools: &[(&str, &str)],
        settings: Settings,
        address: &ListenAddress,
        is_serving: bool,
    ) -> Self {
        let table = table(pools, Vec::new(), UpstreamSpec::default());
        Self::serving(table, settings, address, is_serving)
    }

    fn serving(
        table: Arc<Table>,
        settings: Settings,
        address: &ListenAddress,
        is_serving: bool,
    ) -> Self {
        let options = tidegate_net::Options { private: true, ..Default::default() };
        let mut bound = bind(address, &options, 1).expect("a free address");
        let socket = bound.sockets.pop().expect("one was asked for");
        let listener = AdminListener::new(bound.address.clone(), socket).expect("a listener");
        let tunnels = Register::new(1);
        let operate = Operate::new(
            Arc::clone(&table),
            Arc::clone(&tunnels),
            Box::new(Idle { serving: true }),
        );
        let admin = Arc::new(Admin {
            table,
            operate,
            tunnels,
            settings: Arc::new(settings).into(),
            audit: AuditLog::default(),
            refused: RefusedTotals::default(),
            events: Hub::new(),
            status: Arc::new(Idle { serving: is_serving }),
            totals: Arc::new(Idle { serving: is_serving }),
        });
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(vec![listener], Arc::clone(&admin), stopped));
        Self { address: bound.address, admin, stop, serving }
    }

    /// A pool of the newest snapshot.
    pub(crate) fn pool(&self, name: &str) -> Arc<Pool> {
        Arc::clone(self.admin.table.snapshot().pool(name).expect("it is there"))
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        match &self.address {
            ListenAddress::Tcp(address) => TcpStream::connect(address).await.expect("it listens"),
            ListenAddress::Unix(_) => panic!("not a TCP site"),
        }
    }

    /// Sends bytes and reads until the other side closes.
    pub(crate) async fn send(&self, bytes: &[u8]) -> String {
        exchange(self.connect().await, bytes).await
    }

    /// As dyups' harness asks.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.send(format!("GET {path} HTTP/1.0\nHost: localhost\n\n").as_bytes()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> String {
        self.send(format!("DELETE {path} HTTP/1.0\nHost: localhost\n\n").as_bytes()).await
    }

    /// With the harness' line feed after the body.
    pub(crate) async fn post(&self, path: &str, body: &str) -> String {
        let head = format!("POST {path} HTTP/1.0\nHost: localhost\n");
        self.send(format!("{head}Content-Length: {}\n\n{body}\n", body.len()).as_bytes()).await
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        timeout(PATIENCE, self.serving).await.expect("it stops").expect("it does not panic");
    }
}

/// Sends bytes and reads until the other side closes; a reset is an error here.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
) -> String {
    let mut answer = Vec::new();
    let both = async {
        stream.write_all(bytes).await?;
        stream.read_to_end(&mut answer).await
    };
    timeout(PATIENCE, both).await.expect("it closes").expect("it closes without a reset");
    String::from_utf8(answer).expect("text")
}

pub(crate) fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

/// The value of a header, by its name in any case.
pub(crate) fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split_once("\r\n\r\n")?.0;
    let named = |line: &&str| line.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
    head.lines().find(named)?.split_once(": ").map(|(_, value)| value)
}

/// Tells a server of its check's probes, one after the other.
pub(crate) fn probe(pool: &Pool, server: &Server, probes: &[bool]) {
    let check = pool.upstream.check.as_ref().expect("the pool has a check");
    for ok in probes {
        let detail = if *ok { "200" } else { "connection refused" };
        let probed = Probed { at: SystemTime::UNIX_EPOCH, ok: *ok, detail: detail.into() };
        let epoch = server.state.health.epoch();
        server.state.probed(&server.spec, check, epoch, probed, false);
    }
}

pub(crate) fn any_port() -> ListenAddress {
    ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn table(pools: &[(&str, &str)], routes: Vec<Route>, defaults: UpstreamSpec) -> Arc<Table> {
    let pool = |(name, body): &(&str, &str)| FilePool {
        name: Name::new(name).expect("a name"),
        spec: dyups::parse(body.as_bytes()).expect("a body"),
        resolved: tidegate_model::Resolved::new(),
        hash: (*body).into(),
    };
    let file = FileState {
        pools: pools.iter().map(pool).collect(),
        defaults,
        routes: Arc::new(Routes::new(routes)),
    };
    Table::open(Options { workers: 1, ..Options::default() }, file).expect("a table in memory").0
}

impl StatusSource for Idle {
    fn facts(&self) -> Facts {
        Facts {
            version: "1.2.3",
            started: SystemTime::UNIX_EPOCH,
            started_at: Instant::now(),
            workers: 1,
            state_dir: None,
            last_reload: None,
            tunnels_that_fit: 7,
        }
    }

    fn is_serving(&self) -> bool {
        self.serving
    }
}

impl tidegate_operate::Workers for Idle {
    fn wake(&self, _worker: usize, _timers: Vec<u32>) {}

    fn recheck(&self) {}
}

impl Totals for Idle {
    fn listeners(&self) -> Vec<ListenerTotals> {
        vec![ListenerTotals {
            name: "edge".into(),
            address: "127.0.0.1:8080".into(),
            protocol: "http",
            is_closed: false,
            connections_active: 3,
            connections_total: 5,
            refused: Vec::new(),
            tunnels: tidegate_worker::Tunnels::default(),
            tls: None,
            http2: tidegate_admin::Http2Totals { connections: 0, streams: 0, faulty: Vec::new() },
            datagrams: None,
        }]
    }

    fn access_log_dropped(&self) -> u64 {
        0
    }

    fn spans(&self) -> Option<tidegate_admin::SpanTotals> {
        Some(tidegate_admin::SpanTotals { exported: 7, dropped: 1 })
    }

    fn log_lines_dropped(&self) -> u64 {
        0
    }

    fn upstream_tls_file_failures(&self) -> u64 {
        0
    }

    fn panics(&self) -> u64 {
        0
    }

    fn local_errors(&self) -> Vec<(&'static str, u64)> {
        vec![("EMFILE", 2)]
    }

    fn worker_lag(&self) -> Vec<Duration> {
        vec![Duration::from_millis(1)]
    }

    fn failure_clock(&self) -> u64 {
        1_000
    }
}
