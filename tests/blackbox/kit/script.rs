//! Servers in Python: somebody else's idea of a protocol, and real processes with real signals.

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{eventually, skip};

/// A script of `tests/python` that serves. Killed when dropped.
pub struct Script {
    child: Child,
    pub address: SocketAddr,
}

impl Script {
    /// Runs it and waits for the line with its port; `None`, told aloud, where it cannot run.
    /// `scripts/test` makes a Python that can, and names it in `TIDEGATE_PYTHON`.
    pub fn start(test: &str, name: &str, ip: IpAddr, arguments: &[&str]) -> Option<Self> {
        let python = std::env::var("TIDEGATE_PYTHON").unwrap_or_else(|_| "python3".into());
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name);
        let mut command = Command::new(&python);
        command.arg(path).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            skip(test, &format!("there is no {python}; run scripts/test"));
            return None;
        };
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if let Some(what) = line.strip_prefix("lacking ") {
            child.wait().unwrap();
            skip(test, &format!("{python} lacks {}; run scripts/test", what.trim()));
            return None;
        }
        let port = line.strip_prefix("port ").and_then(|port| port.trim().parse().ok());
        let port = port.unwrap_or_else(|| panic!("{name} said {line:?}"));
        Some(Self { child, address: SocketAddr::new(ip, port) })
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the script ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
