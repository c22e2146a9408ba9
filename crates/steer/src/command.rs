//! The commands: what can be typed, and who does it.

mod asking;
mod drain;
mod events;
mod explain;
mod follow;
mod history;
mod server;
mod tunnels;
mod upstream;

use clap::{ArgMatches, Args as _, FromArgMatches, Subcommand};

pub(crate) use follow::bar;

use crate::{Failure, Options, Screen, client::Client, top};

/// A steering command, with how to find the proxy.
#[derive(Clone, Debug)]
pub struct Steering {
    pub options: Options,
    pub command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List, show, set or delete pools
    #[command(subcommand, display_order = 10)]
    Upstream(upstream::Upstream),
    /// Add, change, remove or drain servers of a pool
    #[command(subcommand, display_order = 11)]
    Server(server::Server),
    /// Look at running drains, and change their pace
    #[command(subcommand, display_order = 12)]
    Drain(drain::Drain),
    /// List the changes so far, the newest first
    #[command(display_order = 13)]
    History(history::History),
    /// Show what differs between two generations
    #[command(display_order = 14)]
    Diff(history::Diff),
    /// Go back to the pools of an earlier generation
    #[command(display_order = 15)]
    Restore(history::Restore),
    /// Re-read the configuration file of the running proxy
    #[command(display_order = 16)]
    Reload,
    /// List open tunnels, or close one
    #[command(display_order = 20)]
    Tunnels(tunnels::Tunnels),
    /// Show the process at a glance
    #[command(display_order = 21)]
    Status,
    /// Watch pools, servers and drains on the whole screen
    #[command(display_order = 22)]
    Top(top::Top),
    /// Follow changes, health and drains as they happen
    #[command(display_order = 23)]
    Events(events::Events),
    /// Say what would become of a request, and why
    #[command(display_order = 24)]
    Explain(explain::Explain),
    /// Print the configuration that is in force
    #[command(display_order = 25)]
    Config,
}

/// What a command works with.
pub(crate) struct Session<'s, 'w> {
    pub(crate) client: Client,
    pub(crate) screen: &'s mut Screen<'w>,
    pub(crate) json: bool,
}

impl Command {
    pub(crate) async fn run(self, session: &mut Session<'_, '_>) -> Result<(), Failure> {
        match self {
            Self::Config => asking::config(session).await,
            Self::Diff(diff) => diff.run(session).await,
            Self::Drain(drain) => drain.run(session).await,
            Self::Events(events) => events.run(session).await,
            Self::Explain(explain) => explain.run(session).await,
            Self::History(history) => history.run(session).await,
            Self::Reload => asking::reload(session).await,
            Self::Restore(restore) => restore.run(session).await,
            Self::Server(server) => server.run(session).await,
            Self::Status => asking::status(session).await,
            Self::Top(top) => top.run(session).await,
            Self::Tunnels(tunnels) => tunnels.run(session).await,
            Self::Upstream(upstream) => upstream.run(session).await,
        }
    }
}

/// The options belong to each of these commands, and to none of the binary's own.
impl Subcommand for Steering {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        let ours = Command::augment_subcommands(clap::Command::new("steering"));
        let with_options = |each: &clap::Command| Options::augment_args(each.clone());
        command.subcommands(ours.get_subcommands().map(with_options))
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Command::has_subcommand(name)
    }
}

impl FromArgMatches for Steering {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = match matches.subcommand() {
            Some((_, matches)) => Options::from_arg_matches(matches)?,
            None => Options::default(),
        };
        Ok(Self { options, command: Command::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
