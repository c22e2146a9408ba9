//! Where to listen: an IP address with a port, or a unix socket. Names are refused: what a resolver
//! answers may change between two starts, and a proxy that listens elsewhere is a surprise.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::node::{FromToml, Node};

/// `sun_path` holds 108 bytes with its terminating zero.
const MAX_UNIX_PATH: usize = 107;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// Of a udp listener, too. Port 0: one that the system chooses.
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl ListenAddress {
    /// Reads `ipv4:port`, `[ipv6]:port` or `unix:PATH`; a relative PATH is relative to `dir`.
    ///
    /// # Errors
    /// When the text is none of these; the message says what was expected.
    pub fn parse(text: &str, dir: &Path) -> Result<Self, String> {
        let quoted = format!("\"{}\"", text.escape_debug());
        let Some(path) = text.strip_prefix("unix:") else {
            return text.parse().map(Self::Tcp).map_err(|_| {
                format!(
                    "{quoted} is no address such as 0.0.0.0:8080, [::]:8080 or unix:/run/a.sock"
                )
            });
        };
        let whole = dir.join(path);
        match path {
            "" => Err(format!("{quoted}: no path")),
            _ if path.chars().any(char::is_control) => {
                Err(format!("{quoted}: control character in the path"))
            }
            _ if whole.as_os_str().len() > MAX_UNIX_PATH => Err(format!(
                "{quoted}: the path of a unix socket is at most {MAX_UNIX_PATH} bytes long"
            )),
            _ => Ok(Self::Unix(whole)),
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether two sockets with this address get in each other's way.
    pub(crate) fn is_exclusive(&self) -> bool {
        !matches!(self, Self::Tcp(address) if address.port() == 0)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromToml for ListenAddress {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let dir = &node.source.dir;
        node.parsed("an address in quotes such as \"0.0.0.0:8080\"", |text| Self::parse(text, dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_read_and_printed() {
        for text in ["0.0.0.0:8080", "[::1]:0", "unix:/run/a.sock"] {
            let address = ListenAddress::parse(text, Path::new("/etc")).expect("an address");
            assert_eq!(address.to_string(), text);
        }
        let relative = ListenAddress::parse("unix:a.sock", Path::new("/etc")).expect("an address");
        assert_eq!(relative.to_string(), "unix:/etc/a.sock");
    }

    #[test]
    fn names_and_odd_ports_are_refused() {
        let long = format!("unix:/{}", "a".repeat(107));
        for text in
            ["", ":80", "localhost:80", "1.2.3.4", "1.2.3.4:65536", "::1:80", "unix:", &long]
        {
            assert!(ListenAddress::parse(text, Path::new("")).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn loopback_and_unix_are_local() {
        let local =
            |text| ListenAddress::parse(text, Path::new("")).expect("an address").is_local();
        assert!(local("127.0.0.9:1") && local("[::1]:1") && local("[::ffff:127.0.0.1]:1"));
        assert!(
            local("unix:/a") && !local("0.0.0.0:1") && !local("[::]:1") && !local("10.0.0.1:1")
        );
    }
}
