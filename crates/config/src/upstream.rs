//! `[upstream.NAME]` and `[upstream_defaults]`: a pool in the shape of the model's `UpstreamSpec`,
//! where what is absent stays absent. What is only wrong together with the defaults is looked at in
//! `rules`.

mod check;
mod choice;
mod connect;
mod retry;
mod rules;
mod server;
mod tls;
mod tunnel;

use tidegate_model::{Name, Template, UpstreamSpec, upstream::TimeoutsSpec};

use crate::{
    node::positive,
    place::{Place, Placed},
    reader::Reader,
};

pub(crate) use choice::names_a_token;
pub(crate) use retry::next;
use tls::TlsDraft;
pub use tls::TlsFiles;
pub(crate) use tls::within;

/// `[upstream_defaults]`
#[derive(Default)]
pub(crate) struct DefaultsDraft {
    pub(crate) spec: UpstreamSpec,
    tls: Option<TlsDraft>,
}

/// One pool, with the places that checks against the defaults need.
pub(crate) struct PoolDraft {
    pub(crate) name: Placed<Name>,
    pub(crate) spec: UpstreamSpec,
    servers: Place,
    hash_key: Place,
    check: Place,
    send_proxy: Place,
    tls: Option<TlsDraft>,
}

impl PoolDraft {
    /// `None` when its name is none.
    pub(crate) fn read(name: &Placed<String>, reader: &mut Reader<'_>) -> Option<Self> {
        let servers = reader.take_if("servers", server::some_primary);
        let DefaultsDraft { spec, tls } = settings(reader);
        let spec = UpstreamSpec { servers, ..spec };
        match Name::new(&name.value) {
            Ok(value) => Some(Self {
                name: name.as_ref().map(|_| value),
                spec,
                servers: reader.place_of("servers"),
                hash_key: reader.place_of("hash_key"),
                check: reader.place_of("check"),
                send_proxy: reader.place_of("send_proxy"),
                tls,
            }),
            Err(reason) => {
                reader.report.error(name.place.clone(), reason);
                None
            }
        }
    }

    /// The files that its connections to servers need.
    pub(crate) fn tls_files(&self, defaults: &DefaultsDraft) -> Option<TlsFiles> {
        let tls = self.spec.resolve(&defaults.spec).tls?;
        tls::files(&self.name.value, tls, self.tls.as_ref(), defaults.tls.as_ref())
    }
}

/// What fills the gaps of every pool.
pub(crate) fn defaults(reader: &mut Reader<'_>) -> DefaultsDraft {
    reader.refuse("servers", "servers belong to one pool, in [upstream.NAME]");
    settings(reader)
}

fn settings(reader: &mut Reader<'_>) -> DefaultsDraft {
    let tls = reader.table("tls", TlsDraft::read).map(|table| table.value);
    let spec = UpstreamSpec {
        balance: reader.take("balance"),
        servers: None,
        keepalive: reader.take("keepalive"),
        keepalive_timeout: reader.take_if("keepalive_timeout", positive),
        keepalive_requests: reader.take("keepalive_requests"),
        keepalive_time: reader.take_if("keepalive_time", positive),
        host_header: reader.take_if("host_header", field_value),
        when_all_down: reader.take("when_all_down"),
        hash_key: reader.take_if("hash_key", names_a_token),
        sticky: reader.table("sticky", choice::sticky).and_then(|table| table.value),
        resolve_interval: reader.take_if("resolve_interval", positive),
        send_proxy: reader.take("send_proxy"),
        protocol: reader.take("protocol"),
        source: connect::source(reader),
        tls: tls.as_ref().map(TlsDraft::spec),
        timeouts: reader.table("timeouts", timeouts).map(|t| t.value).unwrap_or_default(),
        next: reader.table("next", next).map(|t| t.value).unwrap_or_default(),
        eject: reader.table("eject", retry::eject).map(|t| t.value).unwrap_or_default(),
        check: reader.table("check", check::read).map(|table| table.value),
        tunnel: reader.table("tunnel", tunnel::read).map(|t| t.value).unwrap_or_default(),
    };
    DefaultsDraft { spec, tls }
}

pub(crate) fn timeouts(reader: &mut Reader<'_>) -> TimeoutsSpec {
    TimeoutsSpec {
        connect: reader.take_if("connect", positive),
        send: reader.take_if("send", positive),
        read: reader.take_if("read", positive),
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
