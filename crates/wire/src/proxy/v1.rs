//! Version 1 (§2.1): a line of text.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::{BadProxy, Source};

const PREFIX: &[u8] = b"PROXY ";
/// The longest line with its CRLF, in bytes.
pub(super) const MAX_LINE: usize = 107;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, BadProxy> {
    if !PREFIX.starts_with(&bytes[..bytes.len().min(PREFIX.len())]) {
        return Err(BadProxy::NotProxy);
    }
    let Some(end) = line_end(bytes)? else {
        return Ok(None);
    };
    let line = &bytes[PREFIX.len()..end];
    let space = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
    let (protocol, fields) = line.split_at(space);
    let source = match protocol {
        b"TCP4" => addresses::<Ipv4Addr>(fields)?,
        b"TCP6" => addresses::<Ipv6Addr>(fields)?,
        // The receiver must ignore the rest of the line.
        b"UNKNOWN" => Source::Local,
        _ => return Err(BadProxy::Protocol),
    };
    Ok(Some((source, end + 2)))
}

/// Where the CRLF is. Neither CR nor LF is allowed to be anywhere else.
fn line_end(bytes: &[u8]) -> Result<Option<usize>, BadProxy> {
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let end = line.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(line.len());
    match &line[end..] {
        [] | [b'\r'] if line.len() == MAX_LINE => Err(BadProxy::LineTooLong),
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some(end)),
        _ => Err(BadProxy::LineEnd),
    }
}

/// The source of `fields`, which are empty or start with a space.
///
/// The grammar has no IPv6 address with a dotted tail, but HAProxy writes them for IPv4-mapped
/// ones. There is one way to read them, so they are accepted.
fn addresses<A: FromStr + Into<IpAddr>>(fields: &[u8]) -> Result<Source, BadProxy> {
    let fields = str::from_utf8(fields).map_err(|_| BadProxy::Address)?;
    let mut fields = fields.split(' ').skip(1);
    let mut field = || fields.next().ok_or(BadProxy::Fields);
    let (client, server, client_port, server_port) = (field()?, field()?, field()?, field()?);
    if fields.next().is_some() {
        return Err(BadProxy::Fields);
    }
    let ip = |text: &str| text.parse::<A>().map(A::into).map_err(|_| BadProxy::Address);
    let (client, server) = (ip(client)?, ip(server)?);
    Ok(Source::proxied(
        SocketAddr::new(client, port(client_port)?),
        SocketAddr::new(server, port(server_port)?),
    ))
}

/// `u16::from_str` would take a sign and leading zeros.
fn port(text: &str) -> Result<u16, BadProxy> {
    match text.as_bytes() {
        [b'0'] => Ok(0),
        [b'1'..=b'9', ..] => text.parse().map_err(|_| BadProxy::Port),
        _ => Err(BadProxy::Port),
    }
}
