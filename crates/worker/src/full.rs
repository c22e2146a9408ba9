//! Why a connection is turned away before it has said anything: there are enough of them.

/// Who has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Client,
    Listener,
}

impl Full {
    pub const ALL: [Self; 2] = [Self::Client, Self::Listener];

    /// For the metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Listener => "listener",
        }
    }

    /// For the log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Client => "its client has as many connections as it may have",
            Self::Listener => "the listener is full",
        }
    }
}
