//! `[[listener]]`: where requests, connections and datagrams come in, whom it believes, and how much
//! and how long it puts up with.

mod http2;
mod limits;
mod protocol;
mod sni;
mod tls;

use std::path::PathBuf;

use ipnet::IpNet;
use tidegate_model::{Name, Span};

use crate::{
    address::ListenAddress,
    node::within,
    place::{Place, Placed},
    reader::Reader,
};

use protocol::Parts;

pub use http2::Http2;
pub use limits::{Limits, ListenerTimeouts};
pub(crate) use protocol::Kind;
pub use protocol::{Protocol, SniRule, Tcp, Udp};
pub use tls::{Certificate, ClientAuth, Mention, Tls, TlsVersion};

/// The name becomes a label of metrics and a field of logs.
const MAX_NAME: usize = 255;

/// Linux: `TCP_KEEPIDLE` is at most 32,767 s.
const MAX_KEEPALIVE: Span = Span::from_secs(32_767);

/// Linux: `TCP_USER_TIMEOUT` is an `int` of milliseconds.
const MAX_USER_TIMEOUT: Span = Span::from_secs(24 * 86_400);

/// One `[[listener]]`. What its protocol has no use for is as in [`Listener::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address unless given; a udp listener's has `/udp` after it then.
    pub name: String,
    pub address: ListenAddress,
    pub protocol: Protocol,
    /// `None`: plain text.
    pub tls: Option<Tls>,
    /// Whether clients may speak HTTP/2 in plain text, by prior knowledge.
    pub h2c: bool,
    pub http2: Http2,
    /// Whose X-Forwarded-For, X-Request-Id and PROXY headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// 0: no limit.
    pub max_connections: u32,
    /// Of one client: of an address, or a network of 64 bits of IPv6; 0: no limit.
    pub max_connections_per_client: u32,
    /// Idle time before the first TCP keep-alive probe, in whole seconds; 0: off.
    pub tcp_keepalive: Span,
    /// How long sent bytes may stay unacknowledged; 0: the system's own limit.
    pub tcp_user_timeout: Span,
    pub limits: Limits,
    pub timeouts: ListenerTimeouts,
}

/// What a file says, with the places that checks across sections need.
pub(crate) struct ListenerDraft {
    /// As given, else after the address; `None` when there is neither.
    pub(crate) name: Option<Placed<String>>,
    /// `None` when it is missing or wrong; `listener` has a stand-in then.
    pub(crate) address: Option<Placed<ListenAddress>>,
    /// `None` when the word for it is none.
    pub(crate) kind: Option<Kind>,
    /// The pools it names.
    pub(crate) pools: Vec<Placed<Name>>,
    /// The files of its TLS.
    pub(crate) files: Vec<Placed<PathBuf>>,
    /// `None` when it lacks what its protocol needs.
    pub(crate) listener: Option<Listener>,
}

impl Listener {
    /// A listener for http with every default, named by its address.
    pub fn new(address: ListenAddress) -> Self {
        Self {
            name: address.to_string(),
            address,
            protocol: Protocol::Http { accept_proxy: false },
            tls: None,
            h2c: false,
            http2: Http2::default(),
            trusted_proxies: Vec::new(),
            max_connections: 0,
            max_connections_per_client: 0,
            tcp_keepalive: Span::from_secs(60),
            tcp_user_timeout: Span::from_secs(30),
            limits: Limits::default(),
            timeouts: ListenerTimeouts::default(),
        }
    }

    fn settings(self, reader: &mut Reader<'_>, kind: Option<Kind>, parts: &Parts) -> Self {
        let timeouts = reader.table("timeouts", |reader| {
            protocol::refuse_idle(reader, kind, &protocol::TIMEOUTS);
            if kind == Some(Kind::Tcp) && !parts.waits_for_header() && reader.has("header") {
                let message =
                    "a tcp listener waits for a header only with accept_proxy, [[listener.sni]] or [listener.tls]";
                reader.report.error(reader.place_of("header"), message);
            }
            ListenerTimeouts::read(reader)
        });
        Self {
            h2c: h2c(reader),
            http2: reader.table("http2", Http2::read).map_or(self.http2, |t| t.value),
            trusted_proxies: trusted_proxies(reader, kind, parts.accept_proxy),
            max_connections: reader.take("max_connections").unwrap_or(self.max_connections),
            max_connections_per_client: reader
                .take("max_connections_per_client")
                .unwrap_or(self.max_connections_per_client),
            tcp_keepalive: reader.take_if("tcp_keepalive", keepalive).unwrap_or(self.tcp_keepalive),
            tcp_user_timeout: reader
                .take_if("tcp_user_timeout", within(Span::default()..=MAX_USER_TIMEOUT))
                .unwrap_or(self.tcp_user_timeout),
            limits: reader.table("limits", Limits::read).map_or(self.limits, |t| t.value),
            timeouts: timeouts.map_or(self.timeouts, |table| table.value),
            ..self
        }
    }
}

impl ListenerDraft {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let given: Option<Placed<String>> = reader.take_if("name", is_name);
        let address: Option<Placed<ListenAddress>> = reader.require("address");
        let kind = Kind::read(reader);
        let parts = Parts::read(reader, kind);
        let (tls, files) = tls::read(reader, kind);
        if let Some(Placed { value: ListenAddress::Unix(_), place }) = &address {
            check_unix(reader, place, kind, &parts);
        }
        let name = given.or_else(|| {
            address.as_ref().map(|address| address.as_ref().map(|at| named_after(at, kind)))
        });
        let stand_in = || ListenAddress::Tcp(([0, 0, 0, 0], 0).into());
        let meant = address.as_ref().map_or_else(stand_in, |address| address.value.clone());
        let listener = Listener::new(meant).settings(reader, kind, &parts);
        protocol::refuse_idle(reader, kind, &protocol::KEYS);
        let pools = parts.pools();
        let listener = parts.protocol(kind).map(|protocol| Listener {
            name: name.as_ref().map_or_else(String::new, |name| name.value.clone()),
            protocol,
            tls,
            ..listener
        });
        Self { name, address, kind, pools, files, listener }
    }
}

/// What a unix socket cannot do.
fn check_unix(reader: &Reader<'_>, place: &Place, kind: Option<Kind>, parts: &Parts) {
    if kind == Some(Kind::Udp) {
        reader.report.error(place.clone(), "a udp listener cannot be a unix socket");
    } else if parts.accept_proxy {
        let message = "nobody would be believed: peers at a unix socket have no address";
        reader.report.error(reader.place_of("accept_proxy"), message);
    }
    if reader.has("max_connections_per_client") {
        let message = "means nothing to a unix socket: its peers have no address";
        reader.report.error(reader.place_of("max_connections_per_client"), message);
    }
}

/// Over TLS both sides say in the handshake what they speak.
fn h2c(reader: &mut Reader<'_>) -> bool {
    let h2c = reader.take("h2c").unwrap_or_default();
    if h2c && reader.has("tls") {
        let message = "is for plain text: with [listener.tls] it is tls.http2 that counts";
        reader.report.error(reader.place_of("h2c"), message);
    }
    h2c
}

/// A tcp and a udp listener may share an address, but not a name.
fn named_after(address: &ListenAddress, kind: Option<Kind>) -> String {
    match kind {
        Some(Kind::Udp) => format!("{address}/udp"),
        _ => address.to_string(),
    }
}

/// Whose word about the client counts. A PROXY header has to be somebody's, and is all that a tcp
/// listener could believe.
fn trusted_proxies(reader: &mut Reader<'_>, kind: Option<Kind>, accept_proxy: bool) -> Vec<IpNet> {
    let given = reader.has("trusted_proxies");
    let accepts = accept_proxy && kind != Some(Kind::Udp);
    if accepts && !given {
        let message = "needs trusted_proxies: without them nobody would be believed";
        reader.report.error(reader.place_of("accept_proxy"), message);
    }
    if kind == Some(Kind::Tcp) && !accept_proxy && given {
        let message = "means nothing to a listener of protocol \"tcp\" without accept_proxy";
        reader.report.error(reader.place_of("trusted_proxies"), message);
    }
    let somebody = |listed: &Vec<IpNet>| match accepts && listed.is_empty() {
        true => Err("with accept_proxy an empty list means that nobody would be believed".into()),
        false => Ok(()),
    };
    reader.take_if("trusted_proxies", somebody).unwrap_or_default()
}

fn is_name(name: &Placed<String>) -> Result<(), String> {
    let name = &name.value;
    if (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(format!("a name has 1 to {MAX_NAME} bytes and no control characters"))
    }
}

fn keepalive(idle: &Span) -> Result<(), String> {
    if idle.as_millis().is_multiple_of(1_000) && *idle <= MAX_KEEPALIVE {
        Ok(())
    } else {
        Err(format!("has to be whole seconds, at most {MAX_KEEPALIVE}; 0s is off"))
    }
}
