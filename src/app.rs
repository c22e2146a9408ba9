//! Start-up and the end: sockets are bound, state is recovered, workers and the control loop run.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use tidegate_admin::{Admin, AdminListener, AuditLog, Configuration};
use tidegate_config::{AccessFormat, Config, ListenAddress, Loaded, LogPath, Workers as Count};
use tidegate_discover::{Renewal, Resolver};
use tidegate_events::{Hub, ListenerTurn};
use tidegate_health::Checks;
use tidegate_model::Address;
use tidegate_net::{Bound, Options as SocketOptions, bind, raise_limit};
use tidegate_operate::Operate;
use tidegate_pool::{Budget, Securing};
use tidegate_table::{Bounds, Options, Table};
use tidegate_tunnel::Register;
use tidegate_worker::{AccessLog, Format, ReplayMemory, Room, Shared};
use tokio::sync::Notify;

use crate::{
    certificates::{self, ByListener},
    control::{Control, Signals},
    demo,
    facts::{PANICS, Process, Registry},
    file,
    listeners::{Listeners, Unbound},
    logging, secure, told,
    workers::{Order, Orders, Workers},
};

/// Probes in flight at once, however many descriptors there are.
const MAX_PROBES: usize = 1_024;

/// Reloads that wait for their turn; who asks for another one waits for room first.
const RELOADS: usize = 16;

/// New certificates that wait for control; more of them wait to be looked at.
const RENEWALS: usize = 16;

/// Idle connections to servers that left are closed at once, but the workers are not woken for that
/// more often than this: under many changes a second they have something better to do.
const CLOSE_GONE: Duration = Duration::from_millis(20);

/// Where the configuration comes from.
pub(crate) enum Origin {
    Demo { listen: SocketAddr, admin: SocketAddr },
    File(PathBuf),
    To { servers: Vec<Address>, listen: SocketAddr },
}

/// Runs until it is stopped.
///
/// # Errors
/// When it cannot start; the message says why and what to change.
pub(crate) fn run(origin: Origin) -> Result<ExitCode> {
    let mut secured = ByListener::new();
    let (config, configuration, path, guide) = match origin {
        Origin::File(path) => match secure::load(&path, &secured) {
            Ok((loaded, read)) => {
                secured = read;
                file::print_all(&loaded.warnings, "warning: ");
                let Loaded { config, document, .. } = loaded;
                let configuration = Configuration { files: config.files.clone(), document };
                (config, configuration, Some(path), None)
            }
            Err(problems) => {
                file::print_all(&problems, "");
                return Ok(ExitCode::from(crate::EX_USAGE_CONFIG));
            }
        },
        Origin::To { servers, listen } => {
            let config = Config::quick(servers, ListenAddress::Tcp(listen));
            (config, Configuration::default(), None, None)
        }
        Origin::Demo { listen, admin } => {
            let (config, guide) = demo::config(listen, admin)?;
            (config, Configuration::default(), None, Some(guide))
        }
    };
    let log = logging::start(&config.log)?;
    count_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let app = start(config, configuration, path, &secured).await?;
        if let Some(guide) = guide {
            guide.print(&app.addresses.0, &app.addresses.1);
        }
        Ok(app.run().await)
    });
    // What a look-up or a page was doing on another thread is of no interest any more.
    runtime.shutdown_background();
    log.finish();
    ended
}

/// A panic ends what it happened in, a connection as a rule; it must not end unseen.
fn count_panics() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Relaxed);
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(%panic, %backtrace, "a panic: this is a bug, please report it");
    }));
}

/// Everything that runs.
struct App {
    control: Control,
    signals: Signals,
    workers: Workers,
    checks: Checks,
    /// The threads of log files.
    logs: Vec<JoinHandle<()>>,
    admin: tokio::task::JoinHandle<()>,
    stop_admin: tokio::sync::watch::Sender<bool>,
    /// Of the first listener and the first admin listener.
    addresses: (String, String),
}

async fn start(
    config: Config,
    configuration: Configuration,
    path: Option<PathBuf>,
    secured: &ByListener,
) -> Result<App> {
    let signals = Signals::catch()?;
    let descriptors = raise_limit();
    let count = match config.process.workers {
        Count::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        Count::Count(count) => count,
    };
    // Bound before anything else: a taken port is the most common reason not to start.
    let admin_sockets = bind_admin(&config)?;
    let metrics_sockets = bind_private(&config.metrics.listen, "metrics.listen")?;
    let registry = Arc::new(Registry::default());
    let mut listeners = Listeners::new(&registry, count);
    let arrangement =
        listeners.arrange(&config.listeners, secured).map_err(|Unbound { listener, error }| {
            let what =
                format!("listener \"{listener}\" (--listen, or address in its [[listener]])");
            anyhow::Error::new(error).context(what)
        })?;
    let resolver = Arc::new(Resolver::new());
    let securing = Securing::new(secure::base(path.as_deref()));
    let table = open_table(&config, &resolver, count, &securing).await?;
    tokio::spawn(secure::watch(Arc::clone(&securing)));
    secure::forget_left(&table, &securing);
    let (access, access_thread) = open_access_log(&config)?;
    let (audit, audit_thread) = open_audit_log(&config)?;
    let events = Hub::new();
    told::changes(&table, &events);
    let at_once = usize::try_from(descriptors.limit / 16).unwrap_or(usize::MAX);
    let at_once = at_once.clamp(1, MAX_PROBES);
    let settings = tidegate_health::Settings { at_once, events: Arc::clone(&events) };
    let (suspects, checks) =
        tidegate_health::start(&table, settings).context("cannot start the health checks")?;
    let tunnels = Register::new(count);
    let shared = Arc::new(Shared {
        table: Arc::clone(&table),
        workers: count,
        budget: Budget::new(
            usize::try_from(config.process.max_idle_upstream).unwrap_or(usize::MAX),
        ),
        room: Room::of(descriptors.limit),
        totals: tidegate_metrics::PerWorker::new(count),
        access,
        replay: ReplayMemory::new(
            usize::try_from(config.process.replay_memory.bytes()).unwrap_or(usize::MAX),
        ),
        suspects,
        tunnels: Arc::clone(&tunnels),
    });
    tokio::spawn(Renewal::new(Arc::clone(&table), Arc::clone(&resolver)).run());
    let (asking, reloads) = tokio::sync::mpsc::channel(RELOADS);
    let process = Process {
        started: (SystemTime::now(), Instant::now()),
        workers: count,
        state_dir: config.process.state_dir.clone(),
        descriptors,
        shared: Arc::clone(&shared),
        listeners: registry,
        serving: AtomicBool::new(true),
        last_reload: Mutex::new(None),
        configuration: Mutex::new(Arc::new(configuration)),
        reloads: asking,
    };
    let process = Arc::new(process);
    let workers = Workers::start(count, &shared)?;
    listeners.become_so(arrangement, workers.orders()).await;
    process.listeners.with(|all| told::listeners(&events, &*all, ListenerTurn::Opened));
    let addresses = listeners.addresses();
    close_gone(&table, workers.orders().clone());
    let orders = Box::new(workers.orders().clone());
    let operate = Operate::new(Arc::clone(&table), Arc::clone(&tunnels), orders);
    tokio::spawn(Arc::clone(&operate).run());
    let (renewing, renewals) = tokio::sync::mpsc::channel(RENEWALS);
    tokio::spawn(certificates::watch(Arc::clone(&process.listeners), renewing));
    let (stop_admin, stopped) = tokio::sync::watch::channel(false);
    announce(&addresses, &admin_sockets, &metrics_sockets);
    let first_admin = admin_sockets.first().map(|bound| bound.address.to_string());
    let first = addresses.into_iter().next().map(|(_, address)| address);
    tracing::info!(
        workers = count,
        descriptors = descriptors.limit,
        tunnels = descriptors.tunnels(),
        "ready: so many descriptors may be open, and so many tunnels fit"
    );
    let settings = Arc::new(file::admin_settings(&config.admin)).into();
    let admin = Arc::new(Admin {
        table: Arc::clone(&table),
        operate: Arc::clone(&operate),
        tunnels: Arc::clone(&process.shared.tunnels),
        events: Arc::clone(&events),
        settings,
        audit,
        status: Arc::clone(&process) as _,
        totals: Arc::clone(&process) as _,
    });
    let serving = serve_admin(Arc::clone(&admin), admin_sockets, metrics_sockets, stopped)?;
    let orders = workers.orders().clone();
    let control = Control {
        config,
        path,
        table,
        process,
        orders,
        resolver,
        securing,
        operate,
        admin,
        events,
        listeners,
        reloads,
        renewals,
    };
    let addresses = (first.unwrap_or_default(), first_admin.unwrap_or_default());
    Ok(App {
        control,
        signals,
        workers,
        checks,
        logs: [access_thread, audit_thread].into_iter().flatten().collect(),
        admin: serving,
        stop_admin,
        addresses,
    })
}

/// Recovers what was changed before, and says what it found.
async fn open_table(
    config: &Config,
    resolver: &Resolver,
    workers: usize,
    securing: &Arc<Securing>,
) -> Result<Arc<Table>> {
    let state = file::state(config, resolver).await;
    let state_dir = config.process.state_dir.clone();
    let history = &config.admin.history;
    let history = Bounds {
        count: usize::try_from(history.count).unwrap_or(usize::MAX),
        age: history.age.as_duration(),
    };
    let secures = Some(Arc::clone(securing) as _);
    let options = Options { workers, state_dir, history, secures };
    let opened = tokio::task::spawn_blocking(move || Table::open(options, state)).await?;
    let (table, recovered) = opened?;
    if table.is_durable() {
        tracing::info!("{recovered}");
    } else {
        tracing::warn!(
            "changes are kept in memory only and are lost at the next start: set process.state_dir to keep them"
        );
    }
    Ok(table)
}

impl App {
    async fn run(self) -> ExitCode {
        let Self { mut control, signals, workers, checks, logs, admin, stop_admin, .. } = self;
        control.run(signals).await;
        // Its receivers end when it is set; one that is gone needs no telling.
        let _ = stop_admin.send(true);
        let _ = tokio::time::timeout(Duration::from_secs(1), admin).await;
        workers.finish();
        checks.finish();
        control.admin.audit.finish().await;
        drop(control);
        for thread in logs {
            // That of the access log ends once the last worker has dropped its end of the queue.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        tracing::info!("stopped");
        ExitCode::SUCCESS
    }
}

/// Has the workers close idle connections to servers that leave.
fn close_gone(table: &Table, orders: Orders) {
    let left = Arc::new(Notify::new());
    let leaves = Arc::clone(&left);
    table.on_departure(move |_| leaves.notify_one());
    tokio::spawn(async move {
        loop {
            left.notified().await;
            orders.tell(|| Order::CloseGone);
            tokio::time::sleep(CLOSE_GONE).await;
        }
    });
}

fn bind_admin(config: &Config) -> Result<Vec<Bound>> {
    bind_private(&config.admin.listen, "the admin API (--admin, or admin.listen)")
}

fn bind_private(addresses: &[ListenAddress], what: &str) -> Result<Vec<Bound>> {
    let options = SocketOptions { private: true, ..SocketOptions::default() };
    let bound =
        |address| bind(&file::address(address), &options, 1).with_context(|| what.to_owned());
    addresses.iter().map(bound).collect()
}

fn open_access_log(config: &Config) -> Result<(Option<AccessLog>, Option<JoinHandle<()>>)> {
    let Some(log) = &config.access_log else {
        return Ok((None, None));
    };
    let format = match log.format {
        AccessFormat::Combined => Format::Combined,
        AccessFormat::Json => Format::Json,
    };
    let path = match &log.path {
        LogPath::File(path) => Some(path.clone()),
        LogPath::Stdout => None,
    };
    let opened = AccessLog::open(path.clone(), format);
    let (log, thread) = opened.with_context(|| format!("access_log.path: {path:?}"))?;
    Ok((Some(log), Some(thread)))
}

fn open_audit_log(config: &Config) -> Result<(AuditLog, Option<JoinHandle<()>>)> {
    let Some(path) = &config.admin.audit_log else {
        return Ok((AuditLog::default(), None));
    };
    let opened = AuditLog::open(path.clone());
    let (log, thread) = opened.with_context(|| format!("admin.audit_log: {path:?}"))?;
    Ok((log, Some(thread)))
}

/// One line for each address: scripts and tests learn the ports from them.
fn announce(listeners: &[(String, String)], admin: &[Bound], metrics: &[Bound]) {
    let own = |name: &str, bound: &Bound| (name.to_owned(), bound.address.to_string());
    let admin = admin.iter().map(|bound| own("admin", bound));
    let metrics = metrics.iter().map(|bound| own("metrics", bound));
    for (listener, address) in listeners.iter().cloned().chain(admin).chain(metrics) {
        tracing::info!(listener, address, "listening");
    }
}

fn serve_admin(
    admin: Arc<Admin>,
    sockets: Vec<Bound>,
    metrics: Vec<Bound>,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Result<tokio::task::JoinHandle<()>> {
    let listeners = |bound: Vec<Bound>| {
        let one = |bound: Bound| {
            bound
                .sockets
                .into_iter()
                .map(move |socket| AdminListener::new(bound.address.clone(), socket))
        };
        bound.into_iter().flat_map(one).collect::<std::io::Result<Vec<_>>>()
    };
    let (sockets, metrics) = (listeners(sockets)?, listeners(metrics)?);
    Ok(tokio::spawn(async move {
        let pages = tidegate_admin::serve_metrics(metrics, Arc::clone(&admin), stop.clone());
        tokio::join!(tidegate_admin::serve(sockets, admin, stop), pages);
    }))
}
