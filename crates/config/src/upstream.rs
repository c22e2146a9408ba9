//! `[upstream.NAME]` and `[upstream_defaults]`: a pool in the shape of the model's `UpstreamSpec`,
//! where what is absent stays absent.

use tidegate_model::{
    Address, Balance, ServerSpec, Span, Template, UpstreamSpec, WhenAllDown,
    upstream::{TimeoutsSpec, TunnelSpec},
};
use toml::de::DeValue;

use crate::{
    node::{FromToml, Node, Words, positive, within},
    reader::Reader,
};

/// nginx takes any weight; a precomputed rotation does not get along with huge ones.
const MAX_WEIGHT: u32 = 65_535;

/// One pool.
pub(crate) fn pool(reader: &mut Reader<'_>) -> UpstreamSpec {
    let servers = reader.take_if("servers", some_primary);
    UpstreamSpec { servers, ..settings(reader) }
}

/// What fills the gaps of every pool.
pub(crate) fn defaults(reader: &mut Reader<'_>) -> UpstreamSpec {
    reader.refuse("servers", "servers belong to one pool, in [upstream.NAME]");
    settings(reader)
}

fn settings(reader: &mut Reader<'_>) -> UpstreamSpec {
    UpstreamSpec {
        balance: reader.take("balance"),
        servers: None,
        keepalive: reader.take("keepalive"),
        keepalive_timeout: reader.take_if("keepalive_timeout", positive),
        keepalive_requests: reader.take("keepalive_requests"),
        keepalive_time: reader.take_if("keepalive_time", positive),
        host_header: reader.take_if("host_header", field_value),
        when_all_down: reader.take("when_all_down"),
        timeouts: reader.table("timeouts", timeouts).map(|t| t.value).unwrap_or_default(),
        tunnel: reader.table("tunnel", tunnel).map(|t| t.value).unwrap_or_default(),
    }
}

fn timeouts(reader: &mut Reader<'_>) -> TimeoutsSpec {
    TimeoutsSpec {
        connect: reader.take_if("connect", positive),
        send: reader.take_if("send", positive),
        read: reader.take_if("read", positive),
    }
}

fn tunnel(reader: &mut Reader<'_>) -> TunnelSpec {
    TunnelSpec { idle_timeout: reader.take_if("idle_timeout", positive) }
}

/// A server is its address, or a table with more about it.
impl FromToml for ServerSpec {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        match node.value.get_ref() {
            DeValue::String(_) => Address::from_toml(node).map(Self::new),
            DeValue::Table(_) => Reader::within(node, "servers", server)?,
            _ => node.mismatch("an address in quotes or a table with one"),
        }
    }
}

fn server(reader: &mut Reader<'_>) -> Option<ServerSpec> {
    let address: Option<Address> = reader.require("address");
    let weight = reader.take_if("weight", within(0..=MAX_WEIGHT));
    let max_conns = reader.take("max_conns");
    let max_fails = reader.take("max_fails");
    let fail_timeout: Option<Span> = reader.take("fail_timeout");
    let backup = reader.take("backup");
    let down = reader.take("down");
    let tags = reader.take("tags");
    let plain = ServerSpec::new(address?);
    Some(ServerSpec {
        weight: weight.unwrap_or(plain.weight),
        max_conns: max_conns.unwrap_or(plain.max_conns),
        max_fails: max_fails.unwrap_or(plain.max_fails),
        fail_timeout: fail_timeout.unwrap_or(plain.fail_timeout),
        backup: backup.unwrap_or(plain.backup),
        down: down.unwrap_or(plain.down),
        tags: tags.unwrap_or(plain.tags),
        address: plain.address,
    })
}

/// nginx: "no servers are inside upstream". A pool without any is one that the API will fill.
#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn some_primary(servers: &Vec<ServerSpec>) -> Result<(), String> {
    if servers.is_empty() || servers.iter().any(|server| !server.backup) {
        Ok(())
    } else {
        Err("every server is a backup; a pool has at least one that is not".into())
    }
}

/// A Host field is written to the wire: nothing may break the line or leave it empty for sure.
fn field_value(template: &Template) -> Result<(), String> {
    match template.as_str() {
        "" => Err("may not be empty".into()),
        text if text.bytes().all(|b| b.is_ascii_graphic()) => Ok(()),
        _ => Err("may only hold visible ASCII characters".into()),
    }
}

impl Words for Balance {
    const WORDS: &'static [(&'static str, Self)] =
        &[("round_robin", Self::RoundRobin), ("ip_hash", Self::IpHash)];
    const LATER: &'static [&'static str] = &["least_conn", "random_two", "hash", "maglev", "ewma"];
}

impl Words for WhenAllDown {
    const WORDS: &'static [(&'static str, Self)] =
        &[("try_all", Self::TryAll), ("fail", Self::Fail)];
}
