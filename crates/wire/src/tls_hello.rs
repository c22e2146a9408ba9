//! What a TLS client asks for, read from its first message. By the name (SNI, RFC 6066 §3) a tunnel
//! of TLS can be routed without a key. Nothing is decrypted and nothing is answered; whether
//! the rest of the message makes sense is for the server to say, who gets every byte of it.

mod hello;
mod name;
mod record;
#[cfg(test)]
mod tests;

/// The longest ClientHello that is read, in bytes on the wire with the headers of its records: of
/// so many, [`client_hello`] never says that they are incomplete. Those of browsers, with keys that
/// withstand quantum computers, are below 2 KiB.
pub const MAX_HELLO: usize = 16 * 1024;

/// What a ClientHello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// In lower case, without a dot at its end. `None`: the client named nothing, or something
    /// that no DNS host can be called, such as an address. With Encrypted ClientHello it is the
    /// name of whoever holds the key, and the only one to be seen from here.
    pub name: Option<String>,
    /// The number of the cipher suite that it likes best, of those that mean something (RFC 8701).
    pub suite: Option<u16>,
}

/// Why a connection does not begin with a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTls {
    #[error("the first byte is not that of a TLS handshake")]
    ContentType,
    #[error("a record without content")]
    EmptyRecord,
    #[error("the first message of the handshake is not a ClientHello")]
    HandshakeType,
    #[error("the version in the ClientHello is neither TLS nor SSL 3")]
    HelloVersion,
    #[error("the ClientHello is broken off by a record of another type")]
    Interrupted,
    #[error("a length in the ClientHello does not fit what it is the length of")]
    Length,
    #[error("a TLS record is longer than 16 KiB")]
    RecordTooLong,
    #[error("the version of a record is neither TLS nor SSL 3")]
    RecordVersion,
    #[error("the ClientHello asks for a server name twice")]
    Repeated,
    #[error("the server name in the ClientHello is not exactly one host name")]
    ServerName,
    #[error("the first byte is not that of a TLS handshake; it may be an SSL 2 hello")]
    Ssl2,
    #[error("the ClientHello takes more than 16 KiB")]
    TooLong,
}

/// Reads the ClientHello at the front of `bytes`, in however many records it comes. `None`:
/// incomplete.
///
/// # Errors
/// As early as the bytes cannot begin a ClientHello that is read, which may be at the first. What
/// is inside one is judged when it is complete.
pub fn client_hello(bytes: &[u8]) -> Result<Option<Hello>, NotTls> {
    let Some(body) = record::client_hello(bytes)? else {
        return Ok(None);
    };
    let said = hello::read(&body)?;
    let name = said.name.and_then(name::canonical);
    let (suites, _) = said.suites.as_chunks();
    let suite =
        suites.iter().find(|suite| !is_grease(**suite)).map(|suite| u16::from_be_bytes(*suite));
    Ok(Some(Hello { name, suite }))
}

/// Whether it is one of those that stand for nothing, so that nobody forgets to skip the unknown.
fn is_grease([first, second]: [u8; 2]) -> bool {
    first == second && first & 0x0f == 0x0a
}
