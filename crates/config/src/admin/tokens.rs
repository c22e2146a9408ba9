//! The tokens of the admin API. They are read with the configuration, so that a missing file is found
//! by `check`, and again with every reload, so that a token can be exchanged without a restart.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use tidegate_model::{Access, Role};

use crate::{
    node::{FromToml, Node, Words},
    place::Placed,
    reader::Reader,
    route::{PoolPattern, some},
};

/// A token is a line; who points the key at something huge gets an error, not a full memory.
const MAX_FILE: u64 = 16 * 1024;
/// A name is a word in every line of the log.
const MAX_NAME: usize = 64;
/// The key of the one token that may everything, and what that is called.
const SINGLE: &str = "token_file";

/// One bearer token of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub name: String,
    pub secret: Secret,
    pub access: Access,
}

/// What a caller has to know. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// That of `token_file`, which may everything, and those of `tokens`; `None` when there is to be none.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Vec<Token>> {
    let of_file = |Placed { value: TokenFile(secret), place }| {
        let value = Token { name: SINGLE.into(), secret, access: Access::default() };
        Placed { value, place }
    };
    let mut tokens: Vec<Placed<Token>> = reader.take(SINGLE).map(of_file).into_iter().collect();
    let further = reader.tables("tokens", one);
    let is_wanted = reader.has(SINGLE) || !further.is_empty();
    for token in further.into_iter().flatten() {
        if let Some(first) = tokens.iter().find(|first| first.value.name == token.value.name) {
            reader.report.twice(&token, first);
        } else if let Some(first) = tokens.iter().find(|t| t.value.secret == token.value.secret) {
            let message = format!("the same secret as that of \"{}\"", first.value.name);
            reader.report.error(token.place.clone(), message);
        }
        tokens.push(token);
    }
    is_wanted.then(|| tokens.into_iter().map(|token| token.value).collect())
}

/// One of `tokens`; `None` after the reason went to the report.
fn one(reader: &mut Reader<'_>) -> Option<Placed<Token>> {
    let name: Option<Placed<String>> = reader.require_if("name", a_word);
    let file = reader.require("file");
    let role = reader.require("role");
    let upstreams = reader.take_if("upstreams", some);
    let (Placed { value: name, place }, TokenFile(secret)) = (name?, file?);
    let mut access = Access::of(role?);
    if let Some(patterns) = upstreams {
        let patterns = patterns.0.into_iter().map(|PoolPattern(text)| text);
        access = access.within(patterns.collect());
    }
    Some(Placed { value: Token { name, secret, access }, place })
}

fn a_word(name: &Placed<String>) -> Result<(), String> {
    let text = &name.value;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@');
    if text == SINGLE {
        Err(format!("\"{SINGLE}\" is what the token of that key is called"))
    } else if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(fits) {
        Err(format!("1 to {MAX_NAME} of a-z, A-Z, 0-9, '-', '_', '.' and '@'"))
    } else {
        Ok(())
    }
}

impl Secret {
    /// For comparison with what a request brought.
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
    File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

struct TokenFile(Secret);

impl FromToml for TokenFile {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let path = PathBuf::from_toml(node)?;
        Secret::load(&path).map_or_else(|reason| node.fail(reason), |secret| Some(Self(secret)))
    }
}

impl Words for Role {
    const WORDS: &'static [(&'static str, Self)] =
        &[("read", Self::Read), ("operate", Self::Operate), ("admin", Self::Admin)];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(bytes: &[u8]) -> Result<Secret, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        std::fs::write(&path, bytes).expect("it is written");
        Secret::load(&path)
    }

    #[test]
    fn a_token_is_the_first_line_and_stays_out_of_logs() {
        let secret = load(b"s3cret\r\nmore\n").expect("a token");
        assert_eq!(secret.reveal(), "s3cret");
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
    }

    #[test]
    fn what_no_header_can_carry_is_no_token() {
        for bytes in [&b""[..], b"\nsecond", b"  \n", b"a b", b"\xff", "é".as_bytes()] {
            assert!(load(bytes).is_err(), "{bytes:?} was read");
        }
        assert!(Secret::load(Path::new("/nonexistent/token")).is_err());
    }
}
