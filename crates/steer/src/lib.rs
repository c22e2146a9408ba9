//! The command line's other half: the commands that ask a running proxy over its admin API, and
//! `top`. What can be typed is described right beside what it does; the binary only adds its own
//! commands to [`Steering`].
//!
//! See `client` for how the proxy is reached, `screen` and `table` for how answers are shown,
//! `command` for the commands, `top` for the full screen.
#![forbid(unsafe_code)]

mod answers;
mod change;
mod client;
mod command;
mod completing;
mod failure;
mod hint;
mod options;
mod screen;
mod table;
mod text;
mod top;

use std::process::ExitCode;

pub use command::{Command, Steering};
pub use completing::{Shell, candidates, script};
pub use failure::Failure;
pub use options::{Colour, Environment, Options};
pub use screen::Screen;

use command::Session;

/// Does what was asked for, on this process's own terminal.
pub fn run(asked: Steering) -> ExitCode {
    let environment = Environment::of_process();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut screen = Screen::of_process(&asked.options, &environment, &mut out, &mut err);
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(steer(asked, &environment, &mut screen));
            // A name server that is silent keeps nobody.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::Unreachable(format!("nothing can be asked: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            screen.complain(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Does what was asked for.
///
/// # Errors
/// When the proxy says no or cannot be reached, or the arguments contradict each other.
pub async fn steer(
    asked: Steering,
    environment: &Environment,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let client = asked.options.client(environment)?;
    let mut session = Session { client, screen, json: asked.options.json };
    asked.command.run(&mut session).await
}
