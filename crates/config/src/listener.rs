//! `[[listener]]`: where requests come in, whom it believes, and how much and how long it puts up
//! with.

use ipnet::IpNet;
use tidegate_model::{Size, Span};

use crate::{
    address::ListenAddress,
    node::{Words, positive, within},
    place::Placed,
    reader::Reader,
};

/// The name becomes a label of metrics and a field of logs.
const MAX_NAME: usize = 255;

/// Linux: `TCP_KEEPIDLE` is at most 32,767 s.
const MAX_KEEPALIVE: Span = Span::from_secs(32_767);

/// Linux: `TCP_USER_TIMEOUT` is an `int` of milliseconds.
const MAX_USER_TIMEOUT: Span = Span::from_secs(24 * 86_400);

const MIN_HEAD: Size = Size::from_bytes(1 << 10);
/// A connection's head is in memory until it is whole.
const MAX_HEAD: Size = Size::from_bytes(256 << 10);
const MAX_FIELDS: u16 = 1000;

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

/// `[listener.limits]`, of a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request target; beyond: 414.
    pub target: usize,
    /// Bytes of the whole head; beyond: 431.
    pub head: usize,
    /// Number of fields; beyond: 431.
    pub fields: usize,
}

/// `[listener.timeouts]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// For the whole head, from its first byte.
    pub header: Span,
    /// For the next request on an idle connection.
    pub keepalive: Span,
    /// Between two reads of a body.
    pub body: Span,
    /// Between two writes.
    pub send: Span,
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

impl Default for Limits {
    fn default() -> Self {
        Self { target: 8 << 10, head: 32 << 10, fields: 100 }
    }
}

impl Limits {
    fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let head = reader.take_if("head", within(MIN_HEAD..=MAX_HEAD));
        let head = head.map_or(default.head, bytes);
        // A small head has no room for the default target.
        let room = Size::from_bytes(1)..=Size::from_bytes(head as u64);
        let target = reader.take_if("target", within(room)).map_or(default.target, bytes);
        let fields = reader.take_if("fields", within(1..=MAX_FIELDS));
        let fields = fields.map_or(default.fields, usize::from);
        Self { target: target.min(head), head, fields }
    }
}

/// For sizes that were checked to be small.
fn bytes(size: Size) -> usize {
    usize::try_from(size.bytes()).unwrap_or(usize::MAX)
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            header: Span::from_secs(10),
            keepalive: Span::from_secs(75),
            body: Span::from_secs(60),
            send: Span::from_secs(60),
        }
    }
}

impl ListenerTimeouts {
    fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        Self {
            header: reader.take_if("header", positive).unwrap_or(default.header),
            keepalive: reader.take_if("keepalive", positive).unwrap_or(default.keepalive),
            body: reader.take_if("body", positive).unwrap_or(default.body),
            send: reader.take_if("send", positive).unwrap_or(default.send),
        }
    }
}

impl Words for Protocol {
    const WORDS: &'static [(&'static str, Self)] = &[("http", Self::Http)];
    const LATER: &'static [&'static str] = &["tcp", "udp"];
}
