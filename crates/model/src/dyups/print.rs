//! What `/detail` and `/upstream/NAME` answer, byte for byte as Tengine does.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    net::SocketAddr,
};

use crate::{Address, Resolved, ServerSpec, address::Place};

/// How dyups shows an address: the first `ip:port` that it stands for, or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    Ip(SocketAddr),
    /// A unix socket, or a name that was never resolved.
    Text(Cow<'a, str>),
}

/// How dyups shows a server.
pub fn shown<'a>(address: &'a Address, resolved: &Resolved) -> Shown<'a> {
    let first = |name: &str| resolved.get(name).and_then(|ips| ips.first()).copied();
    match address.place() {
        Place::Ip(ip) => Shown::Ip(*ip),
        Place::Unix(_) => Shown::Text(address.as_str().into()),
        Place::Host(..) => {
            first(address.as_str()).map_or_else(|| Shown::Text(address.as_str().into()), Shown::Ip)
        }
    }
}

/// Appends a pool's block of `/detail`, its blank line included.
pub fn detail<'s>(
    out: &mut String,
    name: &str,
    servers: impl IntoIterator<Item = (Shown<'s>, &'s ServerSpec)>,
) {
    out.push_str(name);
    out.push('\n');
    for (address, server) in servers {
        let ServerSpec { weight, max_conns, max_fails, fail_timeout, backup, down, .. } = server;
        // dyups knows whole seconds; less than one is not none.
        let seconds = fail_timeout.as_millis().div_ceil(1_000);
        let (backup, down) = (u8::from(*backup), u8::from(*down));
        let _ = writeln!(
            out,
            "server {address} weight={weight} max_conns={max_conns} max_fails={max_fails} \
             fail_timeout={seconds} backup={backup} down={down}"
        );
    }
    out.push('\n');
}

/// Appends the lines of `/upstream/NAME`.
pub fn lines<'s>(out: &mut String, servers: impl IntoIterator<Item = Shown<'s>>) {
    for address in servers {
        let _ = writeln!(out, "server {address}");
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}
