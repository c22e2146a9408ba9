//! Who asks, and text from the network made fit for a log line or a header.

use std::{fmt, net::SocketAddr, sync::Arc};

use tidegate_net::Peer;

/// The longest text taken over into a header or a log line, in bytes.
const MAX_LINE: usize = 512;

/// The two ends of an admin connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) peer: Peer,
    /// The address the client connected to, when it is one.
    pub(crate) local: Option<SocketAddr>,
}

/// Who a request comes from, for the log and the journal.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) token: Option<Arc<str>>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.token {
            Some(token) => write!(f, "{} as {token}", self.peer),
            None => self.peer.fmt(f),
        }
    }
}

/// `text` as one line of visible ASCII: whatever else it holds becomes '?', and its end is cut off
/// when it is long.
pub(crate) fn one_line(text: &str) -> String {
    let visible = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(MAX_LINE).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_network_breaks_a_line() {
        assert_eq!(one_line("a\r\nX-Evil: 1\x1b[2Jé"), "a??X-Evil: 1?[2J?");
        assert_eq!(one_line(&"a".repeat(10_000)).len(), MAX_LINE);
    }

    #[test]
    fn a_caller_is_named_with_its_token() {
        let peer = Peer::Unix(Some(1000));
        assert_eq!(Caller { peer, token: None }.to_string(), "unix uid 1000");
        assert_eq!(Caller { peer, token: Some("ci".into()) }.to_string(), "unix uid 1000 as ci");
    }
}
