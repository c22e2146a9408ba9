//! `[upstream.NAME.tunnel]`: how long the connections after a 101, and those of tcp listeners, may be
//! silent, and what becomes of them when their server leaves.

use tidegate_model::{
    Span,
    upstream::{CloseCode, OnRemove, TunnelSpec},
};

use crate::{
    node::{FromToml, Node, Words, positive},
    reader::Reader,
};

/// More often, pings would be most of what an idle tunnel costs.
const MIN_PING_INTERVAL: Span = Span::from_secs(1);

pub(super) fn read(reader: &mut Reader<'_>) -> TunnelSpec {
    TunnelSpec {
        idle_timeout: reader.take_if("idle_timeout", positive),
        ping_interval: reader.take_if("ping_interval", never_or_seldom),
        on_remove: reader.take("on_remove"),
        drain_over: reader.take_if("drain_over", positive),
        close_code: reader.take("close_code"),
    }
}

fn never_or_seldom(interval: &Span) -> Result<(), String> {
    if *interval == Span::default() || *interval >= MIN_PING_INTERVAL {
        Ok(())
    } else {
        Err(format!("has to be 0s, which is never, or at least {MIN_PING_INTERVAL}"))
    }
}

impl FromToml for CloseCode {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let code = u16::from_toml(node)?;
        Self::try_from(code).map_or_else(|reason| node.fail(reason), Some)
    }
}

impl Words for OnRemove {
    const WORDS: &'static [(&'static str, Self)] =
        &[("keep", Self::Keep), ("drain", Self::Drain), ("close", Self::Close)];
}
