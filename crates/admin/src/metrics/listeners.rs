//! What comes in, by listener: connections of http and tcp, sessions and datagrams of udp.

use super::{DatagramTotals, ListenerTotals, page::Page};

pub(super) fn families(page: &mut Page, listeners: &[ListenerTotals]) {
    let connections = || listeners.iter().filter(|listener| listener.datagrams.is_none());
    let datagrams = || listeners.iter().filter_map(|one| Some((one, one.datagrams.as_ref()?)));
    page.gauge("tidegate_connections_active", "Client connections open.", |samples| {
        for listener in connections() {
            samples.count(&[("listener", &listener.name)], listener.connections_active);
        }
    });
    page.counter("tidegate_connections_total", "Client connections accepted.", |samples| {
        for listener in connections() {
            samples.count(&[("listener", &listener.name)], listener.connections_total);
        }
    });
    page.counter(
        "tidegate_connections_refused_total",
        "Client connections turned away because there were enough of them.",
        |samples| {
            for listener in connections() {
                for (reason, count) in &listener.refused {
                    samples.count(&[("listener", &*listener.name), ("reason", *reason)], *count);
                }
            }
        },
    );
    page.gauge("tidegate_udp_sessions_active", "Sessions of udp clients.", |samples| {
        for (listener, _) in datagrams() {
            samples.count(&[("listener", &listener.name)], listener.connections_active);
        }
    });
    page.counter("tidegate_udp_sessions_total", "Sessions of udp clients begun.", |samples| {
        for (listener, _) in datagrams() {
            samples.count(&[("listener", &listener.name)], listener.connections_total);
        }
    });
    page.counter(
        "tidegate_udp_sessions_evicted_total",
        "Sessions that ended because max_sessions was reached.",
        |samples| {
            for (listener, totals) in datagrams() {
                samples.count(&[("listener", &listener.name)], totals.evicted);
            }
        },
    );
    page.counter("tidegate_udp_datagrams_total", "Datagrams passed on.", |samples| {
        for (listener, DatagramTotals { to_server, to_client, .. }) in datagrams() {
            for (direction, count) in [("to_server", to_server), ("to_client", to_client)] {
                let labels = [("listener", &*listener.name), ("direction", direction)];
                samples.count(&labels, *count);
            }
        }
    });
    page.counter(
        "tidegate_udp_datagrams_dropped_total",
        "Datagrams that were not passed on.",
        |samples| {
            for (listener, totals) in datagrams() {
                samples.count(&[("listener", &listener.name)], totals.dropped);
            }
        },
    );
}
