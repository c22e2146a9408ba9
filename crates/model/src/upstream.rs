//! One pool: as somebody defined it ([`UpstreamSpec`], every key optional) and as it is meant once
//! the defaults are filled in ([`Upstream`]). The specification is what the journal keeps and what
//! the admin API shows; its serde form is the shape of interface §2 and §3.2.

mod balance;
mod check;
mod eject;
mod next;
mod protocol;
mod server;
mod tls;
mod tunnel;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Span, Template,
    schema::{Ip, ServerOrAddress},
};

pub use balance::{Balance, HashKey, Sticky, WhenAllDown};
pub use check::{Check, CheckKind, CheckSpec, CheckStart, ExpectBody, MIN_INTERVAL, StatusPattern};
pub use eject::{Eject, EjectSpec};
pub use next::{Condition, Conditions, Next, NextSpec, Share};
pub use protocol::{Contradiction, Protocol};
pub use server::{ServerChange, ServerSpec};
pub use tls::{BadServerName, ServerName, Tls, TlsSpec};
pub use tunnel::{BadCloseCode, CloseCode, OnRemove, Tunnel, TunnelSpec};

/// A pool as defined: what is absent comes from `[upstream_defaults]`, then from the built-in values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<ServerOrAddress>>)]
    pub servers: Option<Vec<ServerSpec>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_timeout: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_requests: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_time: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_header: Option<Template>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_all_down: Option<WhenAllDown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<HashKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve_interval: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_proxy: Option<SendProxy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Ip>>)]
    pub source: Option<Vec<IpAddr>>,
    /// `None`: not even the table is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    #[serde(skip_serializing_if = "TimeoutsSpec::is_empty")]
    pub timeouts: TimeoutsSpec,
    #[serde(skip_serializing_if = "NextSpec::is_empty")]
    pub next: NextSpec,
    #[serde(skip_serializing_if = "EjectSpec::is_empty")]
    pub eject: EjectSpec,
    /// `None`: not even the table is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckSpec>,
    #[serde(skip_serializing_if = "TunnelSpec::is_empty")]
    pub tunnel: TunnelSpec,
}

/// `[upstream.NAME.timeouts]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Span>,
}

/// The PROXY protocol towards servers (HAProxy's `send-proxy`, nginx's `proxy_protocol on`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SendProxy {
    #[default]
    Off,
    V1,
    V2,
}

/// A pool as meant: nothing is optional any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    pub balance: Balance,
    pub servers: Vec<ServerSpec>,
    /// Idle connections kept per worker.
    pub keepalive: u32,
    pub keepalive_timeout: Span,
    /// Requests over one connection; 0: no limit.
    pub keepalive_requests: u64,
    pub keepalive_time: Span,
    pub host_header: Template,
    pub when_all_down: WhenAllDown,
    pub hash_key: HashKey,
    pub sticky: Option<Sticky>,
    /// How often host names are looked up again.
    pub resolve_interval: Span,
    pub next: Next,
    pub eject: Eject,
    pub check: Option<Arc<Check>>,
    pub connect_timeout: Span,
    pub send_timeout: Span,
    pub read_timeout: Span,
    pub tunnel: Tunnel,
    /// Whether servers are told, before the first byte, whom a connection is for.
    pub send_proxy: SendProxy,
    pub protocol: Protocol,
    /// Local addresses to connect from, in turn; empty: the system's choice.
    pub source: Vec<IpAddr>,
    /// `None`: servers are spoken to in the clear.
    pub tls: Option<Tls>,
}

/// What the host names of a pool were resolved to, by the text of the address.
pub type Resolved = BTreeMap<String, Vec<SocketAddr>>;

impl UpstreamSpec {
    /// The pool this definition means when `defaults` fill its gaps.
    pub fn resolve(&self, defaults: &Self) -> Upstream {
        macro_rules! pick {
            ($($key:ident).+, $built_in:expr) => {
                self.$($key).+.clone().or_else(|| defaults.$($key).+.clone()).unwrap_or_else(|| $built_in)
            };
        }
        let check = CheckSpec::resolve(self.check.as_ref(), defaults.check.as_ref());
        let checks_policy = |spec: &Self| {
            check.as_ref().and_then(|_| spec.check.as_ref()?.when_all_down).or(spec.when_all_down)
        };
        let host_header = pick!(
            host_header,
            Template::parse("${header:host}").expect("the built-in template is one")
        );
        Upstream {
            balance: pick!(balance, Balance::default()),
            servers: self.servers.clone().unwrap_or_default(),
            keepalive: pick!(keepalive, 64),
            // Below what servers use (Node: 5 s), so that a POST does not meet a dying connection.
            keepalive_timeout: pick!(keepalive_timeout, Span::from_secs(4)),
            keepalive_requests: pick!(keepalive_requests, 0),
            keepalive_time: pick!(keepalive_time, Span::from_secs(3_600)),
            when_all_down: checks_policy(self)
                .or_else(|| checks_policy(defaults))
                .unwrap_or_default(),
            hash_key: pick!(hash_key, HashKey::default()),
            sticky: self.sticky.clone().or_else(|| defaults.sticky.clone()),
            resolve_interval: pick!(resolve_interval, Span::from_secs(30)),
            next: self.next.resolve(&defaults.next),
            eject: self.eject.resolve(&defaults.eject),
            check: check.clone().map(Arc::new),
            connect_timeout: pick!(timeouts.connect, Span::from_secs(3)),
            send_timeout: pick!(timeouts.send, Span::from_secs(60)),
            read_timeout: pick!(timeouts.read, Span::from_secs(60)),
            tunnel: self.tunnel.resolve(&defaults.tunnel),
            send_proxy: pick!(send_proxy, SendProxy::default()),
            protocol: pick!(protocol, Protocol::default()),
            source: pick!(source, Vec::new()),
            tls: TlsSpec::resolve(self.tls.as_ref(), defaults.tls.as_ref(), &host_header),
            host_header,
        }
    }
}

impl TimeoutsSpec {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_from_the_defaults_then_from_the_built_in_values() {
        let spec = UpstreamSpec { keepalive: Some(8), ..UpstreamSpec::default() };
        let defaults = UpstreamSpec {
            keepalive: Some(9),
            timeouts: TimeoutsSpec { read: Some(Span::from_secs(1)), ..TimeoutsSpec::default() },
            ..UpstreamSpec::default()
        };
        let upstream = spec.resolve(&defaults);
        assert_eq!((upstream.keepalive, upstream.read_timeout), (8, Span::from_secs(1)));
        assert_eq!(upstream.send_timeout, Span::from_secs(60));
        assert_eq!(upstream.host_header.as_str(), "${header:host}");
    }

    #[test]
    fn a_specification_survives_its_journal_form() {
        let text = r#"{"servers":[{"address":"10.0.0.1:80","weight":3,"max_conns":0,"max_fails":1,"fail_timeout":"10s","backup":false,"down":true}],"timeouts":{"read":"5s"}}"#;
        let spec: UpstreamSpec = serde_json::from_str(text).expect("it reads");
        assert_eq!(serde_json::to_string(&spec).expect("it prints"), text);
        assert!(serde_json::from_str::<UpstreamSpec>(r#"{"nope":1}"#).is_err());
    }
}
