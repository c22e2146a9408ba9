//! What is of use in the body of a ClientHello (RFC 8446 §4.1.2). Of the rest only the lengths are
//! looked at.

use super::NotTls;

const SERVER_NAME: [u8; 2] = [0, 0];
const HOST_NAME: u8 = 0;

/// What a client says.
pub(super) struct Said<'b> {
    /// The name that is asked for, as sent; `None`: none is.
    pub(super) name: Option<&'b [u8]>,
    /// The cipher suites that it offers, two bytes each, the one that it likes best first.
    pub(super) suites: &'b [u8],
}

/// Two names could be taken for one each by us and by the server, so they are refused.
pub(super) fn read(body: &[u8]) -> Result<Said<'_>, NotTls> {
    if body.first().is_some_and(|major| *major != 3) {
        return Err(NotTls::HelloVersion);
    }
    let (suites, mut extensions) = split(body).ok_or(NotTls::Length)?;
    let mut name = None;
    while !extensions.is_empty() {
        let (kind, data) = extension(&mut extensions).ok_or(NotTls::Length)?;
        if kind == SERVER_NAME {
            let first = name.replace(sole_name(data).ok_or(NotTls::ServerName)?);
            if first.is_some() {
                return Err(NotTls::Repeated);
            }
        }
    }
    Ok(Said { name, suites })
}

/// All cipher suites and all extensions. Before TLS 1.2 a hello may end without any of the latter.
fn split(mut body: &[u8]) -> Option<(&[u8], &[u8])> {
    let _version_and_random = body.split_off(..2 + 32)?;
    let _session = short(&mut body)?;
    let suites = long(&mut body)?;
    let _compressions = short(&mut body)?;
    let extensions = if body.is_empty() { body } else { all(long(&mut body)?, body)? };
    Some((suites, extensions))
}

/// Takes one extension off the front: its type and its data.
fn extension<'b>(bytes: &mut &'b [u8]) -> Option<([u8; 2], &'b [u8])> {
    let (kind, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some((*kind, long(bytes)?))
}

/// The name in the data of a server_name extension: a list, of which RFC 6066 allows one entry of
/// each type and defines one type.
fn sole_name(mut data: &[u8]) -> Option<&[u8]> {
    let mut names = all(long(&mut data)?, data)?;
    let kind = names.split_off_first()?;
    let name = all(long(&mut names)?, names)?;
    (*kind == HOST_NAME).then_some(name)
}

/// Takes what an 8-bit length announces off the front.
fn short<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = *bytes.split_off_first()?;
    bytes.split_off(..usize::from(length))
}

/// Takes what a 16-bit length announces off the front.
fn long<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    bytes.split_off(..usize::from(u16::from_be_bytes(*length)))
}

/// `taken`, if it was all there was.
fn all<'b>(taken: &'b [u8], rest: &[u8]) -> Option<&'b [u8]> {
    rest.is_empty().then_some(taken)
}
