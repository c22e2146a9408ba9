//! The PROXY protocol, versions 1 and 2, as HAProxy specifies it (`doc/proxy-protocol.txt`): a
//! header in front of a connection that says whose connection it is. Whoever sends one is believed
//! whatever client it names, so the grammar is strict; the caller asks only those it trusts.

use std::net::SocketAddr;

mod header;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

pub use header::{Header, Version, write};

/// The longest header that is accepted, in bytes: of so many, [`parse`] never says that they are
/// incomplete.
pub const MAX: usize = 4096;

/// The two ends of a connection, as the first proxy on its way saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// What a header says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Its ends are those of the socket: the sender speaks for itself (LOCAL), or for somebody
    /// without an internet address that it knows of (UNKNOWN, UNSPEC, AF_UNIX).
    Local,
    Proxied(Addresses),
}

/// Why a connection that has to begin with a header is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    #[error("an address in the PROXY line is not one of its family")]
    Address,
    #[error("the command in the PROXY header is unassigned")]
    Command,
    #[error("the address family or transport in the PROXY header is unassigned")]
    Family,
    #[error("the PROXY line is not two addresses and two ports behind single spaces")]
    Fields,
    #[error("the PROXY line does not end in CRLF")]
    LineEnd,
    #[error("the PROXY line is longer than 107 bytes")]
    LineTooLong,
    #[error("the connection does not begin with a PROXY header")]
    NotProxy,
    #[error("a port in the PROXY line is not a plain decimal number up to 65535")]
    Port,
    #[error("the protocol in the PROXY line is none of TCP4, TCP6 and UNKNOWN")]
    Protocol,
    #[error("the PROXY header is longer than 4096 bytes")]
    TooLong,
    #[error("the PROXY header is too short for the addresses of its family")]
    TooShort,
    #[error("the version of the PROXY header is not 2")]
    Version,
}

/// Reads a header from the front of `bytes`: what it says, and how many bytes it took. `None`:
/// incomplete.
///
/// An IPv4-mapped IPv6 address comes out as the IPv4 address it stands for, so that a rule about
/// IPv4 clients meets all of them. What follows the addresses in version 2 is skipped, a checksum
/// too: on TCP it would find nothing that TCP does not.
///
/// # Errors
/// As early as the bytes can be no header that is accepted, which may be at the first.
pub fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, BadProxy> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => v1::parse(bytes),
        Some(b'\r') => v2::parse(bytes),
        Some(_) => Err(BadProxy::NotProxy),
    }
}

impl Source {
    fn proxied(client: SocketAddr, server: SocketAddr) -> Self {
        Self::Proxied(Addresses { client: canonical(client), server: canonical(server) })
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
