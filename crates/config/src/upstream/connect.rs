//! How a connection to a server begins: from which address of this machine, with which word about the
//! client it is for, and in which protocol.

use std::{collections::HashSet, net::IpAddr};

use tidegate_model::upstream::{Protocol, SendProxy};

use crate::{
    node::{FromToml, Node, Words},
    place::Placed,
    reader::Reader,
};

/// At 28,000 ports each, 1.8 million connections to one address of a server: more is a mistake.
const MAX_SOURCES: usize = 64;

/// `source`. An IPv4 address and the same as a mapped IPv6 one are one address.
pub(super) fn source(reader: &mut Reader<'_>) -> Option<Vec<IpAddr>> {
    let listed: Vec<Placed<IpAddr>> = reader.take_if("source", few)?;
    let mut seen = HashSet::new();
    for again in listed.iter().filter(|address| !seen.insert(address.value.to_canonical())) {
        reader.report.error(again.place.clone(), format!("{} is given twice", again.value));
    }
    Some(listed.into_iter().map(|address| address.value).collect())
}

#[expect(clippy::ptr_arg, reason = "a rule gets what was read")]
fn few(listed: &Vec<Placed<IpAddr>>) -> Result<(), String> {
    match listed.len() {
        0..=MAX_SOURCES => Ok(()),
        _ => Err(format!("holds more than {MAX_SOURCES} addresses")),
    }
}

/// An address that a socket can be bound to.
impl FromToml for IpAddr {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let text = node.text("an IP address in quotes such as \"10.0.0.9\"")?;
        match text.parse::<Self>() {
            Ok(address) if address.is_unspecified() || address.is_multicast() => {
                node.fail(format!("{address} is no address of one machine"))
            }
            Ok(address) => Some(address),
            Err(_) => {
                node.fail(format!("\"{}\" is no IP address such as 10.0.0.9", text.escape_debug()))
            }
        }
    }
}

impl Words for Protocol {
    const WORDS: &'static [(&'static str, Self)] =
        &[("http1", Self::Http1), ("http2", Self::Http2)];
}

impl Words for SendProxy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("v1", Self::V1), ("v2", Self::V2)];
}
