//! The binary: arguments, wiring, signals. Nothing here knows what a request is.

#![forbid(unsafe_code)]

mod app;
mod certificates;
mod cli;
mod control;
mod demo;
mod doors;
mod facts;
mod file;
mod listeners;
mod logging;
mod reload;
mod secure;
mod told;
mod traces;
mod workers;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use cli::{Asked, Command};

/// jemalloc gives memory back after a burst, and says how much it holds. As many arenas as
/// workers would do; the default of four a core keeps freed memory apart in too many places.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// BSD's sysexits, as interface scripts know them.
const EX_USAGE_CONFIG: u8 = 64;
const EX_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let done = match Asked::of_process() {
        Asked::Command(command) => match command {
            Command::Check { config } => return file::check(&config),
            Command::Run { config } => app::run(app::Origin::File(config)),
            Command::To { servers, listen } => app::run(app::Origin::To { servers, listen }),
            Command::Steer(asked) => return tidegate_steer::run(asked),
            Command::Completions { shell } => written(say(tidegate_steer::script(shell))),
            Command::Complete { words } => written(say(&cli::completed(words))),
            Command::Man { dir } => written(cli::manual(dir.as_deref())),
        },
        Asked::Demo { listen, admin } => app::run(app::Origin::Demo { listen, admin }),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

/// Whoever reads along may go away (`| head`); that is no failure.
fn written(done: io::Result<()>) -> anyhow::Result<ExitCode> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
