//! The command line. What steers a running proxy is described in `tidegate_steer`, beside what it
//! does.

mod pages;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{
    CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind,
    parser::ValueSource,
};
use tidegate_model::Address;
use tidegate_steer::{Shell, Steering};

pub(crate) use pages::manual;

/// A reverse proxy whose pools change while connections stay.
///
/// Without a command it runs the demo: two origins, a proxy and its admin API, all in this process.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = AFTER)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where the demo's proxy listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Where the demo's admin API listens; before a command that asks a proxy, where that is
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18882")]
    admin: String,
}

/// What is to be done.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, for a moment")]
pub(crate) enum Asked {
    Command(Command),
    Demo { listen: SocketAddr, admin: SocketAddr },
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

impl Asked {
    /// As this process was called. Ends it when that cannot be understood.
    pub(crate) fn of_process() -> Self {
        Self::read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Arguments::command();
        let matches = command.try_get_matches_from_mut(words)?;
        let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let arguments = Arguments::from_arg_matches(&matches)?;
        arguments.settled(is_given).map_err(|error| error.format(&mut command))
    }
}

impl Arguments {
    /// Nothing is accepted before a command that is none of its business.
    fn settled(self, is_given: impl Fn(&str) -> bool) -> Result<Asked, clap::Error> {
        let Self { command, listen, admin } = self;
        let foreign = |option| {
            let message = format!("{option} cannot be used before this command");
            Err(clap::Error::raw(ErrorKind::ArgumentConflict, message))
        };
        match command {
            None => match admin.parse() {
                Ok(admin) => Ok(Asked::Demo { listen, admin }),
                Err(error) => {
                    let message = format!("invalid value '{admin}' for '--admin': {error}");
                    Err(clap::Error::raw(ErrorKind::ValueValidation, message))
                }
            },
            Some(_) if is_given("listen") => foreign("--listen"),
            Some(Command::Steer(mut steering)) if is_given("admin") => {
                steering.options.admin.get_or_insert(admin);
                Ok(Asked::Command(Command::Steer(steering)))
            }
            Some(_) if is_given("admin") => foreign("--admin"),
            Some(command) => Ok(Asked::Command(command)),
        }
    }
}

/// What could stand in place of the last of these words.
pub(crate) fn completed(words: Vec<OsString>) -> String {
    tidegate_steer::candidates(Arguments::command(), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Asked, clap::Error> {
        Asked::read(line.split(' ').map(OsString::from))
    }

    fn admin(line: &str) -> Option<String> {
        match read(line).expect("it is understood") {
            Asked::Command(Command::Steer(steering)) => steering.options.admin,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_proxy_may_be_named_before_the_command() {
        let url = "http://10.0.0.1:1";
        for line in [
            format!("tidegate --admin {url} status"),
            format!("tidegate status --admin {url}"),
            format!("tidegate --admin={url} upstream list"),
            format!("tidegate --admin unix:/a upstream --admin {url} list"),
            format!("tidegate upstream list --admin {url}"),
        ] {
            assert_eq!(admin(&line).as_deref(), Some(url), "{line}");
        }
        assert_eq!(admin("tidegate status"), None);
    }

    #[test]
    fn what_is_not_for_a_command_is_refused_before_it() {
        for line in [
            "tidegate --admin 127.0.0.1:1 run -c a.toml",
            "tidegate --listen 127.0.0.1:1 status",
            "tidegate --listen 127.0.0.1:1 check -c a.toml",
        ] {
            let error = read(line).expect_err("it is for the demo");
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{line}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn without_a_command_it_is_the_demo() {
        let Ok(Asked::Demo { listen, admin }) = read("tidegate --admin 127.0.0.1:1") else {
            panic!("it is the demo");
        };
        assert_eq!((listen.port(), admin.port()), (8080, 1));
        let error = read("tidegate --admin http://10.0.0.1:1").expect_err("no address");
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
    }
}
