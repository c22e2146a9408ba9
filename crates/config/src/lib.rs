//! The configuration file: TOML as typed, read and checked into what is meant. Every problem of
//! every file is found in one run, each with its file, line, column and key. Each section's module
//! reads its own keys and holds their defaults; `config/reference.toml` shows them all, and a test
//! compares the two.
#![forbid(unsafe_code)]

mod address;
mod admin;
mod cover;
mod document;
mod draft;
mod files;
mod hash;
mod include;
mod listener;
mod node;
mod otlp;
mod place;
mod process;
mod reader;
mod route;
mod unknown;
mod upstream;

use std::path::PathBuf;

use tidegate_model::{Address, Name, Route, ServerSpec, UpstreamSpec};

pub use address::ListenAddress;
pub use admin::{Admin, Dyups, History, Secret, Token};
pub use files::{load, parse};
pub use hash::upstream_hash;
pub use listener::{
    Certificate, ClientAuth, Http2, Limits, Listener, ListenerTimeouts, Mention, Protocol, SniRule,
    Tcp, Tls, TlsVersion, Udp,
};
pub use otlp::{Endpoint, Otlp};
pub use place::Problem;
pub use process::{AccessFormat, AccessLog, Log, LogFormat, LogPath, Metrics, Process, Workers};
pub use upstream::TlsFiles;

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// What works and yet is hardly meant, by file and position.
    pub warnings: Vec<Problem>,
    /// Files of certificates and keys that are named and were not read.
    pub mentions: Vec<Mention>,
    /// What the files say, as typed, in JSON; no secret is in it.
    pub document: String,
    /// The files that connections to servers need, which nobody has looked at yet: by pool.
    pub tls: Vec<TlsFiles>,
    /// Where `[otlp]` stands, with a message that is still to come.
    pub otlp: Option<Problem>,
}

/// What all files together mean. `Default` is a process without listeners.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub process: Process,
    pub admin: Admin,
    pub metrics: Metrics,
    pub log: Log,
    pub access_log: Option<AccessLog>,
    pub otlp: Option<Otlp>,
    pub listeners: Vec<Listener>,
    /// Tried in this order.
    pub routes: Vec<Route>,
    pub upstream_defaults: UpstreamSpec,
    /// In file order.
    pub upstreams: Vec<(Name, UpstreamSpec)>,
    /// Every file that was read, the main one first.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// Every request that comes to `listen` goes to one pool, `default`, of these servers.
    pub fn quick(servers: Vec<Address>, listen: ListenAddress) -> Self {
        let name = Name::new("default").expect("a short word is a name");
        let servers = servers.into_iter().map(ServerSpec::new).collect();
        let spec = UpstreamSpec { servers: Some(servers), ..UpstreamSpec::default() };
        Self {
            listeners: vec![Listener::new(listen)],
            routes: vec![route::catch_all()],
            upstreams: vec![(name, spec)],
            ..Self::default()
        }
    }
}
