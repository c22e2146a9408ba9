//! What a listener speaks, which of its keys each protocol has a use for, and what those that only
//! some of them have come to. A key without a use is refused: somebody expects something from it.

use tidegate_model::{HostPattern, Name, Span};

use super::sni::{self, RuleDraft};
use crate::{
    node::{Words, positive, within},
    place::Placed,
    reader::Reader,
};

/// What a listener does with what comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Requests go where the routes say.
    Http {
        /// Whether trusted proxies begin a connection with a PROXY header.
        accept_proxy: bool,
    },
    Tcp(Tcp),
    Udp(Udp),
}

/// A connection's bytes go to one pool, or to that of the name in its TLS ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Whether trusted proxies begin a connection with a PROXY header.
    pub accept_proxy: bool,
    /// Where connections go that no rule is for; always there when there are no rules.
    pub upstream: Option<Name>,
    /// The most specific first, so that the first that matches is nginx's choice.
    pub sni: Vec<SniRule>,
}

/// One `[[listener.sni]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SniRule {
    pub pattern: HostPattern,
    pub upstream: Name,
}

/// A client's datagrams go to one server of the pool, for as long as its session lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    pub upstream: Name,
    /// A session ends after so long without a datagram either way.
    pub idle_timeout: Span,
    /// At once; at least 1.
    pub max_sessions: u32,
    /// A session ends after so many answers; 0: by time alone.
    pub responses: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Tcp,
    Udp,
}

/// The keys that only some protocols have a use for, of `[[listener]]`, of its time-outs and of
/// its TLS.
pub(super) const KEYS: [(&str, &[Kind]); 13] = [
    ("accept_proxy", &[Kind::Http, Kind::Tcp]),
    ("h2c", &[Kind::Http]),
    ("http2", &[Kind::Http]),
    ("limits", &[Kind::Http]),
    ("max_connections", &[Kind::Http, Kind::Tcp]),
    ("max_connections_per_client", &[Kind::Http, Kind::Tcp]),
    ("sni", &[Kind::Tcp]),
    ("tcp_keepalive", &[Kind::Http, Kind::Tcp]),
    ("tcp_user_timeout", &[Kind::Http, Kind::Tcp]),
    ("tls", &[Kind::Http, Kind::Tcp]),
    ("trusted_proxies", &[Kind::Http, Kind::Tcp]),
    ("udp", &[Kind::Udp]),
    ("upstream", &[Kind::Tcp, Kind::Udp]),
];
pub(super) const TLS: [(&str, &[Kind]); 1] = [("http2", &[Kind::Http])];
pub(super) const TIMEOUTS: [(&str, &[Kind]); 4] = [
    ("body", &[Kind::Http]),
    ("header", &[Kind::Http, Kind::Tcp]),
    ("keepalive", &[Kind::Http]),
    ("send", &[Kind::Http]),
];

/// What a file says with the keys that not every protocol has.
pub(super) struct Parts {
    pub(super) accept_proxy: bool,
    has_tls: bool,
    upstream: Option<Placed<Name>>,
    sni: Vec<RuleDraft>,
    sessions: Sessions,
}

/// `[listener.udp]`
struct Sessions {
    idle_timeout: Span,
    max_sessions: u32,
    responses: u32,
}

/// Refuses those of `keys` that mean nothing to that protocol. `None` is a word that is none: nobody
/// knows what that one would have a use for.
pub(super) fn refuse_idle(reader: &Reader<'_>, kind: Option<Kind>, keys: &[(&str, &[Kind])]) {
    let Some(kind) = kind else { return };
    for (key, _) in keys.iter().filter(|(key, uses)| reader.has(key) && !uses.contains(&kind)) {
        let message = format!("means nothing to a listener of protocol \"{}\"", kind.word());
        reader.report.error(reader.place_of(key), message);
    }
}

impl Parts {
    pub(super) fn read(reader: &mut Reader<'_>, kind: Option<Kind>) -> Self {
        // One that cannot be read was complained of: what goes with it is not wrong on top.
        let accept_proxy =
            reader.take("accept_proxy").unwrap_or_else(|| reader.has("accept_proxy"));
        let sni = sni::read(reader);
        let has_tls = reader.has("tls");
        if has_tls && reader.has("sni") && kind == Some(Kind::Tcp) {
            let message =
                "cannot be beside [listener.tls]: either TLS ends here or it is passed through";
            reader.report.error(reader.place_of("sni"), message);
        }
        let needs_pool = match kind {
            Some(Kind::Udp) => true,
            Some(Kind::Tcp) => sni.is_empty(),
            Some(Kind::Http) | None => false,
        };
        let upstream =
            if needs_pool { reader.require("upstream") } else { reader.take("upstream") };
        let sessions = reader.table("udp", Sessions::read);
        let sessions = sessions.map(|table| table.value).unwrap_or_default();
        Self { accept_proxy, has_tls, upstream, sni, sessions }
    }

    /// Whether a tcp listener waits for what a client says first.
    pub(super) fn waits_for_header(&self) -> bool {
        self.accept_proxy || self.has_tls || !self.sni.is_empty()
    }

    /// Every pool that is named.
    pub(super) fn pools(&self) -> Vec<Placed<Name>> {
        let of_rules = self.sni.iter().filter_map(|rule| rule.upstream.as_ref());
        self.upstream.iter().chain(of_rules).cloned().collect()
    }

    /// `None` when something that the protocol needs is missing or wrong.
    pub(super) fn protocol(self, kind: Option<Kind>) -> Option<Protocol> {
        let accept_proxy = self.accept_proxy;
        let upstream = self.upstream.map(|name| name.value);
        let protocol = match kind? {
            Kind::Http => Protocol::Http { accept_proxy },
            Kind::Tcp => Protocol::Tcp(Tcp {
                accept_proxy,
                upstream,
                sni: sni::most_specific_first(self.sni),
            }),
            Kind::Udp => {
                let Sessions { idle_timeout, max_sessions, responses } = self.sessions;
                Protocol::Udp(Udp { upstream: upstream?, idle_timeout, max_sessions, responses })
            }
        };
        Some(protocol)
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self { idle_timeout: Span::from_secs(30), max_sessions: 4096, responses: 0 }
    }
}

impl Sessions {
    fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        Self {
            idle_timeout: reader.take_if("idle_timeout", positive).unwrap_or(default.idle_timeout),
            max_sessions: reader
                .take_if("max_sessions", within(1..=u32::MAX))
                .unwrap_or(default.max_sessions),
            responses: reader.take("responses").unwrap_or(default.responses),
        }
    }
}

impl Kind {
    /// `http` when nothing is said, `None` when a wrong word is.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let said = reader.take("protocol");
        said.or_else(|| (!reader.has("protocol")).then_some(Self::Http))
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Words for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[
        (Self::Http.word(), Self::Http),
        (Self::Tcp.word(), Self::Tcp),
        (Self::Udp.word(), Self::Udp),
    ];
}
