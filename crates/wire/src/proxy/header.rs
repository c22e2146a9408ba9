//! Headers of our own, for servers that want to know whose connection they are given.

use std::{
    fmt::{self, Write},
    net::{IpAddr, SocketAddr},
};

use super::{Addresses, canonical, v1::MAX_LINE, v2::SIGNATURE};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// One header, ready to be sent in front of everything else.
#[derive(Clone, Debug)]
pub struct Header {
    bytes: [u8; MAX_LINE],
    length: usize,
}

/// Writes the header of a TCP connection. Without addresses, the connection is our own: LOCAL, or
/// UNKNOWN in version 1, which the specification warns that some servers refuse.
///
/// IPv4-mapped IPv6 addresses are written as IPv4. Both addresses have to be of one family: when
/// they are not, because a proxy in front of us has changed it, the IPv4 one is written as
/// IPv4-mapped IPv6.
pub fn write(version: Version, addresses: Option<&Addresses>) -> Header {
    let mut header = Header { bytes: [0; MAX_LINE], length: 0 };
    let addresses = addresses.map(of_one_family);
    match version {
        Version::V1 => header.line(addresses).expect("the longest line fits"),
        Version::V2 => header.block(addresses),
    }
    header
}

impl Header {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn line(&mut self, addresses: Option<Addresses>) -> fmt::Result {
        let Some(Addresses { client, server }) = addresses else {
            return self.write_str("PROXY UNKNOWN\r\n");
        };
        let family = if client.is_ipv4() { 4 } else { 6 };
        let (client_ip, server_ip) = (Undotted(client.ip()), Undotted(server.ip()));
        let (client_port, server_port) = (client.port(), server.port());
        write!(self, "PROXY TCP{family} {client_ip} {server_ip} {client_port} {server_port}\r\n")
    }

    fn block(&mut self, addresses: Option<Addresses>) {
        self.push(SIGNATURE);
        let Some(Addresses { client, server }) = addresses else {
            return self.push(&[0x20, 0x00, 0, 0]);
        };
        self.push(if client.is_ipv4() { &[0x21, 0x11, 0, 12] } else { &[0x21, 0x21, 0, 36] });
        for ip in [client.ip(), server.ip()] {
            match ip {
                IpAddr::V4(ip) => self.push(&ip.octets()),
                IpAddr::V6(ip) => self.push(&ip.octets()),
            }
        }
        self.push(&client.port().to_be_bytes());
        self.push(&server.port().to_be_bytes());
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

impl Write for Header {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

fn of_one_family(addresses: &Addresses) -> Addresses {
    let (client, server) = (canonical(addresses.client), canonical(addresses.server));
    if client.is_ipv4() == server.is_ipv4() {
        return Addresses { client, server };
    }
    Addresses { client: ipv6(client), server: ipv6(server) }
}

fn ipv6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// An address by the grammar of version 1, in which IPv6 has no dotted tail.
struct Undotted(IpAddr);

impl fmt::Display for Undotted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
                let [.., high, low] = ip.segments();
                write!(formatter, "::ffff:{high:x}:{low:x}")
            }
            ip => write!(formatter, "{ip}"),
        }
    }
}
