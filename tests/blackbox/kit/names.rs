//! Host names without a name server: the proxy runs in a mount namespace of its own, where
//! `/etc/hosts` is a file of the test's and nobody else is asked. Root is not needed where users may
//! have namespaces.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use super::process::binary;

/// Takes the two files, then what to run.
const ENTER: &str = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/nsswitch.conf \
                     && shift 2 && exec \"$@\"";
/// The file keeps this size, so that whoever reads it meets the old text or the new one.
const SIZE: usize = 4_096;

/// The names that a process knows.
#[derive(Clone)]
pub struct Names {
    hosts: PathBuf,
    switch: PathBuf,
}

impl Names {
    /// Just the names of this text, in the form of `/etc/hosts`; `None` where this may not be.
    pub fn of(text: &str, directory: &Path) -> Option<Self> {
        let names =
            Self { hosts: directory.join("hosts"), switch: directory.join("nsswitch.conf") };
        fs::write(&names.switch, "hosts: files\n").unwrap();
        fs::write(&names.hosts, "").unwrap();
        names.become_text(text);
        let tried = names.enter().arg("true").output();
        tried.is_ok_and(|output| output.status.success()).then_some(names)
    }

    /// From now on these, for whoever runs with them.
    pub fn become_text(&self, text: &str) {
        let padding = "\n".repeat(SIZE.checked_sub(text.len()).expect("a short text"));
        let mut file = File::options().write(true).open(&self.hosts).unwrap();
        file.write_all(format!("{text}{padding}").as_bytes()).unwrap();
    }

    /// The product, knowing them.
    pub fn binary(&self) -> Command {
        let (mut command, inner) = (self.enter(), binary());
        command.arg(inner.get_program());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", ENTER, "sh"]);
        command.arg(&self.hosts).arg(&self.switch);
        command
    }
}
