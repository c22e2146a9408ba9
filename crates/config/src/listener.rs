//! `[[listener]]`: where requests come in, whom it believes, and how much and how long it puts up
//! with.

mod limits;

use ipnet::IpNet;
use tidegate_model::Span;

use crate::{
    address::ListenAddress,
    node::{Words, within},
    place::Placed,
    reader::Reader,
};

pub use limits::{Limits, ListenerTimeouts};

/// The name becomes a label of metrics and a field of logs.
const MAX_NAME: usize = 255;

/// Linux: `TCP_KEEPIDLE` is at most 32,767 s.
const MAX_KEEPALIVE: Span = Span::from_secs(32_767);

/// Linux: `TCP_USER_TIMEOUT` is an `int` of milliseconds.
const MAX_USER_TIMEOUT: Span = Span::from_secs(24 * 86_400);

/// One `[[listener]]`, for http.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address unless given.
    pub name: String,
    pub address: ListenAddress,
    /// Whose X-Forwarded-For and X-Request-Id are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// 0: no limit.
    pub max_connections: u32,
    /// Idle time before the first TCP keep-alive probe, in whole seconds; 0: off.
    pub tcp_keepalive: Span,
    /// How long sent bytes may stay unacknowledged; 0: the system's own limit.
    pub tcp_user_timeout: Span,
    pub limits: Limits,
    pub timeouts: ListenerTimeouts,
}

/// What a file says, with the places that checks across listeners need.
pub(crate) struct ListenerDraft {
    /// As given, else the address; `None` when there is neither.
    pub(crate) name: Option<Placed<String>>,
    /// `None` when it is missing or wrong; `listener` has a stand-in then.
    pub(crate) address: Option<Placed<ListenAddress>>,
    pub(crate) listener: Listener,
}

#[derive(Clone, Copy)]
enum Protocol {
    Http,
}

impl Listener {
    /// A listener with every default, named by its address.
    pub fn new(address: ListenAddress) -> Self {
        Self {
            name: address.to_string(),
            address,
            trusted_proxies: Vec::new(),
            max_connections: 0,
            tcp_keepalive: Span::from_secs(60),
            tcp_user_timeout: Span::from_secs(30),
            limits: Limits::default(),
            timeouts: ListenerTimeouts::default(),
        }
    }

    fn settings(self, reader: &mut Reader<'_>) -> Self {
        // The only protocol there is; the key lets a file say so.
        let _http: Option<Protocol> = reader.take("protocol");
        Self {
            trusted_proxies: reader.take("trusted_proxies").unwrap_or(self.trusted_proxies),
            max_connections: reader.take("max_connections").unwrap_or(self.max_connections),
            tcp_keepalive: reader.take_if("tcp_keepalive", keepalive).unwrap_or(self.tcp_keepalive),
            tcp_user_timeout: reader
                .take_if("tcp_user_timeout", within(Span::default()..=MAX_USER_TIMEOUT))
                .unwrap_or(self.tcp_user_timeout),
            limits: reader.table("limits", Limits::read).map_or(self.limits, |t| t.value),
            timeouts: reader
                .table("timeouts", ListenerTimeouts::read)
                .map_or(self.timeouts, |table| table.value),
            ..self
        }
    }
}

impl ListenerDraft {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let given: Option<Placed<String>> = reader.take_if("name", is_name);
        let address: Option<Placed<ListenAddress>> = reader.require("address");
        let name =
            given.or_else(|| address.as_ref().map(|at| at.as_ref().map(ToString::to_string)));
        let stand_in = || ListenAddress::Tcp(([0, 0, 0, 0], 0).into());
        let meant = address.as_ref().map_or_else(stand_in, |address| address.value.clone());
        let mut listener = Listener::new(meant).settings(reader);
        if let Some(name) = &name {
            listener.name.clone_from(&name.value);
        }
        Self { name, address, listener }
    }
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

impl Words for Protocol {
    const WORDS: &'static [(&'static str, Self)] = &[("http", Self::Http)];
    const LATER: &'static [&'static str] = &["tcp", "udp"];
}
