//! What is counted of tunnels by listener, and how far drains have come. Of one listener all numbers
//! are of the same moment: opened is active and closed together.

use tidegate_operate::View;
use tidegate_table::Close;

use super::{ListenerTotals, page::Page};

pub(super) fn families(page: &mut Page, listeners: &[ListenerTotals], drains: &[View]) {
    page.counter("tidegate_listener_tunnels_total", "Tunnels opened.", |samples| {
        for ListenerTotals { name, tunnels, .. } in listeners {
            samples.count(&[("listener", name)], tunnels.opened);
        }
    });
    page.gauge("tidegate_listener_tunnels_active", "Tunnels open.", |samples| {
        for ListenerTotals { name, tunnels, .. } in listeners {
            samples.count(&[("listener", name)], tunnels.active);
        }
    });
    page.counter(
        "tidegate_listener_tunnel_closes_total",
        "Tunnels by why they ended.",
        |samples| {
            for ListenerTotals { name, tunnels, .. } in listeners {
                for (cause, word) in Close::ALL {
                    let labels = [("listener", &**name), ("cause", word)];
                    samples.count_some(&labels, tunnels.closed(cause));
                }
            }
        },
    );
    page.counter(
        "tidegate_listener_tunnel_bytes_total",
        "Bytes of tunnels that have ended: received and injected are sent, swallowed and \
         discarded together.",
        |samples| {
            for ListenerTotals { name, tunnels, .. } in listeners {
                let account = &tunnels.account;
                for (kind, bytes) in [
                    ("received", account.received),
                    ("injected", account.injected),
                    ("sent", account.sent),
                    ("swallowed", account.swallowed),
                    ("discarded", account.discarded),
                ] {
                    samples.count(&[("listener", name), ("kind", kind)], bytes);
                }
            }
        },
    );
    page.gauge(
        "tidegate_drain_remaining",
        "Tunnels and requests that still run on a server that is being drained.",
        |samples| {
            for View { id, spec, remaining, .. } in drains {
                let (id, upstream) = (id.to_string(), spec.upstream.as_str());
                let labels = [("id", &*id), ("upstream", upstream), ("server", &*spec.server)];
                samples.count(&labels, remaining.tunnels + remaining.requests);
            }
        },
    );
}
