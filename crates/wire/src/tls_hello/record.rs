//! The ClientHello out of the records it comes in (RFC 8446 §5.1). Nearly always that is one. One
//! that is cut into many is put together again: some clients cut theirs on purpose, and what is
//! routed by the name in it must not depend on that.

use std::borrow::Cow;

use super::{MAX_HELLO, NotTls};

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Type, version and length in front of the content of a record.
const RECORD_HEADER: usize = 5;
/// Type and length in front of a message.
const MESSAGE_HEADER: usize = 4;
/// The longest content of a record.
const MAX_CONTENT: usize = 1 << 14;

/// The message at the front of `bytes`, without its header. `None`: incomplete.
pub(super) fn client_hello(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, NotTls> {
    match bytes.first() {
        None | Some(&HANDSHAKE) => {}
        Some(0x80..) => return Err(NotTls::Ssl2),
        Some(_) => return Err(NotTls::ContentType),
    }
    // Nothing behind the bound is looked at, so that the verdict does not depend on how much has
    // arrived.
    let within = &bytes[..bytes.len().min(MAX_HELLO)];
    let mut rest = within;
    let mut message = Cow::Borrowed(&within[..0]);
    while let Some(content) = content(&mut rest)? {
        append(&mut message, content);
        let length = length(&message)?.filter(|length| *length <= message.len());
        if let Some(length) = length {
            return Ok(Some(part(message, length)));
        }
    }
    if within.len() == MAX_HELLO { Err(NotTls::TooLong) } else { Ok(None) }
}

/// Takes the content of one record, or the beginning of it, off the front of `bytes`. `None`: the
/// header is incomplete.
fn content<'b>(bytes: &mut &'b [u8]) -> Result<Option<&'b [u8]>, NotTls> {
    if bytes.first().is_some_and(|kind| *kind != HANDSHAKE) {
        return Err(NotTls::Interrupted);
    }
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Err(NotTls::RecordVersion);
    }
    let Some((&[.., high, low], rest)) = bytes.split_first_chunk::<RECORD_HEADER>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    match length {
        0 => return Err(NotTls::EmptyRecord),
        1..=MAX_CONTENT => {}
        _ => return Err(NotTls::RecordTooLong),
    }
    let (content, rest) = rest.split_at(rest.len().min(length));
    *bytes = rest;
    Ok(Some(content))
}

/// Only a message in several records is copied.
fn append<'b>(message: &mut Cow<'b, [u8]>, content: &'b [u8]) {
    if message.is_empty() {
        *message = Cow::Borrowed(content);
    } else {
        message.to_mut().extend_from_slice(content);
    }
}

/// How long the message at the front of `bytes` is with its header, if that is all there.
fn length(bytes: &[u8]) -> Result<Option<usize>, NotTls> {
    if bytes.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(NotTls::HandshakeType);
    }
    let Some(&[_, high, middle, low]) = bytes.first_chunk::<MESSAGE_HEADER>() else {
        return Ok(None);
    };
    let body = u32::from_be_bytes([0, high, middle, low]) as usize;
    if RECORD_HEADER + MESSAGE_HEADER + body > MAX_HELLO {
        return Err(NotTls::TooLong);
    }
    Ok(Some(MESSAGE_HEADER + body))
}

/// The body of a message that is so long with its header.
fn part(message: Cow<'_, [u8]>, length: usize) -> Cow<'_, [u8]> {
    match message {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[MESSAGE_HEADER..length]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(length);
            Cow::Owned(bytes.split_off(MESSAGE_HEADER))
        }
    }
}
