//! One server of a pool, as defined: nginx's `server` line with its defaults.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use utoipa::ToSchema;

use crate::{Address, Span};

/// One server of a pool, with the defaults of nginx's `server` line. Where nothing but its address
/// is said, that alone may stand for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ServerSpec {
    pub address: Address,
    /// 0: no new requests or tunnels.
    #[serde(default = "one")]
    pub weight: u32,
    /// Requests and tunnels at once; 0: no limit.
    #[serde(default)]
    pub max_conns: u32,
    /// Failures within `fail_timeout` that mark it failed; 0: never.
    #[serde(default = "one")]
    pub max_fails: u32,
    #[serde(default = "ten_seconds")]
    pub fail_timeout: Span,
    #[serde(default)]
    pub backup: bool,
    #[serde(default)]
    pub down: bool,
    /// After it came (back), its share grows from nothing to what its weight says over this time;
    /// 0: at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slow_start: Span,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Serialize for ServerSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for ServerSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = ServerSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or an object")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ServerSpec, E> {
                Address::parse(text).map(ServerSpec::new).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<ServerSpec, A::Error> {
                ServerSpec::deserialize(MapAccessDeserializer::new(access))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// What is to be different about a server; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerChange {
    pub weight: Option<u32>,
    pub max_conns: Option<u32>,
    pub max_fails: Option<u32>,
    pub fail_timeout: Option<Span>,
    pub slow_start: Option<Span>,
    pub backup: Option<bool>,
    pub down: Option<bool>,
    /// All of them.
    pub tags: Option<BTreeMap<String, String>>,
}

impl ServerChange {
    /// The server as it is to be.
    #[must_use]
    pub fn onto(self, server: &ServerSpec) -> ServerSpec {
        let Self { weight, max_conns, max_fails, fail_timeout, slow_start, backup, down, tags } =
            self;
        ServerSpec {
            address: server.address.clone(),
            weight: weight.unwrap_or(server.weight),
            max_conns: max_conns.unwrap_or(server.max_conns),
            max_fails: max_fails.unwrap_or(server.max_fails),
            fail_timeout: fail_timeout.unwrap_or(server.fail_timeout),
            slow_start: slow_start.unwrap_or(server.slow_start),
            backup: backup.unwrap_or(server.backup),
            down: down.unwrap_or(server.down),
            tags: tags.unwrap_or_else(|| server.tags.clone()),
        }
    }
}

const fn one() -> u32 {
    1
}

const fn ten_seconds() -> Span {
    Span::from_secs(10)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(span: &Span) -> bool {
    *span == Span::default()
}

impl ServerSpec {
    pub fn new(address: Address) -> Self {
        Self {
            address,
            weight: one(),
            max_conns: 0,
            max_fails: one(),
            fail_timeout: ten_seconds(),
            backup: false,
            down: false,
            slow_start: Span::default(),
            tags: BTreeMap::new(),
        }
    }

    /// Whether it takes requests at all, as far as its definition goes.
    pub fn takes_requests(&self) -> bool {
        !self.down && self.weight > 0
    }
}
