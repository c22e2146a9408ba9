//! `[admin]`: where the admin API listens, and the token without which it listens to this machine
//! alone. The token is read with the configuration, so that a missing file is found by `check`.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use tidegate_model::HostPattern;

use crate::{
    address::ListenAddress,
    node::{FromToml, Node, Words},
    place::Placed,
    reader::Reader,
};

/// A token is a line; who points the key at something huge gets an error, not a full memory.
const MAX_TOKEN_FILE: u64 = 16 * 1024;

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Empty: no admin API.
    pub listen: Vec<ListenAddress>,
    /// The first line of `token_file`.
    pub token: Option<Token>,
    pub dyups: Dyups,
    /// Host names to answer to besides the addresses, in lower case.
    pub hosts: Vec<String>,
}

/// Which dialect of dyups the admin listeners speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dyups {
    Off,
    #[default]
    Tengine,
}

/// The bearer token of the admin API. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Admin {
    pub(crate) fn read(reader: &mut Reader<'_>, taken: &mut Vec<Placed<ListenAddress>>) -> Self {
        let default = Self::default();
        let listen: Option<Vec<Placed<ListenAddress>>> = reader.take("listen");
        let secret = reader.take("token_file").map(|TokenFile(token)| token);
        if !reader.has("token_file") {
            listen.iter().flatten().for_each(|address| refuse_open(reader, address));
        }
        let listen = listen.unwrap_or_else(|| {
            let place = reader.place_of("listen");
            let placed = |value| Placed { value, place: place.clone() };
            default.listen.into_iter().map(placed).collect()
        });
        taken.extend_from_slice(&listen);
        Self {
            listen: listen.into_iter().map(|address| address.value).collect(),
            token: secret,
            dyups: reader.take("dyups").unwrap_or_default(),
            hosts: reader
                .take::<Vec<HostName>>("hosts")
                .map(|hosts| hosts.into_iter().map(|HostName(name)| name).collect())
                .unwrap_or_default(),
        }
    }
}

fn refuse_open(reader: &Reader<'_>, address: &Placed<ListenAddress>) {
    if !address.value.is_local() {
        let message = format!("{} is not a loopback address: set token_file", address.value);
        reader.report.error(address.place.clone(), message);
    }
}

impl Default for Admin {
    fn default() -> Self {
        let listen = vec![ListenAddress::Tcp(([127, 0, 0, 1], 18882).into())];
        Self { listen, token: None, dyups: Dyups::default(), hosts: Vec::new() }
    }
}

impl Token {
    /// For comparison with what a request brought, in constant time.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The first line of the file.
    fn load(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = start_of(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        match text.lines().next().unwrap_or_default().trim() {
            "" => Err(format!("the first line of {shown} is empty")),
            line if line.bytes().all(|b| b.is_ascii_graphic()) => Ok(Self(line.into())),
            _ => Err(format!("the token in {shown} may only hold visible ASCII characters")),
        }
    }
}

fn start_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_TOKEN_FILE).read_to_string(&mut text)?;
    Ok(text)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

struct TokenFile(Token);

impl FromToml for TokenFile {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let path = PathBuf::from_toml(node)?;
        Token::load(&path).map_or_else(|reason| node.fail(reason), |token| Some(Self(token)))
    }
}

struct HostName(String);

impl FromToml for HostName {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let text = node.text("a host name in quotes")?;
        match HostPattern::parse(text) {
            Some(HostPattern::Exact(name)) => Some(Self(name)),
            _ => node.fail(format!("\"{}\" is no host name without a port", text.escape_debug())),
        }
    }
}

impl Words for Dyups {
    const WORDS: &'static [(&'static str, Self)] =
        &[("tengine", Self::Tengine), ("off", Self::Off)];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(bytes: &[u8]) -> Result<Token, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        std::fs::write(&path, bytes).expect("it is written");
        Token::load(&path)
    }

    #[test]
    fn a_token_is_the_first_line_and_stays_out_of_logs() {
        let token = load(b"s3cret\r\nmore\n").expect("a token");
        assert_eq!(token.reveal(), "s3cret");
        assert_eq!(format!("{token:?}"), "Token(hidden)");
    }

    #[test]
    fn what_no_header_can_carry_is_no_token() {
        for bytes in [&b""[..], b"\nsecond", b"  \n", b"a b", b"\xff", "é".as_bytes()] {
            assert!(load(bytes).is_err(), "{bytes:?} was read");
        }
        assert!(Token::load(Path::new("/nonexistent/token")).is_err());
    }
}
