//! The command line. What steers a running proxy is described in `tidegate_steer`, beside what it
//! does.

mod pages;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{CommandFactory as _, Parser, Subcommand};
use tidegate_model::Address;
use tidegate_steer::{Shell, Steering};

pub(crate) use pages::manual;

/// A reverse proxy whose pools change while connections stay.
///
/// Without a command it runs the demo: two origins, a proxy and its admin API, all in this process.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, args_conflicts_with_subcommands = true, after_help = AFTER)]
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

const AFTER: &str = "\
Commands from upstream on ask a running proxy. They find it by --admin or TIDEGATE_ADMIN, an http
URL or unix:PATH, and are http://127.0.0.1:18882's otherwise. Exit codes: 0 done, 1 the proxy said
no, 2 wrong usage, 64 bad configuration, 69 the proxy cannot be reached.";

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, for a moment")]
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
    #[command(flatten)]
    Steer(Steering),
    /// Print a script that makes a shell complete commands, and names of pools and servers
    #[command(display_order = 30, after_help = COMPLETIONS)]
    Completions { shell: Shell },
    /// Print the manual page, or write those of all commands into a directory
    #[command(display_order = 31)]
    Man {
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// What the scripts of `completions` ask
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete {
        #[arg(last = true)]
        words: Vec<OsString>,
    },
}

const COMPLETIONS: &str = "\
bash: source <(tidegate completions bash)
zsh:  source <(tidegate completions zsh)
fish: tidegate completions fish | source";

/// What could stand in place of the last of these words.
pub(crate) fn completed(words: Vec<OsString>) -> String {
    tidegate_steer::candidates(Arguments::command(), words)
}
