//! `[listener.http2]`: how much one connection of HTTP/2 may ask for at once. A connection carries many
//! requests, so what `max_connections` bounds elsewhere has to be bounded within it, too.

use tidegate_model::Size;

use crate::{node::within, reader::Reader};

/// A client has no use for more, and every stream has a request behind it.
const MAX_STREAMS: u32 = 10_000;
const MAX_RESETS: u32 = 10_000;

/// RFC 9113 §6.9.2: what a stream has before anybody says otherwise is 65,535; below that, a body
/// would come in small pieces only.
const MIN_WINDOW: Size = Size::from_bytes(64 << 10);
/// So much of a body that nobody takes may be in memory for each stream.
const MAX_WINDOW: Size = Size::from_bytes(16 << 20);

/// `[listener.http2]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Streams open at once in one connection.
    pub max_concurrent_streams: u32,
    /// Streams that a client may reset before their answer, at once; ten more come back every second.
    pub max_resets: u32,
    /// Bytes of a body that a client may send ahead, of one stream; a connection has four times that.
    pub window: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self { max_concurrent_streams: 128, max_resets: 100, window: 64 << 10 }
    }
}

impl Http2 {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let streams = reader.take_if("max_concurrent_streams", within(1..=MAX_STREAMS));
        let resets = reader.take_if("max_resets", within(1..=MAX_RESETS));
        let window = reader.take_if("window", within(MIN_WINDOW..=MAX_WINDOW));
        Self {
            max_concurrent_streams: streams.unwrap_or(default.max_concurrent_streams),
            max_resets: resets.unwrap_or(default.max_resets),
            // One that was checked fits.
            window: window.map_or(default.window, |size| {
                u32::try_from(size.bytes()).unwrap_or(default.window)
            }),
        }
    }
}
