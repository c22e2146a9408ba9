//! `next` and `eject`: when a request goes on to another server, and when a server is left out for
//! what its answers were like.

use tidegate_model::{
    Size,
    upstream::{Condition, Conditions, EjectSpec, NextSpec, Share},
};

use crate::{
    node::{Words, positive, within},
    reader::Reader,
};

/// A kept body is in memory in one piece, and one request is not to take all of
/// `process.replay_memory`.
const MAX_REPLAY_BUFFER: Size = Size::from_bytes(16 << 20);

pub(crate) fn next(reader: &mut Reader<'_>) -> NextSpec {
    let on: Option<Vec<Condition>> = reader.take("on");
    let replayable = within(Size::default()..=MAX_REPLAY_BUFFER);
    NextSpec {
        on: on.map(Conditions::from_iter),
        tries: reader.take("tries"),
        timeout: reader.take("timeout"),
        replay_buffer: reader.take_if("replay_buffer", |size| {
            replayable(size).map_err(|range| format!("{range}: it is memory of a single request"))
        }),
        budget: reader.take("budget"),
    }
}

pub(super) fn eject(reader: &mut Reader<'_>) -> EjectSpec {
    EjectSpec {
        consecutive_5xx: reader.take("consecutive_5xx"),
        latency_factor: reader.take_if("latency_factor", far_off),
        base: reader.take_if("base", positive),
        max_share: reader.take_if("max_share", part),
    }
}

/// With 1, every server above the median would have to go.
fn far_off(factor: &u32) -> Result<(), String> {
    match factor {
        1 => Err("has to be 0, which is off, or at least 2".into()),
        _ => Ok(()),
    }
}

fn part(share: &Share) -> Result<(), String> {
    match share.percent() {
        0..=100 => Ok(()),
        _ => Err("has to be from 0% to 100%".into()),
    }
}

impl Words for Condition {
    const WORDS: &'static [(&'static str, Self)] = &{
        let mut words = [("", Self::Error); Self::ALL.len()];
        let mut at = 0;
        while at < words.len() {
            words[at] = (Self::ALL[at].1, Self::ALL[at].0);
            at += 1;
        }
        words
    };
}
