//! What comes in, by listener: connections of http and tcp, sessions and datagrams of udp.

use super::{DatagramTotals, ListenerTotals, page::Page};

pub(super) fn families(page: &mut Page, listeners: &[ListenerTotals]) {
    connections(page, listeners);
    sessions(page, listeners);
    datagrams(page, listeners);
}

fn connections(page: &mut Page, listeners: &[ListenerTotals]) {
    let connections = || listeners.iter().filter(|listener| listener.datagrams.is_none());
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
}

/// Those of udp, with what they passed on.
fn udp(listeners: &[ListenerTotals]) -> impl Iterator<Item = (&ListenerTotals, &DatagramTotals)> {
    listeners.iter().filter_map(|one| Some((one, one.datagrams.as_ref()?)))
}

fn sessions(page: &mut Page, listeners: &[ListenerTotals]) {
    page.gauge("tidegate_udp_sessions_active", "Sessions of udp clients.", |samples| {
        for (listener, _) in udp(listeners) {
            samples.count(&[("listener", &listener.name)], listener.connections_active);
        }
    });
    page.counter("tidegate_udp_sessions_total", "Sessions of udp clients begun.", |samples| {
        for (listener, _) in udp(listeners) {
            samples.count(&[("listener", &listener.name)], listener.connections_total);
        }
    });
    page.counter(
        "tidegate_udp_sessions_evicted_total",
        "Sessions that ended because max_sessions was reached.",
        |samples| {
            for (listener, totals) in udp(listeners) {
                samples.count(&[("listener", &listener.name)], totals.evicted);
            }
        },
    );
}

fn datagrams(page: &mut Page, listeners: &[ListenerTotals]) {
    page.counter("tidegate_udp_datagrams_total", "Datagrams passed on.", |samples| {
        for (listener, DatagramTotals { to_server, to_client, .. }) in udp(listeners) {
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
            for (listener, totals) in udp(listeners) {
                samples.count(&[("listener", &listener.name)], totals.dropped);
            }
        },
    );
}
