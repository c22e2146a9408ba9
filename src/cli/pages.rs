//! Manual pages, made of what `--help` says.

use std::{fs, io, path::Path};

use clap::CommandFactory as _;

use super::Arguments;

/// The page of the whole on standard output, or those of all commands in a directory.
pub(crate) fn manual(directory: Option<&Path>) -> io::Result<()> {
    let command = Arguments::command();
    match directory {
        None => clap_mangen::Man::new(command).render(&mut io::stdout().lock()),
        Some(directory) => {
            fs::create_dir_all(directory)?;
            clap_mangen::generate_to(command, directory)
        }
    }
}
