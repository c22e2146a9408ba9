//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use tidegate_model::Address;

/// A reverse proxy whose pools change while connections stay.
///
/// Without a command it runs the demo: two origins, a proxy and its admin API, all in this process.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Where the demo's proxy listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Where the demo's admin API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18882")]
    pub(crate) admin: SocketAddr,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy in the foreground
    ///
    /// SIGTERM and SIGINT stop it gracefully, a second one at once. SIGHUP reads the file again,
    /// SIGUSR1 opens the access log anew.
    Run {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Validate a configuration file and print every error in it
    ///
    /// Exits with 0 when it can be run, with 64 when not.
    Check {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Proxy to these servers without a configuration file
    To {
        /// Where to send requests: HOST:PORT or unix:PATH
        #[arg(required = true, value_name = "HOST:PORT", value_parser = Address::parse)]
        servers: Vec<Address>,
        /// Where to listen
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
    },
}
