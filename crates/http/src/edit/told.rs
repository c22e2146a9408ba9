//! What a server is told of the client: by whom and how it came, and as what request it is known.

use std::{io::Write as _, net::IpAddr};

use httparse::Header;
use tidegate_h1::HeadWriter;
use tidegate_wire::{Facts, TraceParent};
use tidegate_worker::RequestId;

use crate::{filled::Filled, trace::Part};

/// What is told to the server about the client.
pub(crate) struct Told<'r> {
    pub(crate) peer: Option<IpAddr>,
    /// The peer is a trusted proxy: what it says of the client stays, and is added to.
    pub(crate) trusted: bool,
    pub(crate) id: &'r RequestId,
    /// By which the client came.
    pub(crate) scheme: &'static str,
    /// Upgrade tokens that go on, if any.
    pub(crate) upgrade: Option<&'r str>,
    /// `None`: what the client says of its trace goes on.
    pub(crate) trace: Option<&'r Part>,
}

/// What a trusted proxy said already.
#[derive(Default)]
pub(super) struct Forwarded {
    host: bool,
    id: bool,
    proto: bool,
}

impl Forwarded {
    pub(super) fn keep(&mut self, head: &mut HeadWriter<'_>, field: &Header<'_>) {
        match field.name.len() {
            // Joined to one line with the peer's address below.
            15 => return,
            // Ours is what was received, if it was an id at all.
            12 => return self.id = true,
            16 => self.host = true,
            17 => self.proto = true,
            _ => (),
        }
        head.field(field.name, field.value);
    }
}

/// Says what is left to say of the client.
pub(super) fn tell(
    head: &mut HeadWriter<'_>,
    facts: &Facts<'_>,
    headers: &[Header<'_>],
    told: &Told<'_>,
    said: &Forwarded,
    edits: Option<&Filled>,
) {
    // What a route sets or removes is not said by us.
    let ours = |name: &str| edits.is_none_or(|edits| !edits.take(name));
    if ours("X-Forwarded-For") {
        chain(head, headers, told);
    }
    if !said.proto && ours("X-Forwarded-Proto") {
        head.field("X-Forwarded-Proto", told.scheme.as_bytes());
    }
    if !said.host && !facts.authority.is_empty() && ours("X-Forwarded-Host") {
        head.field("X-Forwarded-Host", facts.authority.as_bytes());
    }
    if ours("X-Request-Id") {
        head.field("X-Request-Id", told.id.as_str().as_bytes());
    }
}

/// Tells the server which trace this belongs to. Where the span's digits begin; `None`: the route says
/// something else.
pub(super) fn tell_trace(
    head: &mut HeadWriter<'_>,
    part: &Part,
    edits: Option<&Filled>,
) -> Option<usize> {
    const NAME: &str = "traceparent";
    if edits.is_some_and(|edits| edits.take(NAME)) {
        return None;
    }
    let value = head.position() + NAME.len() + 2;
    head.field(NAME, part.told.text().as_bytes());
    Some(value + TraceParent::PARENT.start)
}

/// The addresses that a request came through, the peer's the last.
fn chain(head: &mut HeadWriter<'_>, headers: &[Header<'_>], told: &Told<'_>) {
    let mut text = [0; 64];
    let ip = told.peer.map_or(&[][..], |ip| write_ip(ip, &mut text));
    let before =
        headers.iter().filter(|h| told.trusted && h.name.eq_ignore_ascii_case("x-forwarded-for"));
    let mut chain: Vec<&[u8]> = before.map(|h| h.value).filter(|value| !value.is_empty()).collect();
    if chain.is_empty() {
        if !ip.is_empty() {
            head.field("X-Forwarded-For", ip);
        }
    } else {
        chain.push(ip);
        head.field("X-Forwarded-For", &chain.join(&b", "[..]));
    }
}

/// An address as text: four numbers are written in a fraction of the time that formatting takes.
fn write_ip(ip: IpAddr, text: &mut [u8; 64]) -> &[u8] {
    let room = text.len();
    let mut rest = &mut text[..];
    // Long enough for any address, so that no write fails.
    match ip {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                let _ = rest.write_all(if at == 0 { b"" } else { b"." });
                let _ = rest.write_all(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(v6) => _ = write!(rest, "{v6}"),
    }
    let left = rest.len();
    &text[..room - left]
}
