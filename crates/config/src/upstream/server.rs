//! The servers of a pool: nginx's `server` line as a table, or an address alone.

use tidegate_model::{Address, ServerSpec, Span};
use toml::de::DeValue;

use crate::{
    node::{FromToml, Node, within},
    reader::Reader,
};

/// nginx takes any weight; a precomputed rotation does not get along with huge ones.
const MAX_WEIGHT: u32 = 65_535;

/// A server is its address, or a table with more about it.
impl FromToml for ServerSpec {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        match node.value.get_ref() {
            DeValue::String(_) => Address::from_toml(node).map(Self::new),
            DeValue::Table(_) => Reader::within(node, server)?,
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
    let slow_start: Option<Span> = reader.take("slow_start");
    let tags = reader.take("tags");
    let plain = ServerSpec::new(address?);
    Some(ServerSpec {
        weight: weight.unwrap_or(plain.weight),
        max_conns: max_conns.unwrap_or(plain.max_conns),
        max_fails: max_fails.unwrap_or(plain.max_fails),
        fail_timeout: fail_timeout.unwrap_or(plain.fail_timeout),
        backup: backup.unwrap_or(plain.backup),
        down: down.unwrap_or(plain.down),
        slow_start: slow_start.unwrap_or(plain.slow_start),
        tags: tags.unwrap_or(plain.tags),
        address: plain.address,
    })
}

/// nginx: "no servers are inside upstream". A pool without any is one that the API will fill.
#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
pub(super) fn some_primary(servers: &Vec<ServerSpec>) -> Result<(), String> {
    if servers.is_empty() || servers.iter().any(|server| !server.backup) {
        Ok(())
    } else {
        Err("every server is a backup; a pool has at least one that is not".into())
    }
}
