//! How much and how long a listener puts up with: `[listener.limits]`, of what a client may fill, and
//! `[listener.timeouts]`.

use tidegate_model::{Size, Span};

use crate::{
    node::{positive, within},
    reader::Reader,
};

const MIN_HEAD: Size = Size::from_bytes(1 << 10);
/// A connection's head is in memory until it is whole.
const MAX_HEAD: Size = Size::from_bytes(256 << 10);
const MAX_FIELDS: u16 = 1000;

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
    /// For a request's whole head, from its first byte; for a PROXY header and a ClientHello, from the
    /// beginning of the connection.
    pub header: Span,
    /// For the next request on an idle connection.
    pub keepalive: Span,
    /// Between two reads of a body.
    pub body: Span,
    /// Between two writes.
    pub send: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self { target: 8 << 10, head: 32 << 10, fields: 100 }
    }
}

impl Limits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
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
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        Self {
            header: reader.take_if("header", positive).unwrap_or(default.header),
            keepalive: reader.take_if("keepalive", positive).unwrap_or(default.keepalive),
            body: reader.take_if("body", positive).unwrap_or(default.body),
            send: reader.take_if("send", positive).unwrap_or(default.send),
        }
    }
}
