//! Version 2 (§2.2): a binary header that says how long it is.

use std::net::{IpAddr, SocketAddr};

use super::{BadProxy, MAX, Source};

pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What comes before the addresses: signature, command, family, and the length of the rest.
const FIXED: usize = SIGNATURE.len() + 4;

/// What the addresses of a header are.
#[derive(Clone, Copy)]
enum Family {
    /// Nothing that has to be there.
    Unspecified,
    Inet,
    Inet6,
    Unix,
}

impl Family {
    /// From the byte with family and transport. That a datagram was proxied changes nothing.
    fn of(byte: u8) -> Result<Self, BadProxy> {
        match (byte >> 4, byte & 0x0f) {
            (0..=3, 0) | (0, 1 | 2) => Ok(Self::Unspecified),
            (1, 1 | 2) => Ok(Self::Inet),
            (2, 1 | 2) => Ok(Self::Inet6),
            (3, 1 | 2) => Ok(Self::Unix),
            _ => Err(BadProxy::Family),
        }
    }

    /// How many bytes two addresses take with their ports.
    fn length(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::Inet => 12,
            Self::Inet6 => 36,
            Self::Unix => 216,
        }
    }

    /// The source in `block`, which is at least so long.
    fn source(self, block: &[u8]) -> Source {
        match self {
            Self::Unspecified | Self::Unix => Source::Local,
            Self::Inet => addresses::<4>(block),
            Self::Inet6 => addresses::<16>(block),
        }
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, BadProxy> {
    if !SIGNATURE.starts_with(&bytes[..bytes.len().min(SIGNATURE.len())]) {
        return Err(BadProxy::NotProxy);
    }
    let mut fields = bytes.iter().skip(SIGNATURE.len());
    let Some(is_local) = fields.next().map(|byte| is_local(*byte)).transpose()? else {
        return Ok(None);
    };
    // What a LOCAL header says beyond that is to be ignored.
    let family = |byte: &u8| if is_local { Ok(Family::Unspecified) } else { Family::of(*byte) };
    let Some(family) = fields.next().map(family).transpose()? else {
        return Ok(None);
    };
    let Some(end) = end(bytes, family)? else {
        return Ok(None);
    };
    Ok(bytes.get(FIXED..end).map(|block| (family.source(block), end)))
}

fn is_local(command: u8) -> Result<bool, BadProxy> {
    match (command >> 4, command & 0x0f) {
        (2, 0) => Ok(true),
        (2, 1) => Ok(false),
        (2, _) => Err(BadProxy::Command),
        _ => Err(BadProxy::Version),
    }
}

/// Where the header ends.
fn end(bytes: &[u8], family: Family) -> Result<Option<usize>, BadProxy> {
    let Some(&[high, low]) = bytes.get(FIXED - 2..FIXED) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    match FIXED + length {
        end if end > MAX => Err(BadProxy::TooLong),
        _ if length < family.length() => Err(BadProxy::TooShort),
        end => Ok(Some(end)),
    }
}

/// Two addresses of `N` bytes, then their ports.
fn addresses<const N: usize>(block: &[u8]) -> Source
where
    IpAddr: From<[u8; N]>,
{
    let address = |at: usize, port: usize| {
        SocketAddr::new(IpAddr::from(array::<N>(block, at)), u16::from_be_bytes(array(block, port)))
    };
    Source::proxied(address(0, 2 * N), address(N, 2 * N + 2))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
