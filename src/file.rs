//! The configuration file: loading it, and turning it into what the parts understand.

use std::{path::Path, process::ExitCode, sync::Arc};

use tidegate_config::{
    Config, Dyups, ListenAddress, Listener, Loaded, Problem, Protocol, SniRule, Tcp, upstream_hash,
};
use tidegate_discover::{Resolver, Unresolved};
use tidegate_model::{Template, UpstreamSpec, template::Variable};
use tidegate_net::Options as SocketOptions;
use tidegate_stream::{Routing, UdpSettings};
use tidegate_table::{FilePool, FileState, Routes};
use tidegate_worker::{Http2, Limits, Settings, Timeouts};

use crate::{
    certificates::ByListener,
    doors::{Engine, Speaks},
    secure,
};

/// `tidegate check`.
pub(crate) fn check(path: &Path) -> ExitCode {
    match secure::load(path, &ByListener::new()) {
        Ok((Loaded { config, warnings, .. }, _)) => {
            print_all(&warnings, "warning: ");
            let (listeners, pools, routes) =
                (config.listeners.len(), config.upstreams.len(), config.routes.len());
            println!(
                "{}: ok ({listeners} listeners, {routes} routes, {pools} upstreams)",
                path.display()
            );
            ExitCode::SUCCESS
        }
        Err(problems) => {
            print_all(&problems, "");
            ExitCode::from(crate::EX_USAGE_CONFIG)
        }
    }
}

/// Every problem on a line of its own.
pub(crate) fn print_all(problems: &[Problem], prefix: &str) {
    for problem in problems {
        eprintln!("{prefix}{problem}");
    }
}

/// What the table wants to know of a configuration, with every host name looked up. One that is
/// not found keeps nobody from starting: it is asked for again.
pub(crate) async fn state(config: &Config, resolver: &Resolver) -> FileState {
    // All together: a name server that is silent costs the time of one look-up, not of each.
    let servers = config.upstreams.iter().flat_map(|(_, spec)| spec.servers.iter().flatten());
    let (found, unresolved) = resolver.resolve_some(servers).await;
    let mut pools = Vec::with_capacity(config.upstreams.len());
    for (name, spec) in &config.upstreams {
        let texts = || spec.servers.iter().flatten().map(|server| server.address.as_str());
        for Unresolved { name: host, reason } in &unresolved {
            if texts().any(|text| text == host) {
                tracing::error!(upstream = %name, host, reason, "host name not found: its servers take part once it is");
            }
        }
        let of_text = |text: &str| Some((text.to_owned(), found.get(text)?.clone()));
        let resolved = texts().filter_map(of_text).collect();
        let hash = upstream_hash(spec, name);
        pools.push(FilePool { name: name.clone(), spec: with_environment(spec), resolved, hash });
    }
    let mut routes = config.routes.clone();
    routes.iter_mut().for_each(|route| route.bind(environment));
    let routes = Arc::new(Routes::new(routes));
    FileState { pools, defaults: with_environment(&config.upstream_defaults), routes }
}

fn with_environment(spec: &UpstreamSpec) -> UpstreamSpec {
    let mut spec = spec.clone();
    spec.host_header.iter_mut().for_each(bind_environment);
    spec
}

/// `${env:NAME}` is what it is when the file is read.
fn bind_environment(template: &mut Template) {
    template.bind(environment);
}

fn environment(variable: &Variable) -> Option<String> {
    match variable {
        Variable::Env(name) => Some(std::env::var(name).unwrap_or_default()),
        _ => None,
    }
}

/// How a listener treats its clients.
pub(crate) fn settings(listener: &Listener) -> Settings {
    let timeouts = &listener.timeouts;
    Settings {
        limits: Limits {
            target: listener.limits.target,
            head: listener.limits.head,
            fields: listener.limits.fields,
        },
        timeouts: Timeouts {
            header: timeouts.header.as_duration(),
            keepalive: timeouts.keepalive.as_duration(),
            body: timeouts.body.as_duration(),
            send: timeouts.send.as_duration(),
        },
        trusted: listener.trusted_proxies.clone(),
        accept_proxy: match &listener.protocol {
            Protocol::Http { accept_proxy } => *accept_proxy,
            Protocol::Tcp(tcp) => tcp.accept_proxy,
            Protocol::Udp(_) => false,
        },
        max_connections: listener.max_connections,
        max_connections_per_client: listener.max_connections_per_client,
        h2c: listener.h2c,
        http2: Http2 {
            max_streams: listener.http2.max_concurrent_streams,
            max_resets: listener.http2.max_resets,
            window: listener.http2.window,
        },
        // Its certificates are read elsewhere.
        tls: None,
    }
}

/// Who may ask the admin side, and how.
pub(crate) fn admin_settings(admin: &tidegate_config::Admin) -> tidegate_admin::Settings {
    let token = |token: &tidegate_config::Token| {
        tidegate_admin::Token::new(&token.name, token.secret.reveal(), token.access.clone())
    };
    tidegate_admin::Settings {
        tokens: admin.tokens.iter().map(token).collect(),
        hosts: admin.hosts.clone(),
        dyups: admin.dyups == Dyups::Tengine,
    }
}

/// What serves a listener.
pub(crate) fn engine(listener: &Listener) -> Engine {
    match &listener.protocol {
        Protocol::Http { .. } => Engine::Connections(Speaks::Http),
        Protocol::Tcp(Tcp { upstream, sni, .. }) => {
            let rule = |rule: &SniRule| (rule.pattern.clone(), rule.upstream.clone());
            let rules = sni.iter().map(rule).collect();
            let routing = Routing { upstream: upstream.clone(), rules };
            Engine::Connections(Speaks::Tcp(Arc::new(routing)))
        }
        Protocol::Udp(udp) => Engine::Datagrams(UdpSettings {
            upstream: udp.upstream.clone(),
            idle_timeout: udp.idle_timeout.as_duration(),
            max_sessions: udp.max_sessions,
            responses: udp.responses,
        }),
    }
}

/// What its connections inherit from a listener's sockets.
pub(crate) fn socket_options(listener: &Listener) -> SocketOptions {
    SocketOptions {
        keepalive: listener.tcp_keepalive.as_duration(),
        user_timeout: listener.tcp_user_timeout.as_duration(),
        ..SocketOptions::default()
    }
}

pub(crate) fn address(address: &ListenAddress) -> tidegate_net::ListenAddress {
    match address {
        ListenAddress::Tcp(ip) => tidegate_net::ListenAddress::Tcp(*ip),
        ListenAddress::Unix(path) => tidegate_net::ListenAddress::Unix(path.clone()),
    }
}

/// The sections that differ and that a reload cannot change.
pub(crate) fn fixed_changes(running: &Config, new: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    let mut section = |name: &str, same: bool| {
        if !same {
            changes.push(format!("[{name}]"));
        }
    };
    section("process", running.process == new.process);
    section("metrics", running.metrics == new.metrics);
    section("log", running.log == new.log);
    section("access_log", running.access_log == new.access_log);
    section("otlp", running.otlp == new.otlp);
    let (old, now) = (&running.admin, &new.admin);
    for (key, same) in [
        ("admin.listen", old.listen == now.listen),
        ("admin.audit_log", old.audit_log == now.audit_log),
        ("admin.history", old.history == now.history),
    ] {
        if !same {
            changes.push(key.into());
        }
    }
    changes
}
