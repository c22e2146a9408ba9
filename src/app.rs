//! Start-up and the end: sockets are bound, state is recovered, workers and the control loop run.

mod ground;
mod private;

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

use anyhow::Result;
use tidegate_admin::{Admin, Configuration, RefusedTotals};
use tidegate_config::{Config, ListenAddress, Loaded, Workers as Count};
use tidegate_events::ListenerTurn;
use tidegate_health::Checks;
use tidegate_model::Address;
use tidegate_net::raise_limit;
use tidegate_operate::Operate;
use tidegate_table::Table;
use tokio::sync::Notify;

use crate::{
    certificates::{self, ByListener},
    control::{Control, Signals},
    demo,
    facts::{PANICS, Process, Registry},
    file,
    listeners::{Arrangement, Listeners, Unbound},
    logging, secure, told, traces,
    workers::{Order, Orders, Workers},
};
use ground::Ground;
use private::Private;

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
    exporter: Option<traces::Exporter>,
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
    // Bound before anything else: a taken port is the most common reason not to start.
    let private = Private::bind(&config)?;
    let registry = Arc::new(Registry::default());
    let workers = worker_count(&config);
    let mut listeners = Listeners::new(&registry, workers);
    let arrangement = arrange(&listeners, &config, secured)?;
    let base = secure::base(path.as_deref());
    let ground = Ground::lay(&config, base, workers, descriptors).await?;
    let Ground { table, resolver, securing, events, shared, checks, audit, logs, exporter } =
        ground;
    let (asking, reloads) = tokio::sync::mpsc::channel(RELOADS);
    let process = Arc::new(Process {
        started: (SystemTime::now(), Instant::now()),
        workers,
        state_dir: config.process.state_dir.clone(),
        descriptors,
        shared: Arc::clone(&shared),
        securing: Arc::clone(&securing),
        listeners: registry,
        serving: AtomicBool::new(true),
        last_reload: Mutex::new(None),
        configuration: Mutex::new(Arc::new(configuration)),
        reloads: asking,
    });
    let workers = Workers::start(workers, &shared)?;
    listeners.become_so(arrangement, workers.orders()).await;
    process.listeners.with(|all| told::listeners(&events, &*all, ListenerTurn::Opened));
    close_gone(&table, workers.orders().clone());
    let orders = workers.orders().clone();
    let operate =
        Operate::new(Arc::clone(&table), Arc::clone(&shared.tunnels), Box::new(orders.clone()));
    tokio::spawn(Arc::clone(&operate).run());
    let (renewing, renewals) = tokio::sync::mpsc::channel(RENEWALS);
    tokio::spawn(certificates::watch(Arc::clone(&process.listeners), renewing));
    let addresses = listeners.addresses();
    private.announce(&addresses);
    ready(&process);
    let first_admin = private.first();
    let first = addresses.into_iter().next().map(|(_, address)| address);
    let admin = Arc::new(Admin {
        table: Arc::clone(&table),
        operate: Arc::clone(&operate),
        tunnels: Arc::clone(&shared.tunnels),
        events: Arc::clone(&events),
        settings: Arc::new(file::admin_settings(&config.admin)).into(),
        audit,
        refused: RefusedTotals::default(),
        status: Arc::clone(&process) as _,
        totals: Arc::clone(&process) as _,
    });
    let (stop_admin, stopped) = tokio::sync::watch::channel(false);
    let serving = private.serve(Arc::clone(&admin), stopped)?;
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
    let admin = serving;
    Ok(App { control, signals, workers, checks, logs, exporter, admin, stop_admin, addresses })
}

fn worker_count(config: &Config) -> usize {
    match config.process.workers {
        Count::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        Count::Count(count) => count,
    }
}

fn arrange(listeners: &Listeners, config: &Config, secured: &ByListener) -> Result<Arrangement> {
    listeners.arrange(&config.listeners, secured).map_err(|Unbound { listener, error }| {
        let what = format!("listener \"{listener}\" (--listen, or address in its [[listener]])");
        anyhow::Error::new(error).context(what)
    })
}

fn ready(process: &Process) {
    let descriptors = process.descriptors;
    tracing::info!(
        workers = process.workers,
        descriptors = descriptors.limit,
        tunnels = descriptors.tunnels(),
        "ready: so many descriptors may be open, and so many tunnels fit"
    );
}

impl App {
    async fn run(self) -> ExitCode {
        let Self { mut control, signals, workers, checks, admin, stop_admin, .. } = self;
        control.run(signals).await;
        // Its receivers end when it is set; one that is gone needs no telling.
        let _ = stop_admin.send(true);
        let _ = tokio::time::timeout(Duration::from_secs(1), admin).await;
        workers.finish();
        checks.finish();
        control.admin.audit.finish().await;
        drop(control);
        if let Some(exporter) = self.exporter {
            let _ = tokio::task::spawn_blocking(move || exporter.finish()).await;
        }
        for thread in self.logs {
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
